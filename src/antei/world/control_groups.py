"""The control groups below which this process may make others: root's at the top, an ordinary user's where they are.

    version 1    GROUP/antei/…            GROUP: that of this process in a hierarchy, given to the user by whoever may
    version 2    GROUP/antei/…            containers; memory, cpu and pids are enabled down to here
                 GROUP/antei-itself       antei and all else that was in GROUP: where controllers are handed down a
                                          group has no processes of its own

cgroups(7), "Delegation of a hierarchy" and "No internal processes". Blocks on files.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from antei.world.own_namespaces import is_own

__all__ = [
    "GROUP",
    "LIMITED_BY",
    "Bases",
    "Hierarchy",
    "find_bases",
    "hierarchies",
    "hierarchies_of",
    "make_group",
    "own_groups",
    "release",
    "settle",
    "top_bases",
]

_LOG = logging.getLogger(__name__)
_ROOT = Path("/sys/fs/cgroup")
#: The group that holds those of pods and containers, and of version 2 the one beside it.
GROUP, _LEAF = "antei", "antei-itself"
#: The controllers that limits of containers need.
LIMITED_BY = ("memory", "cpu", "pids")
#: Processes that are moved may make others meanwhile.
_ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One that is mounted: `group` is the directory of the group this process is in. Of version 2: no controllers."""

    controllers: tuple[str, ...]
    group: Path


@dataclass(frozen=True, slots=True)
class Bases:
    """`directories`: by controller the group below which antei makes its own, of version 2 the same for each.

    is_delegated: they are an ordinary user's, not the top ones of the machine; is_whole: one in each hierarchy.
    """

    is_unified: bool
    directories: Mapping[str, Path] = field(default_factory=dict)
    is_delegated: bool = False
    is_whole: bool = True


def find_bases() -> Bases:
    """Where groups may be made by this process; whether they can is found out by making one."""
    if not _is_ordinary():
        return top_bases()
    found = hierarchies_of("self")
    controllers = [each for each in found if each.controllers]
    if not controllers and found:
        base = _base(found[0].group)
        usable = _words(base / "cgroup.controllers") if _is_ours(base, "cgroup.subtree_control") else ()
        return Bases(True, {name: base for name in usable if name in LIMITED_BY}, is_delegated=True)
    directories = {name: each.group for each in controllers if _is_ours(each.group) for name in each.controllers}
    is_whole = all(_is_ours(each.group) for each in controllers)
    return Bases(False, directories, is_delegated=True, is_whole=is_whole)


def top_bases(root: Path = _ROOT) -> Bases:
    """Those of the whole machine, or of the container that antei runs in."""
    if (root / "cgroup.controllers").exists():
        return Bases(True, dict.fromkeys(LIMITED_BY, root))
    found = sorted(path.resolve() for path in root.glob("*") if (path / "cgroup.procs").exists())
    return Bases(False, {name: path for path in found for name in path.name.split(",")})


def own_groups(bases: Bases) -> dict[str, Path]:
    """Makes (or finds) antei's group below each base: by controller those in which containers can be limited."""
    can = {base: _can_make(base / GROUP) for base in set(bases.directories.values())}
    return {
        name: base / GROUP
        for name, base in bases.directories.items()
        if can[base] and (not bases.is_unified or _is_enabled(base, name))
    }


def make_group(group: Path) -> None:
    """No error where it is there. Raises OSError."""
    group.mkdir(exist_ok=True)
    for name in ("cpuset.cpus", "cpuset.mems"):  # of version 1: a new group has none, and lets no process in
        inherited = group.parent / name
        if inherited.exists() and not _words(group / name):
            (group / name).write_text(inherited.read_text())


def settle() -> None:
    """Hands the controllers of version 2 down to the groups below an ordinary user's own, once it is empty.

    What cannot be handed down is not: limits that need it are not enforced.
    """
    bases = find_bases()
    if not (bases.is_unified and bases.is_delegated):
        return
    for base in set(bases.directories.values()):
        try:
            hand_down(base, sorted(bases.directories))
        except OSError as error:
            _LOG.info("the controllers of %s are not handed down: %s", base, error)


def hand_down(base: Path, controllers: Iterable[str]) -> None:
    """Moves all processes of the group beside those that are to be limited, for it must have none of its own.

    Raises OSError where a controller stays where it is; the others are handed down then, too.
    """
    leaf = base / _LEAF
    leaf.mkdir(exist_ok=True)
    refusals = []
    for name in controllers:
        try:
            _enable(base, leaf, name)
        except OSError as error:
            refusals.append(f"{name}: {error.strerror}")
    if refusals:
        raise OSError(", ".join(refusals))


def release() -> None:
    """Removes an ordinary user's groups of version 1 when nothing is in them; who needs them makes them again."""
    bases = find_bases()
    if bases.is_delegated and not bases.is_unified:
        for base in set(bases.directories.values()):
            with suppress(OSError):
                (base / GROUP).rmdir()


def hierarchies_of(pid: int | str) -> list[Hierarchy]:
    """Of a process ("self": this one); none where it has ended, or the machine has no control groups."""
    try:
        return hierarchies(Path(f"/proc/{pid}/cgroup").read_text(), Path("/proc/self/mountinfo").read_text())
    except OSError:
        return []


def hierarchies(groups: str, mounts: str) -> list[Hierarchy]:
    """From the texts of /proc/PID/cgroup and mountinfo: those in which the process' own group can be seen.

    Named hierarchies are left out; version 2 comes last.
    """
    found: dict[tuple[str, ...], Hierarchy] = {}
    mounted = [_mounted(line) for line in mounts.splitlines() if " - cgroup" in line]
    for line in groups.splitlines():
        _, names, path = line.split(":", 2)
        controllers = tuple(names.split(",")) if names else ()
        if names.startswith("name=") or path.startswith("/.."):  # that is out of the process' control group namespace
            continue
        for kind, root, point, options in mounted:
            is_it = kind == "cgroup" and set(controllers) <= set(options) if controllers else kind == "cgroup2"
            inside = os.path.relpath(path, root)
            if is_it and not inside.startswith(".."):
                found.setdefault(controllers, Hierarchy(controllers, Path(os.path.normpath(f"{point}/{inside}"))))
    return sorted(found.values(), key=lambda each: not each.controllers)


def _mounted(line: str) -> tuple[str, str, str, Sequence[str]]:
    """The kind of file system, the directory of it that is mounted, where, and the options of all of it."""
    before, _, after = line.partition(" - ")
    _, _, _, root, point, *_ = before.split()
    kind, _, options = after.split(" ", 2)
    return kind, root, point, options.strip().split(",")


def _is_ordinary() -> bool:
    return os.geteuid() != 0 or is_own()


def _base(group: Path) -> Path:
    """An antei in the leaf was moved there, by itself or by the one that started it."""
    return group.parent if group.name == _LEAF else group


def _is_ours(group: Path, *files: str) -> bool:
    """To make groups in, and to put processes in them: this needs the right to both ends' nearest common group."""
    return os.access(group, os.W_OK | os.X_OK) and all(
        os.access(group / name, os.W_OK) for name in ("cgroup.procs", *files)
    )


def _can_make(group: Path) -> bool:
    if not (group.parent / "cgroup.procs").exists():
        return False
    try:
        make_group(group)
    except OSError:
        return False
    return os.access(group / "cgroup.procs", os.W_OK)


def _is_enabled(base: Path, controller: str) -> bool:
    """Of version 2: for the groups in antei's own."""
    for group in (base, base / GROUP):
        with suppress(OSError):
            (group / "cgroup.subtree_control").write_text(f"+{controller}")
    return controller in _words(base / GROUP / "cgroup.subtree_control")


def _enable(base: Path, leaf: Path, controller: str) -> None:
    """EBUSY says that there are processes in it. Raises OSError."""
    for left in reversed(range(_ROUNDS)):
        _move(base, leaf)
        try:
            (base / "cgroup.subtree_control").write_text(f"+{controller}")
            return
        except OSError as error:
            if error.errno != errno.EBUSY or left == 0:
                raise


def _move(source: Path, target: Path) -> None:
    """All processes that are in the one itself. Raises OSError."""
    for pid in _words(source / "cgroup.procs"):
        try:
            (target / "cgroup.procs").write_text(pid)
        except ProcessLookupError:  # it has ended
            continue


def _words(file: Path) -> Sequence[str]:
    try:
        return file.read_text().split()
    except OSError:
        return ()
