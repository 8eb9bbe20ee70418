"""Host processes by identity: a pid alone may be somebody else's tomorrow, a pid with its start time is not.

All functions here read /proc or block briefly: the loop calls them in a thread, `ended` excepted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal as signals
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import msgspec
import psutil

__all__ = [
    "Process",
    "alive",
    "child_ended",
    "command_name",
    "descendants",
    "ended",
    "identify",
    "inheritable_fds",
    "kill_tree",
    "namespace_members",
    "network_namespace",
    "pid_namespace",
    "reap",
    "rooted_in",
    "send",
    "session_members",
    "spawn",
]

_PROC = Path("/proc")
_HAS_PROC = (_PROC / "self/stat").exists()
_HAS_PIDFD = hasattr(os, "pidfd_open") and hasattr(signals, "pidfd_send_signal")
#: Where pidfds are missing (macOS), ends are noticed this late.
_POLL_SECONDS = 0.05
_KILL_ATTEMPTS = 200
_KILL_PAUSE_SECONDS = 0.002


class Process(msgspec.Struct, frozen=True):
    """`start` is the kernel's start time in clock ticks since boot (elsewhere than Linux: seconds since the epoch)."""

    pid: int
    start: float


def identify(pid: int) -> Process | None:
    """The process that has this pid now; None when there is none or it has ended without being reaped."""
    if _HAS_PROC:
        fields = _stat(pid)
        return Process(pid, float(fields[19])) if fields and fields[0] not in "ZX" else None
    try:
        process = psutil.Process(pid)
        return Process(pid, process.create_time()) if process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def alive(process: Process | None) -> bool:
    return process is not None and identify(process.pid) == process


def command_name(pid: int) -> str | None:
    """The kernel's short name of what the process executes now."""
    try:
        return (_PROC / str(pid) / "comm").read_text().rstrip("\n")
    except OSError:
        return None


def pid_namespace(pid: int) -> str | None:
    return _namespace(pid, "pid")


def network_namespace(pid: int) -> str | None:
    return _namespace(pid, "net")


def _namespace(pid: int, kind: str) -> str | None:
    try:
        return os.readlink(_PROC / str(pid) / "ns" / kind)
    except OSError:
        return None


def send(process: Process, signal: int) -> bool:
    """Signals exactly this process; False when it has ended."""
    try:
        if not _HAS_PIDFD:
            if alive(process):
                os.kill(process.pid, signal)
                return True
            return False
        descriptor = os.pidfd_open(process.pid)
        try:
            if not alive(process):
                return False
            signals.pidfd_send_signal(descriptor, signal)
        finally:
            os.close(descriptor)
    except ProcessLookupError:
        return False
    return True


async def ended(process: Process) -> int | None:
    """Returns when the process has ended: its wait status when it is a child of ours (it is reaped), else None.

    Waits on a pidfd and costs nothing meanwhile.
    """
    try:
        descriptor = os.pidfd_open(process.pid) if _HAS_PIDFD else None
    except ProcessLookupError:
        return None
    if descriptor is None:
        return await _ended_by_polling(process)
    try:
        if await asyncio.to_thread(alive, process):
            await _readable(descriptor)
    finally:
        os.close(descriptor)
    return reap(process.pid)


async def child_ended(pid: int) -> int:
    """The wait status of a child; its pid cannot be reused before this has reaped it."""
    if _HAS_PIDFD:
        descriptor = os.pidfd_open(pid)
        try:
            await _readable(descriptor)
        finally:
            os.close(descriptor)
    while True:
        status = reap(pid)
        if status is not None:
            return status
        await asyncio.sleep(_POLL_SECONDS)


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)


async def _ended_by_polling(process: Process) -> int | None:
    while True:
        status = reap(process.pid)
        if status is not None or not await asyncio.to_thread(alive, process):
            return status
        await asyncio.sleep(_POLL_SECONDS)


def reap(pid: int) -> int | None:
    """The wait status of an ended child; None when it still runs or is not our child (any more)."""
    try:
        reaped, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return status if reaped else None


def spawn(argv: Sequence[str], env: Mapping[str, str], files: Mapping[int, tuple[str, int] | int]) -> int:
    """Starts argv[0] (an absolute path) in a session of its own, signals at their defaults; returns its pid.

    files: its descriptors: (path, open flags), or a descriptor of ours to duplicate. No other one is passed on.
    """
    actions: list[tuple[int, int] | tuple[int, int, int] | tuple[int, int, str, int, int]] = []
    for target, source in files.items():
        if isinstance(source, int):
            actions.append((os.POSIX_SPAWN_DUP2, source, target))
        else:
            actions.append((os.POSIX_SPAWN_OPEN, target, source[0], source[1], 0o600))
    actions += [(os.POSIX_SPAWN_CLOSE, fd) for fd in inheritable_fds() if fd > 2 and fd not in files]
    defaults = [number for number in signals.valid_signals() if number not in (signals.SIGKILL, signals.SIGSTOP)]
    return os.posix_spawn(
        argv[0], list(argv), dict(env), file_actions=actions, setsid=True, setsigmask=[], setsigdef=defaults
    )


def inheritable_fds() -> list[int]:
    """Descriptors that whoever started antei left open for its children."""
    found = []
    for entry in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError, ValueError):  # the listing's own descriptor is closed by now
            if os.get_inheritable(int(entry)):
                found.append(int(entry))
    return found


def namespace_members(namespace: str) -> list[Process]:
    """All processes in a PID namespace, given as /proc names it: `pid:[4026532177]`."""
    found = (identify(pid) for pid in psutil.pids() if pid_namespace(pid) == namespace)
    return [process for process in found if process is not None]


def rooted_in(directory: Path) -> list[Process]:
    """All processes whose root is this directory, which must be a mount of its own to be told from others."""
    try:
        root = directory.stat()
    except OSError:
        return []
    found = (identify(pid) for pid in psutil.pids() if _is_rooted(pid, root))
    return [process for process in found if process is not None]


def _is_rooted(pid: int, root: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(_PROC / str(pid) / "root"), root)
    except OSError:  # it has ended, or is another user's
        return False


def session_members(sessions: Collection[int]) -> list[Process]:
    found = (identify(pid) for pid in psutil.pids() if _session(pid) in sessions)
    return [process for process in found if process is not None]


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def kill_tree(root: int) -> None:
    """Kills a child of ours with its descendants and all their sessions, until none is left that could fork.

    The child itself comes last: nsenter has to reap what it started, because nobody in the container's PID namespace
    can, and PID 1 there cannot end before (it would wait for the host's init to get round to it).
    """
    pause = threading.Event()
    sessions = {root}
    for attempt in range(_KILL_ATTEMPTS):
        below = descendants(root)
        sessions |= {session for process in below if (session := _session(process.pid)) is not None}
        members = [*filter(None, [identify(root)]), *session_members(sessions), *below]
        if not members:
            return
        others = [process for process in members if process.pid != root]
        for process in others:
            send(process, signals.SIGKILL)
        if attempt > _KILL_ATTEMPTS // 2 or (not others and attempt > 1):  # nsenter ends by itself after its child
            send(members[0], signals.SIGKILL)
        pause.wait(_KILL_PAUSE_SECONDS)


def descendants(root: int) -> list[Process]:
    try:
        found = (identify(child.pid) for child in psutil.Process(root).children(recursive=True))
        return [process for process in found if process is not None]
    except psutil.Error:
        return []


def _stat(pid: int) -> list[str]:
    """Fields 3 (state) and on of /proc/PID/stat: the second, the name, may hold blanks and brackets."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return []
