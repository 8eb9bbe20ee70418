"""Control groups of containers, in version 1, 2 and hybrids of both: what may be limited, who is in one. Blocks."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antei.runtime import Limits
from antei.runtime.process.processes import Process, identify
from antei.runtime.usage import Usage
from antei.world.control_groups import GROUP, Bases, find_bases, hierarchies_of, own_groups

__all__ = [
    "Controllers",
    "find_controllers",
    "groups_of",
    "members",
    "not_enforced",
    "resources",
    "update_options",
    "usage_of",
]

_UNIFIED = Path("/sys/fs/cgroup")
_WANTED = ("memory", "cpu", "pids", "freezer", "devices")
_PERIOD_MICROSECONDS = 100_000  # the kubelet's default cpu-cfs-quota-period
_LEAST_QUOTA_MICROSECONDS = 1_000
_LEAST_SHARES, _MOST_SHARES = 2, 262_144


@dataclass(frozen=True, slots=True)
class Controllers:
    """Those that containers can be limited by; `swap`: memory limits include swap.

    own: antei's group in each hierarchy, those of pods and containers are in them. path: how runc is told of them,
    which is relative to those that it is started in, or not; None: it is not told, and makes its own below those.
    """

    is_unified: bool
    names: frozenset[str]
    swap: bool = False
    own: tuple[Path, ...] = ()
    path: str | None = f"/{GROUP}"


def find_controllers(bases: Bases | None = None) -> Controllers:
    """Tries each by making antei's own group.

    Of several hierarchies an ordinary user may have some only: told of a path, runc insists on having a group in each
    of them (libcontainer/cgroups/fs/fs.go, Apply). Without one it is started in antei's groups; not in those of pods,
    for it would need more than many of them may have.
    """
    bases = find_bases() if bases is None else bases
    groups = own_groups(bases)
    memory = groups.get("memory")
    limit_with_swap = "memory.swap.max" if bases.is_unified else "memory.memsw.limit_in_bytes"
    where = memory if bases.is_unified else bases.directories.get("memory")
    path: str | None = f"/{GROUP}"
    if bases.is_delegated and bases.is_unified:
        path = next(map(_path_of, groups.values()), None)
    elif bases.is_delegated:
        path = GROUP if bases.is_whole else None
    return Controllers(
        bases.is_unified,
        frozenset(groups) & frozenset(_WANTED),
        swap=where is not None and (where / limit_with_swap).exists(),
        own=tuple(sorted(set(groups.values()))),
        path=path,
    )


def resources(
    controllers: Controllers, limits: Limits, *, pids_limit: int = 0, privileged: bool = False
) -> dict[str, Any]:
    """`linux.resources`: what can be limited here (Kubernetes: pkg/kubelet/cm/helpers_linux.go). pids_limit 0: none."""
    found: dict[str, Any] = {"devices": [{"allow": privileged, "access": "rwm"}]}
    if limits.memory_bytes and "memory" in controllers.names:
        found["memory"] = {"limit": limits.memory_bytes}
        if controllers.swap:
            found["memory"]["swap"] = limits.memory_bytes
        if controllers.is_unified:
            found["unified"] = {"memory.oom.group": "1"}
    if "cpu" in controllers.names:
        shares = (limits.cpu_request_millis or 0) * 1024 // 1000
        found["cpu"] = {"shares": min(_MOST_SHARES, max(_LEAST_SHARES, shares))}
        if limits.cpu_millis:
            quota = max(_LEAST_QUOTA_MICROSECONDS, limits.cpu_millis * _PERIOD_MICROSECONDS // 1000)
            found["cpu"] |= {"quota": quota, "period": _PERIOD_MICROSECONDS}
    if pids_limit > 0 and "pids" in controllers.names:
        found["pids"] = {"limit": pids_limit}
    return found


def update_options(controllers: Controllers, limits: Limits) -> list[str]:
    """`runc update`'s options for these limits; those that this machine cannot set are left out."""
    wanted = resources(controllers, limits)
    options = []
    if "memory" in controllers.names:
        memory = wanted.get("memory", {"limit": -1} | ({"swap": -1} if controllers.swap else {}))
        options += ["--memory", str(memory["limit"])]
        options += ["--memory-swap", str(memory["swap"])] if "swap" in memory else []
    if "cpu" in wanted:
        cpu = {"quota": -1, "period": _PERIOD_MICROSECONDS} | wanted["cpu"]
        for name, option in (("shares", "--cpu-share"), ("quota", "--cpu-quota"), ("period", "--cpu-period")):
            options += [option, str(cpu[name])]
    return options


def groups_of(pid: int, container_id: str) -> tuple[str, ...]:
    """The directories of the container's groups, by any of its processes: runc calls them as it calls the container.

    What else the process is in, may be antei's or anybody's.
    """
    return tuple(str(each.group) for each in hierarchies_of(pid) if each.group.name.startswith(container_id[:32]))


def members(groups: Iterable[str]) -> list[Process]:
    """All processes of a container, those below its own groups (of a nested container) included."""
    pids: dict[int, None] = {}
    for group in groups:
        for directory, _, _ in os.walk(group):
            with contextlib.suppress(OSError, ValueError):
                pids |= dict.fromkeys(int(line) for line in (Path(directory) / "cgroup.procs").read_text().split())
        if pids:
            break
    return [process for pid in pids if (process := identify(pid)) is not None]


def not_enforced(controllers: Controllers, limits: Limits, of_pod: Limits) -> list[str]:
    """Which limits of a container, and of its pod as a whole, are asked for and cannot be set: a sentence each."""
    messages = []
    for field, asked in (("spec.resources", of_pod), ("resources", limits)):
        for name, amount in (("memory", asked.memory_bytes), ("cpu", asked.cpu_millis)):
            why = "" if name in controllers.names else f"antei has no {name} cgroup"
            if not why and asked is of_pod and controllers.path is None:
                why = "antei lacks a group in some hierarchy of version 1"
            if amount is not None and why:
                messages.append(f"{field}.limits.{name}: counted by the scheduler, not enforced: {why}")
    return messages


def usage_of(containers: Mapping[str, Iterable[str]]) -> dict[str, Usage]:
    """By container id, from its groups; memory is the working set, as the kubelet has it: without inactive files."""
    found = {}
    for container, groups in containers.items():
        seconds = memory = None
        inactive = 0
        for group in map(Path, groups):
            seconds = _number(group / "cpuacct.usage", 1e-9, seconds)
            seconds = _number(group / "cpu.stat", 1e-6, seconds, "usage_usec")
            for name in ("memory.usage_in_bytes", "memory.current"):
                memory = _number(group / name, 1, memory)
            for name in ("total_inactive_file", "inactive_file"):
                inactive = int(_number(group / "memory.stat", 1, None, name) or inactive)
        if seconds is not None and memory is not None:
            found[container] = Usage(seconds, max(0, int(memory) - inactive))
    return found


def _number(path: Path, factor: float, otherwise: float | None, key: str = "") -> float | None:
    """The one number in the file, or that behind a key; `otherwise` where there is none."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
        return next((float(fields[-1]) * factor for fields in lines if not key or fields[0] == key), otherwise)
    except (OSError, ValueError, IndexError):
        return otherwise


def _path_of(group: Path) -> str:
    """As runc has it: below where version 2 is mounted for sure."""
    return f"/{group.relative_to(_UNIFIED)}"
