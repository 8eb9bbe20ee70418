"""Rules of Deployments: nobody takes more pods away, or makes more, than was declared.

From pods to a rollout's next step it is three decisions, and each is held against what it was made from:

    pods ─► a ReplicaSet's status.availableReplicas ─► the sizes of the Deployment's ReplicaSets ─► pods that are made
                                                                                                    and deleted
"""

from __future__ import annotations

from typing import Any, ClassVar

from lightkube.resources.apps_v1 import Deployment, ReplicaSet
from lightkube.resources.core_v1 import Pod

from antei.api.objects import controller_of, uid_of
from antei.api.pods import is_ready
from antei.simulate.cluster import ACTOR
from antei.simulate.invariants.base import Quiet
from antei.simulate.invariants.ground import Ground
from antei.simulate.invariants.population import PODS, REPLICA_SETS, Fleet, Group, Life, Population, is_deletion
from antei.store import Change, ChangeType

__all__ = ["NoMoreThanSurge", "NoMoreUnavailable"]

_DESIRED = "deployment.kubernetes.io/desired-replicas"


class NoMoreUnavailable(Quiet):
    """A rollout never takes more than a Deployment's maxUnavailable of its available pods away."""

    name: ClassVar[str] = "max-unavailable"

    def wrote(self, change: Change) -> None:
        if change.previous is None:
            return
        before, after, bucket = change.previous.object, change.stored.object, change.stored.key.bucket
        if bucket == REPLICA_SETS and change.type is not ChangeType.DELETED:
            self._counted(before, after)
            if _replicas(after) < _replicas(before):
                self._shrunk(before, after)
        elif bucket == PODS and ACTOR.get() == "replicaset-controller" and is_deletion(change):
            self._deleted(before)

    def _counted(self, before: Any, after: Any) -> None:
        if after.status is None or after.status == before.status:
            return
        uid, since, told = uid_of(after), self._ground.known_since(Pod, ReplicaSet), after.status.availableReplicas or 0
        group, most = self._population.groups[uid], self._population.most_available(uid, since)
        if told > most:
            self._fail(f"ReplicaSet {group.name} counts {told} available where there were {most} at most", group.name)

    def _shrunk(self, before: Any, after: Any) -> None:
        since = self._ground.known_since(ReplicaSet, Deployment)
        group = self._population.groups[uid_of(after)]
        if not group.deployment:
            return
        fleet = self._population.fleets[group.deployment]
        if not fleet.rolling.least(since):
            return  # Recreate takes all of them
        others = [self._population.groups[uid] for uid in fleet.groups if uid != uid_of(after)]
        is_paused = fleet.paused.values(since)
        if _is_scaling(before, after) or all(is_paused):
            if any(other.wanted.most(since) for other in others):
                self._shared_out(fleet, group, others, since)
                return
        elif any(is_paused):
            return  # nobody can tell which of the two it was
        wanted = min(
            replicas - min(fleet.unavailable.most(since), replicas) for replicas in fleet.replicas.values(since)
        )
        # What must go at least: those above the new number, were all that are not available taken first. A status that
        # counts more than the size lags behind the last step, and Kubernetes goes by it all the same.
        lost = max(0, min(group.told_available.least(since), _replicas(before)) - _replicas(after))
        # The controller may have seen each ReplicaSet's status at another moment.
        left = sum(other.told_available.most(since) for other in (group, *others)) - lost
        if lost and left < wanted:
            self._fail(
                f"ReplicaSet {group.name} goes from {_replicas(before)} to {_replicas(after)}: {left} pods of"
                f" {fleet.name} stay available at most, {wanted} must",
                fleet.name,
            )

    def _shared_out(self, fleet: Fleet, group: Group, others: list[Group], since: float) -> None:
        """A change of scale is shared out among ReplicaSets by their sizes, whoever is available; no more than it."""
        left = group.wanted.now + sum(other.wanted.most(since) for other in others)
        wanted = fleet.replicas.least(since)
        if left < wanted:
            self._fail(f"of {wanted} replicas of {fleet.name} its ReplicaSets share out {left}", fleet.name)

    def _deleted(self, pod: Any) -> None:
        """A ReplicaSet that has one too many takes those that are not ready first."""
        life = self._population.pods.get(uid_of(pod))
        owner = controller_of(pod)
        if owner is None or not is_ready(pod) or life is None:
            return
        since = self._ground.known_since(Pod)
        if life.ready_since >= since:
            return  # nobody need have known
        unready = [
            other
            for other in self._population.of_owner(owner.uid)
            if other.is_active and not other.is_ready and other.unready_since < since
        ]
        if unready:
            started_at = self._ground.knowledge.started_at
            self._ground.later(self._ground.reach_seconds, lambda: self._still(life, unready, started_at))

    def _still(self, gone: Life, unready: list[Life], started_at: float) -> None:
        """It deletes them at once: what is left now was passed over, unless a request failed or nobody asks again."""
        ground = self._ground
        reach = ground.reach_seconds + 1.0
        if ground.now - reach < ground.faults.errors_until or ground.knowledge.started_at != started_at:
            return
        for other in unready:
            if other.is_active and other.unready_since < ground.now - reach and other.uid in self._population.pods:
                self._fail(f"pod {gone.name} was ready and had to go, not {other.name}, which is not", gone.name)


class NoMoreThanSurge(Quiet):
    """There are never more pods than replicas and surge; with Recreate, none of the new beside any of the old."""

    name: ClassVar[str] = "max-surge"

    def __init__(self, ground: Ground, population: Population) -> None:
        super().__init__(ground, population)
        self._granted: dict[str, int] = {}  # by Deployment uid: the surge that its ReplicaSets' sizes were made from

    def wrote(self, change: Change) -> None:
        if change.type is ChangeType.DELETED:
            return
        obj, previous = change.stored.object, change.previous
        if change.stored.key.bucket == REPLICA_SETS:
            before = previous.object if previous is not None else None
            is_grown = _replicas(obj) > (_replicas(before) if before is not None else 0)
            if is_grown or _is_scaling(before, obj):
                self._grant(self._population.groups[uid_of(obj)])
            if is_grown:
                self._grown(before, obj)
        elif change.stored.key.bucket == PODS and previous is None:
            self._made(self._population.pods[uid_of(obj)])

    def _grant(self, group: Group) -> None:
        """A surge that is lowered later takes nothing back: pods of these sizes are replaced as they go.

        Old ReplicaSets shrink as the new one's pods become available, and for nothing else, but when the Deployment is
        scaled (reconcileOldReplicaSets in Kubernetes' pkg/controller/deployment/rolling.go).
        """
        if group.deployment:
            since = self._ground.known_since(ReplicaSet, Deployment)
            self._granted[group.deployment] = self._population.fleets[group.deployment].surge.most(since)

    def _grown(self, before: Any, after: Any) -> None:
        since = self._ground.known_since(ReplicaSet, Deployment)
        group = self._population.groups[uid_of(after)]
        if not group.deployment:
            return
        fleet = self._population.fleets[group.deployment]
        others = [self._population.groups[uid] for uid in fleet.groups if uid != uid_of(after)]
        most = fleet.replicas.most(since) + fleet.surge.most(since)
        # Who has not been told yet that another ReplicaSet has grown gives its room away once more.
        total = _replicas(after) + sum(other.wanted.least(since) for other in others)
        if total > most:
            self._fail(f"the ReplicaSets of {fleet.name} want {total} pods, {most} at most with surge", fleet.name)
        if fleet.rolling.most(since) or fleet.paused.most(since) or _is_scaling(before, after):
            return
        present = sum(other.present.least(self._ground.known_since(Pod, ReplicaSet, Deployment)) for other in others)
        if present:
            self._fail(f"ReplicaSet {group.name} grows beside {present} pods of another revision", fleet.name)

    def _made(self, life: Life) -> None:
        group = self._population.groups.get(life.owner)
        if group is None:
            return
        since = self._ground.known_since(ReplicaSet)
        # A creation whose answer was lost is done again: one too many, until the controller sees both.
        spare = self._ground.weather.lost_creations(life.owner, self._ground.known_since(Pod))
        if group.active.now > group.wanted.most(since) + spare:
            self._fail(
                f"ReplicaSet {group.name} has {group.active.now} pods, {group.wanted.most(since)} wanted", group.name
            )
        fleet = self._population.fleets.get(group.deployment)
        if fleet is None or not group.deployment:
            return
        groups = [self._population.groups[uid] for uid in fleet.groups]
        surge = max(fleet.surge.most(since), self._granted.get(group.deployment, 0))
        most = fleet.replicas.most(since) + surge
        if not self._ground.is_settled:
            # What was given away twice is there until the controller has seen it; it was judged as it was given.
            most = max(most, sum(other.wanted.now for other in groups))
        # ReplicaSets scaled down at this moment have pods that are about to go.
        excess = sum(max(0, other.active.now - other.wanted.now) for other in groups)
        if fleet.active.now - excess > most:
            self._fail(f"{fleet.name} has {fleet.active.now} pods, {most} at most with surge", fleet.name)


def _is_scaling(before: Any, after: Any) -> bool:
    """Whether the Deployment has another size than when this ReplicaSet was last given one."""
    if before is None:
        return False
    return bool((before.metadata.annotations or {}).get(_DESIRED) != (after.metadata.annotations or {}).get(_DESIRED))


def _replicas(obj: Any) -> int:
    replicas = obj.spec.replicas
    return 1 if replicas is None else int(replicas)
