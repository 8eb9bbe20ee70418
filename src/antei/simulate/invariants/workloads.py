"""Rules of budgets, rollouts and identities: nobody takes more pods away, or makes more, than was declared."""

from __future__ import annotations

from typing import Any, ClassVar

from antei.api.objects import labels_of, name_of, uid_of
from antei.api.selectors import selector_of
from antei.simulate.invariants.base import Quiet
from antei.simulate.invariants.ground import Ground
from antei.simulate.invariants.population import BUDGETS, PODS, REPLICA_SETS, Life, Population, part
from antei.store import Change, ChangeType

__all__ = ["BudgetKept", "NoMoreThanSurge", "NoMoreUnavailable", "StableIdentity"]


class BudgetKept(Quiet):
    """No eviction is granted beyond a budget."""

    name: ClassVar[str] = "budget-kept"

    def wrote(self, change: Change) -> None:
        if change.previous is None:
            return
        before, after, bucket = change.previous.object, change.stored.object, change.stored.key.bucket
        if bucket == BUDGETS and change.type is not ChangeType.DELETED:
            self._budget(before, after)
        elif bucket == PODS and _is_evicted(after) and not _is_evicted(before):
            self._granted(before)

    def _budget(self, old: Any, new: Any) -> None:
        before, after = old.status, new.status
        if after is None or after == before:
            return
        uid, since = uid_of(new), self._ground.known_since
        gained = set(after.disruptedPods or {}) - set((before.disruptedPods if before else None) or {})
        healthy, desired = after.currentHealthy or 0, after.desiredHealthy or 0
        allowed = after.disruptionsAllowed or 0
        if gained:
            had = (before.disruptionsAllowed if before else 0) or 0
            if allowed < 0 or had - allowed < len(gained):
                self._fail(
                    f"budget {name_of(new)} granted {len(gained)} evictions and went from {had} to {allowed} allowed",
                    name_of(new),
                    *sorted(gained),
                )
            return
        most = self._population.healthy[uid].most(since)
        if healthy > most:
            self._fail(f"budget {name_of(new)} counts {healthy} healthy where there were {most} at most", name_of(new))
        least = self._least_desired(new, since)
        if desired < least:
            self._fail(f"budget {name_of(new)} wants {desired} healthy; its spec says {least} at least", name_of(new))
        if allowed > max(0, healthy - desired):
            self._fail(f"budget {name_of(new)} allows {allowed}: {healthy} are healthy, {desired} wanted", name_of(new))

    def _least_desired(self, budget: Any, since: float) -> int:
        """The fewest that its spec can be taken to want, of any number of pods that there was since then."""
        spec, uid = budget.spec, uid_of(budget)
        found = []
        for whole in self._population.scales[uid].values(since):
            if spec.maxUnavailable is not None:
                found.append(max(0, whole - part(spec.maxUnavailable, whole, is_up=True)))
            elif isinstance(spec.minAvailable, int):
                found.append(spec.minAvailable)
            else:
                found.append(part(spec.minAvailable, whole, is_up=True))
        return min(found)

    def _granted(self, pod: Any) -> None:
        life = self._population.pods.get(uid_of(pod))
        if life is None or not life.is_ready or life.deleted_at is not None:
            return
        for budget in self._population.budgets.values():
            selector = budget.spec.selector
            if selector is None or not _matches(selector, pod):
                continue
            noted = (budget.status.disruptedPods if budget.status is not None else None) or {}
            if name_of(pod) not in noted and self._ground.is_settled:
                self._fail(f"pod {name_of(pod)} was evicted, and budget {name_of(budget)} does not know", name_of(pod))


class NoMoreUnavailable(Quiet):
    """A rollout never takes more than a Deployment's maxUnavailable of its pods away."""

    name: ClassVar[str] = "max-unavailable"

    def wrote(self, change: Change) -> None:
        if change.stored.key.bucket != REPLICA_SETS or change.previous is None or change.type is ChangeType.DELETED:
            return
        old, new = _replicas(change.previous.object), _replicas(change.stored.object)
        uid = uid_of(change.stored.object)
        group = self._population.groups[uid]
        if new >= old or not group.deployment:
            return
        fleet, since = self._population.fleets[group.deployment], self._ground.known_since
        if not fleet.is_rolling or len(set(fleet.replicas.values(since))) > 1:
            return  # a change of scale is shared out among ReplicaSets by their sizes, whoever is ready
        if fleet.min_ready_seconds:
            return  # a pod that is ready and not yet available is spare, and may go first
        wanted = min(
            replicas - min(fleet.unavailable.most(since), replicas) for replicas in fleet.replicas.values(since)
        )
        # What must go at least: those above the new number, were all that are not ready taken first.
        lost = max(0, group.ready.least(since) - new)
        # The controller may have seen each ReplicaSet's status at another moment.
        left = sum(self._population.groups[other].ready.most(since) for other in fleet.groups) - lost
        if lost and left < wanted:
            self._fail(
                f"ReplicaSet {group.name} goes from {old} to {new}: {left} pods of {fleet.name} stay ready at most,"
                f" {wanted} must",
                fleet.name,
            )


class NoMoreThanSurge(Quiet):
    """There are never more pods than replicas and surge."""

    name: ClassVar[str] = "max-surge"

    def __init__(self, ground: Ground, population: Population) -> None:
        super().__init__(ground, population)
        self._lost_answers: list[float] = []

    def wrote(self, change: Change) -> None:
        if change.stored.key.bucket == REPLICA_SETS and change.previous is not None:
            self._scaled(change)
        if change.stored.key.bucket != PODS or change.type is not ChangeType.ADDED:
            return
        life = self._population.pods[uid_of(change.stored.object)]
        group = self._population.groups.get(life.owner)
        if group is None:
            return
        since = self._ground.known_since
        # A creation whose answer was lost is done again: one too many, until the controller sees both.
        spare = 0 if self._ground.is_settled else self._ground.weather.lost_answers
        if group.active.now > group.wanted.most(since) + spare:
            self._fail(
                f"ReplicaSet {group.name} has {group.active.now} pods, {group.wanted.most(since)} wanted", group.name
            )
        fleet = self._population.fleets.get(group.deployment)
        if fleet is None or not group.deployment or not self._ground.is_settled:
            return  # who does not see yet that a ReplicaSet has grown gives its room to another
        most = fleet.replicas.most(since) + fleet.surge.most(since)
        # ReplicaSets scaled down at this moment have pods that are about to go.
        excess = sum(
            max(0, other.active.now - other.wanted.now)
            for other in (self._population.groups[uid] for uid in fleet.groups)
        )
        if fleet.active.now - excess > most + spare:
            self._fail(f"{fleet.name} has {fleet.active.now} pods, {most} at most with surge", fleet.name)

    def _scaled(self, change: Change) -> None:
        assert change.previous is not None
        if change.type is ChangeType.DELETED or _replicas(change.stored.object) <= _replicas(change.previous.object):
            return
        group = self._population.groups[uid_of(change.stored.object)]
        if not group.deployment:
            return
        fleet, since = self._population.fleets[group.deployment], self._ground.known_since
        most = fleet.replicas.most(since) + fleet.surge.most(since)
        total = sum(self._population.groups[uid].wanted.now for uid in fleet.groups)
        if total > most and self._ground.is_settled:
            self._fail(f"the ReplicaSets of {fleet.name} want {total} pods, {most} at most with surge", fleet.name)


class StableIdentity(Quiet):
    """A StatefulSet's pod is the only one of its name, and comes after those before it."""

    name: ClassVar[str] = "stable-identity"

    def wrote(self, change: Change) -> None:
        if change.stored.key.bucket != PODS or change.type is not ChangeType.ADDED:
            return
        life = self._population.pods[uid_of(change.stored.object)]
        owner = self._population.sets.get(life.owner)
        if owner is None:
            return
        runtime = self._ground.cluster.runtime
        for uid in runtime.uids_of_pod(life.namespace, life.name):
            if uid != life.uid and runtime.running_of(uid) and uid not in self._ground.faults.forced:
                self._fail(f"pod {life.name} is made while containers of the one before run", life.name)
        if (owner.spec.podManagementPolicy or "OrderedReady") != "OrderedReady":
            return
        ordinal = int(life.name.rpartition("-")[2])
        by_name = {other.name: other for other in self._population.of_owner(life.owner)}
        start = (owner.spec.ordinals.start if owner.spec.ordinals is not None else 0) or 0
        for lower in range(start, ordinal):
            other = by_name.get(f"{name_of(owner)}-{lower}")
            if self._ground.is_settled and not (other is not None and self._was_ready(other)):
                self._fail(f"pod {life.name} is made before {name_of(owner)}-{lower} is ready", name_of(owner))

    def _was_ready(self, life: Life) -> bool:
        """Now, or just before."""
        return life.is_ready or life.unready_since >= self._ground.known_since


def _is_evicted(pod: Any) -> bool:
    return any(
        condition.type == "DisruptionTarget" and condition.reason == "EvictionByEvictionAPI"
        for condition in (pod.status.conditions if pod.status is not None else None) or ()
    )


def _matches(selector: Any, pod: Any) -> bool:
    return selector_of(selector).matches(labels_of(pod))


def _replicas(obj: Any) -> int:
    replicas = obj.spec.replicas
    return 1 if replicas is None else int(replicas)
