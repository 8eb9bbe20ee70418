"""What containers without a cgroup of their own use: the sum over the processes below their first one.

Processor time includes that of children which have ended and were waited for. Memory is the resident set, so that
pages which several processes share count for each of them.
"""

from __future__ import annotations

from collections.abc import Mapping

import psutil

from antei.runtime.usage import Usage

__all__ = ["usage_of"]


def usage_of(roots: Mapping[str, int]) -> dict[str, Usage]:
    """By container id; `roots` has the pid of each one's first process. Reads /proc once: call it in a thread."""
    parents: dict[int, int] = {}
    used: dict[int, tuple[float, int]] = {}
    for process in psutil.process_iter(["ppid", "cpu_times", "memory_info"]):
        times, memory = process.info["cpu_times"], process.info["memory_info"]
        if times is None or memory is None:
            continue  # it has ended meanwhile, or is another user's
        parents[process.pid] = process.info["ppid"]
        waited = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
        used[process.pid] = (times.user + times.system + waited, memory.rss)
    owners = {pid: container for container, pid in roots.items()}
    totals: dict[str, tuple[float, int]] = {}
    for pid, (seconds, size) in used.items():
        container = _owner(pid, parents, owners)
        if container is not None:
            before = totals.get(container, (0.0, 0))
            totals[container] = (before[0] + seconds, before[1] + size)
    return {container: Usage(*total) for container, total in totals.items()}


def _owner(pid: int, parents: Mapping[int, int], owners: Mapping[int, str]) -> str | None:
    """The container whose first process is this one or above it."""
    seen = set()
    while pid in parents and pid not in seen:
        if pid in owners:
            return owners[pid]
        seen.add(pid)
        pid = parents[pid]
    return None
