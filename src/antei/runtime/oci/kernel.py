"""What Python has no call for: mounts, and namespaces that last without a process in them. Blocks; for threads."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from antei.world.own_namespaces import is_own

__all__ = ["is_mounted", "make_namespaces", "mount_overlay", "mount_read_only", "mount_tmpfs", "unmount"]

_CLONE_NEWUTS, _CLONE_NEWIPC = 0x04000000, 0x08000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND = 0x1, 0x2, 0x4, 0x8, 0x1000
_MNT_DETACH = 2
#: containerd's size of a pod's /dev/shm.
_SHARED_MEMORY_BYTES = 64 * 1024 * 1024


def mount_overlay(target: Path, lower: Path, upper: Path, work: Path) -> None:
    """Raises OSError."""
    layers = (
        f"{name}={_escaped(path)}" for name, path in (("lowerdir", lower), ("upperdir", upper), ("workdir", work))
    )
    options = ["userxattr"] if is_own() else []  # where trusted.* attributes are not to be had
    _mount("overlay", target, "overlay", 0, ",".join([*layers, *options]))


def mount_read_only(target: Path, lowers: Sequence[Path]) -> None:
    """What is in these directories, the first above the others; at least two. Raises OSError."""
    _mount("overlay", target, "overlay", _MS_RDONLY, f"lowerdir={':'.join(map(_escaped, lowers))}")


def mount_tmpfs(target: Path, size_bytes: int = _SHARED_MEMORY_BYTES) -> None:
    """As a pod's /dev/shm is. Raises OSError."""
    _mount("shm", target, "tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, f"mode=1777,size={size_bytes}")


def unmount(target: Path) -> None:
    """At once; what still uses it keeps it. No error when nothing is mounted there."""
    _libc().umount2(os.fsencode(target), _MNT_DETACH)


def is_mounted(path: Path) -> bool:
    try:
        return path.stat().st_dev != path.parent.stat().st_dev
    except OSError:
        return False


def make_namespaces(directory: Path, hostname: str, kinds: Sequence[str]) -> None:
    """New namespaces ("ipc", "uts") as files of these names in the directory, to be joined. Raises OSError."""
    failures: list[OSError] = []

    def work() -> None:
        try:
            flags = (_CLONE_NEWUTS if "uts" in kinds else 0) | (_CLONE_NEWIPC if "ipc" in kinds else 0)
            _checked(_libc().unshare(flags), "unshare")
            if "uts" in kinds:
                name = hostname.encode()
                _checked(_libc().sethostname(name, len(name)), "sethostname")
            for kind in kinds:
                path = directory / kind
                path.touch()
                _mount(f"/proc/{threading.get_native_id()}/ns/{kind}", path, "none", _MS_BIND, None)
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=work, name="namespaces")  # it ends in them, and is not to be used again
    thread.start()
    thread.join()
    if failures:
        for kind in kinds:
            unmount(directory / kind)
        raise failures[0]


def _escaped(path: Path) -> str:
    """overlayfs ends a path at a comma and, among lower ones, at a colon."""
    return str(path).replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def _mount(source: str, target: Path, kind: str, flags: int, options: str | None) -> None:
    data = None if options is None else options.encode()
    result = _libc().mount(source.encode(), os.fsencode(target), kind.encode(), flags, data)
    _checked(result, f"mount {kind} on {target}")


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
    libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
    libc.sethostname.argtypes = (ctypes.c_char_p, ctypes.c_size_t)
    return libc
