"""Run as root: `python ordinary_user.py [OPTION]... COMMAND...`

Runs a command as a machine of its own would: with a network namespace as its network, files laid over the machine's, in
control groups of its own, and with --user as a user whom the machine does not have, with subordinate ids, without any
privilege. Nothing of the machine is changed: all of it is in a mount namespace that ends with the command and what it
leaves running.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
from pathlib import Path

import antei

UID = 54321
SUBORDINATE = 3_000_000
_NAME = "visitor"
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_MNT_DETACH = 2
_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--netns")
    parser.add_argument("--file", action="append", default=[])
    parser.add_argument("--group", action="append", default=[], type=Path, help="a control group to run in")
    parser.add_argument("--unified", action="store_true", help="control groups of version 2 are all there are")
    parser.add_argument("--user", type=Path, help="their home")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    if given.netns:
        with open(f"/run/netns/{given.netns}") as namespace:
            checked(_LIBC.setns(namespace.fileno(), _CLONE_NEWNET), "setns")
    for group in given.group:
        (group / "cgroup.procs").write_text(str(os.getpid()))
    checked(_LIBC.unshare(_CLONE_NEWNS), "unshare")
    mount("none", "/", _MS_REC | _MS_PRIVATE)
    if given.unified:
        checked(_LIBC.umount2(b"/sys/fs/cgroup", _MNT_DETACH), "umount")
        checked(_LIBC.mount(b"none", b"/sys/fs/cgroup", b"cgroup2", 0, None), "mount cgroup2")
    for pair in given.file:
        shown, _, file = pair.partition("=")
        mount(file, os.path.realpath(shown), _MS_BIND)
    if given.user is not None:
        become(given.user)
    os.execvp(given.command[0], given.command)


def become(home: Path) -> None:
    # They stay: a mount whose file is gone could not be shown to containers.
    directory = home / ".etc"
    directory.mkdir(exist_ok=True)
    for path, line in (
        ("/etc/passwd", f"{_NAME}:x:{UID}:{UID}::{home}:/bin/sh"),
        ("/etc/group", f"{_NAME}:x:{UID}:"),
        ("/etc/subuid", f"{_NAME}:{SUBORDINATE}:65536"),
        ("/etc/subgid", f"{_NAME}:{SUBORDINATE}:65536"),
    ):
        Path(path).touch()
        over = directory / Path(path).name
        if not over.exists():
            over.write_text(f"{Path(path).read_text().rstrip()}\n{line}\n")
            over.chmod(0o644)
        mount(str(over), path, _MS_BIND)
    for needed in {Path(sys.base_prefix), Path(sys.prefix), Path(antei.__file__).parent}:
        uncover(needed)
    os.setgroups([])
    os.setresgid(UID, UID, UID)
    os.setresuid(UID, UID, UID)
    os.environ.update(HOME=str(home), USER=_NAME, LOGNAME=_NAME)
    os.environ.pop("XDG_RUNTIME_DIR", None)
    os.chdir(home)


def uncover(needed: Path) -> None:
    """Python and antei may lie in root's home: there everybody may pass now, but sees nothing else."""
    closed = next((above for above in reversed(needed.parents) if not above.stat().st_mode & 0o001), None)
    if closed is None:
        return
    machine = os.open(closed, os.O_PATH | os.O_CLOEXEC)
    checked(_LIBC.mount(b"tmpfs", os.fsencode(closed), b"tmpfs", 0, b"mode=755"), f"tmpfs on {closed}")
    needed.mkdir(parents=True)
    mount(f"/proc/self/fd/{machine}/{needed.relative_to(closed)}", str(needed), _MS_BIND | _MS_REC)
    os.close(machine)


def mount(source: str, target: str, flags: int) -> None:
    result = _LIBC.mount(os.fsencode(source), os.fsencode(target), b"none", ctypes.c_ulong(flags), None)
    checked(result, f"mount {source} on {target}")


def checked(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


if __name__ == "__main__":
    main()
