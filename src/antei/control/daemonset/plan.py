"""What one look at a DaemonSet decides: on which nodes pods are created, which pods are deleted, its status. Pure.

    per node:  wanted, none there → create          not wanted (any more) → delete
               ended → delete (failed ones after a backoff)   several → keep the oldest of each revision
    update:    old pods are deleted as far as maxUnavailable lets them; with maxSurge a new one first joins the old

Kubernetes: pkg/controller/daemon/daemon_controller.go (manage, updateDaemonSetStatus) and update.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from lightkube.models.apps_v1 import DaemonSetStatus
from lightkube.resources.apps_v1 import DaemonSet
from lightkube.resources.core_v1 import Node, Pod

from antei.api.intorpercent import resolve
from antei.api.objects import is_terminating, labels_of, meta, name_of
from antei.api.pods import is_available, is_ready, is_terminal
from antei.control.daemonset.placement import REVISION_LABEL, Fit, fit_of, target_node
from antei.control.pod_state import phase_of

__all__ = ["Plan", "Snapshot", "daemon_set_status", "plan"]

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Snapshot:
    daemon_set: DaemonSet
    nodes: tuple[Node, ...]
    pods: tuple[Pod, ...]
    revision_hash: str
    failed_wait_seconds: Mapping[str, float]  # by node: how long a failed pod there must still be kept
    has_unseen_writes: bool


@dataclass(frozen=True, slots=True)
class Plan:
    create: tuple[str, ...] = ()  # names of nodes
    delete: tuple[Pod, ...] = ()
    ended: tuple[Pod, ...] = ()  # those of `delete` that had ended by themselves
    requeue_seconds: float | None = None


def plan(snapshot: Snapshot, now: datetime) -> Plan:
    if snapshot.has_unseen_writes or is_terminating(snapshot.daemon_set):
        return Plan()
    return _Step(snapshot, now).decide()


def _by_node(snapshot: Snapshot) -> dict[str, list[Pod]]:
    pods: dict[str, list[Pod]] = {}
    for pod in snapshot.pods:
        pods.setdefault(target_node(pod), []).append(pod)
    return pods


def _is_new(pod: Pod, revision_hash: str) -> bool:
    return labels_of(pod).get(REVISION_LABEL) == revision_hash


class _Step:
    def __init__(self, snapshot: Snapshot, now: datetime) -> None:
        self._snapshot = snapshot
        self._set = snapshot.daemon_set
        self._now = now
        self._pods = _by_node(snapshot)
        self._fits = {name_of(node): fit_of(self._set, node) for node in snapshot.nodes}
        self._create: list[str] = []
        self._delete: list[Pod] = []
        self._ended: list[Pod] = []
        self._waits: list[float] = []
        desired = sum(fit.should_run for fit in self._fits.values())
        self._max_surge, self._max_unavailable = self._margins(desired)

    def decide(self) -> Plan:
        for node_name, fit in self._fits.items():
            self._manage(node_name, fit)
        for node_name, pods in self._pods.items():
            if node_name and node_name not in self._fits:
                # Its node is gone. One that runs is the garbage collector's; one not bound yet never will be.
                self._delete += [pod for pod in pods if not is_terminating(pod) and phase_of(pod) == "Pending"]
        if self._is_rolling() and not self._create and not self._delete:
            if self._max_surge == 0:
                self._replace_old()
            else:
                self._surge()
        return Plan(tuple(self._create), tuple(self._delete), tuple(self._ended), min(self._waits, default=None))

    def _manage(self, node_name: str, fit: Fit) -> None:
        pods = self._pods.get(node_name, [])
        if not fit.may_stay:
            self._delete += [pod for pod in pods if not is_terminating(pod)]
            return
        if not pods:
            if fit.should_run:
                self._create.append(node_name)
            return
        running = []
        for pod in pods:
            if is_terminating(pod):
                continue
            if is_terminal(pod):
                self._remove_ended(node_name, pod)
            else:
                running.append(pod)
        self._remove_surplus(running)

    def _remove_ended(self, node_name: str, pod: Pod) -> None:
        wait_seconds = self._snapshot.failed_wait_seconds.get(node_name, 0.0) if phase_of(pod) == "Failed" else 0.0
        if wait_seconds > 0:
            self._waits.append(wait_seconds)
            return
        self._delete.append(pod)
        self._ended.append(pod)

    def _remove_surplus(self, running: list[Pod]) -> None:
        """Of several on one node the oldest stays; while an update surges, the oldest of each revision."""
        groups = [running]
        if self._max_surge > 0:
            groups = [
                [pod for pod in running if self._is_new(pod)],
                [pod for pod in running if not self._is_new(pod)],
            ]
            new, old = groups
            if any(self._is_available(pod) for pod in new):
                self._delete += old
                groups = [new]
        for group in groups:
            self._delete += sorted(group, key=_age)[1:]

    def _is_rolling(self) -> bool:
        strategy = self._set.spec.updateStrategy
        return strategy is None or (strategy.type or "RollingUpdate") == "RollingUpdate"

    def _margins(self, desired: int) -> tuple[int, int]:
        """(maxSurge, maxUnavailable), both rounded up; one of them is at least 1."""
        strategy = self._set.spec.updateStrategy
        rolling = strategy.rollingUpdate if strategy is not None else None
        if not self._is_rolling():
            return 0, 0
        surge = rolling.maxSurge if rolling is not None else None
        unavailable = rolling.maxUnavailable if rolling is not None else None
        max_surge = resolve(0 if surge is None else surge, desired, round_up=True)
        max_unavailable = resolve(1 if unavailable is None else unavailable, desired, round_up=True)
        return max_surge, max_unavailable if max_surge or max_unavailable else 1

    def _is_new(self, pod: Pod) -> bool:
        return _is_new(pod, self._snapshot.revision_hash)

    def _is_available(self, pod: Pod) -> bool:
        return not is_terminating(pod) and is_available(pod, self._set.spec.minReadySeconds or 0, self._now)

    def _replace_old(self) -> None:
        """An old pod that is not available goes at once, an available one costs one of maxUnavailable."""
        unavailable = 0
        costly: list[Pod] = []
        for node_name, fit in self._fits.items():
            if not fit.should_run:
                continue
            pods = self._pods.get(node_name, [])
            if not any(self._is_available(pod) for pod in pods):
                unavailable += 1
                self._delete += [p for p in pods if not self._is_new(p) and not is_terminating(p)]
            else:
                costly += [p for p in pods if not self._is_new(p) and self._is_available(p)]
        self._delete += costly[: max(self._max_unavailable - unavailable, 0)]

    def _surge(self) -> None:
        """A new pod beside the old one, on maxSurge nodes at a time; where the old one is not well, without cost."""
        surging = 0
        candidates: list[str] = []
        for node_name, fit in self._fits.items():
            pods = [pod for pod in self._pods.get(node_name, []) if not is_terminating(pod)]
            if not fit.should_run or not pods:
                continue
            new = [pod for pod in pods if self._is_new(pod)]
            if new:
                surging += not any(self._is_available(pod) for pod in new)
            elif any(self._is_available(pod) for pod in pods):
                candidates.append(node_name)
            else:
                self._create.append(node_name)
        self._create += candidates[: max(self._max_surge - surging, 0)]


def _age(pod: Pod) -> tuple[datetime, str]:
    return meta(pod).creationTimestamp or _NEVER, name_of(pod)


def daemon_set_status(snapshot: Snapshot, collision_count: int | None, now: datetime) -> DaemonSetStatus:
    daemon_set = snapshot.daemon_set
    by_node = _by_node(snapshot)
    desired = scheduled = misscheduled = ready = available = updated = 0
    for node in snapshot.nodes:
        pods = sorted(by_node.get(name_of(node), []), key=_age)
        if not fit_of(daemon_set, node).should_run:
            misscheduled += bool(pods)
            continue
        desired += 1
        if not pods:
            continue
        scheduled += 1
        best = next((pod for pod in pods if not is_terminating(pod)), pods[0])
        if is_ready(best):
            ready += 1
            available += is_available(best, daemon_set.spec.minReadySeconds or 0, now)
        updated += any(_is_new(pod, snapshot.revision_hash) for pod in pods)
    return DaemonSetStatus(
        currentNumberScheduled=scheduled,
        desiredNumberScheduled=desired,
        numberMisscheduled=misscheduled,
        numberReady=ready,
        updatedNumberScheduled=updated or None,
        numberAvailable=available or None,
        numberUnavailable=(desired - available) or None,
        observedGeneration=meta(daemon_set).generation,
        collisionCount=collision_count,
        conditions=daemon_set.status.conditions if daemon_set.status is not None else None,
    )
