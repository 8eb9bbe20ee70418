"""Who depends on whom, as behaviours say it, and whether what somebody depends on is there now.

    statefulset/mysql: none of its pods answers ──► who depends on it is asked anew: readiness fails, requests are
                       one answers again          errors ──► likewise: they succeed

Workloads are named "mysql" or "statefulset/mysql", in the namespace of whom they are named by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from antei.runtime.simulated import Happening, SimulatedRuntime

__all__ = ["Dependencies"]

_CHANGES = frozenset({"started", "listening", "stopping", "hung", "resumed", "exited", "cut", "rejoined"})
_Name = tuple[str, str]  # namespace, workload


@dataclass(slots=True)
class _Depended:
    """A workload that somebody depends on."""

    dependents: dict[str, None] = field(default_factory=dict)  # uids of pods
    serves: bool | None = None  # None: nobody has asked


class Dependencies:
    def __init__(self, runtime: SimulatedRuntime) -> None:
        self._runtime = runtime
        self._pods: dict[_Name, dict[str, None]] = {}  # uids of the pods that have started a container
        self._workload_of: dict[str, _Name] = {}
        self._depended: dict[_Name, _Depended] = {}
        self._subscribers: list[Callable[[], None]] = []
        runtime.listen(self._happened)

    def subscribe(self, subscriber: Callable[[], None]) -> None:
        """Told after something that is depended on went away or came back; must not block."""
        self._subscribers.append(subscriber)

    def starts(self, pod_uid: str, namespace: str, workload: str, needs: tuple[str, ...]) -> Callable[[], bool]:
        """A container of this pod is about to start: what tells whether all that it needs is there."""
        name = namespace, workload
        self._pods.setdefault(name, {})[pod_uid] = None
        self._workload_of[pod_uid] = name
        for need in _named(namespace, needs):
            self._depended.setdefault(need, _Depended()).dependents[pod_uid] = None
        return partial(self.are_there, namespace, needs)

    def are_there(self, namespace: str, needs: tuple[str, ...]) -> bool:
        return all(self._serves(need) for need in _named(namespace, needs))

    def _serves(self, name: _Name) -> bool:
        depended = self._depended.setdefault(name, _Depended())
        if depended.serves is None:
            depended.serves = self._looked_at(name)
        return depended.serves

    def _looked_at(self, name: _Name) -> bool:
        return any(self._runtime.serves(uid) for uid in self._pods.get(name, ()))

    def _happened(self, happening: Happening, pod_uid: str) -> None:
        name = self._workload_of.get(pod_uid)
        if happening.what == "sandbox-removed":
            self._forget(pod_uid)
        depended = self._depended.get(name) if name is not None else None
        if name is None or depended is None or happening.what not in _CHANGES:
            return
        before, depended.serves = depended.serves, self._looked_at(name)
        if before is not None and before != depended.serves:
            for uid in depended.dependents:
                self._runtime.disturb(uid)
            for subscriber in self._subscribers:
                subscriber()

    def _forget(self, pod_uid: str) -> None:
        name = self._workload_of.pop(pod_uid, None)
        if name is not None:
            self._pods[name].pop(pod_uid, None)
        for depended in self._depended.values():
            depended.dependents.pop(pod_uid, None)


def _named(namespace: str, needs: tuple[str, ...]) -> list[_Name]:
    return [(namespace, need.rpartition("/")[2]) for need in needs]
