"""Who lives, as the store says: pods, ReplicaSets, Deployments, StatefulSets and budgets, with their numbers in time.

It counts for itself: a rule must not believe the arithmetic of what it watches.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from lightkube.resources.apps_v1 import Deployment, ReplicaSet, StatefulSet
from lightkube.resources.core_v1 import Pod
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api.objects import controller_of, is_terminating, labels_of, name_of, namespace_of, uid_of
from antei.api.pods import is_ready, is_terminal
from antei.api.resources import resource_of
from antei.api.selectors import selector_of
from antei.simulate.invariants.ground import Ground, Trail
from antei.store import Change, ChangeType

__all__ = ["BUDGETS", "DEPLOYMENTS", "PODS", "REPLICA_SETS", "STATEFUL_SETS", "Life", "Population", "part"]

PODS = resource_of(Pod).bucket
REPLICA_SETS = resource_of(ReplicaSet).bucket
DEPLOYMENTS = resource_of(Deployment).bucket
STATEFUL_SETS = resource_of(StatefulSet).bucket
BUDGETS = resource_of(PodDisruptionBudget).bucket


@dataclass(slots=True)
class Life:
    """One pod, while its object is there. Times are the loop's."""

    uid: str
    namespace: str
    name: str
    owner: str  # uid of its controller
    pod: Any
    is_ready: bool = False
    is_active: bool = True
    unready_since: float = 0.0
    deleted_at: float | None = None  # when deletionTimestamp was set
    grace_seconds: float = 30.0  # the shortest that was asked for


@dataclass(slots=True)
class Group:
    """A ReplicaSet: what it is to have, and what it has."""

    deployment: str = ""  # uid
    name: str = ""
    wanted: Trail = field(default_factory=Trail)
    active: Trail = field(default_factory=Trail)
    ready: Trail = field(default_factory=Trail)


@dataclass(slots=True)
class Fleet:
    """A Deployment: its bounds, and the sums over its ReplicaSets."""

    name: str = ""
    is_rolling: bool = True
    min_ready_seconds: int = 0
    replicas: Trail = field(default_factory=Trail)
    surge: Trail = field(default_factory=Trail)
    unavailable: Trail = field(default_factory=Trail)
    active: Trail = field(default_factory=Trail)
    ready: Trail = field(default_factory=Trail)
    groups: list[str] = field(default_factory=list)  # uids of its ReplicaSets


class Population:
    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.pods: dict[str, Life] = {}
        self.groups: dict[str, Group] = defaultdict(Group)
        self.fleets: dict[str, Fleet] = defaultdict(Fleet)
        self.sets: dict[str, Any] = {}  # StatefulSets by uid
        self.budgets: dict[str, Any] = {}  # by uid
        self.healthy: dict[str, Trail] = defaultdict(Trail)  # budget uid -> ready pods it selects, not terminating
        self.selected: dict[str, Trail] = defaultdict(Trail)  # budget uid -> pods it selects
        self.scales: dict[str, Trail] = defaultdict(Trail)  # budget uid -> wanted replicas of their controllers
        self._of_owner: dict[str, dict[str, Life]] = defaultdict(dict)
        self._wanted: dict[str, int] = {}  # controller uid -> replicas: for scales

    def of_owner(self, uid: str) -> list[Life]:
        return list(self._of_owner[uid].values())

    def wrote(self, change: Change) -> None:
        obj, now, bucket = change.stored.object, self._ground.now, change.stored.key.bucket
        is_gone = change.type is ChangeType.DELETED
        if bucket == PODS:
            self._pod(obj, is_gone, now)
            self._count_budgets(now)
        elif bucket == REPLICA_SETS:
            self._group(obj, is_gone, now)
        elif bucket == DEPLOYMENTS:
            self._fleet(obj, is_gone, now)
            self._count_budgets(now)
        elif bucket == STATEFUL_SETS:
            self._keep(self.sets, obj, is_gone)
            self._wanted[uid_of(obj)] = 0 if is_gone else _replicas(obj)
            self._count_budgets(now)
        elif bucket == BUDGETS:
            self._keep(self.budgets, obj, is_gone)
            self._count_budgets(now)

    def _keep(self, kept: dict[str, Any], obj: Any, is_gone: bool) -> None:
        if is_gone:
            kept.pop(uid_of(obj), None)
        else:
            kept[uid_of(obj)] = obj

    def _pod(self, pod: Any, is_gone: bool, now: float) -> None:
        uid = uid_of(pod)
        owner = controller_of(pod)
        owner_uid = owner.uid if owner is not None else ""
        life = self.pods.get(uid)
        if is_gone:
            self.pods.pop(uid, None)
            self._of_owner[life.owner if life is not None else owner_uid].pop(uid, None)
        else:
            if life is None:
                life = Life(uid, namespace_of(pod), name_of(pod), owner_uid, pod, unready_since=now)
                self.pods[uid] = life
            if life.owner != owner_uid:
                self._of_owner[life.owner].pop(uid, None)
            life.owner = owner_uid
            self._of_owner[owner_uid][uid] = life
            was_ready, life.is_ready = life.is_ready, is_ready(pod)
            if was_ready and not life.is_ready:
                life.unready_since = now
            life.is_active = not is_terminating(pod) and not is_terminal(pod)
            life.pod = pod
            if is_terminating(pod):
                if life.deleted_at is None:
                    life.deleted_at = now
                    life.grace_seconds = float(pod.metadata.deletionGracePeriodSeconds or 0)
                life.grace_seconds = min(life.grace_seconds, float(pod.metadata.deletionGracePeriodSeconds or 0))
        if owner_uid in self.groups:
            self._count_group(owner_uid, now)

    def _group(self, obj: Any, is_gone: bool, now: float) -> None:
        uid = uid_of(obj)
        group = self.groups[uid]
        owner = controller_of(obj)
        group.name = name_of(obj)
        group.deployment = owner.uid if owner is not None else ""
        group.wanted.add(now, 0 if is_gone else _replicas(obj))
        if group.deployment and uid not in self.fleets[group.deployment].groups:
            self.fleets[group.deployment].groups.append(uid)
        self._count_group(uid, now)

    def _count_group(self, uid: str, now: float) -> None:
        group = self.groups[uid]
        lives = [life for life in self._of_owner[uid].values() if life.is_active]
        group.active.add(now, len(lives))
        group.ready.add(now, sum(life.is_ready for life in lives))
        if group.deployment:
            fleet = self.fleets[group.deployment]
            groups = [self.groups[other] for other in fleet.groups]
            fleet.active.add(now, sum(other.active.now for other in groups))
            fleet.ready.add(now, sum(other.ready.now for other in groups))

    def _fleet(self, obj: Any, is_gone: bool, now: float) -> None:
        fleet = self.fleets[uid_of(obj)]
        fleet.name = name_of(obj)
        replicas = 0 if is_gone else _replicas(obj)
        strategy = obj.spec.strategy
        fleet.min_ready_seconds = obj.spec.minReadySeconds or 0
        fleet.is_rolling = strategy is None or strategy.type != "Recreate"
        update = strategy.rollingUpdate if strategy is not None else None
        surge = part(update.maxSurge if update is not None else "25%", replicas, is_up=True) if fleet.is_rolling else 0
        unavailable = part(update.maxUnavailable if update is not None else "25%", replicas, is_up=False)
        if surge == 0 and unavailable == 0:
            unavailable = 1
        fleet.replicas.add(now, replicas)
        fleet.surge.add(now, surge)
        fleet.unavailable.add(now, min(unavailable, replicas))
        self._wanted[uid_of(obj)] = replicas

    def _count_budgets(self, now: float) -> None:
        for uid, budget in self.budgets.items():
            selector = selector_of(budget.spec.selector) if budget.spec.selector is not None else None
            lives = [
                life
                for life in self.pods.values()
                if selector is not None
                and life.namespace == namespace_of(budget)
                and selector.matches(labels_of(life.pod))
            ]
            self.selected[uid].add(now, len(lives))
            self.healthy[uid].add(now, sum(life.is_ready and life.deleted_at is None for life in lives))
            owners = {self.groups[life.owner].deployment if life.owner in self.groups else life.owner for life in lives}
            self.scales[uid].add(now, sum(self._wanted.get(owner, 0) for owner in owners))


def part(value: int | str | None, whole: int, *, is_up: bool) -> int:
    """An int-or-percent of a whole."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value
    share = whole * int(value.rstrip("%")) / 100
    return math.ceil(share) if is_up else math.floor(share)


def _replicas(obj: Any) -> int:
    replicas = obj.spec.replicas
    return 1 if replicas is None else int(replicas)
