"""What the drivers of real containers have in common: they know their containers again after antei was away.

    loaded once from disk ──► sandboxes and runs by id ──► each run followed to its end, which is written down

A driver says how its sandboxes and containers are made, followed and cleared away.
"""

from __future__ import annotations

import asyncio
import logging
import signal as signals
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from antei.runtime import (
    ContainerRecord,
    ContainerSpec,
    Exit,
    RuntimeFailure,
    Sandbox,
    SandboxSpec,
    StartError,
)
from antei.runtime.process import processes
from antei.runtime.process.inside import signal_number
from antei.runtime.process.processes import Process
from antei.runtime.trees import remove_tree
from antei.world import World

__all__ = ["KeptContainers", "Run"]

_log = logging.getLogger(__name__)
_KILL_SECONDS = 10.0


class _StoredContainer(Protocol):
    @property
    def record(self) -> ContainerRecord: ...
    @property
    def main(self) -> Process | None: ...


class _StoredSandbox(Protocol):
    @property
    def sandbox(self) -> Sandbox: ...


StoredT = TypeVar("StoredT", bound=_StoredContainer)
SandboxT = TypeVar("SandboxT", bound=_StoredSandbox)
RunT = TypeVar("RunT", bound="Run[Any]")


class Run(Generic[StoredT]):
    """One container: what is stored of it, and what only this process of antei knows."""

    def __init__(self, stored: StoredT, directory: Path) -> None:
        self.stored = stored
        self.directory = directory
        self.ended = asyncio.Event()
        self.killed = False
        self.watch: asyncio.Task[None] | None = None
        if stored.record.exit is not None:
            self.ended.set()

    @property
    def record(self) -> ContainerRecord:
        return self.stored.record


class KeptContainers(ABC, Generic[SandboxT, RunT]):
    """The half of a `Runtime` that is bookkeeping. Keeps its state under `directory`, one for each cluster."""

    def __init__(self, world: World, directory: Path) -> None:
        self._world = world
        self._directory = directory.absolute()
        self._sandboxes: dict[str, SandboxT] = {}
        self._runs: dict[str, RunT] = {}
        self._opening: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[Any]] = set()
        self._set_aside: deque[Path] = deque()
        self._start_locks: dict[str, asyncio.Lock] = {}

    # --- what a driver says ---

    @abstractmethod
    async def _load(self) -> None:
        """Fills `_sandboxes` and `_runs` from disk, and watches what runs."""

    @abstractmethod
    async def _follow(self, run: RunT) -> None:
        """Waits for the end of a container, then writes down how it ended."""

    @abstractmethod
    def _make_sandbox(self, directory: Path, sandbox: Sandbox, spec: SandboxSpec) -> SandboxT:
        """Blocks. Raises OSError or RuntimeFailure."""

    @abstractmethod
    def _clear_sandbox(self, directory: Path, stored: SandboxT, runs: Sequence[RunT]) -> None:
        """All but the directory itself, after all its containers have ended. Blocks."""

    @abstractmethod
    def _clear_container(self, run: RunT) -> None:
        """Blocks."""

    @abstractmethod
    def _signal_all(self, run: RunT, number: int) -> None:
        """To every process of the container. Blocks."""

    def _kill_now(self, run: RunT) -> None:
        """Blocks."""
        if run.stored.main is not None:
            processes.send(run.stored.main, signals.SIGKILL)

    # --- sandboxes ---

    async def create_sandbox(self, spec: SandboxSpec) -> Sandbox:
        await self._open()
        sandbox = Sandbox(
            id=spec.id or self._world.chance.token(32),
            pod_uid=spec.pod_uid,
            namespace=spec.namespace,
            pod_name=spec.pod_name,
            created_at=self._world.clock.now(),
            handler=spec.handler,
        )
        making = asyncio.create_task(self._add_sandbox(sandbox, spec), name="sandbox")
        self._keep(making)
        try:
            await asyncio.shield(making)
        except asyncio.CancelledError:  # half of one would be left that nobody knows of: it is finished first
            await asyncio.wait((making,))
            raise
        return sandbox

    async def _add_sandbox(self, sandbox: Sandbox, spec: SandboxSpec) -> None:
        try:
            stored = await asyncio.to_thread(self._make_sandbox, self._sandbox_directory(sandbox.id), sandbox, spec)
        except OSError as error:
            raise RuntimeFailure("FailedCreatePodSandBox", f"cannot make the pod's directory: {error}") from error
        self._sandboxes[sandbox.id] = stored

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self._open()
        async with self._start_lock(sandbox_id):  # a container that is being started is killed, too
            stored = self._sandboxes.pop(sandbox_id, None)
        if stored is None:
            return
        runs = [run for run in self._runs.values() if run.record.sandbox_id == sandbox_id]
        try:
            async with asyncio.timeout(_KILL_SECONDS):
                for run in runs:
                    await self._kill(run)
                for run in runs:
                    await run.ended.wait()
        except TimeoutError:
            self._sandboxes[sandbox_id] = stored
            raise RuntimeFailure(
                "KillPodSandboxError", f"pod {stored.sandbox.pod_name}: processes outlive SIGKILL"
            ) from None
        for run in runs:
            self._runs.pop(run.record.id, None)
        self._start_locks.pop(sandbox_id, None)
        directory = self._sandbox_directory(sandbox_id)
        await asyncio.to_thread(self._clear_sandbox, directory, stored, runs)
        await self._discard(directory)

    async def sandboxes(self) -> Sequence[Sandbox]:
        await self._open()
        return tuple(stored.sandbox for stored in self._sandboxes.values())

    # --- containers ---

    async def wait(self, container_id: str) -> Exit:
        run = await self._run(container_id)
        await run.ended.wait()
        if run.record.exit is None:
            raise RuntimeError(f"container {run.record.name} has ended without an exit")
        return run.record.exit

    async def signal(self, container_id: str, signal: str) -> None:
        await self._open()
        run = self._runs.get(container_id)
        if run is None or run.ended.is_set():
            return
        number = signal_number(signal)
        if number == signals.SIGKILL:
            await self._kill(run)
        elif run.stored.main is not None:
            await asyncio.to_thread(processes.send, run.stored.main, number)

    async def pause(self, container_id: str) -> None:
        run = await self._run(container_id)
        # Twice: what a process forked while the others were being stopped is stopped, too.
        for _ in range(2):
            await asyncio.to_thread(self._signal_all, run, signals.SIGSTOP)

    async def resume(self, container_id: str) -> None:
        run = await self._run(container_id)
        await asyncio.to_thread(self._signal_all, run, signals.SIGCONT)

    async def remove(self, container_id: str) -> None:
        await self._open()
        run = self._runs.get(container_id)
        if run is None:
            return
        if not run.ended.is_set():
            raise RuntimeFailure("RemoveContainerError", f"container {run.record.name} still runs")
        del self._runs[container_id]
        await asyncio.to_thread(self._clear_container, run)

    async def containers(self) -> Sequence[ContainerRecord]:
        await self._open()
        return tuple(run.record for run in self._runs.values())

    async def aclose(self) -> None:
        unfinished = [task for task in self._background if task.get_name() in ("sandbox", "start", "clear")]
        await asyncio.gather(*unfinished, return_exceptions=True)
        tasks = [*self._background, *(run.watch for run in self._runs.values() if run.watch is not None)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- for the drivers ---

    async def _open(self) -> None:
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._load_all())
        await asyncio.shield(self._opening)

    async def _load_all(self) -> None:
        await self._load()
        for directory in await asyncio.to_thread(lambda: list(self._removed_directory().glob("*"))):
            self._clear_later(directory)

    async def _discard(self, directory: Path) -> None:
        """Out of the way at once. To remove what is in it may take long, and nobody is made to wait for that."""
        aside = self._removed_directory() / directory.name
        await asyncio.to_thread(_move, directory, aside)
        self._clear_later(aside)

    def _clear_later(self, directory: Path) -> None:
        """One directory after the other, however many there are."""
        self._set_aside.append(directory)
        if len(self._set_aside) == 1:
            self._keep(asyncio.create_task(self._clear_set_aside(), name="clear"))

    async def _clear_set_aside(self) -> None:
        while self._set_aside:
            try:
                await asyncio.to_thread(remove_tree, self._set_aside[0])
            except OSError as error:  # it is tried again when antei starts anew
                _log.warning("what is left of a pod is not removed: %s", error)
            self._set_aside.popleft()

    async def _run(self, container_id: str) -> RunT:
        await self._open()
        run = self._runs.get(container_id)
        if run is None:
            raise RuntimeFailure("NotFound", f"container {container_id} does not exist")
        return run

    def _sandbox_of(self, spec: ContainerSpec) -> SandboxT:
        sandbox = self._sandboxes.get(spec.sandbox_id)
        if sandbox is None:
            raise StartError("CreateContainerError", f"sandbox {spec.sandbox_id} does not exist")
        return sandbox

    def _new_record(
        self, spec: ContainerSpec, sandbox: SandboxT, image_id: str, stop_signal: str | None
    ) -> ContainerRecord:
        return ContainerRecord(
            id=self._world.chance.token(32),
            sandbox_id=spec.sandbox_id,
            pod_uid=sandbox.sandbox.pod_uid,
            name=spec.name,
            attempt=spec.attempt,
            image=spec.image,
            image_id=image_id,
            started_at=self._world.clock.now(),
            stop_signal=stop_signal or "SIGTERM",
        )

    def _watch(self, run: RunT) -> None:
        run.watch = asyncio.ensure_future(self._follow(run))
        run.watch.add_done_callback(_say_failure)

    async def _kill(self, run: RunT) -> None:
        if run.ended.is_set():
            return
        run.killed = True
        await asyncio.to_thread(self._kill_now, run)

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        task.add_done_callback(_retrieve)

    def _start_lock(self, sandbox_id: str) -> asyncio.Lock:
        return self._start_locks.setdefault(sandbox_id, asyncio.Lock())

    def _removed_directory(self) -> Path:
        return self._directory / "removed"

    def _sandbox_directory(self, sandbox_id: str) -> Path:
        return self._directory / "sandboxes" / sandbox_id

    def _container_directory(self, record: ContainerRecord) -> Path:
        return self._sandbox_directory(record.sandbox_id) / "containers" / record.id


def _move(directory: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    directory.rename(target)


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Whoever asked for it has the exception; when nobody waits any more it is said here."""
    if not task.cancelled() and task.exception() is not None:
        _log.debug("%s ended with %r", task.get_name(), task.exception())


def _say_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.error("watching a container failed", exc_info=task.exception())
