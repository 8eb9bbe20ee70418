"""Scaling in the middle of a rollout, or while it is paused: all ReplicaSets by their share. Pure.

Kubernetes: (DeploymentController).scale in pkg/controller/deployment/sync.go, GetReplicaSetProportion in its util.
"""

from __future__ import annotations

from collections.abc import Sequence

from lightkube.resources.apps_v1 import Deployment, ReplicaSet

from antei.api.objects import name_of
from antei.control.deployment.history import DESIRED_REPLICAS, MAX_REPLICAS, by_creation, int_annotation
from antei.control.deployment.rolling import Resize, available_of, bounds_of, is_rolling, size_of

__all__ = ["is_scaling", "proportional_sizes"]


def is_scaling(deployment: Deployment, active: Sequence[ReplicaSet]) -> bool:
    """The Deployment has another size than when one of its active ReplicaSets was last scaled."""
    replicas = bounds_of(deployment).replicas
    return any(
        (desired := int_annotation(replica_set, DESIRED_REPLICAS)) is not None and desired != replicas
        for replica_set in active
    )


def proportional_sizes(deployment: Deployment, new: ReplicaSet | None, old: Sequence[ReplicaSet]) -> list[Resize]:
    """The new size of each ReplicaSet whose size or annotations may have to change."""
    bounds = bounds_of(deployment)
    everyone = [*old, *([new] if new is not None else [])]
    active = [replica_set for replica_set in everyone if size_of(replica_set) > 0]
    if len(active) <= 1:
        only = active[0] if active else (new if new is not None else _latest(old))
        return [Resize(only, bounds.replicas)] if only is not None else []
    if new is not None and _is_saturated(deployment, new):
        return [Resize(replica_set, 0) for replica_set in old if size_of(replica_set) > 0]
    if not is_rolling(deployment):
        return []
    allowed = bounds.max_total if bounds.replicas > 0 else 0
    return _shares(deployment, active, allowed)


def _latest(old: Sequence[ReplicaSet]) -> ReplicaSet | None:
    return by_creation(old)[-1] if old else None


def _is_saturated(deployment: Deployment, new: ReplicaSet) -> bool:
    """The new ReplicaSet has the Deployment's size, was meant to, and all of it is available."""
    replicas = bounds_of(deployment).replicas
    return (
        size_of(new) == replicas and int_annotation(new, DESIRED_REPLICAS) == replicas and available_of(new) == replicas
    )


def _shares(deployment: Deployment, active: list[ReplicaSet], allowed: int) -> list[Resize]:
    to_add = allowed - sum(size_of(replica_set) for replica_set in active)
    ordered = _by_size(active, newest_first=to_add > 0)
    sizes = {name_of(replica_set): size_of(replica_set) for replica_set in ordered}
    added = 0
    for replica_set in ordered if to_add else ():
        share = _share(deployment, replica_set, to_add, added)
        sizes[name_of(replica_set)] += share
        added += share
    if to_add:
        largest = name_of(ordered[0])
        sizes[largest] = max(sizes[largest] + to_add - added, 0)
    return [Resize(replica_set, sizes[name_of(replica_set)]) for replica_set in ordered]


def _by_size(active: Sequence[ReplicaSet], *, newest_first: bool) -> list[ReplicaSet]:
    """The largest first; among equals the newest first when scaling up, the oldest when scaling down."""
    by_age = by_creation(active)
    if newest_first:
        by_age.reverse()
    return sorted(by_age, key=lambda replica_set: -size_of(replica_set))


def _share(deployment: Deployment, replica_set: ReplicaSet, to_add: int, added: int) -> int:
    if size_of(replica_set) == 0 or to_add == added:
        return 0
    fraction = _fraction(deployment, replica_set)
    allowed = to_add - added
    return min(fraction, allowed) if to_add > 0 else max(fraction, allowed)


def _fraction(deployment: Deployment, replica_set: ReplicaSet) -> int:
    bounds = bounds_of(deployment)
    size = size_of(replica_set)
    if bounds.replicas == 0:
        return -size
    before = int_annotation(replica_set, MAX_REPLICAS)
    if not before:
        # Without the annotation (an adopted ReplicaSet) the Deployment's present size has to do.
        before = (deployment.status.replicas or 0) if deployment.status is not None else 0
        if before == 0:
            return 0
    return _round_half_away(size * bounds.max_total / before) - size


def _round_half_away(value: float) -> int:
    return int(value - 0.5) if value < 0 else int(value + 0.5)
