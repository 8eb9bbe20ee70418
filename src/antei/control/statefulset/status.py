"""A StatefulSet's status. Pure.

Kubernetes: updateStatus and completeRollingUpdate in pkg/controller/statefulset.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from lightkube.models.apps_v1 import StatefulSetStatus
from lightkube.resources.apps_v1 import StatefulSet
from lightkube.resources.core_v1 import Pod

from antei.api.objects import is_terminating, meta, replace
from antei.api.pods import is_available
from antei.control.statefulset.identity import replicas_of, revision_name_of
from antei.control.statefulset.plan import is_running_and_ready

__all__ = ["stateful_set_status"]


def stateful_set_status(
    stateful_set: StatefulSet,
    pods: Sequence[Pod],
    current_revision: str,
    update_revision: str,
    collision_count: int | None,
    now: datetime,
) -> StatefulSetStatus:
    """Pods that are being deleted count as replicas, but not as current or updated ones."""
    min_ready_seconds = stateful_set.spec.minReadySeconds or 0
    ready = [pod for pod in pods if is_running_and_ready(pod)]
    staying = [revision_name_of(pod) for pod in pods if not is_terminating(pod)]
    status = StatefulSetStatus(
        observedGeneration=meta(stateful_set).generation,
        replicas=len(pods),
        readyReplicas=len(ready) or None,
        availableReplicas=sum(is_available(pod, min_ready_seconds, now) for pod in ready),
        currentReplicas=staying.count(current_revision) or None,
        updatedReplicas=staying.count(update_revision) or None,
        currentRevision=current_revision,
        updateRevision=update_revision,
        collisionCount=collision_count or 0,
        conditions=stateful_set.status.conditions if stateful_set.status is not None else None,
    )
    return _completed(stateful_set, status)


def _completed(stateful_set: StatefulSet, status: StatefulSetStatus) -> StatefulSetStatus:
    """When every pod is updated and ready, the update revision becomes the current one."""
    strategy = stateful_set.spec.updateStrategy
    if strategy is not None and (strategy.type or "RollingUpdate") != "RollingUpdate":
        return status
    replicas = replicas_of(stateful_set)
    counts = (status.updatedReplicas or 0, status.readyReplicas or 0, status.replicas)
    if any(count != replicas for count in counts):
        return status
    return replace(status, currentReplicas=status.updatedReplicas, currentRevision=status.updateRevision)
