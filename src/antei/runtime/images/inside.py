"""Reads files of an unpacked image without ever following a link out of it. Blocks briefly.

An unpacked image is nobody's to write to, so that a path once found inside stays inside.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Identity", "UnknownUser", "identify_user", "read_inside", "resolve_inside"]

_LINKS_LIMIT = 40
_FILE_LIMIT_BYTES = 1024 * 1024
_ID_LIMIT = 2**32 - 2


class UnknownUser(LookupError):
    """The image has no such user or group; the message says which."""


@dataclass(frozen=True, slots=True)
class Identity:
    uid: int
    gid: int
    groups: tuple[int, ...]  # of the image's /etc/group
    home: str = "/"


def resolve_inside(root: Path, path: str) -> Path:
    """Where a path of the image is on the host, links followed as within the image. Raises OSError (ELOOP)."""
    pending = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    found: list[str] = []
    links = 0
    while pending:
        part = pending.pop()
        if part == "..":
            found = found[:-1]
            continue
        here = root.joinpath(*found, part)
        if not here.is_symlink():
            found.append(part)
            continue
        links += 1
        if links > _LINKS_LIMIT:
            raise OSError(40, "too many symbolic links", path)
        target = os.readlink(here)
        if target.startswith("/"):
            found = []
        pending += [part for part in reversed(target.split("/")) if part not in ("", ".")]
    return root.joinpath(*found)


def read_inside(root: Path, path: str) -> bytes:
    """A plain file, at most 1 MiB of it. Raises OSError, also for what is no plain file."""
    descriptor = os.open(resolve_inside(root, path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(22, "not a plain file", path)
        return os.read(descriptor, _FILE_LIMIT_BYTES)
    finally:
        os.close(descriptor)


def identify_user(root: Path, wanted: str, group: int | None = None) -> Identity:
    """`wanted` as an image's USER has it: name or number, perhaps with ":" and a group; empty is root.

    A number without an entry in /etc/passwd has group 0. `group` overrides what is found. Raises UnknownUser.
    """
    name, _, group_name = (wanted or "0").partition(":")
    users, groups = _table(root, "/etc/passwd", 7), _table(root, "/etc/group", 4)
    entry = next((user for user in users if user[0] == name), None)
    if entry is None:
        entry = next((user for user in users if user[2] == name), None)
    if entry is not None and entry[2].isdigit():
        uid, gid, home = int(entry[2]), int(entry[3]) if entry[3].isdigit() else 0, entry[5] or "/"
    elif name.isdigit() and int(name) <= _ID_LIMIT:
        uid, gid, home = int(name), 0, "/"
    else:
        raise UnknownUser(f"unable to find user {name}: no matching entries in passwd file")
    if group is not None:
        gid = group
    elif group_name:
        gid = _group(groups, group_name)
    login = entry[0] if entry is not None else None
    member_of = (int(row[2]) for row in groups if row[2].isdigit() and login is not None and login in row[3].split(","))
    return Identity(uid, gid, tuple(dict.fromkeys(number for number in member_of if number != gid)), home)


def _group(groups: Sequence[Sequence[str]], name: str) -> int:
    for row in groups:
        if row[0] == name and row[2].isdigit():
            return int(row[2])
    if name.isdigit() and int(name) <= _ID_LIMIT:
        return int(name)
    raise UnknownUser(f"unable to find group {name}: no matching entries in group file")


def _table(root: Path, path: str, columns: int) -> list[list[str]]:
    """The rows of /etc/passwd or /etc/group; none where there is no such file."""
    try:
        text = read_inside(root, path).decode(errors="replace")
    except OSError:
        return []
    rows = (line.split(":") for line in text.splitlines() if not line.startswith("#"))
    return [row for row in rows if len(row) >= columns]
