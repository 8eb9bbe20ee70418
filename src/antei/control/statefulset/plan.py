"""What one look at a StatefulSet decides: pods to create and delete, claims to make. Pure.

OrderedReady, one pod at a time:

    for each ordinal upwards:  ended → delete it │ absent → create it │ terminating, not available → wait
    for each ordinal too many, downwards: delete it when all others are well
    for each of another revision, downwards to the partition: delete it, maxUnavailable at a time

Parallel takes every one of these steps at once and waits for none; an update waits all the same.
A pod is created only when no pod of its name is left: the new one never meets its predecessor.

Kubernetes: pkg/controller/statefulset/stateful_set_control.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from lightkube.models.core_v1 import PodTemplateSpec
from lightkube.resources.apps_v1 import StatefulSet
from lightkube.resources.core_v1 import PersistentVolumeClaim, Pod

from antei.api.intorpercent import resolve
from antei.api.objects import is_terminating, name_of
from antei.api.pods import is_available, is_ready, is_terminal
from antei.control.pod_state import phase_of
from antei.control.statefulset import identity

__all__ = [
    "Action",
    "CreateClaims",
    "CreatePod",
    "DeletePod",
    "Revisions",
    "Snapshot",
    "UpdateClaim",
    "UpdateLabels",
    "is_running_and_ready",
    "plan",
]


@dataclass(frozen=True, slots=True)
class Revisions:
    """Names of the current and the update revision, and the templates they keep."""

    current_name: str
    current_template: PodTemplateSpec
    update_name: str
    update_template: PodTemplateSpec


@dataclass(frozen=True, slots=True)
class Snapshot:
    stateful_set: StatefulSet
    revisions: Revisions
    pods: tuple[Pod, ...]
    claims: Mapping[str, PersistentVolumeClaim]  # those of its namespace, by name


@dataclass(frozen=True, slots=True)
class CreatePod:
    pod: Pod
    claims: tuple[PersistentVolumeClaim, ...]  # to be made before it


@dataclass(frozen=True, slots=True)
class DeletePod:
    pod: Pod


@dataclass(frozen=True, slots=True)
class CreateClaims:
    """A pending pod lacks claims, for somebody deleted them."""

    pod: Pod
    claims: tuple[PersistentVolumeClaim, ...]


@dataclass(frozen=True, slots=True)
class UpdateClaim:
    claim: PersistentVolumeClaim


@dataclass(frozen=True, slots=True)
class UpdateLabels:
    pod: Pod
    labels: Mapping[str, str]


Action = CreatePod | DeletePod | CreateClaims | UpdateClaim | UpdateLabels


def is_running_and_ready(pod: Pod) -> bool:
    return phase_of(pod) == "Running" and is_ready(pod)


def plan(snapshot: Snapshot, now: datetime) -> list[Action]:
    if is_terminating(snapshot.stateful_set):
        return []
    return _Step(snapshot, now).decide()


class _Step:
    def __init__(self, snapshot: Snapshot, now: datetime) -> None:
        self._set = snapshot.stateful_set
        self._revisions = snapshot.revisions
        self._claims = snapshot.claims
        self._now = now
        self._min_ready_seconds = self._set.spec.minReadySeconds or 0
        self._is_ordered = self._set.spec.podManagementPolicy != "Parallel"
        start = identity.start_ordinal(self._set)
        self._ordinals = range(start, start + identity.replicas_of(self._set))
        by_ordinal = {identity.ordinal_of(pod): pod for pod in snapshot.pods if identity.ordinal_of(pod) >= 0}
        self._replicas: dict[int, Pod | None] = {ordinal: by_ordinal.get(ordinal) for ordinal in self._ordinals}
        self._condemned = [by_ordinal[n] for n in sorted(by_ordinal, reverse=True) if n not in self._ordinals]
        self._actions: list[Action] = []

    def decide(self) -> list[Action]:
        for ordinal in self._ordinals:
            if self._replica(ordinal, self._replicas[ordinal]) and self._is_ordered:
                return self._actions
        for pod in self._condemned:
            self._retain_claims(pod)
        for pod in self._condemned:
            if self._condemn(pod) and self._is_ordered:
                return self._actions
        strategy = self._set.spec.updateStrategy
        if strategy is None or (strategy.type or "RollingUpdate") == "RollingUpdate":
            self._update()
        return self._actions

    def _is_unavailable(self, pod: Pod | None) -> bool:
        return (
            pod is None
            or is_terminating(pod)
            or phase_of(pod) != "Running"
            or not is_available(pod, self._min_ready_seconds, self._now)
        )

    def _replica(self, ordinal: int, pod: Pod | None) -> bool:
        """True when the pods after this one must wait."""
        if pod is None:
            self._create(ordinal)
            return True
        if is_terminal(pod):
            if not is_terminating(pod):
                self._actions.append(DeletePod(pod))
            return True
        if phase_of(pod) == "Pending" and not is_terminating(pod):
            missing = self._missing_claims(ordinal)
            if missing:
                self._actions.append(CreateClaims(pod, missing))
        if self._is_unavailable(pod) and self._is_ordered:
            return True
        if not identity.has_identity(self._set, pod) and not is_terminating(pod):
            self._actions.append(UpdateLabels(pod, identity.identity_labels(self._set, ordinal)))
        self._retain_claims(pod)
        return False

    def _create(self, ordinal: int) -> None:
        name = identity.pod_name(self._set, ordinal)
        wanted = identity.claims_for(self._set, ordinal)
        standing = [self._claims[name_of(claim)] for claim in wanted if name_of(claim) in self._claims]
        if any(is_terminating(claim) or identity.has_stale_owner(claim, name, None) for claim in standing):
            # Its storage is going away; the pod would be bound to nothing. The claim's end brings us back here.
            return
        revision, template = self._revision_for(ordinal)
        pod = identity.new_pod(self._set, template, revision, ordinal)
        self._actions.append(CreatePod(pod, self._missing_claims(ordinal)))

    def _revision_for(self, ordinal: int) -> tuple[str, PodTemplateSpec]:
        """Below the partition a lost pod comes back as it was."""
        if self._strategy_is_rolling() and ordinal < self._ordinals.start + self._partition():
            return self._revisions.current_name, self._revisions.current_template
        return self._revisions.update_name, self._revisions.update_template

    def _missing_claims(self, ordinal: int) -> tuple[PersistentVolumeClaim, ...]:
        wanted = identity.claims_for(self._set, ordinal)
        return tuple(claim for claim in wanted if name_of(claim) not in self._claims)

    def _retain_claims(self, pod: Pod) -> None:
        ordinal = identity.ordinal_of(pod)
        for wanted in identity.claims_for(self._set, ordinal):
            claim = self._claims.get(name_of(wanted))
            if claim is None or is_terminating(claim):
                continue
            kept = identity.with_retention(self._set, claim, ordinal, pod)
            if kept != claim:
                self._actions.append(UpdateClaim(kept))

    def _condemn(self, pod: Pod) -> bool:
        if is_terminating(pod):
            return True
        if self._is_ordered and self._is_unavailable(pod) and pod is not self._first_unavailable():
            return True
        self._actions.append(DeletePod(pod))
        return True

    def _first_unavailable(self) -> Pod | None:
        candidates: Sequence[Pod | None] = [*self._replicas.values(), *reversed(self._condemned)]
        return next((pod for pod in candidates if self._is_unavailable(pod)), None)

    def _strategy_is_rolling(self) -> bool:
        strategy = self._set.spec.updateStrategy
        return strategy is None or (strategy.type or "RollingUpdate") == "RollingUpdate"

    def _partition(self) -> int:
        strategy = self._set.spec.updateStrategy
        rolling = strategy.rollingUpdate if strategy is not None else None
        return (rolling.partition or 0) if rolling is not None else 0

    def _max_unavailable(self) -> int:
        strategy = self._set.spec.updateStrategy
        rolling = strategy.rollingUpdate if strategy is not None else None
        value = rolling.maxUnavailable if rolling is not None else None
        return max(resolve(1 if value is None else value, len(self._ordinals), round_up=False), 1)

    def _update(self) -> None:
        """Deletes pods of another revision, the highest ordinal first.

        A well pod costs one of maxUnavailable, and so does every pod that is not well already. One of an old revision
        that is not well may be replaced without cost, but no more of them at once than an update may take.
        """
        limit = self._max_unavailable()
        unavailable = 0
        in_update = 0
        for pod in self._replicas.values():
            if self._is_unavailable(pod):
                unavailable += 1
                in_update += pod is None or is_terminating(pod) or not self._is_outdated(pod)
        for ordinal in reversed(self._ordinals[self._partition() :]):
            pod = self._replicas[ordinal]
            if pod is None or is_terminating(pod) or is_terminal(pod) or not self._is_outdated(pod):
                continue
            costs_one = not self._is_unavailable(pod)
            if in_update >= limit:
                return
            if costs_one and unavailable >= limit:
                continue
            self._actions.append(DeletePod(pod))
            in_update += 1
            unavailable += costs_one

    def _is_outdated(self, pod: Pod) -> bool:
        return identity.revision_name_of(pod) != self._revisions.update_name
