"""A Deployment's status: counts, and the conditions Available, Progressing and ReplicaFailure. Pure.

    Progressing: NewReplicaSetCreated ─► ReplicaSetUpdated … ─► NewReplicaSetAvailable
                 (True; each step of progress moves lastUpdateTime)  │
                 no progress for progressDeadlineSeconds ───────────► ProgressDeadlineExceeded (False)
                 spec.paused ─► DeploymentPaused (Unknown) ─► DeploymentResumed (Unknown)

Kubernetes: pkg/controller/deployment/progress.go and sync.go (calculateStatus).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from lightkube.models.apps_v1 import DeploymentCondition, DeploymentStatus, ReplicaSetStatus
from lightkube.resources.apps_v1 import Deployment, ReplicaSet

from antei.api import conditions
from antei.api.objects import meta, name_of, replace, to_time
from antei.control.deployment.rolling import bounds_of, size_of

__all__ = [
    "counted_status",
    "deadline_in",
    "found_condition",
    "is_complete",
    "new_condition",
    "paused_status",
    "rollout_status",
    "status_of",
    "with_condition",
    "without_condition",
]

_NO_DEADLINE = 2**31 - 1
_AVAILABLE = "NewReplicaSetAvailable"
_TIMED_OUT = "ProgressDeadlineExceeded"


def status_of(deployment: Deployment) -> DeploymentStatus:
    return deployment.status if deployment.status is not None else DeploymentStatus()


def has_deadline(deployment: Deployment) -> bool:
    seconds = deployment.spec.progressDeadlineSeconds
    return seconds is not None and seconds != _NO_DEADLINE


def new_condition(type: str, status: str, reason: str, message: str, now: datetime) -> DeploymentCondition:
    moment = to_time(now)
    return DeploymentCondition(
        type=type, status=status, reason=reason, message=message, lastUpdateTime=moment, lastTransitionTime=moment
    )


def with_condition(status: DeploymentStatus, new: DeploymentCondition) -> DeploymentStatus:
    """Nothing changes while status and reason stay: not even the message or lastUpdateTime."""
    old = conditions.find(status.conditions, new.type or "")
    if old is not None and old.status == new.status:
        if old.reason == new.reason:
            return status
        new = replace(new, lastTransitionTime=old.lastTransitionTime)
    return replace(without_condition(status, new.type or ""), conditions=[*_others(status, new.type or ""), new])


def without_condition(status: DeploymentStatus, type: str) -> DeploymentStatus:
    return replace(status, conditions=_others(status, type) or None)


def _others(status: DeploymentStatus, type: str) -> list[DeploymentCondition]:
    return [condition for condition in status.conditions or () if condition.type != type]


def _counts(replica_set: ReplicaSet) -> ReplicaSetStatus:
    return replica_set.status if replica_set.status is not None else ReplicaSetStatus(replicas=0)


def counted_status(
    deployment: Deployment,
    base: DeploymentStatus,
    new: ReplicaSet | None,
    everyone: Sequence[ReplicaSet],
    now: datetime,
) -> DeploymentStatus:
    """Counts and Available; `base` is the status whose other conditions are kept. Zero counts are left out."""
    available = sum(_counts(replica_set).availableReplicas or 0 for replica_set in everyone)
    wanted = sum(size_of(replica_set) for replica_set in everyone)
    status = DeploymentStatus(
        observedGeneration=meta(deployment).generation,
        replicas=sum(_counts(replica_set).replicas for replica_set in everyone) or None,
        updatedReplicas=(_counts(new).replicas or None) if new is not None else None,
        readyReplicas=sum(_counts(replica_set).readyReplicas or 0 for replica_set in everyone) or None,
        availableReplicas=available or None,
        unavailableReplicas=max(wanted - available, 0) or None,
        terminatingReplicas=sum(_counts(replica_set).terminatingReplicas or 0 for replica_set in everyone),
        collisionCount=base.collisionCount,
        conditions=base.conditions,
    )
    if available >= bounds_of(deployment).min_available:
        standing = ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        standing = ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    return with_condition(status, new_condition("Available", *standing, now))


def paused_status(deployment: Deployment, status: DeploymentStatus, now: datetime) -> DeploymentStatus:
    """The status with the condition of a pause or of its end, so that a pause is not taken for lack of progress."""
    if not has_deadline(deployment):
        return status
    current = conditions.find(status.conditions, "Progressing")
    if current is not None and current.reason == _TIMED_OUT:
        return status
    was_paused = current is not None and current.reason == "DeploymentPaused"
    if deployment.spec.paused and not was_paused:
        return with_condition(
            status, new_condition("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", now)
        )
    if not deployment.spec.paused and was_paused:
        return with_condition(
            status, new_condition("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", now)
        )
    return status


def found_condition(
    deployment: Deployment, status: DeploymentStatus, new: ReplicaSet, created: bool, now: datetime
) -> DeploymentStatus:
    """The status after the new ReplicaSet was made, or found by a Deployment that has no Progressing condition yet."""
    if not has_deadline(deployment):
        return status
    if created:
        message = f'Created new replica set "{name_of(new)}"'
        return with_condition(status, new_condition("Progressing", "True", "NewReplicaSetCreated", message, now))
    if conditions.find(status.conditions, "Progressing") is None:
        message = f'Found new replica set "{name_of(new)}"'
        return with_condition(status, new_condition("Progressing", "True", "FoundNewReplicaSet", message, now))
    return status


def is_complete(deployment: Deployment, status: DeploymentStatus) -> bool:
    """All replicas are of the new template and available, and no others are left."""
    replicas = bounds_of(deployment).replicas
    return (
        (status.updatedReplicas or 0) == replicas
        and (status.replicas or 0) == replicas
        and (status.availableReplicas or 0) == replicas
        and (status.observedGeneration or 0) >= (meta(deployment).generation or 0)
    )


def rollout_status(
    deployment: Deployment,
    base: DeploymentStatus,
    new: ReplicaSet | None,
    everyone: Sequence[ReplicaSet],
    now: datetime,
) -> DeploymentStatus:
    """`counted_status` with progress judged against the status of before, `base`."""
    status = counted_status(deployment, base, new, everyone, now)
    current = conditions.find(base.conditions, "Progressing")
    if not has_deadline(deployment):
        status = without_condition(status, "Progressing")
    elif not _was_complete(status, current):
        status = _judged(deployment, base, status, current, new, now)
    failures = [
        condition
        for replica_set in [*([new] if new is not None else []), *everyone]
        for condition in _counts(replica_set).conditions or ()
        if condition.type == "ReplicaFailure"
    ]
    if not failures:
        return without_condition(status, "ReplicaFailure")
    first = failures[0]
    return with_condition(
        status,
        DeploymentCondition(
            type="ReplicaFailure",
            status=first.status,
            reason=first.reason,
            message=first.message,
            lastUpdateTime=first.lastTransitionTime,
            lastTransitionTime=first.lastTransitionTime,
        ),
    )


def _was_complete(status: DeploymentStatus, current: DeploymentCondition | None) -> bool:
    """Only the new ReplicaSet has pods and the rollout has ended before: a later loss of a pod is no rollout."""
    return (
        (status.replicas or 0) == (status.updatedReplicas or 0) and current is not None and current.reason == _AVAILABLE
    )


def _judged(
    deployment: Deployment,
    base: DeploymentStatus,
    status: DeploymentStatus,
    current: DeploymentCondition | None,
    new: ReplicaSet | None,
    now: datetime,
) -> DeploymentStatus:
    subject = f'ReplicaSet "{name_of(new)}"' if new is not None else f'Deployment "{name_of(deployment)}"'
    if is_complete(deployment, status):
        message = f"{subject} has successfully progressed."
        return with_condition(status, new_condition("Progressing", "True", _AVAILABLE, message, now))
    if _has_progressed(base, status):
        condition = new_condition("Progressing", "True", "ReplicaSetUpdated", f"{subject} is progressing.", now)
        if current is not None and current.status == "True":
            condition = replace(condition, lastTransitionTime=current.lastTransitionTime)
        # Removed first: with the same reason as before it must still get its new lastUpdateTime.
        return with_condition(without_condition(status, "Progressing"), condition)
    if current is not None and _is_timed_out(deployment, current, now):
        message = f"{subject} has timed out progressing."
        return with_condition(status, new_condition("Progressing", "False", _TIMED_OUT, message, now))
    return status


def _has_progressed(old: DeploymentStatus, new: DeploymentStatus) -> bool:
    old_others = (old.replicas or 0) - (old.updatedReplicas or 0)
    new_others = (new.replicas or 0) - (new.updatedReplicas or 0)
    return (
        (new.updatedReplicas or 0) > (old.updatedReplicas or 0)
        or new_others < old_others
        or (new.readyReplicas or 0) > (old.readyReplicas or 0)
        or (new.availableReplicas or 0) > (old.availableReplicas or 0)
    )


def _is_timed_out(deployment: Deployment, current: DeploymentCondition, now: datetime) -> bool:
    if current.reason == _AVAILABLE:
        return False
    return current.reason == _TIMED_OUT or _deadline(deployment, current) <= now


def _deadline(deployment: Deployment, current: DeploymentCondition) -> datetime:
    since = current.lastUpdateTime or current.lastTransitionTime
    if since is None:
        raise ValueError("a Progressing condition without a time")
    return since + timedelta(seconds=deployment.spec.progressDeadlineSeconds or 0)


def deadline_in(deployment: Deployment, status: DeploymentStatus, now: datetime) -> float | None:
    """Seconds until lack of progress has to be judged again; None when there is nothing to wait for.

    Kubernetes adds a second for the skew between its clocks; here there is one clock.
    """
    current = conditions.find(status.conditions, "Progressing")
    if not has_deadline(deployment) or current is None or deployment.spec.paused:
        return None
    if is_complete(deployment, status) or current.reason in (_TIMED_OUT, _AVAILABLE):
        return None
    return max((_deadline(deployment, current) - now).total_seconds(), 0.0)
