"""Mounts, which Python has no call for. Blocks; for threads. All raise OSError unless they say otherwise."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from antei.world.libc import checked, libc, mount
from antei.world.own_namespaces import is_own

__all__ = [
    "bind",
    "bind_mapped",
    "is_mounted",
    "mount_by_program",
    "mount_overlay",
    "mount_read_only",
    "mount_tmpfs",
    "unmount",
    "unmount_below",
]

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND = 0x1, 0x2, 0x4, 0x8, 0x1000
_MNT_DETACH = 2
_PROGRAM_SECONDS = 60
# mount_setattr(2), open_tree(2), move_mount(2): numbers are the same on all architectures.
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_OPEN_TREE_CLONE, _AT_RECURSIVE, _AT_EMPTY_PATH, _AT_FDCWD = 0x1, 0x8000, 0x1000, -100
_MOVE_MOUNT_F_EMPTY_PATH, _MOUNT_ATTR_IDMAP = 0x4, 0x100000


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("user_namespace", ctypes.c_uint64),
    )


def mount_overlay(target: Path, lower: Path, upper: Path, work: Path) -> None:
    layers = (
        f"{name}={_escaped(path)}" for name, path in (("lowerdir", lower), ("upperdir", upper), ("workdir", work))
    )
    options = ["userxattr"] if is_own() else []  # where trusted.* attributes are not to be had
    mount("overlay", target, "overlay", 0, ",".join([*layers, *options]))


def mount_read_only(target: Path, lowers: Sequence[Path]) -> None:
    """What is in these directories, the first above the others; at least two."""
    mount("overlay", target, "overlay", _MS_RDONLY, f"lowerdir={':'.join(map(_escaped, lowers))}")


def mount_tmpfs(target: Path, size_bytes: int, mode: int = 0o1777, *, is_bare: bool = False) -> None:
    """`is_bare`: programs and devices in it are of no use."""
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC if is_bare else 0
    mount("tmpfs", target, "tmpfs", flags, f"mode={mode:o},size={size_bytes}")


def mount_by_program(source: str, target: Path, kind: str, options: Sequence[str] = ()) -> None:
    """By mount(8), for kinds that need a helper of their own. The error is what it said."""
    chosen = ["-o", ",".join(options)] if options else []
    try:
        done = subprocess.run(
            ["mount", "-t", kind, *chosen, "--", source, str(target)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROGRAM_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"mount -t {kind} {source}: no answer within {_PROGRAM_SECONDS} s") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise OSError(f"mount -t {kind} {source}: {said or f'exit status {done.returncode}'}")


def bind(source: Path, target: Path) -> None:
    mount(str(source), target, "none", _MS_BIND, None)


def bind_mapped(source: Path, target: Path, user_namespace: Path) -> None:
    """`source` is seen at `target` as that user namespace sees it: user 0 of the disk is its user 0, and so on.

    What is mounted below comes along and keeps its owners. EINVAL: this file system or kernel cannot do that.
    """
    mapping = os.open(user_namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_RECURSIVE
        tree = checked(libc().syscall(_OPEN_TREE, _AT_FDCWD, os.fsencode(source), flags), f"open {source}")
        try:
            attributes = _MountAttributes(_MOUNT_ATTR_IDMAP, 0, 0, mapping)
            size = ctypes.sizeof(attributes)
            result = libc().syscall(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, ctypes.byref(attributes), size)
            checked(result, f"map the users of {source}")
            result = libc().syscall(_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)
            checked(result, f"mount {source} on {target}")
        finally:
            os.close(tree)
    finally:
        os.close(mapping)


def unmount(target: Path) -> None:
    """At once; what still uses it keeps it. No error when nothing is mounted there."""
    libc().umount2(os.fsencode(target), _MNT_DETACH)


def unmount_below(directory: Path) -> None:
    """All that is mounted at or below it, the latest first. Raises OSError where something stays mounted."""
    for target in reversed(_mounted_below(directory)):
        unmount(target)
    left = _mounted_below(directory)
    if left:
        raise OSError(f"{left[-1]} is still mounted")


def is_mounted(path: Path) -> bool:
    """Whether another file system begins there. Never raises."""
    try:
        return path.stat().st_dev != path.parent.stat().st_dev
    except OSError:
        return False


def _mounted_below(directory: Path) -> list[Path]:
    top = os.path.realpath(directory)
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return []
    points = [_unescaped(line.split(" ", 5)[4]) for line in lines]
    return [Path(point) for point in points if point == top or point.startswith(f"{top}/")]


def _unescaped(point: str) -> str:
    """Spaces and the like are octal there."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        point = point.replace(code, character)
    return point


def _escaped(path: Path) -> str:
    """overlayfs ends a path at a comma and, among lower ones, at a colon."""
    return str(path).replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")
