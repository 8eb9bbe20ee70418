"""Whose the files of a volume are, and how much room they take: what fsGroup and sizeLimit ask of the disk.

Source: pkg/volume/volume_linux.go, pkg/volume/util/fs/fs.go.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

__all__ = ["give_to_group", "usage"]

_LOG = logging.getLogger(__name__)
_READ_WRITE, _READ, _EXECUTE = 0o660, 0o440, 0o110
_BLOCK_BYTES = 512  # what st_blocks counts in


def give_to_group(path: Path, group: int, *, only_on_mismatch: bool, writable: bool = True) -> bool:
    """All of the tree to the group; directories hand it on to what is made in them. Links are not followed.

    False, and a line in the log, where this machine does not let us: containers then have the rights of others.
    """
    mask = _READ_WRITE if writable else _READ
    if only_on_mismatch and _is_given(path, group, mask):
        return True
    try:
        for each in _tree(path):
            _give(each, group, mask)
    except OSError as error:
        _LOG.warning("volume %s: group %d not set: %s", path, group, error)
        return False
    return True


def _is_given(path: Path, group: int, mask: int) -> bool:
    found = path.lstat()
    wanted = mask | _EXECUTE | stat.S_ISGID
    return found.st_gid == group and stat.S_IMODE(found.st_mode) & wanted == wanted


def _give(path: str, group: int, mask: int) -> None:
    try:
        found = os.lstat(path)
        os.lchown(path, -1, group)
        if stat.S_ISLNK(found.st_mode):
            return
        added = mask | (_EXECUTE | stat.S_ISGID if stat.S_ISDIR(found.st_mode) else 0)
        os.chmod(path, stat.S_IMODE(found.st_mode) | added)
    except FileNotFoundError:
        return  # a container of the pod's neighbours, or of an earlier run, takes away what is its own


def _tree(path: Path) -> Iterator[str]:
    """The top last: once it is right, all below it is."""
    for directory, names, files in os.walk(path, topdown=False):
        yield from (os.path.join(directory, name) for name in [*files, *names] if _is_leaf(directory, name, files))
        yield directory


def _is_leaf(directory: str, name: str, files: list[str]) -> bool:
    """Directories come by themselves, links to directories do not."""
    return name in files or os.path.islink(os.path.join(directory, name))


def usage(path: Path) -> int:
    """Bytes on the disk, a file with several names once."""
    total = 0
    seen: set[tuple[int, int]] = set()
    for directory, names, files in os.walk(path):
        for name in [*names, *files]:
            try:
                found = os.lstat(os.path.join(directory, name))
            except FileNotFoundError:
                continue  # gone since
            if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
                if (found.st_dev, found.st_ino) in seen:
                    continue
                seen.add((found.st_dev, found.st_ino))
            total += found.st_blocks * _BLOCK_BYTES
    return total
