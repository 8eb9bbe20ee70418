"""The process driver: host commands as containers, under bubblewrap where the machine lets it, plain elsewhere.

Not a security boundary: a container is kept from disturbing the host by accident, not from doing so on purpose.
"""

from __future__ import annotations

import asyncio
import logging
import signal as signals
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

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
    RuntimeFailure,
    Sandbox,
    SandboxSpec,
    StartError,
)
from antei.runtime.image_map import ImageMap
from antei.runtime.process import command as commands
from antei.runtime.process import processes
from antei.runtime.process.attached import open_attached
from antei.runtime.process.capabilities import Capabilities, detect
from antei.runtime.process.cgroups import change_limits, oom_kills, remove_groups
from antei.runtime.process.command_runner import run_command
from antei.runtime.process.command_streams import open_command
from antei.runtime.process.files import make_sandbox, start_container
from antei.runtime.process.inside import exec_command, exec_result, kill_plain, signal_all, signal_number
from antei.runtime.process.kept import KeptContainers, Run
from antei.runtime.process.launch import recover
from antei.runtime.process.logs import ContainerLog
from antei.runtime.process.state import (
    StoredContainer,
    StoredSandbox,
    exit_of,
    load,
    read_status,
    write,
)
from antei.runtime.process.usage import usage_of
from antei.runtime.trees import remove_tree
from antei.runtime.usage import Usage
from antei.world import World

__all__ = ["ProcessRuntime"]

_log = logging.getLogger(__name__)

_LOG_SECONDS = 0.1
_BUSY_LOG_SECONDS = 0.02
_COLLECT_SECONDS = 2.0
_PLAIN_WARNING = (
    "no namespaces on this machine: the container runs as a plain child process. It sees the host's name, files,"
    " processes and resolver (cluster names do not resolve), and its first process gets the default actions of signals,"
    " which PID 1 of a container does not"
)


class _Run(Run[StoredContainer]):
    def __init__(self, stored: StoredContainer, directory: Path) -> None:
        super().__init__(stored, directory)
        self.log = ContainerLog(directory, Path(stored.log_path) if stored.log_path else None)


class ProcessRuntime(KeptContainers[StoredSandbox, _Run]):
    """Keeps its state under `directory`, one for each cluster; a new object on the same directory adopts what runs.

    hidden: host directories that containers see empty, besides this one and the secrets of the user's home.
    """

    name = "process"
    handlers = ("process",)

    def __init__(
        self,
        world: World,
        directory: Path,
        image_map: ImageMap,
        *,
        capabilities: Capabilities | None = None,
        hidden: Sequence[Path] = (),
    ) -> None:
        super().__init__(world, directory)
        self._image_map = image_map
        self._capabilities = capabilities
        self._hidden = tuple(dict.fromkeys((self._directory, *(path.absolute() for path in hidden))))
        self._something_runs = asyncio.Event()

    async def capabilities(self) -> Capabilities:
        await self._open()
        if self._capabilities is None:
            raise RuntimeError("the runtime was opened without finding out what the machine can do")
        return self._capabilities

    async def unsupported(self, spec: ContainerSpec) -> list[str]:
        """What of this container will be ignored: for one event on the pod."""
        capabilities = await self.capabilities()
        sandbox = self._sandboxes.get(spec.sandbox_id)
        return commands.unsupported(
            spec,
            capabilities,
            share_processes=sandbox is not None and sandbox.share_process_namespace,
            host_pid=sandbox is not None and sandbox.host_pid,
            pod_limits=sandbox is not None and sandbox.has_limits,
            own_users=sandbox is not None and sandbox.own_users,
            sysctls=sandbox.sysctls if sandbox is not None else (),
        )

    # --- images ---

    @property
    def volume_images(self) -> Runtime | None:
        return None

    async def has_image(self, image: str, sandbox_id: str = "") -> bool:
        return self._image_map.lookup(image) is not None

    async def ensure_image(
        self, image: str, pull_policy: str, credentials: Sequence[Credential] = (), sandbox_id: str = ""
    ) -> Image:
        capabilities = await self.capabilities()
        found = self._image_map.image(image, pull_policy)
        return found if capabilities.namespaces else replace(found, warnings=(_PLAIN_WARNING,))

    async def user_namespace(self, pod_uid: str) -> Path | None:
        return None

    # --- containers ---

    async def start(self, spec: ContainerSpec) -> ContainerRecord:
        self._capabilities = capabilities = await asyncio.to_thread((await self.capabilities()).current)
        # A start that is cancelled half-way would leave a process that nobody knows of: it is finished first.
        starting = asyncio.create_task(self._start(spec, capabilities), name="start")
        self._keep(starting)
        return await asyncio.shield(starting)

    async def resize(self, container_id: str, limits: Limits) -> None:
        run = await self._run(container_id)
        said = await asyncio.to_thread(change_limits, run.stored.cgroups, limits.memory_bytes, limits.cpu_millis)
        if said:
            raise RuntimeFailure("ResizeFailed", said)

    async def exec(
        self,
        container_id: str,
        command: Sequence[str],
        *,
        timeout_seconds: float | None = None,
        output_limit_bytes: int = 10 * 1024,
    ) -> ExecResult:
        run = await self._run(container_id)
        capabilities = await self.capabilities()
        if not command:
            raise RuntimeFailure("ExecError", "no command to run")
        if run.ended.is_set() or run.stored.main is None:
            raise RuntimeFailure("ExecError", f"container {run.record.name} is not running")
        argv = await asyncio.to_thread(exec_command, run.stored, command, capabilities)
        running = run_command(
            argv, run.stored.env, timeout_seconds=timeout_seconds, output_limit_bytes=output_limit_bytes
        )
        try:
            result = await (_with_container(running, run) if run.stored.plain else running)
        except TimeoutError:
            raise
        except (OSError, ValueError) as error:  # too long a command line, a NUL in it
            raise RuntimeFailure("ExecError", f"{command[0]!r} cannot be run: {error}") from error
        return exec_result(result, command[0], run.record.name)

    async def open_exec(
        self, container_id: str, command: Sequence[str], *, stdin: bool = False, tty: bool = False
    ) -> CommandStreams:
        run = await self._run(container_id)
        capabilities = await self.capabilities()
        if not command:
            raise RuntimeFailure("ExecError", "no command to run")
        if run.ended.is_set() or run.stored.main is None:
            raise RuntimeFailure("ExecError", f"container {run.record.name} is not running")
        try:
            return await open_command(run.stored, command, capabilities, run.ended, stdin=stdin, tty=tty)
        except (OSError, ValueError) as error:
            raise RuntimeFailure("ExecError", f"{command[0]!r} cannot be run: {error}") from error

    async def open_attach(self, container_id: str, *, stdin: bool = False) -> CommandStreams:
        run = await self._run(container_id)
        if run.ended.is_set():
            raise RuntimeFailure("AttachError", f"container {run.record.name} is not running")
        try:
            return await open_attached(
                run.directory, run.log, run.stored, run.ended, lambda: run.record.exit, stdin=stdin
            )
        except OSError as error:
            raise RuntimeFailure("AttachError", f"container {run.record.name} is gone: {error}") from error

    async def usage(self) -> Mapping[str, Usage]:
        """By container id, of those that run."""
        roots = {
            run.record.id: run.stored.main.pid
            for run in self._runs.values()
            if not run.ended.is_set() and run.stored.main is not None
        }
        return await asyncio.to_thread(usage_of, roots) if roots else {}

    # --- how ---

    async def _load(self) -> None:
        await asyncio.to_thread(self._directory.mkdir, parents=True, exist_ok=True)
        if self._capabilities is None:
            self._capabilities = await detect(self._directory)
        self._sandboxes, stored_containers = await asyncio.to_thread(load, self._directory)
        for stored in stored_containers.values():
            directory = self._container_directory(stored.record)
            run = _Run(await asyncio.to_thread(recover, stored, directory), directory)
            self._runs[stored.record.id] = run
            if not run.ended.is_set():
                self._watch(run)
        self._keep(asyncio.create_task(self._keep_logs(), name="logs"))

    async def _start(self, spec: ContainerSpec, capabilities: Capabilities) -> ContainerRecord:
        try:
            image = self._image_map.resolve(spec.image)
            signal_number(spec.stop_signal or "SIGTERM")
        except RuntimeFailure as error:
            raise StartError("CreateContainerError", error.message) from error
        async with self._start_lock(spec.sandbox_id):
            sandbox = self._sandbox_of(spec)
            record = self._new_record(spec, sandbox, f"map://{image.pattern}", spec.stop_signal)
            directory = self._container_directory(record)
            view = self._view(sandbox)
            stored = await asyncio.to_thread(start_container, spec, record, image, view, capabilities, directory)
            run = self._runs[record.id] = _Run(stored, directory)
            self._watch(run)
        return record

    def _view(self, sandbox: StoredSandbox) -> commands.SandboxView:
        mates = (
            run.stored.main.pid
            for run in self._runs.values()
            if run.record.sandbox_id == sandbox.sandbox.id and not run.ended.is_set() and run.stored.main is not None
        )
        return commands.SandboxView(
            hostname=sandbox.hostname,
            directory=self._sandbox_directory(sandbox.sandbox.id),
            shared_memory=Path(sandbox.shared_memory),
            network_namespace=sandbox.network_namespace,
            ipc_of=None if sandbox.host_ipc else next(mates, None),
            host_ipc=sandbox.host_ipc,
            hidden=self._hidden,
        )

    def _watch(self, run: _Run) -> None:
        self._something_runs.set()
        super()._watch(run)

    async def _follow(self, run: _Run) -> None:
        stored = run.stored
        if stored.monitor is not None:
            await processes.ended(stored.monitor)
        status = await asyncio.to_thread(read_status, run.directory / "status")
        if status.exit_code is None and stored.main is not None:
            await processes.ended(stored.main)  # somebody killed the monitor
        if stored.plain and stored.monitor is not None:
            await asyncio.to_thread(kill_plain, stored)
        for keeper in stored.keepers:
            await asyncio.to_thread(processes.send, keeper, signals.SIGKILL)
        await _collected(stored)
        ended = exit_of(status, self._world.clock.now())
        if run.killed and ended.exit_code == 128 + signals.SIGKILL:
            ended = replace(ended, signal=int(signals.SIGKILL))
        run.stored = await asyncio.to_thread(_write_end, run, self._world, ended)
        run.ended.set()

    async def _keep_logs(self) -> None:
        while True:
            running = [run.log for run in self._runs.values() if not run.ended.is_set()]
            if not running:
                self._something_runs.clear()
                await self._something_runs.wait()
                continue
            progress = await asyncio.to_thread(_sweep, running, self._world)
            await asyncio.sleep(_BUSY_LOG_SECONDS if progress else _LOG_SECONDS)

    def _make_sandbox(self, directory: Path, sandbox: Sandbox, spec: SandboxSpec) -> StoredSandbox:
        return make_sandbox(directory, sandbox, spec)

    def _clear_sandbox(self, directory: Path, stored: StoredSandbox, runs: Sequence[_Run]) -> None:
        _close_logs(runs)
        remove_tree(Path(stored.shared_memory))

    def _clear_container(self, run: _Run) -> None:
        _close_logs([run])
        remove_tree(run.directory)

    def _signal_all(self, run: _Run, number: int) -> None:
        signal_all(run.stored, number)

    def _kill_now(self, run: _Run) -> None:
        if run.stored.plain:
            kill_plain(run.stored)
        else:
            super()._kill_now(run)


async def _with_container(running: Coroutine[Any, Any, ExecResult], run: _Run) -> ExecResult:
    """Without a PID namespace nothing but this ends a command together with its container."""
    command = asyncio.create_task(running, name="exec")
    ended = asyncio.create_task(run.ended.wait(), name="exec-container")
    try:
        await asyncio.wait((command, ended), return_when=asyncio.FIRST_COMPLETED)
    finally:
        ended.cancel()
        if not command.done():
            command.cancel()
            await asyncio.wait((command,))
    return ExecResult(128 + signals.SIGKILL, b"") if command.cancelled() else command.result()


def _sweep(logs: Sequence[ContainerLog], world: World) -> bool:
    """A log that cannot be written (disk full, directory gone) waits in the container's file and is tried again."""
    progress = False
    for log in logs:
        try:
            progress |= log.sweep(world.clock.now())
        except OSError as error:
            _log.warning("container output waits to be logged: %s", error)
    return progress


def _close_logs(runs: Sequence[_Run]) -> None:
    for run in runs:
        run.log.close()
        for helper in (*run.stored.collectors, *run.stored.keepers):
            processes.send(helper, signals.SIGKILL)


async def _collected(stored: StoredContainer) -> None:
    """Waits until the output of an ended container is in its files; a stray process may keep it open for ever."""
    try:
        async with asyncio.timeout(_COLLECT_SECONDS):
            await asyncio.gather(*(processes.ended(helper) for helper in (*stored.collectors, *stored.keepers)))
    except TimeoutError:
        _log.warning("a process of container %s outlives it and keeps its output open", stored.record.name)


def _write_end(run: _Run, world: World, ended: Exit) -> StoredContainer:
    """Takes over the last output, asks the kernel about memory, and stores the end."""
    groups = [Path(group) for group in run.stored.cgroups]
    if ended.exit_code != 0 and oom_kills(groups):
        ended = replace(ended, oom_killed=True)
    try:
        run.log.sweep(world.clock.now(), final=True)
    except OSError as error:
        _log.warning("the last output of container %s could not be logged: %s", run.record.name, error)
    stored = msgspec.structs.replace(run.stored, record=replace(run.record, exit=ended))
    if run.directory.exists():
        write(run.directory / "container.json", stored)
    remove_groups(groups)
    return stored
