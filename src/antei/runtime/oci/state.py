"""What is on disk, so that containers outlive antei.

DIRECTORY/
    runc/                             runc's own state
    removed/                          what is to be removed
    sandboxes/SANDBOX/
        sandbox.json, hosts, hostname, resolv.conf
        ipc, uts                      namespaces, bound to files
        shm/                          a tmpfs: the pod's /dev/shm
        containers/CONTAINER/         the bundle
            container.json            what was started, as which processes
            config.json, rootfs/      rootfs: an overlay of the image and upper/, with work/
            pid, conmon.pid           written by conmon
            exits/CONTAINER           the exit code, written by conmon, whether antei runs or not
            attach, ctl               conmon's socket and its FIFO for sizes of terminals and for new logs
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from antei.runtime import ContainerRecord, Exit, Limits, Sandbox
from antei.runtime.process.processes import Process, identify
from antei.runtime.process.state import UNKNOWN_EXIT_CODE, read, write

__all__ = ["StoredContainer", "StoredSandbox", "exit_of", "identified", "load", "write"]


class StoredSandbox(msgspec.Struct, frozen=True):
    sandbox: Sandbox
    hostname: str
    network_namespace: str | None = None
    host_ipc: bool = False
    host_pid: bool = False
    share_process_namespace: bool = False
    sysctls: dict[str, str] = {}
    limits: Limits = Limits()  # of the pod: it has a control group of its own where there are any
    user_namespace: str | None = None  # None: users are the machine's


class StoredContainer(msgspec.Struct, frozen=True):
    """monitor: conmon; main: the container's first process. Neither is known before the container has been started."""

    record: ContainerRecord
    log_path: str  # empty: output is dropped
    uid: int = 0
    gid: int = 0
    tty: bool = False
    stdin: bool = False
    monitor: Process | None = None
    main: Process | None = None
    groups: tuple[str, ...] = ()  # directories of its control groups
    has_own_pids: bool = True  # False: SIGKILL for its first process does not end the others


def identified(path: Path) -> Process | None:
    """The process whose pid conmon has written there."""
    try:
        return identify(int(path.read_text()))
    except (OSError, ValueError):
        return None


def exit_of(directory: Path, container_id: str, now: datetime) -> Exit:
    """How a container ended whose conmon has ended. 128+n may be an exit code of its own or signal n."""
    path = directory / "exits" / container_id
    try:
        return Exit(int(path.read_text()), datetime.fromtimestamp(path.stat().st_mtime, UTC))
    except (OSError, ValueError):
        return Exit(UNKNOWN_EXIT_CODE, now)


def load(root: Path) -> tuple[dict[str, StoredSandbox], dict[str, StoredContainer], list[Path]]:
    """All sandboxes and containers by id, and the directories of what cannot be read or never began to run."""
    sandboxes: dict[str, StoredSandbox] = {}
    containers: dict[str, StoredContainer] = {}
    broken: list[Path] = []
    for directory in sorted((root / "sandboxes").glob("*")):
        sandbox = read(directory / "sandbox.json", StoredSandbox)
        if sandbox is None:
            broken.append(directory)
            continue
        sandboxes[sandbox.sandbox.id] = sandbox
        for inner in sorted((directory / "containers").glob("*")):
            container = read(inner / "container.json", StoredContainer)
            if container is None or (container.monitor is None and container.record.exit is None):
                broken.append(inner)
            else:
                containers[container.record.id] = container
    return sandboxes, containers, broken
