"""Starts a container's processes and finds out whether it began to run. Blocks; the loop calls it in a thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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
from antei.runtime.process.state import StoredContainer, read_status

__all__ = ["Launched", "launch", "recover"]

_LOOK_AGAIN_SECONDS = 0.001
#: A start takes 10 to 30 ms; this long only a machine without memory or a dead network file system takes.
_GIVE_UP_LOOKS = 60_000
_COMPLAINT_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Launched:
    """None where the process ended before it could be looked at."""

    monitor: Process | None
    main: Process | None
    pid_namespace: str | None


def launch(
    command: Sequence[str], env: Mapping[str, str], directory: Path, *, plain: bool, program: str, working_dir: str
) -> Launched:
    """Returns once the container's own program runs (or has run); raises StartError when it cannot."""
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files: dict[int, tuple[str, int] | int] = {
        0: (os.devnull, os.O_RDONLY),
        1: (str(directory / "stdout"), append),
        2: (str(directory / "stderr"), append),
    }
    if not plain:
        files[3] = (str(directory / "status"), append)
    pid = spawn(command, env, files)
    monitor = identify(pid)
    pause = threading.Event()
    for _ in range(_GIVE_UP_LOOKS):
        ended = reap(pid) is not None  # before the status is read: it is written first
        status = read_status(directory / "status")
        if status.exit_code is not None:
            return Launched(None if ended else monitor, None, None)
        if ended:
            raise start_failure(program, _complaint(directory), working_dir)
        if status.child_pid is not None and (plain or _runs_its_program(status.child_pid)):
            return Launched(monitor, identify(status.child_pid), None if plain else pid_namespace(status.child_pid))
        pause.wait(_LOOK_AGAIN_SECONDS)
    kill_tree(pid)
    raise StartError("CreateContainerError", "the container did not begin to run within a minute")


def recover(stored: StoredContainer, directory: Path) -> StoredContainer:
    """The processes of a container whose start antei did not live to write down, as far as they are certain."""
    status = read_status(directory / "status")
    if stored.monitor is not None or status.child_pid is None:
        return stored
    main = identify(status.child_pid)
    namespace = pid_namespace(status.child_pid)
    if main is None or (not stored.plain and (namespace is None or namespace != status.pid_namespace)):
        return stored
    return StoredContainer(
        record=stored.record,
        log_path=stored.log_path,
        env=stored.env,
        working_dir=stored.working_dir,
        plain=stored.plain,
        monitor=_parent(main),
        main=main,
        pid_namespace=None if stored.plain else namespace,
        user=stored.user,
        group=stored.group,
        cgroups=stored.cgroups,
    )


def _runs_its_program(pid: int) -> bool:
    """Until then bwrap's child is still bwrap, laying out the container; setpriv is on its way too."""
    return command_name(pid) not in (None, "bwrap", "setpriv")


def _complaint(directory: Path) -> str:
    try:
        with (directory / "stderr").open("rb") as file:
            return file.read(_COMPLAINT_BYTES).decode(errors="replace")
    except OSError:
        return ""


def _parent(process: Process) -> Process | None:
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return None
    return identify(int(fields[1]))
