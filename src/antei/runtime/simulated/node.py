"""One node's share of the simulated machine: its own images, sandboxes and containers; all else is the machine's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from antei.api.pod_streams import CommandStreams
from antei.runtime import (
    ContainerRecord,
    ContainerSpec,
    Credential,
    ExecResult,
    Exit,
    Image,
    Limits,
    Runtime,
    Sandbox,
    SandboxSpec,
)
from antei.runtime.simulated.driver import SimulatedRuntime

__all__ = ["SimulatedNode"]


class SimulatedNode:
    """Implements `Runtime`. Outlives the node's agent, as the machine does.

    pull_seconds:  how long an image takes that is not on this node; asked for each pull. None: as its profile says.
    start_seconds: what the node itself takes for a start; asked for each.
    """

    name = "simulated"
    handlers = SimulatedRuntime.handlers

    def __init__(
        self,
        machine: SimulatedRuntime,
        pull_seconds: Callable[[], float] | None = None,
        start_seconds: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._machine = machine
        self._pull_seconds = pull_seconds
        self._start_seconds = start_seconds
        self._present: set[str] = set()
        self._own: dict[str, str] = {}  # sandbox id -> pod uid

    @property
    def pod_uids(self) -> list[str]:
        """The pods that have a sandbox here."""
        return list(self._own.values())

    @property
    def volume_images(self) -> Runtime:
        return self

    async def has_image(self, image: str, sandbox_id: str = "") -> bool:
        return image in self._present or (self._pull_seconds is None and await self._machine.has_image(image))

    async def ensure_image(
        self, image: str, pull_policy: str, credentials: Sequence[Credential] = (), sandbox_id: str = ""
    ) -> Image:
        if image not in self._present and self._pull_seconds is not None:
            seconds = self._pull_seconds()
            if seconds > 0:
                await asyncio.sleep(seconds)
        found = await self._machine.ensure_image(image, pull_policy, credentials)
        self._present.add(image)
        return found

    async def user_namespace(self, pod_uid: str) -> Path | None:
        return await self._machine.user_namespace(pod_uid)

    async def create_sandbox(self, spec: SandboxSpec) -> Sandbox:
        sandbox = await self._machine.create_sandbox(spec)
        self._own[sandbox.id] = sandbox.pod_uid
        return sandbox

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self._machine.remove_sandbox(sandbox_id)
        self._own.pop(sandbox_id, None)

    async def start(self, spec: ContainerSpec) -> ContainerRecord:
        seconds = self._start_seconds()
        if seconds > 0:
            await asyncio.sleep(seconds)
        return await self._machine.start(spec)

    async def unsupported(self, spec: ContainerSpec) -> Sequence[str]:
        return ()

    async def wait(self, container_id: str) -> Exit:
        return await self._machine.wait(container_id)

    async def signal(self, container_id: str, signal: str) -> None:
        await self._machine.signal(container_id, signal)

    async def resize(self, container_id: str, limits: Limits) -> None:
        await self._machine.resize(container_id, limits)

    async def pause(self, container_id: str) -> None:
        await self._machine.pause(container_id)

    async def resume(self, container_id: str) -> None:
        await self._machine.resume(container_id)

    async def exec(
        self,
        container_id: str,
        command: Sequence[str],
        *,
        timeout_seconds: float | None = None,
        output_limit_bytes: int = 10 * 1024,
    ) -> ExecResult:
        return await self._machine.exec(
            container_id, command, timeout_seconds=timeout_seconds, output_limit_bytes=output_limit_bytes
        )

    async def open_exec(
        self, container_id: str, command: Sequence[str], *, stdin: bool = False, tty: bool = False
    ) -> CommandStreams:
        return await self._machine.open_exec(container_id, command, stdin=stdin, tty=tty)

    async def open_attach(self, container_id: str, *, stdin: bool = False) -> CommandStreams:
        return await self._machine.open_attach(container_id, stdin=stdin)

    async def remove(self, container_id: str) -> None:
        await self._machine.remove(container_id)

    async def sandboxes(self) -> Sequence[Sandbox]:
        return self._machine.sandboxes_of(self._own)

    async def containers(self) -> Sequence[ContainerRecord]:
        return self._machine.containers_of(self._own)

    async def aclose(self) -> None:
        """Nothing is held that would have to be let go."""
