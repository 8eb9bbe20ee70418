"""Mapped images as host commands, all others as real containers: one runtime that stands for two.

A pod may have containers of both: they share its network and its files, not its IPC namespace. One whose
RuntimeClass names a handler has containers of that one only, and its sandbox is known to no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from antei.api.pod_streams import CommandStreams
from antei.runtime import (
    ContainerRecord,
    ContainerSpec,
    Credential,
    ExecResult,
    Exit,
    Image,
    ImageError,
    Limits,
    Runtime,
    Sandbox,
    SandboxSpec,
    StartError,
)
from antei.runtime.image_map import ImageMap
from antei.runtime.oci import OciRuntime
from antei.runtime.process import ProcessRuntime
from antei.runtime.usage import Usage
from antei.world import World

__all__ = ["MixedRuntime"]


class MixedRuntime:
    """Implements `Runtime`. A sandbox has the same id in both."""

    def __init__(self, world: World, process: ProcessRuntime, oci: OciRuntime, image_map: ImageMap) -> None:
        self._world = world
        self._process = process
        self._oci = oci
        self._image_map = image_map
        self._known: dict[str, Runtime] = {}  # whose a container is
        self._in_the_making: set[str] = set()  # sandboxes

    @property
    def name(self) -> str:
        return self._process.name

    @property
    def handlers(self) -> Sequence[str]:
        return (*self._process.handlers, *self._oci.handlers)

    async def _for(self, image: str, sandbox_id: str) -> Runtime:
        """By the image, unless the sandbox is of one of the two only."""
        for one in (self._process, self._oci):
            if any(sandbox.id == sandbox_id and sandbox.handler for sandbox in await one.sandboxes()):
                return one
        return self._process if self._image_map.lookup(image) is not None else self._oci

    @property
    def volume_images(self) -> Runtime:
        return self._oci

    async def has_image(self, image: str, sandbox_id: str = "") -> bool:
        return await (await self._for(image, sandbox_id)).has_image(image)

    async def ensure_image(
        self, image: str, pull_policy: str, credentials: Sequence[Credential] = (), sandbox_id: str = ""
    ) -> Image:
        runtime = await self._for(image, sandbox_id)
        try:
            return await runtime.ensure_image(image, pull_policy, credentials)
        except ImageError as error:
            if error.reason != "ErrImagePull" or runtime is not self._oci:
                raise
            raise ImageError(error.reason, f"{error.message}; {self._image_map.remedy(image)}") from error

    async def user_namespace(self, pod_uid: str) -> Path | None:
        return await self._oci.user_namespace(pod_uid)

    async def create_sandbox(self, spec: SandboxSpec) -> Sandbox:
        both = replace(spec, id=spec.id or self._world.chance.token(32))
        for one in (self._process, self._oci):
            if spec.handler in one.handlers:
                return await one.create_sandbox(both)
        self._in_the_making.add(both.id)
        try:
            sandbox = await self._process.create_sandbox(both)
            await self._oci.create_sandbox(both)
        finally:
            self._in_the_making.discard(both.id)
        return sandbox

    async def remove_sandbox(self, sandbox_id: str) -> None:
        records = [record for record in await self.containers() if record.sandbox_id == sandbox_id]
        await self._oci.remove_sandbox(sandbox_id)
        await self._process.remove_sandbox(sandbox_id)
        for record in records:
            self._known.pop(record.id, None)

    async def start(self, spec: ContainerSpec) -> ContainerRecord:
        runtime = await self._for(spec.image, spec.sandbox_id)
        if runtime is not self._oci and any(mount.image for mount in spec.mounts):
            raise StartError("CreateContainerError", "a volume of an image can be mounted by real containers only")
        record = await runtime.start(spec)
        self._known[record.id] = runtime
        return record

    async def unsupported(self, spec: ContainerSpec) -> Sequence[str]:
        return await (await self._for(spec.image, spec.sandbox_id)).unsupported(spec)

    async def wait(self, container_id: str) -> Exit:
        return await (await self._of(container_id)).wait(container_id)

    async def signal(self, container_id: str, signal: str) -> None:
        await (await self._of(container_id)).signal(container_id, signal)

    async def resize(self, container_id: str, limits: Limits) -> None:
        await (await self._of(container_id)).resize(container_id, limits)

    async def pause(self, container_id: str) -> None:
        await (await self._of(container_id)).pause(container_id)

    async def resume(self, container_id: str) -> None:
        await (await self._of(container_id)).resume(container_id)

    async def exec(
        self,
        container_id: str,
        command: Sequence[str],
        *,
        timeout_seconds: float | None = None,
        output_limit_bytes: int = 10 * 1024,
    ) -> ExecResult:
        runtime = await self._of(container_id)
        return await runtime.exec(
            container_id, command, timeout_seconds=timeout_seconds, output_limit_bytes=output_limit_bytes
        )

    async def open_exec(
        self, container_id: str, command: Sequence[str], *, stdin: bool = False, tty: bool = False
    ) -> CommandStreams:
        return await (await self._of(container_id)).open_exec(container_id, command, stdin=stdin, tty=tty)

    async def open_attach(self, container_id: str, *, stdin: bool = False) -> CommandStreams:
        return await (await self._of(container_id)).open_attach(container_id, stdin=stdin)

    async def remove(self, container_id: str) -> None:
        await (await self._of(container_id)).remove(container_id)
        self._known.pop(container_id, None)

    async def sandboxes(self) -> Sequence[Sandbox]:
        """One that antei died over, before both knew of it and anything ran in it, is removed: its pod gets another."""
        found: dict[str, Sandbox] = {}
        known = [{sandbox.id for sandbox in await each.sandboxes()} for each in (self._oci, self._process)]
        in_use = {record.sandbox_id for record in await self.containers()} | self._in_the_making
        for sandbox in (*await self._oci.sandboxes(), *await self._process.sandboxes()):
            is_half = not sandbox.handler and not all(sandbox.id in each for each in known)
            if is_half and sandbox.id not in in_use:
                await self.remove_sandbox(sandbox.id)
            else:
                found[sandbox.id] = sandbox
        return tuple(found.values())

    async def containers(self) -> Sequence[ContainerRecord]:
        return (*await self._process.containers(), *await self._oci.containers())

    async def usage(self) -> Mapping[str, Usage]:
        return {**await self._process.usage(), **await self._oci.usage()}

    async def aclose(self) -> None:
        await self._oci.aclose()
        await self._process.aclose()

    async def _of(self, container_id: str) -> Runtime:
        """One that nobody knows is the process driver's to deny."""
        if container_id not in self._known:
            for record in await self._oci.containers():
                self._known[record.id] = self._oci
            for record in await self._process.containers():
                self._known[record.id] = self._process
        return self._known.get(container_id, self._process)
