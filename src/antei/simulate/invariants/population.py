"""Who lives, as the store says: pods, ReplicaSets, Deployments, StatefulSets and budgets, with their numbers in time.

It counts for itself: a rule must not believe the arithmetic of what it watches.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

from lightkube.resources.apps_v1 import Deployment, ReplicaSet, StatefulSet
from lightkube.resources.core_v1 import Pod
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api.objects import controller_of, is_terminating, labels_of, name_of, namespace_of, uid_of
from antei.api.pods import is_ready, is_terminal
from antei.api.resources import resource_of
from antei.api.selectors import Selector, selector_of
from antei.simulate.invariants.ground import Ground, Trail
from antei.store import Change, ChangeType

__all__ = [
    "BUDGETS",
    "DEPLOYMENTS",
    "PODS",
    "REPLICA_SETS",
    "STATEFUL_SETS",
    "Life",
    "Population",
    "is_deletion",
    "part",
]

PODS = resource_of(Pod).bucket
REPLICA_SETS = resource_of(ReplicaSet).bucket
DEPLOYMENTS = resource_of(Deployment).bucket
STATEFUL_SETS = resource_of(StatefulSet).bucket
BUDGETS = resource_of(PodDisruptionBudget).bucket
_NOTHING = Selector(matches_nothing=True)


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
    made_at: float = 0.0
    unready_since: float = 0.0
    ready_since: float = 0.0
    ready_at: float = 0.0  # seconds since the epoch, by its condition: when it became what `is_ready` says
    #: Each deletion that was asked for: when, and within how many seconds; those after the first are shorter ones.
    deletions: list[tuple[float, float]] = field(default_factory=list)

    @property
    def deleted_at(self) -> float | None:
        return self.deletions[0][0] if self.deletions else None

    def due_at(self, begun_at: float = 0.0) -> float:
        """When its grace period is over, for a node that could not begin before a moment: a shorter one counts from
        when it was asked for (kubelet: a worker that is told of one cancels what it does and stops the pod anew)."""
        return min((max(at, begun_at) + seconds for at, seconds in self.deletions), default=math.inf)


@dataclass(slots=True)
class Group:
    """A ReplicaSet: what it is to have, and what it has."""

    deployment: str = ""  # uid
    name: str = ""
    #: None before it is made: whoever has not been told of it yet goes by the others alone.
    wanted: Trail = field(default_factory=lambda: Trail(0))
    min_ready_seconds: Trail = field(default_factory=Trail)
    active: Trail = field(default_factory=Trail)
    present: Trail = field(default_factory=Trail)  # those that are being deleted included
    available: Trail = field(default_factory=Trail)
    #: Of pods that were ready and are not any more, or go: when that ended, and since when they had been (wall clock).
    ended: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=200))
    told_available: Trail = field(default_factory=Trail)  # what its status says


@dataclass(slots=True)
class Fleet:
    """A Deployment: its bounds, and the sums over its ReplicaSets."""

    name: str = ""
    rolling: Trail = field(default_factory=Trail)  # 1, or 0 for Recreate
    paused: Trail = field(default_factory=Trail)  # 1, or 0
    replicas: Trail = field(default_factory=Trail)
    surge: Trail = field(default_factory=Trail)
    unavailable: Trail = field(default_factory=Trail)
    active: Trail = field(default_factory=Trail)
    groups: list[str] = field(default_factory=list)  # uids of its ReplicaSets


class Population:
    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.pods: dict[str, Life] = {}
        self.groups: dict[str, Group] = defaultdict(Group)
        self.fleets: dict[str, Fleet] = defaultdict(Fleet)
        self.sets: dict[str, Any] = {}  # StatefulSets by uid
        self.set_replicas: dict[str, Trail] = defaultdict(Trail)
        self.ready_until: dict[tuple[str, str], float] = {}  # of pods by their names: when one was last ready
        self.budgets: dict[str, Any] = {}  # by uid
        self.healthy: dict[str, Trail] = defaultdict(Trail)  # budget uid -> ready pods it selects, not terminating
        self.selected: dict[str, Trail] = defaultdict(Trail)  # budget uid -> pods it selects
        self.scales: dict[str, Trail] = defaultdict(Trail)  # budget uid -> wanted replicas of their controllers
        self._of_owner: dict[str, dict[str, Life]] = defaultdict(dict)
        self._selectors: dict[str, Selector] = {}  # of budgets, by their uids
        self._wanted: dict[str, int] = {}  # controller uid -> replicas: for scales

    def of_owner(self, uid: str) -> list[Life]:
        return list(self._of_owner[uid].values())

    def wrote(self, change: Change) -> None:
        obj, now, bucket = change.stored.object, self._ground.now, change.stored.key.bucket
        is_gone = change.type is ChangeType.DELETED
        if bucket == PODS:
            self._pod(obj, is_gone, now)
            self._count_budgets(now, obj)
        elif bucket == REPLICA_SETS:
            self._group(obj, is_gone, now)
        elif bucket == DEPLOYMENTS:
            self._fleet(obj, is_gone, now)
            self._count_budgets(now)
        elif bucket == STATEFUL_SETS:
            self._keep(self.sets, obj, is_gone)
            self.set_replicas[uid_of(obj)].add(now, 0 if is_gone else _replicas(obj))
            self._wanted[uid_of(obj)] = 0 if is_gone else _replicas(obj)
            self._count_budgets(now)
        elif bucket == BUDGETS:
            self._keep(self.budgets, obj, is_gone)
            self._selectors[uid_of(obj)] = selector_of(obj.spec.selector) if obj.spec.selector is not None else _NOTHING
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
        if life is not None and life.is_ready and life.is_active:
            self.ready_until[(life.namespace, life.name)] = now
            if life.owner in self.groups and (is_gone or not is_ready(pod) or is_terminating(pod)):
                self.groups[life.owner].ended.append((now, life.ready_at))
        if is_gone:
            self.pods.pop(uid, None)
            self._of_owner[life.owner if life is not None else owner_uid].pop(uid, None)
        else:
            if life is None:
                life = Life(uid, namespace_of(pod), name_of(pod), owner_uid, pod, made_at=now, unready_since=now)
                self.pods[uid] = life
            if life.owner != owner_uid:
                self._of_owner[life.owner].pop(uid, None)
            life.owner = owner_uid
            self._of_owner[owner_uid][uid] = life
            was_ready, life.is_ready = life.is_ready, is_ready(pod)
            if was_ready and not life.is_ready:
                life.unready_since = now
            elif life.is_ready and not was_ready:
                life.ready_since = now
            life.ready_at = _ready_at(pod)
            life.is_active = not is_terminating(pod) and not is_terminal(pod)
            life.pod = pod
            if is_terminating(pod):
                seconds = float(pod.metadata.deletionGracePeriodSeconds or 0)
                if not life.deletions or seconds < life.deletions[-1][1]:
                    life.deletions.append((now, seconds))
        if owner_uid in self.groups:
            self._count_group(owner_uid, now)

    def _group(self, obj: Any, is_gone: bool, now: float) -> None:
        uid = uid_of(obj)
        group = self.groups[uid]
        owner = controller_of(obj)
        group.name = name_of(obj)
        group.deployment = owner.uid if owner is not None else ""
        group.wanted.add(now, 0 if is_gone else _replicas(obj))
        group.min_ready_seconds.add(now, obj.spec.minReadySeconds or 0)
        group.told_available.add(now, 0 if is_gone or obj.status is None else obj.status.availableReplicas or 0)
        if group.deployment and uid not in self.fleets[group.deployment].groups:
            self.fleets[group.deployment].groups.append(uid)
        self._count_group(uid, now)

    def _count_group(self, uid: str, now: float) -> None:
        group = self.groups[uid]
        lives = self._of_owner[uid].values()
        group.active.add(now, sum(life.is_active for life in lives))
        group.present.add(now, sum(not is_terminal(life.pod) for life in lives))
        group.available.add(now, self.available_now(uid, group.min_ready_seconds.now))
        if group.deployment:
            fleet = self.fleets[group.deployment]
            fleet.active.add(now, sum(self.groups[other].active.now for other in fleet.groups))

    def available_now(self, uid: str, min_ready_seconds: int) -> int:
        """How many pods of a ReplicaSet have been ready for so long, by the clock on the wall that all go by."""
        latest = self._latest(min_ready_seconds)
        lives = self._of_owner[uid].values()
        return sum(life.is_active and life.is_ready and life.ready_at <= latest for life in lives)

    def most_available(self, uid: str, since: float) -> int:
        """How many somebody can take for available now who knows of each pod what was true then, or later."""
        group = self.groups[uid]
        seconds = group.min_ready_seconds.least(since)
        latest = self._latest(seconds)
        gone = sum(at >= since and ready_at <= latest for at, ready_at in group.ended)
        return max(group.available.most(since), self.available_now(uid, seconds) + gone)

    def _latest(self, min_ready_seconds: int) -> float:
        if not min_ready_seconds:
            return math.inf
        return self._ground.cluster.world.clock.now().timestamp() - min_ready_seconds

    def _fleet(self, obj: Any, is_gone: bool, now: float) -> None:
        fleet = self.fleets[uid_of(obj)]
        fleet.name = name_of(obj)
        replicas = 0 if is_gone else _replicas(obj)
        strategy = obj.spec.strategy
        is_rolling = strategy is None or strategy.type != "Recreate"
        update = strategy.rollingUpdate if strategy is not None else None
        surge = part(update.maxSurge if update is not None else "25%", replicas, is_up=True) if is_rolling else 0
        unavailable = part(update.maxUnavailable if update is not None else "25%", replicas, is_up=False)
        if surge == 0 and unavailable == 0:
            unavailable = 1
        fleet.rolling.add(now, int(is_rolling))
        fleet.paused.add(now, int(bool(obj.spec.paused)))
        fleet.replicas.add(now, replicas)
        fleet.surge.add(now, surge)
        fleet.unavailable.add(now, min(unavailable, replicas))
        self._wanted[uid_of(obj)] = replicas

    def _count_budgets(self, now: float, pod: Any = None) -> None:
        """All budgets, or those that select this pod."""
        for uid, budget in self.budgets.items():
            selector, namespace = self._selectors[uid], namespace_of(budget)
            if pod is not None and (namespace_of(pod) != namespace or not selector.matches(labels_of(pod))):
                continue
            lives = [
                life
                for life in self.pods.values()
                if life.namespace == namespace and selector.matches(labels_of(life.pod))
            ]
            self.selected[uid].add(now, len(lives))
            self.healthy[uid].add(now, sum(life.is_ready and life.deleted_at is None for life in lives))
            owners = {self.groups[life.owner].deployment if life.owner in self.groups else life.owner for life in lives}
            self.scales[uid].add(now, sum(self._wanted.get(owner, 0) for owner in owners))


def is_deletion(change: Change) -> bool:
    """Whether it begins the deletion of a pod; one that was never bound to a node goes at once."""
    if change.previous is None:
        return False
    return change.type is ChangeType.DELETED or (
        is_terminating(change.stored.object) and not is_terminating(change.previous.object)
    )


def _ready_at(pod: Any) -> float:
    for condition in (pod.status.conditions if pod.status is not None else None) or ():
        if condition.type == "Ready" and condition.lastTransitionTime is not None:
            return float(condition.lastTransitionTime.timestamp())
    return 0.0


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
