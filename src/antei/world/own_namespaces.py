"""An ordinary user as root: of a user namespace and a mount namespace of their own, which outlive antei.

    antei up ── enter ──► holder: `sleep infinity` in new namespaces, ids mapped by newuidmap
        │                    ▲            /run made anew, so that /run/netns is the user's
        └── setns ───────────┘    every later antei of the user joins it: mounts, and with them networks and the
                                  roots of containers, are seen by all of them

The network namespace stays the machine's: ports on its loopback need no forwarding, and the network namespaces that are
made from here belong to this user namespace, so that antei may do in them what root may.

setns(2) takes a process with one thread only: `enter` comes before all else. `leave` ends the holder when nothing else
is left in the namespaces.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from antei.world.libc import checked, libc, mount
from antei.world.user_ids import is_all_ids, map_ids, mapped_ids

__all__ = ["enter", "is_own", "leave"]

_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC = 0x2, 0x4, 0x1000, 0x4000
_PR_SET_DUMPABLE = 4
_RUN = Path("/run")
#: Made anew in the namespaces, not shown from the machine: names of network namespaces.
_NOT_SHOWN = ("netns",)
_REPORT_BYTES = 4096
_ONE_ID = (
    "containers have one user and one group id, yours; runAsUser and what an image gives to others fail: install the"
    " package uidmap, and see that /etc/subuid and /etc/subgid have a line for you"
)


def is_own() -> bool:
    """Whether this process is root of a user namespace, not of the machine."""
    return os.geteuid() == 0 and not is_all_ids(mapped_ids())


def enter() -> list[str]:
    """Moves this process, which must have one thread, into the user's namespaces; root stays where it is.

    Returns what an ordinary user does not get here, a sentence each with its remedy. Where there can be no namespaces
    the process stays as it is, and the sentence says why.
    """
    if os.geteuid() == 0:
        return _lost()
    if not Path("/proc/self/ns/user").exists():
        return []
    try:
        with _locked() as file:
            holder = _known(file)
            if holder is None:
                holder = _make_holder()
                _remember(file, holder)
            _join(holder)
    except OSError as error:
        return [
            f"you cannot be root of namespaces of your own: {error}; see the sysctls user.max_user_namespaces,"
            " kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns, or run antei as root"
        ]
    return _lost()


def _lost() -> list[str]:
    return [_ONE_ID] if mapped_ids() == 1 else []


def leave() -> None:
    """Ends the namespaces when only this process is left in them; to be called last. No error where there are none."""
    if not is_own():
        return
    with suppress(OSError), _locked() as file:
        holder = _known(file)
        own = _namespace_of(os.getpid())
        if holder is None or _namespace_of(holder) != own:
            return
        if any(_namespace_of(pid) == own for pid in _pids() if pid not in (holder, os.getpid())):
            return
        os.kill(holder, signal.SIGKILL)
        file.truncate(0)


@contextmanager
def _locked() -> Iterator[Any]:
    """The file that says who holds the user's namespaces, one process at a time. Raises OSError."""
    path = Path(os.environ.get("ANTEI_NAMESPACES") or Path.home() / ".antei-namespaces")
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o600), "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _known(file: Any) -> int | None:
    """The holder's pid where it still runs: pids come again, and so do they after a start of the machine."""
    file.seek(0)
    try:
        stored = json.loads(file.read())
        pid = int(stored["pid"])
        return pid if stored == _described(pid) else None
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def _remember(file: Any, pid: int) -> None:
    file.truncate(0)
    file.write(json.dumps(_described(pid)))
    file.flush()


def _described(pid: int) -> dict[str, Any]:
    """Raises OSError when there is no such process."""
    return {
        "pid": pid,
        "started": _status(pid)[19],
        "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
    }


def _make_holder() -> int:
    """Its pid. Raises OSError with what the kernel said; then there is no holder."""
    told, tell = os.pipe()
    released, release = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(told)
        os.close(release)
        _hold(tell, released)
    os.close(tell)
    os.close(released)
    try:
        _hear(told, "made")
        map_ids(pid)
        os.write(release, b"mapped")
        _hear(told, "ready")
    except OSError:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    finally:
        os.close(told)
        os.close(release)
    return pid


def _hear(told: int, word: str) -> None:
    said = os.read(told, _REPORT_BYTES).decode(errors="replace")
    if said != word:
        raise OSError(said or "the process that holds them ended")


def _hold(tell: int, released: int) -> None:
    """The child's life: never returns."""
    try:
        os.setsid()
        checked(libc().unshare(_CLONE_NEWUSER | _CLONE_NEWNS), "unshare user and mount namespaces")
        os.write(tell, b"made")
        if not os.read(released, _REPORT_BYTES):
            os._exit(1)
        _own_run()
        os.chdir("/")
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        sleep = shutil.which("sleep") or "/bin/sleep"
        os.write(tell, b"ready")
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.execv(sleep, ["sleep", "infinity"])
    except OSError as error:
        with suppress(OSError):
            os.write(tell, str(error).encode()[:_REPORT_BYTES])
    finally:
        os._exit(1)


def _own_run() -> None:
    """/run as it is, but writable: a tmpfs in which everything that the machine has there is bound. Raises OSError."""
    machine = os.open(_RUN, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        entries = sorted(os.scandir(machine), key=lambda entry: entry.name)
        mount("tmpfs", _RUN, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755")
        for entry in entries:
            path = _RUN / entry.name
            if entry.name in _NOT_SHOWN:
                continue
            if entry.is_symlink():
                path.symlink_to(os.readlink(entry.name, dir_fd=machine))
                continue
            if entry.is_dir():
                path.mkdir()
            else:
                path.touch()
            try:
                # Through the descriptor: by its name it is covered by now.
                mount(f"/proc/self/fd/{machine}/{entry.name}", path, "none", _MS_BIND | _MS_REC, None)
            except FileNotFoundError:  # gone meanwhile
                path.rmdir() if path.is_dir() else path.unlink()
    finally:
        os.close(machine)


def _join(holder: int) -> None:
    """Raises OSError; for want of the last step the process may then be in the user namespace alone."""
    directory = os.getcwd()
    descriptors = [os.open(f"/proc/{holder}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in ("user", "mnt")]
    try:
        for descriptor, flag in zip(descriptors, (_CLONE_NEWUSER, _CLONE_NEWNS), strict=True):
            checked(libc().setns(descriptor, flag), f"setns to the namespaces of process {holder}")
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    os.chdir(directory)  # setns leads to /
    # Privileges that were gained hide a process in /proc from its own user: kubectl cp, debuggers, the next antei.
    libc().prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def _namespace_of(pid: int) -> str | None:
    """None for a process that has ended, reaped or not, or is not ours to look at."""
    try:
        return None if _status(pid)[0] in "ZX" else os.readlink(f"/proc/{pid}/ns/user")
    except OSError:
        return None


def _status(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name. Raises OSError."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdecimal())
