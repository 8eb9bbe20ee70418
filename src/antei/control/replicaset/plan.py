"""How many pods a ReplicaSet creates or deletes, which ones, and what its status says. Pure.

Kubernetes: pkg/controller/replicaset/replica_set.go (manageReplicas) and replica_set_utils.go (calculateStatus).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from lightkube.models.apps_v1 import ReplicaSetCondition, ReplicaSetStatus
from lightkube.models.core_v1 import PodTemplateSpec, ReplicationControllerCondition, ReplicationControllerStatus
from lightkube.resources.core_v1 import Pod

from antei.api import conditions
from antei.api.objects import to_time
from antei.api.pods import is_available
from antei.control.pod_control import BURST
from antei.control.pod_state import in_deletion_order
from antei.control.replicaset.census import Group, PodState

__all__ = [
    "Failure",
    "Groups",
    "Plan",
    "Snapshot",
    "count_pods",
    "plan",
    "replica_set_status",
    "replication_controller_status",
]

#: A set's active pods.
Groups = Mapping[Group, Sequence[Pod]]
C = TypeVar("C", ReplicaSetCondition, ReplicationControllerCondition)


@dataclass(frozen=True, slots=True)
class Snapshot:
    replicas: int
    active: int  # how many pods of its own are neither finished nor being deleted
    is_deleting: bool  # the set itself is being deleted
    has_unseen_writes: bool
    surplus_from: tuple[Pod, ...] = ()  # the active ones, where there are too many
    related: tuple[Pod, ...] = ()  # then also those of all sets with the same owner, its own included


@dataclass(frozen=True, slots=True)
class Plan:
    create: int = 0
    delete: tuple[Pod, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the pods could not be brought to their number."""

    reason: str  # FailedCreate or FailedDelete
    message: str


def plan(snapshot: Snapshot, now: datetime) -> Plan:
    """At most 500 pods at a time. A pod that is being deleted does not count: its replacement is made at once."""
    if snapshot.has_unseen_writes or snapshot.is_deleting:
        return Plan()
    surplus = snapshot.active - snapshot.replicas
    if surplus < 0:
        return Plan(create=min(-surplus, BURST))
    if surplus > 0:
        ordered = in_deletion_order(snapshot.surplus_from, snapshot.related, now)
        return Plan(delete=tuple(ordered[: min(surplus, BURST)]))
    return Plan()


@dataclass(frozen=True, slots=True)
class Counts:
    replicas: int
    fully_labelled: int
    ready: int
    available: int


def count_pods(groups: Groups, template: PodTemplateSpec | None, min_ready_seconds: int, now: datetime) -> Counts:
    """Of a set's active pods."""
    labels = (template.metadata.labels if template is not None and template.metadata is not None else None) or {}
    wanted = labels.items()
    replicas = fully_labelled = ready = available = 0
    for group, pods in groups.items():
        replicas += len(pods)
        if wanted <= group.labels:
            fully_labelled += len(pods)
        if group.state is PodState.READY:
            ready += len(pods)
            available += (
                len(pods) if min_ready_seconds <= 0 else sum(is_available(pod, min_ready_seconds, now) for pod in pods)
            )
    return Counts(replicas, fully_labelled, ready, available)


def replica_set_status(
    old: ReplicaSetStatus | None,
    counts: Counts,
    terminating: int,
    generation: int | None,
    failure: Failure | None,
    now: datetime,
) -> ReplicaSetStatus:
    """Counts of zero are left out, as Kubernetes' omitempty does, but for replicas and terminatingReplicas."""
    return ReplicaSetStatus(
        replicas=counts.replicas,
        fullyLabeledReplicas=counts.fully_labelled or None,
        readyReplicas=counts.ready or None,
        availableReplicas=counts.available or None,
        terminatingReplicas=terminating,
        observedGeneration=generation,
        conditions=_with_failure(old, failure, ReplicaSetCondition, now),
    )


def replication_controller_status(
    old: ReplicationControllerStatus | None,
    counts: Counts,
    generation: int | None,
    failure: Failure | None,
    now: datetime,
) -> ReplicationControllerStatus:
    return ReplicationControllerStatus(
        replicas=counts.replicas,
        fullyLabeledReplicas=counts.fully_labelled or None,
        readyReplicas=counts.ready or None,
        availableReplicas=counts.available or None,
        observedGeneration=generation,
        conditions=_with_failure(old, failure, ReplicationControllerCondition, now),
    )


def _with_failure(
    old: ReplicaSetStatus | ReplicationControllerStatus | None, failure: Failure | None, kind: type[C], now: datetime
) -> list[C] | None:
    """The conditions with ReplicaFailure as long as there is one; one that stands keeps its first reason."""
    known: list[Any] = (old.conditions if old is not None else None) or []
    kept = [condition for condition in known if condition.type != "ReplicaFailure"]
    if failure is not None:
        new = kind(
            type="ReplicaFailure",
            status="True",
            reason=failure.reason,
            message=failure.message,
            lastTransitionTime=to_time(now),
        )
        kept.append(conditions.find(known, "ReplicaFailure") or new)
    return kept or None
