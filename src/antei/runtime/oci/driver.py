"""The oci driver: real images in real containers, by runc under conmon, over an overlay of the unpacked image."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from antei.api.pod_streams import CommandStreams
from antei.runtime import (
    ContainerRecord,
    ContainerSpec,
    Credential,
    ExecResult,
    Image,
    ImageError,
    Limits,
    Runtime,
    RuntimeFailure,
    Sandbox,
    SandboxSpec,
    StartError,
)
from antei.runtime.images import FoundImage, ImageStore
from antei.runtime.oci.attached import open_attached
from antei.runtime.oci.cgroups import not_enforced, update_options, usage_of
from antei.runtime.oci.commands import exec_in, open_in
from antei.runtime.oci.conmon import PATIENCE_SECONDS, Runc
from antei.runtime.oci.ending import clear_away, signal_all, write_end
from antei.runtime.oci.files import leave_sandbox, make_sandbox, remove_container, start_container
from antei.runtime.oci.logs import rotate_log
from antei.runtime.oci.machine import Machine, detect_machine
from antei.runtime.oci.sealed import SealedProgram
from antei.runtime.oci.seccomp import DEFAULT_PROFILE
from antei.runtime.oci.state import StoredContainer, StoredSandbox, load
from antei.runtime.oci.users import pod_users, remove_other_users, remove_pod_users
from antei.runtime.process import processes
from antei.runtime.process.inside import signal_number
from antei.runtime.process.kept import KeptContainers, Run
from antei.runtime.process.usage import usage_of as usage_of_trees
from antei.runtime.usage import Usage
from antei.world import World

__all__ = ["OciRuntime"]

_log = logging.getLogger(__name__)
#: kubelet: containerLogMonitorInterval.
_LOG_SECONDS = 10.0
#: What a container may have of processes and threads: enough for any server, too little for a fork bomb.
_PIDS_LIMIT = 4096
_Run: TypeAlias = Run[StoredContainer]


class OciRuntime(KeptContainers[StoredSandbox, _Run]):
    """Keeps its state under `directory`, one for each cluster; a new object on the same directory adopts what runs.

    pids_limit: of each container; 0: none. patience_seconds: what runc does not do in this time is given up.
    seccomp_directory: where Localhost profiles are.
    """

    name = "oci"
    handlers = ("oci", "runc")

    def __init__(
        self,
        world: World,
        directory: Path,
        images: ImageStore,
        *,
        machine: Machine | None = None,
        pids_limit: int = _PIDS_LIMIT,
        patience_seconds: float = PATIENCE_SECONDS,
        seccomp_directory: Path | None = None,
    ) -> None:
        super().__init__(world, directory)
        self._images = images
        self._machine = machine
        self._sealing: asyncio.Task[SealedProgram] | None = None
        self._pids_limit = pids_limit
        self._patience_seconds = patience_seconds
        self._users = self._directory / "users"
        self._seccomp_directory = seccomp_directory or self._directory / "seccomp"

    # --- images ---

    @property
    def volume_images(self) -> Runtime:
        return self

    async def has_image(self, image: str, sandbox_id: str = "") -> bool:
        return await self._images.find(image) is not None

    async def ensure_image(
        self, image: str, pull_policy: str, credentials: Sequence[Credential] = (), sandbox_id: str = ""
    ) -> Image:
        await self._opened()
        found = await self._images.find(image)
        if found is None and pull_policy == "Never":
            raise ImageError("ErrImageNeverPull", f'Container image "{image}" is not present with pull policy of Never')
        if found is None or pull_policy == "Always":
            try:
                found = await self._images.pull(image, credentials)
            except OSError as error:
                raise ImageError("ErrImagePull", f"the image store cannot be used: {error}") from error
            except ImageError as error:
                if error.reason != "ErrImagePull":
                    raise
                raise ImageError(error.reason, f'Failed to pull image "{image}": {error.message}') from error
        config = found.image.config
        return Image(
            name=image,
            id=found.repo_digest,
            command=config.entrypoint,
            args=config.command,
            user=config.user,
            size_bytes=found.image.size_bytes,
        )

    # --- users ---

    async def user_namespace(self, pod_uid: str) -> Path | None:
        await self._opened()
        try:
            return await asyncio.to_thread(pod_users, self._users, pod_uid)
        except OSError as error:
            raise RuntimeFailure("FailedCreatePodSandBox", f"hostUsers: false: {error}") from error

    # --- containers ---

    async def start(self, spec: ContainerSpec) -> ContainerRecord:
        # A start that is cancelled half-way would leave a process that nobody knows of: it is finished first.
        starting = asyncio.create_task(self._start(spec), name="start")
        self._keep(starting)
        return await asyncio.shield(starting)

    async def unsupported(self, spec: ContainerSpec) -> list[str]:
        machine, _ = await self._opened()
        sandbox = self._sandboxes.get(spec.sandbox_id)
        limits = Limits(spec.memory_limit_bytes, spec.cpu_limit_millis)
        messages = not_enforced(machine.controllers, limits, sandbox.limits if sandbox is not None else Limits())
        if spec.target and self._target_of(spec) is None:
            messages.append(f"targetContainerName: {spec.target} does not run as a real container")
        messages += [f"{field}: not there" for field in spec.security.others]
        if spec.security.seccomp == "RuntimeDefault" and not spec.privileged and not DEFAULT_PROFILE.exists():
            package = "package golang-github-containers-common"
            messages.append(f"seccompProfile RuntimeDefault: there is no {DEFAULT_PROFILE} ({package})")
        wanted = [name.upper().removeprefix("CAP_") for name in spec.security.added_capabilities]
        lost = [name for name in wanted if name != "ALL" and name not in machine.capabilities]
        if lost:
            messages.append(f"capabilities: antei itself has no {', '.join(lost)} to give")
        return messages

    async def resize(self, container_id: str, limits: Limits) -> None:
        run = await self._run(container_id)
        machine, runc = await self._opened()
        if run.ended.is_set():
            return
        said = await asyncio.to_thread(runc.run, "update", *update_options(machine.controllers, limits), container_id)
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
        _, runc = await self._running(container_id, command)
        try:
            return await exec_in(
                runc, container_id, command, timeout_seconds=timeout_seconds, output_limit_bytes=output_limit_bytes
            )
        except TimeoutError:
            raise
        except (OSError, ValueError) as error:  # too long a command line, a NUL in it
            raise RuntimeFailure("ExecError", f"{command[0]!r} cannot be run: {error}") from error

    async def open_exec(
        self, container_id: str, command: Sequence[str], *, stdin: bool = False, tty: bool = False
    ) -> CommandStreams:
        run, runc = await self._running(container_id, command)
        try:
            return await open_in(runc, container_id, command, run.ended, stdin=stdin, tty=tty)
        except (OSError, ValueError) as error:
            raise RuntimeFailure("ExecError", f"{command[0]!r} cannot be run: {error}") from error

    async def open_attach(self, container_id: str, *, stdin: bool = False) -> CommandStreams:
        run = await self._run(container_id)
        if run.ended.is_set():
            raise RuntimeFailure("AttachError", f"container {run.record.name} is not running")
        try:
            return await open_attached(
                run.directory,
                run.ended,
                lambda: run.record.exit,
                stdin=stdin and run.stored.stdin,
                tty=run.stored.tty,
            )
        except OSError as error:
            raise RuntimeFailure("AttachError", f"container {run.record.name} is gone: {error}") from error

    async def usage(self) -> Mapping[str, Usage]:
        await self._opened()
        running = [run.stored for run in self._runs.values() if not run.ended.is_set()]
        groups = {stored.record.id: stored.groups for stored in running if stored.groups}
        of_groups = await asyncio.to_thread(usage_of, groups) if groups else {}
        # Of a container without groups, or with some only, its processes tell.
        without = [stored for stored in running if stored.record.id not in of_groups]
        roots = {stored.record.id: stored.main.pid for stored in without if stored.main}
        return of_groups | (await asyncio.to_thread(usage_of_trees, roots) if roots else {})

    async def aclose(self) -> None:
        await super().aclose()
        if self._sealing is not None:
            (await self._sealing).close()

    # --- how ---

    async def _opened(self) -> tuple[Machine, Runc]:
        """For starts and commands: with the copy of runc, which is made when it is first needed."""
        await self._open()
        machine, _ = self._found()
        if self._sealing is None:
            self._sealing = asyncio.create_task(asyncio.to_thread(SealedProgram, machine.runc), name="seal runc")
        await asyncio.shield(self._sealing)
        return self._found()

    def _found(self) -> tuple[Machine, Runc]:
        if self._machine is None:
            raise RuntimeError("the runtime was opened without finding out what the machine can do")
        sealed = self._sealing.result().path if self._sealing is not None and self._sealing.done() else ""
        program, conmon = sealed or self._machine.runc, self._machine.conmon
        return self._machine, Runc(program, conmon, self._directory / "runc", self._patience_seconds)

    async def _load(self) -> None:
        if self._machine is None:
            self._machine = await detect_machine(self._directory)
        if self._machine.refusal:
            raise RuntimeFailure("RuntimeNotReady", self._machine.refusal)
        _, runc = self._found()
        self._sandboxes, stored_containers, broken = await asyncio.to_thread(load, self._directory)
        for directory in broken:
            await asyncio.to_thread(clear_away, directory, runc)
        pods = {stored.sandbox.pod_uid for stored in self._sandboxes.values()}
        await asyncio.to_thread(remove_other_users, self._users, pods)
        for stored in stored_containers.values():
            run = self._runs[stored.record.id] = _Run(stored, self._container_directory(stored.record))
            if not run.ended.is_set():
                self._watch(run)
        self._keep(asyncio.create_task(self._keep_logs(), name="logs"))

    async def _start(self, spec: ContainerSpec) -> ContainerRecord:
        machine, runc = await self._opened()
        image = await self._image(spec)
        volumes = {mount.image: await self._find(mount.image) for mount in spec.mounts if mount.image}
        async with self._start_lock(spec.sandbox_id):
            sandbox = self._sandbox_of(spec)
            stop_signal = spec.stop_signal or image.image.config.stop_signal
            record = replace(self._new_record(spec, sandbox, image.repo_digest, stop_signal), runtime=self.name)
            bundle = self._container_directory(record)
            stored = await asyncio.to_thread(
                self._start_on, spec, record, image, volumes, sandbox, machine, runc, bundle
            )
            run = self._runs[record.id] = _Run(stored, bundle)
            self._watch(run)
        return stored.record

    def _start_on(
        self,
        spec: ContainerSpec,
        record: ContainerRecord,
        image: FoundImage,
        volumes: Mapping[str, FoundImage],
        sandbox: StoredSandbox,
        machine: Machine,
        runc: Runc,
        bundle: Path,
    ) -> StoredContainer:
        with self._images.layout.locked():  # no prune between looking and mounting
            for name, each in ((spec.image, image), *volumes.items()):
                if not each.rootfs.is_dir():
                    raise StartError("CreateContainerError", f'image "{name}" is not there any more')
                self._images.layout.touch(each.image.id)
            return start_container(
                spec,
                record,
                image,
                self._sandbox_directory(record.sandbox_id),
                sandbox,
                machine,
                runc,
                bundle=bundle,
                volumes=volumes,
                pids_limit=self._pids_limit,
                seccomp_directory=self._seccomp_directory,
                target=self._target_of(spec),
            )

    def _target_of(self, spec: ContainerSpec) -> processes.Process | None:
        """The first process of the container that targetContainerName names, where it runs in this runtime."""
        for run in self._runs.values():
            record = run.stored.record
            if (record.sandbox_id, record.name) == (spec.sandbox_id, spec.target) and not run.ended.is_set():
                return run.stored.main
        return None

    async def _image(self, spec: ContainerSpec) -> FoundImage:
        try:
            signal_number(spec.stop_signal or "SIGTERM")
        except RuntimeFailure as error:
            raise StartError("CreateContainerError", str(error)) from error
        return await self._find(spec.image)

    async def _find(self, image: str) -> FoundImage:
        try:
            found = await self._images.find(image)
        except (RuntimeFailure, OSError) as error:
            raise StartError("CreateContainerError", str(error)) from error
        if found is None:
            raise StartError("CreateContainerError", f'image "{image}" is not there')
        return found

    async def _follow(self, run: _Run) -> None:
        _, runc = self._found()
        stored = run.stored
        if stored.monitor is not None:
            await processes.ended(stored.monitor)
        is_told = await asyncio.to_thread((run.directory / "exits" / stored.record.id).exists)
        if not is_told and stored.main is not None:
            await processes.ended(stored.main)  # somebody killed conmon
        run.stored = await asyncio.to_thread(
            write_end, run.stored, run.directory, runc, self._world.clock.now(), was_killed=run.killed
        )
        run.ended.set()

    async def _keep_logs(self) -> None:
        while True:
            await asyncio.sleep(_LOG_SECONDS)
            now = self._world.clock.now()
            for run in list(self._runs.values()):
                if not run.ended.is_set() and run.stored.log_path:
                    await self._rotate(run, now)

    async def _rotate(self, run: _Run, now: datetime) -> None:
        try:
            await asyncio.to_thread(rotate_log, Path(run.stored.log_path), run.directory, now)
        except OSError as error:
            _log.warning("the log of container %s is not rotated: %s", run.record.name, error)

    def _make_sandbox(self, directory: Path, sandbox: Sandbox, spec: SandboxSpec) -> StoredSandbox:
        users = self._users / sandbox.pod_uid / "user" if spec.own_users else None
        return make_sandbox(directory, sandbox, spec, users)

    def _clear_sandbox(self, directory: Path, stored: StoredSandbox, runs: Sequence[_Run]) -> None:
        _, runc = self._found()
        leave_sandbox(directory, stored, runc)
        remove_pod_users(self._users, stored.sandbox.pod_uid)

    def _clear_container(self, run: _Run) -> None:
        remove_container(run.directory)

    def _signal_all(self, run: _Run, number: int) -> None:
        signal_all(run.stored, run.directory, number)

    async def _running(self, container_id: str, command: Sequence[str]) -> tuple[_Run, Runc]:
        """Raises RuntimeFailure when no command can be run in it."""
        _, runc = await self._opened()
        run = await self._run(container_id)
        if not command:
            raise RuntimeFailure("ExecError", "no command to run")
        main = run.stored.main
        if run.ended.is_set() or main is None or not await asyncio.to_thread(processes.alive, main):
            raise RuntimeFailure("ExecError", f"container {run.record.name} is not running")
        return run, runc
