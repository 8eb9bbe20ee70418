"""Which ids an ordinary user has: their own, and those that /etc/subuid and /etc/subgid give them to hand on.

In a user namespace root is the user, 1 … 65535 are the subordinate ids, as rootless container engines have it.
user_namespaces(7), newuidmap(1), subuid(5).
"""

from __future__ import annotations

import logging
import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["IdRange", "is_all_ids", "map_ids", "mapped_ids", "parse_subordinate", "ping_groups"]

_LOG = logging.getLogger(__name__)
_MAP_SECONDS = 10
_ALL_IDS = 2**32 - 1
_MOST_GROUPS = 2**31
_HELPERS = (("uid", "newuidmap", Path("/etc/subuid")), ("gid", "newgidmap", Path("/etc/subgid")))


@dataclass(frozen=True, slots=True)
class IdRange:
    first: int
    count: int


def parse_subordinate(text: str, name: str, uid: int) -> tuple[IdRange, ...]:
    """The ranges of /etc/subuid's or /etc/subgid's text that are this user's, by name or number."""
    found = []
    for line in text.splitlines():
        owner, _, numbers = line.strip().partition(":")
        first, _, count = numbers.partition(":")
        if owner in (name, str(uid)) and first.isdecimal() and count.isdecimal() and int(count) > 0:
            found.append(IdRange(int(first), int(count)))
    return tuple(found)


def map_ids(pid: int) -> None:
    """Maps the ids of the user namespace that the process has just made: all of the user's, else the one they have.

    Raises OSError.
    """
    plans, refusal = [], ""
    for kind, helper, file in _HELPERS:
        own = os.getuid() if kind == "uid" else os.getgid()
        ranges = _subordinate(file)
        program = shutil.which(helper)
        if program is None:
            refusal = f"{helper} is not installed"
        elif not ranges:
            refusal = f"{file} has no line for {_user_name()}"
        else:
            plans.append([program, str(pid), *_arguments(own, ranges)])
    if not refusal:
        for command in plans:
            refusal = refusal or _said(command)
    if refusal:
        _LOG.info("one user id and one group id: %s", refusal)
        _map_one(pid)


def mapped_ids(kind: str = "uid") -> int:
    """How many ids ("uid", "gid") this process could give away; 2**32 - 1 where it is in no user namespace."""
    try:
        lines = Path(f"/proc/self/{kind}_map").read_text().splitlines()
    except FileNotFoundError:  # not on Linux
        return _ALL_IDS
    return min(_ALL_IDS, sum(int(line.split()[2]) for line in lines))


def ping_groups() -> str:
    """net.ipv4.ping_group_range for "everybody": groups that are not mapped cannot be named in it."""
    return f"0 {min(_MOST_GROUPS, mapped_ids('gid')) - 1}"


def is_all_ids(count: int) -> bool:
    return count == _ALL_IDS


def _arguments(own: int, ranges: Sequence[IdRange]) -> list[str]:
    arguments = ["0", str(own), "1"]
    inside = 1
    for each in ranges:
        arguments += [str(inside), str(each.first), str(each.count)]
        inside += each.count
    return arguments


def _said(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_MAP_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    return f"{command[0]}: {done.stderr.decode(errors='replace').strip() or f'exit code {done.returncode}'}"


def _map_one(pid: int) -> None:
    """What newuidmap has written already stays: then gids are one and uids all. Raises OSError."""
    process = Path(f"/proc/{pid}")
    if not (process / "uid_map").read_text():
        (process / "uid_map").write_text(f"0 {os.getuid()} 1\n")
    if not (process / "gid_map").read_text():
        (process / "setgroups").write_text("deny")  # else nobody without privileges may map a group
        (process / "gid_map").write_text(f"0 {os.getgid()} 1\n")


def _subordinate(file: Path) -> tuple[IdRange, ...]:
    try:
        return parse_subordinate(file.read_text(), _user_name(), os.getuid())
    except OSError:
        return ()


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
