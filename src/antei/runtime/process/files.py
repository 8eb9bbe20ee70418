"""Makes and removes the directories of sandboxes and containers, and starts a container in one. Blocks."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

import msgspec

from antei.runtime import ContainerRecord, ContainerSpec, Limits, Sandbox, SandboxSpec, StartError
from antei.runtime.capability_set import own_capabilities
from antei.runtime.image_map import MappedImage
from antei.runtime.oom_score import SCORED_SCRIPT, settable_oom_score
from antei.runtime.process import command as commands
from antei.runtime.process.capabilities import Capabilities
from antei.runtime.process.cgroups import ENTER_SCRIPT, limit_container, remove_groups
from antei.runtime.process.launch import launch
from antei.runtime.process.state import StoredContainer, StoredSandbox, write
from antei.runtime.trees import remove_tree

__all__ = ["make_sandbox", "start_container"]

_LOG = logging.getLogger(__name__)
_SHARED_MEMORY = Path("/dev/shm")


def make_sandbox(directory: Path, sandbox: Sandbox, spec: SandboxSpec) -> StoredSandbox:
    directory.mkdir(parents=True)
    directory.joinpath("containers").mkdir()
    aliases = [(alias.ip, alias.hostnames) for alias in spec.hosts]
    directory.joinpath("hosts").write_text(commands.container_hosts(spec.hostname, aliases))
    directory.joinpath("hostname").write_text(spec.hostname + "\n")
    directory.joinpath("resolv.conf").write_text(spec.resolv_conf or _host_resolv_conf())
    on_tmpfs = os.access(_SHARED_MEMORY, os.W_OK)
    shared_memory = _SHARED_MEMORY / f"antei-{sandbox.id[:24]}" if on_tmpfs else directory / "shm"
    stored = StoredSandbox(
        sandbox=sandbox,
        hostname=spec.hostname,
        shared_memory=str(shared_memory),
        network_namespace=spec.network_namespace,
        host_ipc=spec.host_ipc,
        host_pid=spec.host_pid,
        share_process_namespace=spec.share_process_namespace,
        has_limits=spec.limits != Limits(),
        own_users=spec.own_users,
        sysctls=tuple(spec.sysctls),
    )
    write(directory / "sandbox.json", stored)
    _make_shared_memory(shared_memory)
    return stored


def start_container(
    spec: ContainerSpec,
    record: ContainerRecord,
    image: MappedImage,
    sandbox: commands.SandboxView,
    capabilities: Capabilities,
    directory: Path,
) -> StoredContainer:
    """Lays out the container's directory and starts it; raises StartError, and then nothing of it is left."""
    run = commands.program(spec, image, sandbox.hostname)
    stored = StoredContainer(
        record=record,
        log_path="" if spec.log_path == Path() else str(spec.log_path.absolute()),
        env=run.env,
        working_dir=run.working_dir,
        plain=not capabilities.namespaces,
        user=spec.run_as_user,
        group=spec.run_as_group,
        stdin=spec.stdin,
        stdin_once=spec.stdin_once,
    )
    try:
        directory.mkdir(parents=True)
        if not sandbox.shared_memory.exists():  # the machine was started anew
            _make_shared_memory(sandbox.shared_memory)
        for index, file in enumerate(image.files):
            if file.source is None:
                path = commands.inline_file(directory, index)
                path.write_text(file.content)
                path.chmod(file.mode)
        if spec.termination_log is not None and not spec.termination_log.exists():
            spec.termination_log.parent.mkdir(parents=True, exist_ok=True)
            spec.termination_log.touch()
            spec.termination_log.chmod(0o666)
        groups = limit_container(capabilities.cgroups, record.id, spec.memory_limit_bytes, spec.cpu_limit_millis)
        stored = msgspec.structs.replace(stored, cgroups=tuple(map(str, groups)))
        command = _command(spec, image, run, sandbox, capabilities, directory)
        write(directory / "container.json", stored)
        score = settable_oom_score(spec.oom_score_adj, own_capabilities())
        if score is not None:
            command = ["/bin/sh", "-c", SCORED_SCRIPT, str(score), *command]
        launched = launch(
            ["/bin/sh", "-c", ENTER_SCRIPT, "sh", *stored.cgroups, "--", *command] if groups else command,
            run.env if stored.plain else commands.outer_env(run.env),
            directory,
            plain=stored.plain,
            program=run.argv[0],
            working_dir=run.working_dir,
            stdin=spec.stdin,
            tty=spec.tty,
            owner=(spec.run_as_user or 0, spec.run_as_group or 0) if capabilities.root and spec.run_as_user else None,
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL in an argument or in the environment
        _forget(stored, directory)
        raise StartError("CreateContainerError", str(error)) from error
    except StartError:
        _forget(stored, directory)
        raise
    stored = msgspec.structs.replace(
        stored,
        monitor=launched.monitor,
        main=launched.main,
        pid_namespace=launched.pid_namespace,
        collectors=launched.collectors,
        keepers=launched.keepers,
        terminal=launched.terminal,
    )
    write(directory / "container.json", stored)
    return stored


def _forget(stored: StoredContainer, directory: Path) -> None:
    remove_groups(map(Path, stored.cgroups))
    remove_tree(directory)


def _command(
    spec: ContainerSpec,
    image: MappedImage,
    run: commands.Program,
    sandbox: commands.SandboxView,
    capabilities: Capabilities,
    directory: Path,
) -> list[str]:
    if not capabilities.namespaces:
        commands.refuse_in_plain(spec, image, run, sandbox.network_namespace)
        return commands.plain_command(run, directory / "status")
    command, directories, like_host = commands.bubblewrap_command(spec, image, run, sandbox, capabilities, directory)
    for needed in directories:
        needed.mkdir(parents=True)
    for needed, on_host in like_host:
        needed.mkdir(exist_ok=True)
        if os.path.isdir(on_host):
            _make_like(needed, os.stat(on_host))
    return command


def _make_like(directory: Path, original: os.stat_result) -> None:
    """The root of an overlay shows owner and mode of its upper layer: a /tmp of its own stays everybody's."""
    directory.chmod(stat.S_IMODE(original.st_mode))
    if (original.st_uid, original.st_gid) != (os.geteuid(), os.getegid()):
        try:
            os.chown(directory, original.st_uid, original.st_gid)
        except OSError as error:  # not root, or root of a user namespace without that user
            _LOG.debug("%s stays ours: %s", directory, error)


def _make_shared_memory(path: Path) -> None:
    path.mkdir()
    path.chmod(0o1777)


def _host_resolv_conf() -> str:
    try:
        return Path("/etc/resolv.conf").read_text()
    except OSError:
        return ""
