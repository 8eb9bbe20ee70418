"""Control groups of containers, in version 1, 2 and hybrids of both: what may be limited, who is in one. Blocks."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antei.runtime import Limits
from antei.runtime.process.processes import Process, identify
from antei.runtime.usage import Usage

__all__ = [
    "Controllers",
    "find_controllers",
    "groups_of",
    "members",
    "resources",
    "unlimited",
    "update_options",
    "usage_of",
]

_ROOT = Path("/sys/fs/cgroup")
_PARENT = "antei"
_WANTED = ("memory", "cpu", "pids", "freezer", "devices")
_PERIOD_MICROSECONDS = 100_000  # the kubelet's default cpu-cfs-quota-period
_LEAST_QUOTA_MICROSECONDS = 1_000
_LEAST_SHARES, _MOST_SHARES = 2, 262_144


@dataclass(frozen=True, slots=True)
class Controllers:
    """Those that containers can be limited by; `swap`: memory limits include swap."""

    is_unified: bool
    names: frozenset[str]
    swap: bool = False


def find_controllers(root: Path = _ROOT) -> Controllers:
    """Tries each by making antei's own group, in which runc makes one for each container."""
    if (root / "cgroup.controllers").exists():
        own = root / _PARENT
        with contextlib.suppress(OSError):
            own.mkdir(exist_ok=True)
        enabled = [name for name in _WANTED if _enable(root, name)]
        return Controllers(True, frozenset(enabled), swap=(own / "memory.swap.max").exists())
    usable = [name for name in _WANTED if _can_make(root / name)]
    swap = (root / "memory" / "memory.memsw.limit_in_bytes").exists()
    return Controllers(False, frozenset(usable), swap)


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


def groups_of(pid: int, root: Path = _ROOT) -> tuple[str, ...]:
    """The directories of the groups a process is in; the named hierarchies of version 1 are left out."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return ()
    found = []
    for line in lines:
        _, names, path = line.split(":", 2)
        if path == "/":
            continue
        directory = root / names if names else root
        if (directory / path.lstrip("/")).is_dir() and not names.startswith("name="):
            found.append(str(directory / path.lstrip("/")))
    return tuple(found)


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


def unlimited(controllers: Controllers, limits: Mapping[str, bool]) -> Sequence[str]:
    """Which of the limits that are asked for cannot be set."""
    return [name for name, is_asked in limits.items() if is_asked and name not in controllers.names]


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


def _enable(root: Path, controller: str) -> bool:
    for group in (root, root / _PARENT):
        with contextlib.suppress(OSError):
            (group / "cgroup.subtree_control").write_text(f"+{controller}")
    try:
        return controller in (root / _PARENT / "cgroup.subtree_control").read_text().split()
    except OSError:
        return False


def _can_make(controller: Path) -> bool:
    if not (controller / "cgroup.procs").exists():
        return False
    try:
        (controller / _PARENT).mkdir(exist_ok=True)
    except OSError:
        return False
    return os.access(controller / _PARENT / "cgroup.procs", os.W_OK)
