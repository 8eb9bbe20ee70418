"""Mapped images as host commands, all others as real containers: one runtime that stands for two.

A pod may have containers of both: they share its network and its files, not its IPC namespace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

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

    @property
    def name(self) -> str:
        return self._process.name

    def _for(self, image: str) -> Runtime:
        return self._process if self._image_map.lookup(image) is not None else self._oci

    async def has_image(self, image: str) -> bool:
        return await self._for(image).has_image(image)

    async def ensure_image(self, image: str, pull_policy: str, credentials: Sequence[Credential] = ()) -> Image:
        try:
            return await self._for(image).ensure_image(image, pull_policy, credentials)
        except ImageError as error:
            if error.reason != "ErrImagePull":
                raise
            raise ImageError(error.reason, f"{error.message}; {self._image_map.remedy(image)}") from error

    async def create_sandbox(self, spec: SandboxSpec) -> Sandbox:
        both = replace(spec, id=spec.id or self._world.chance.token(32))
        sandbox = await self._process.create_sandbox(both)
        await self._oci.create_sandbox(both)
        return sandbox

    async def remove_sandbox(self, sandbox_id: str) -> None:
        records = [record for record in await self.containers() if record.sandbox_id == sandbox_id]
        await self._oci.remove_sandbox(sandbox_id)
        await self._process.remove_sandbox(sandbox_id)
        for record in records:
            self._known.pop(record.id, None)

    async def start(self, spec: ContainerSpec) -> ContainerRecord:
        runtime = self._for(spec.image)
        record = await runtime.start(spec)
        self._known[record.id] = runtime
        return record

    async def unsupported(self, spec: ContainerSpec) -> Sequence[str]:
        return await self._for(spec.image).unsupported(spec)

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
        """One that antei died over may be known to one of the two only."""
        found = {sandbox.id: sandbox for sandbox in await self._oci.sandboxes()}
        found |= {sandbox.id: sandbox for sandbox in await self._process.sandboxes()}
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
