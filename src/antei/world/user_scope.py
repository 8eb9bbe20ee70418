"""A control group of one's own from systemd: an ordinary user's manager gives a scope and delegates it.

systemd-run(1), systemd.resource-control(5) (Delegate=). From where somebody has logged in their processes may not be
moved to groups of the manager's, so the whole command is run anew inside of the scope.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from antei.world.control_groups import LIMITED_BY, find_bases

__all__ = ["enter_scope", "is_needed"]

_LOG = logging.getLogger(__name__)
_PATIENCE_SECONDS = 10
#: Set in what runs in a scope, so that it asks for no second one.
_MARK = "ANTEI_IN_SCOPE"
_OFFERED = 'cat "/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)/cgroup.controllers"'


def enter_scope() -> None:
    """Runs this command anew in a scope where that brings limits; else it returns.

    To be called before anything else has been done. A process that was not started as the command antei stays.
    """
    in_scope = os.environ.pop(_MARK, None) is not None
    program = Path(sys.argv[0])
    is_command = program.name == "antei" or program.parent.name == "antei"
    if in_scope or not is_command or os.geteuid() == 0 or not _manager().exists():
        return
    bases = find_bases()
    groups = set(bases.directories.values())
    if not bases.is_unified or not all(is_needed(group, _others(group), os.geteuid()) for group in groups):
        return
    runner = shutil.which("systemd-run")
    if runner is None:
        return
    scope = [runner, "--user", "--scope", "--quiet", "--collect", "--property=Delegate=yes", "--"]
    if set(LIMITED_BY).isdisjoint(_said([*scope, "/bin/sh", "-c", _OFFERED]).split()):
        return
    command = [*scope, sys.executable, *sys.orig_argv[1:]]
    with suppress(OSError):
        os.execve(runner, command, {**os.environ, _MARK: "1"})


def is_needed(group: Path, others: int, uid: int) -> bool:
    """Of a group that the user may write: whether it is somebody else's to divide; `others`: processes beside antei's.

    All groups below the user's manager are the user's. Those that it has not delegated it arranges as it likes, and
    they are shells' and terminals'; where nobody but antei is, as in a service of its own, antei may stay.
    """
    return others > 0 and f"user@{uid}.service" in group.parts


def _manager() -> Path:
    """The socket on which it answers."""
    return Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}") / "systemd/private"


def _others(group: Path) -> int:
    """Processes in it that are not antei."""
    try:
        return len([pid for pid in (group / "cgroup.procs").read_text().split() if int(pid) != os.getpid()])
    except OSError:
        return 0


def _said(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        _LOG.info("%s: %s", command[0], error)
        return ""
    if done.returncode != 0:
        _LOG.info("%s: %s", command[0], done.stderr.strip())
    return done.stdout
