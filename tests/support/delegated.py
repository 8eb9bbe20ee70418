"""Control groups as an administrator hands them on: made by root, and given to the ordinary user."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import ordinary_user

from antei.world.control_groups import LIMITED_BY, make_group, top_bases

__all__ = ["delegated", "give", "groups_below", "remove"]

_REMOVE_SECONDS = 60
_NO_CONTROLLERS = ("systemd", "unified")
_FILES = ("", "cgroup.procs", "tasks", "cgroup.subtree_control", "cgroup.threads")


@contextmanager
def delegated(name: str, controllers: Sequence[str] = (), uid: int = ordinary_user.UID) -> Iterator[list[Path]]:
    """One for each controller, by default for all there are, of version 2 one for all of them.

    Their last process has ended at the end, or that is an error.
    """
    bases = top_bases()
    controllers = controllers or [each for each in bases.directories if each not in _NO_CONTROLLERS]
    groups = list(dict.fromkeys(bases.directories[controller] / name for controller in controllers))
    for group in groups:
        make_group(group)
        if bases.is_unified:
            enabled = " ".join(f"+{controller}" for controller in LIMITED_BY if controller in controllers)
            (group.parent / "cgroup.subtree_control").write_text(enabled)
        give(group, uid)
    try:
        yield groups
    finally:
        for group in groups:
            remove(group)


def give(group: Path, uid: int) -> None:
    """What cgroups(7) calls delegation."""
    for file in _FILES:
        if (group / file).exists():
            os.chown(group / file, uid, uid)


def groups_below(groups: Sequence[Path]) -> list[str]:
    """What was made in them, relative to each."""
    return sorted(
        {
            str(Path(directory, each).relative_to(group))
            for group in groups
            for directory, names, _ in os.walk(group)
            for each in names
        }
    )


def remove(group: Path) -> None:
    """With what is below it, as soon as the last process has ended."""
    deadline = time.monotonic() + _REMOVE_SECONDS
    while True:
        try:
            for directory, _, _ in os.walk(group, topdown=False):
                with suppress(FileNotFoundError):
                    os.rmdir(directory)
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
