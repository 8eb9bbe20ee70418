"""Starts a container's processes and finds out whether it began to run. Blocks; the loop calls it in a thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from antei.runtime import StartError
from antei.runtime.process.command import start_failure
from antei.runtime.process.processes import (
    Process,
    command_name,
    identify,
    kill_tree,
    pid_namespace,
    reap,
    spawn,
)
from antei.runtime.process.standard_streams import open_streams
from antei.runtime.process.state import StoredContainer, read_status

__all__ = ["Launched", "launch", "recover"]

_LOOK_AGAIN_SECONDS = 0.001
#: A start takes 10 to 30 ms; this long only a machine without memory or a dead network file system takes.
_GIVE_UP_LOOKS = 60_000
_COMPLAINT_BYTES = 4096
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND


@dataclass(frozen=True, slots=True)
class Launched:
    """None where the process ended before it could be looked at."""

    monitor: Process | None
    main: Process | None
    pid_namespace: str | None
    collectors: tuple[Process, ...] = ()
    keepers: tuple[Process, ...] = ()
    terminal: str = ""


def launch(
    command: Sequence[str],
    env: Mapping[str, str],
    directory: Path,
    *,
    plain: bool,
    program: str,
    working_dir: str,
    stdin: bool = False,
    tty: bool = False,
    owner: tuple[int, int] | None = None,
) -> Launched:
    """Returns once the container's own program runs (or has run); raises StartError when it cannot.

    owner: user and group of the program when they are not antei's: it must be able to open /dev/stdout.
    """
    streams = open_streams(directory, stdin=stdin, tty=tty, owner=owner)
    try:
        files = dict(streams.files)
        if not plain:
            files[3] = (str(directory / "status"), _APPEND)
        pid = spawn(command, env, files)
    except BaseException:
        streams.give_up()
        raise
    streams.close()
    try:
        launched = _begun(pid, directory, plain=plain, program=program)
    except _NotBegun as failure:
        streams.give_up()  # what it complained of is in the file then
        raise (failure.error or start_failure(program, _complaint(directory, tty=tty), working_dir)) from None
    return replace(
        launched,
        collectors=streams.identified(streams.collectors),
        keepers=streams.identified(streams.keepers),
        terminal=streams.terminal,
    )


class _NotBegun(Exception):
    def __init__(self, error: StartError | None = None) -> None:
        self.error = error


def _begun(pid: int, directory: Path, *, plain: bool, program: str) -> Launched:
    monitor = identify(pid)
    pause = threading.Event()
    for _ in range(_GIVE_UP_LOOKS):
        ended = reap(pid) is not None  # before the status is read: it is written first
        status = read_status(directory / "status")
        if status.exit_code is not None:
            return Launched(None if ended else monitor, None, None)
        if ended:
            raise _NotBegun
        if status.child_pid is not None and (plain or _runs_its_program(status.child_pid)):
            return Launched(monitor, identify(status.child_pid), None if plain else pid_namespace(status.child_pid))
        pause.wait(_LOOK_AGAIN_SECONDS)
    kill_tree(pid)
    raise _NotBegun(StartError("CreateContainerError", f"{program} did not begin to run within a minute"))


def recover(stored: StoredContainer, directory: Path) -> StoredContainer:
    """The processes of a container whose start antei did not live to write down, as far as they are certain."""
    status = read_status(directory / "status")
    if stored.monitor is not None or status.child_pid is None:
        return stored
    main = identify(status.child_pid)
    namespace = pid_namespace(status.child_pid)
    if main is None or (not stored.plain and (namespace is None or namespace != status.pid_namespace)):
        return stored
    return msgspec.structs.replace(
        stored, monitor=_parent(main), main=main, pid_namespace=None if stored.plain else namespace
    )


def _runs_its_program(pid: int) -> bool:
    """Until then bwrap's child is still bwrap, laying out the container; setpriv is on its way too."""
    return command_name(pid) not in (None, "bwrap", "setpriv")


def _complaint(directory: Path, *, tty: bool) -> str:
    try:
        with (directory / ("stdout" if tty else "stderr")).open("rb") as file:
            return file.read(_COMPLAINT_BYTES).decode(errors="replace")
    except OSError:
        return ""


def _parent(process: Process) -> Process | None:
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return None
    return identify(int(fields[1]))
