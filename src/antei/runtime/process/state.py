"""What is on disk, so that containers outlive antei.

    DIRECTORY/removed/                what is to be removed
    DIRECTORY/sandboxes/SANDBOX/
        sandbox.json, hosts, hostname, resolv.conf
        containers/CONTAINER/
            container.json            what was started, as which process
            status                    JSON documents: {"child-pid": …} when it began, {"exit-code": …} when it ended
            stdin                     a FIFO, where the container has one
            stdout, stderr, positions the container's output and how far it is in the log
            root/                     what it wrote over the host's files

`status` is written by bwrap (or sh) itself, whether antei runs or not: that is how an exit code survives.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from antei.runtime import ContainerRecord, Exit, Sandbox
from antei.runtime.process.processes import Process
from antei.runtime.trees import remove_tree

__all__ = [
    "UNKNOWN_EXIT_CODE",
    "Status",
    "StoredContainer",
    "StoredSandbox",
    "exit_of",
    "load",
    "read",
    "read_status",
    "write",
]

T = TypeVar("T")
_log = logging.getLogger(__name__)

#: When whoever should have told the exit code was killed: as Kubernetes says of a container it lost track of.
UNKNOWN_EXIT_CODE = 137


class StoredSandbox(msgspec.Struct, frozen=True):
    sandbox: Sandbox
    hostname: str
    shared_memory: str
    network_namespace: str | None = None
    host_ipc: bool = False
    host_pid: bool = False
    share_process_namespace: bool = False
    has_limits: bool = False  # of the pod as a whole, which are not enforced
    own_users: bool = False
    sysctls: tuple[str, ...] = ()  # that are asked for, and not set


class StoredContainer(msgspec.Struct, frozen=True):
    """monitor: the host process that writes `status` last; main: the container's PID 1, None when it ended at once."""

    record: ContainerRecord
    log_path: str  # empty: output is dropped
    env: Mapping[str, str]
    working_dir: str
    plain: bool
    monitor: Process | None = None
    main: Process | None = None
    pid_namespace: str | None = None
    user: int | None = None
    group: int | None = None
    cgroups: tuple[str, ...] = ()
    terminal: str = ""  # the path of its terminal on the host
    stdin: bool = False
    stdin_once: bool = False
    keepers: tuple[Process, ...] = ()  # they hold its stdin open; to be ended with it
    collectors: tuple[Process, ...] = ()  # they bring its output to the files `stdout` and `stderr`


@dataclass(frozen=True, slots=True)
class Status:
    child_pid: int | None
    exit_code: int | None
    written_at: datetime | None
    pid_namespace: str | None = None  # as /proc names it


def read_status(path: Path) -> Status:
    child_pid = exit_code = namespace = None
    try:
        text = path.read_text()
        written_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return Status(None, None, None)
    for line in text.splitlines():
        with contextlib.suppress(json.JSONDecodeError):  # a line being written is read again later
            document = json.loads(line)
            child_pid = document.get("child-pid", child_pid)
            exit_code = document.get("exit-code", exit_code)
            namespace = document.get("pid-namespace", namespace)
    return Status(child_pid, exit_code, written_at, None if namespace is None else f"pid:[{namespace}]")


def exit_of(status: Status, now: datetime) -> Exit:
    """How a container ended whose processes are gone. 128+n may be an exit code of its own or signal n."""
    if status.exit_code is None:
        return Exit(UNKNOWN_EXIT_CODE, status.written_at or now)
    return Exit(status.exit_code, status.written_at or now)


def write(path: Path, value: msgspec.Struct) -> None:
    """Whole or not at all."""
    temporary = path.with_suffix(".new")
    temporary.write_bytes(msgspec.json.encode(value))
    os.replace(temporary, path)


def load(root: Path) -> tuple[dict[str, StoredSandbox], dict[str, StoredContainer]]:
    """All sandboxes and containers by id; what cannot be read is logged and cleared away, so that it blocks nothing."""
    sandboxes: dict[str, StoredSandbox] = {}
    containers: dict[str, StoredContainer] = {}
    for directory in sorted((root / "sandboxes").glob("*")):
        sandbox = read(directory / "sandbox.json", StoredSandbox)
        if sandbox is None:
            remove_tree(directory)
            continue
        sandboxes[sandbox.sandbox.id] = sandbox
        for inner in sorted((directory / "containers").glob("*")):
            container = read(inner / "container.json", StoredContainer)
            if container is None:
                remove_tree(inner)
            else:
                containers[container.record.id] = container
    return sandboxes, containers


def read(path: Path, into: type[T]) -> T | None:
    """None for what cannot be read, which is said: it is to be cleared away, so that it blocks nothing."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=into)
    except (OSError, msgspec.MsgspecError) as error:
        _log.warning("cleared away a container state that cannot be read: %s: %s", path, error)
        return None
