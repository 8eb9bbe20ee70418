"""Has a workload reached what its manifest declares? The answers of `kubectl rollout status`, and more kinds.

Sources: k8s.io/kubectl/pkg/polymorphichelpers/rollout_status.go; Jobs, Pods and claims by their own conditions.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from lightkube.resources.apps_v1 import DaemonSet, Deployment, ReplicaSet, StatefulSet
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import PersistentVolumeClaim, Pod

from antei.api.conditions import find
from antei.api.objects import is_terminating, meta, name_of
from antei.api.pods import is_ready

__all__ = ["RolloutState", "RolloutStatus", "rollout_status"]


class RolloutState(StrEnum):
    DONE = "done"
    WAITING = "waiting"
    FAILED = "failed"  # it will not get there by itself


@dataclass(frozen=True, slots=True)
class RolloutStatus:
    state: RolloutState
    message: str


def rollout_status(obj: Any) -> RolloutStatus:
    """The state of any object; kinds that have nothing to wait for are done."""
    match obj:
        case Deployment():
            return _deployment(obj)
        case StatefulSet():
            return _stateful_set(obj)
        case DaemonSet():
            return _daemon_set(obj)
        case ReplicaSet():
            return _replica_set(obj)
        case Job():
            return _job(obj)
        case Pod():
            return _pod(obj)
        case PersistentVolumeClaim():
            return _claim(obj)
        case _:
            return _done("nothing to wait for")


def _done(message: str) -> RolloutStatus:
    return RolloutStatus(RolloutState.DONE, message)


def _waiting(message: str) -> RolloutStatus:
    return RolloutStatus(RolloutState.WAITING, message)


def _failed(message: str) -> RolloutStatus:
    return RolloutStatus(RolloutState.FAILED, message)


def _is_observed(obj: Any) -> bool:
    status = obj.status
    return status is not None and (status.observedGeneration or 0) >= (meta(obj).generation or 0)


def _deployment(obj: Deployment) -> RolloutStatus:
    spec, status = obj.spec, obj.status
    if spec is None or status is None or not _is_observed(obj):
        return _waiting("waiting for its spec to be observed")
    progressing = find(status.conditions, "Progressing")
    if progressing is not None and progressing.reason == "ProgressDeadlineExceeded":
        return _failed(f"exceeded its progress deadline: {progressing.message}")
    replicas = 1 if spec.replicas is None else spec.replicas
    updated, available = status.updatedReplicas or 0, status.availableReplicas or 0
    if updated < replicas:
        return _waiting(f"{updated} of {replicas} new replicas have been updated")
    if (status.replicas or 0) > updated:
        return _waiting(f"{(status.replicas or 0) - updated} old replicas are pending termination")
    if available < updated:
        return _waiting(f"{available} of {updated} updated replicas are available")
    return _done(f"{available} of {replicas} replicas are available")


def _stateful_set(obj: StatefulSet) -> RolloutStatus:
    spec, status = obj.spec, obj.status
    if spec is None or status is None or not _is_observed(obj):
        return _waiting("waiting for its spec to be observed")
    replicas = 1 if spec.replicas is None else spec.replicas
    ready = status.readyReplicas or 0
    if ready < replicas:
        return _waiting(f"{ready} of {replicas} pods are ready")
    strategy = spec.updateStrategy
    if strategy is not None and strategy.type == "OnDelete":
        return _done(f"{ready} of {replicas} pods are ready")
    partition = (strategy.rollingUpdate.partition or 0) if strategy and strategy.rollingUpdate else 0
    updated = status.updatedReplicas or 0
    if status.updateRevision != status.currentRevision and updated < replicas - partition:
        return _waiting(f"{updated} of {replicas - partition} pods have been updated")
    return _done(f"{ready} of {replicas} pods are ready")


def _daemon_set(obj: DaemonSet) -> RolloutStatus:
    status = obj.status
    if status is None or not _is_observed(obj):
        return _waiting("waiting for its spec to be observed")
    wanted = status.desiredNumberScheduled
    updated, available = status.updatedNumberScheduled or 0, status.numberAvailable or 0
    if updated < wanted:
        return _waiting(f"{updated} of {wanted} pods have been updated")
    if available < wanted:
        return _waiting(f"{available} of {wanted} pods are available")
    return _done(f"{available} of {wanted} pods are available")


def _replica_set(obj: ReplicaSet) -> RolloutStatus:
    spec, status = obj.spec, obj.status
    if spec is None or status is None or not _is_observed(obj):
        return _waiting("waiting for its spec to be observed")
    replicas = 1 if spec.replicas is None else spec.replicas
    available = status.availableReplicas or 0
    message = f"{available} of {replicas} replicas are available"
    return _done(message) if available >= replicas else _waiting(message)


def _job(obj: Job) -> RolloutStatus:
    status, spec = obj.status, obj.spec
    conditions = status.conditions if status is not None else None
    failed = find(conditions, "Failed")
    if failed is not None and failed.status == "True":
        return _failed(f"failed: {failed.message or failed.reason}")
    complete = find(conditions, "Complete")
    if complete is not None and complete.status == "True":
        return _done("complete")
    if spec is not None and spec.suspend:
        return _done("suspended")
    succeeded = (status.succeeded or 0) if status is not None else 0
    return _waiting(f"{succeeded} of {spec.completions or 1 if spec is not None else 1} completions")


def _pod(obj: Pod) -> RolloutStatus:
    phase = obj.status.phase if obj.status is not None else None
    if phase == "Succeeded":
        return _done("completed")
    if phase == "Failed":
        return _failed(f"failed: {obj.status.reason or obj.status.message or ''}" if obj.status else "failed")
    if is_terminating(obj):
        return _waiting("terminating")
    return _done("ready") if is_ready(obj) else _waiting(f"{name_of(obj)} is not ready")


def _claim(obj: PersistentVolumeClaim) -> RolloutStatus:
    phase = (obj.status.phase if obj.status is not None else None) or "Pending"
    return _done("bound") if phase == "Bound" else _waiting(f"claim is {phase}")
