"""The arithmetic of a rolling update: how far to scale up the new ReplicaSet, and down the old ones. Pure.

    never more than  replicas + maxSurge        pods in all      (maxSurge rounds up)
    never fewer than replicas − maxUnavailable  available ones   (maxUnavailable rounds down; both zero: 1)

A size is a ReplicaSet's spec.replicas, not the pods it has: so two steps in a row never spend one margin twice.

Kubernetes: pkg/controller/deployment/rolling.go, ResolveFenceposts in deployment/util.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightkube.resources.apps_v1 import Deployment, ReplicaSet

from antei.api.intorpercent import resolve
from antei.control.deployment.history import by_creation

__all__ = [
    "Bounds",
    "Resize",
    "available_of",
    "bounds_of",
    "new_size",
    "scale_down_old",
    "size_of",
]


@dataclass(frozen=True, slots=True)
class Bounds:
    replicas: int
    max_surge: int
    max_unavailable: int

    @property
    def max_total(self) -> int:
        return self.replicas + self.max_surge

    @property
    def min_available(self) -> int:
        return self.replicas - self.max_unavailable


@dataclass(frozen=True, slots=True)
class Resize:
    replica_set: ReplicaSet
    size: int


def size_of(replica_set: ReplicaSet) -> int:
    return 1 if replica_set.spec.replicas is None else replica_set.spec.replicas


def available_of(replica_set: ReplicaSet) -> int:
    return (replica_set.status.availableReplicas or 0) if replica_set.status is not None else 0


def is_rolling(deployment: Deployment) -> bool:
    strategy = deployment.spec.strategy
    return strategy is None or (strategy.type or "RollingUpdate") == "RollingUpdate"


def bounds_of(deployment: Deployment) -> Bounds:
    """Both margins are zero for Recreate, and for a Deployment of no replicas none can be unavailable."""
    replicas = 1 if deployment.spec.replicas is None else deployment.spec.replicas
    if not is_rolling(deployment):
        return Bounds(replicas, 0, 0)
    strategy = deployment.spec.strategy
    rolling = strategy.rollingUpdate if strategy is not None else None
    surge = _margin(rolling.maxSurge if rolling is not None else None, replicas, round_up=True)
    unavailable = _margin(rolling.maxUnavailable if rolling is not None else None, replicas, round_up=False)
    if surge == 0 and unavailable == 0:
        # Percentages of few pods round to nothing; a rollout that may do nothing would never end.
        unavailable = 1
    return Bounds(replicas, surge, min(unavailable, replicas))


def _margin(value: int | str | None, replicas: int, *, round_up: bool) -> int:
    return resolve("25%" if value is None else value, replicas, round_up=round_up)


def new_size(bounds: Bounds, new: int, total: int) -> int:
    """The size of the new ReplicaSet, `new` now, when all have `total` together."""
    if new >= bounds.replicas:
        return bounds.replicas
    room = bounds.max_total - total
    return new + max(min(room, bounds.replicas - new), 0)


def scale_down_old(bounds: Bounds, new: ReplicaSet, old: Sequence[ReplicaSet]) -> list[Resize]:
    """First replicas that are not available anyway, oldest ReplicaSet first, then available ones.

    What the new ReplicaSet has but is not available yet is taken off the margin, so that a new version that never
    gets ready costs no more old pods.
    """
    total = size_of(new) + sum(size_of(replica_set) for replica_set in old)
    allowed = total - bounds.min_available - (size_of(new) - available_of(new))
    if allowed <= 0 or not any(size_of(replica_set) for replica_set in old):
        return []
    ordered = by_creation(old)
    sizes = [size_of(replica_set) for replica_set in ordered]
    left = allowed
    for index, replica_set in enumerate(ordered):
        cut = max(min(left, sizes[index] - available_of(replica_set)), 0)
        sizes[index] -= cut
        left -= cut
    available = available_of(new) + sum(available_of(replica_set) for replica_set in old)
    left = available - bounds.min_available
    for index in range(len(ordered)):
        cut = max(min(left, sizes[index]), 0)
        sizes[index] -= cut
        left -= cut
    return [
        Resize(replica_set, size)
        for replica_set, size in zip(ordered, sizes, strict=True)
        if size != size_of(replica_set)
    ]
