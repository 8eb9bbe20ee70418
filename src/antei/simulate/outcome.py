"""What came of one simulated run, as plain data that travels between processes and into JSON."""

from __future__ import annotations

import msgspec

__all__ = ["Outcome", "WorkloadOutcome"]


class WorkloadOutcome(msgspec.Struct, frozen=True, rename="camel"):
    """One Service with the workload behind it, from the scenario's first to its last second."""

    name: str  # "deployment/web"
    namespace: str
    service: str
    replicas: int
    sent: int
    lost: int
    by_outcome: dict[str, int]
    lowest_ready: int
    restarts: int
    evictions_refused: int
    budgets_violated: list[str]
    p99_seconds: float


class Outcome(msgspec.Struct, frozen=True, rename="camel"):
    """`digest` is over every write and everything that happened to a container, in order: the whole run in a line."""

    seed: int
    is_finished: bool
    reason: str  # why it did not come to its end
    seconds: float  # from the scenario's first step to its end, or to the limit
    ready_after_seconds: float  # how long the workloads took to get ready at first
    workloads: list[WorkloadOutcome]
    writes: int
    digest: str
    other_evictions_refused: int = 0  # of pods that no Service here stands for

    @property
    def lost(self) -> int:
        return sum(workload.lost for workload in self.workloads)

    @property
    def sent(self) -> int:
        return sum(workload.sent for workload in self.workloads)

    @property
    def evictions_refused(self) -> int:
        return sum(one.evictions_refused for one in self._each_once) + self.other_evictions_refused

    @property
    def restarts(self) -> int:
        return sum(one.restarts for one in self._each_once)

    @property
    def _each_once(self) -> list[WorkloadOutcome]:
        """A workload may have several Services; what happens to its pods happens once."""
        return list({(one.namespace, one.name): one for one in self.workloads}.values())

    @property
    def availability(self) -> float:
        """The lowest share of its replicas that any workload had ready."""
        return min((w.lowest_ready / w.replicas for w in self.workloads if w.replicas), default=1.0)
