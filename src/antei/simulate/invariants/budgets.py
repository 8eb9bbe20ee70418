"""The rule of budgets: the arithmetic of evictions, done anew by who looks on."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Set
from typing import Any, ClassVar, NamedTuple

from lightkube.resources.apps_v1 import DaemonSet, Deployment, ReplicaSet, StatefulSet
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api.objects import labels_of, name_of, namespace_of, uid_of
from antei.api.selectors import selector_of
from antei.simulate.invariants.base import Quiet
from antei.simulate.invariants.ground import RETRY_SECONDS, Ground, Trail
from antei.simulate.invariants.population import BUDGETS, PODS, Life, Population, part
from antei.store import Change, ChangeType

__all__ = ["BudgetKept"]

#: What the arithmetic of a budget is made from.
_READ = (Pod, ReplicaSet, Deployment, StatefulSet, DaemonSet, Job, PodDisruptionBudget)

#: How long Kubernetes counts a pod as gone that was evicted and whose deletion is not known: DeletionTimeout.
_NOTED_SECONDS = 120
_MOST_GRANTS = 100


class _Grant(NamedTuple):
    """A pod that counted, and was evicted: by loop time, and by the clock on the wall as seconds since the epoch."""

    pod: str
    at: float
    wall: int


class BudgetKept(Quiet):
    """No eviction is granted beyond a budget."""

    name: ClassVar[str] = "budget-kept"

    def __init__(self, ground: Ground, population: Population) -> None:
        super().__init__(ground, population)
        self._grants: dict[str, deque[_Grant]] = defaultdict(lambda: deque(maxlen=_MOST_GRANTS))  # by budget uid
        self._ahead = Trail()  # whole seconds by which the clock on the wall is ahead of the loop's

    def sampled(self) -> None:
        self._ahead.add(self._ground.now, math.floor(self._wall - self._ground.now))

    @property
    def _wall(self) -> float:
        return self._ground.cluster.world.clock.now().timestamp()

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
        uid, since = uid_of(new), self._ground.known_since(*_READ)
        noted = (before.disruptedPods if before else None) or {}
        gained = set(after.disruptedPods or {}) - set(noted)
        self._forget(uid, set(noted) - set(after.disruptedPods or {}), since)
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
        if _is_uncounted(new):
            if allowed:
                self._fail(f"budget {name_of(new)} allows {allowed} and cannot be counted", name_of(new))
            return  # the rest is of when it could be counted last
        most = self._population.healthy[uid].most(since)
        if healthy > most:
            self._fail(f"budget {name_of(new)} counts {healthy} healthy where there were {most} at most", name_of(new))
        least = self._least_desired(new, since)
        if desired < least:
            self._fail(f"budget {name_of(new)} wants {desired} healthy; its spec says {least} at least", name_of(new))
        if allowed > max(0, healthy - desired):
            self._fail(f"budget {name_of(new)} allows {allowed}: {healthy} are healthy, {desired} wanted", name_of(new))

    def _forget(self, uid: str, dropped: Set[str], since: float) -> None:
        """An eviction whose pod is not known to go two minutes later, by the clock on the wall, counts no more.

        (buildDisruptedPodMap in Kubernetes' pkg/controller/disruption.) Where that clock is set forward before the
        deletion is known, the pod counts as healthy again, and what it was granted is there to be granted once more.
        """
        if dropped:
            self.sampled()
            latest = self._ground.now + self._ahead.most(since) + 1
            kept = [
                grant for grant in self._grants[uid] if grant.pod not in dropped or grant.wall + _NOTED_SECONDS > latest
            ]
            self._grants[uid] = deque(kept, maxlen=_MOST_GRANTS)

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
        """Whoever evicts asks the store itself: nothing it knows is old."""
        life = self._population.pods.get(uid_of(pod))
        if life is None or life.deleted_at is not None or pod.status.phase != "Running":
            return
        for uid, budget in self._population.budgets.items():
            selector = budget.spec.selector
            if selector is None or namespace_of(budget) != life.namespace:
                continue
            if not selector_of(selector).matches(labels_of(pod)):
                continue
            # The status that said how many may go was written by the controller, by what it knew then.
            since = self._ground.known_since(*_READ)
            if self._ground.now < self._ground.faults.errors_until + RETRY_SECONDS:
                since -= RETRY_SECONDS
            desired, healthy = self._least_desired(budget, since), self._population.healthy[uid]
            if not life.is_ready:
                self._granted_unready(life, budget, healthy.most(since), desired)
                continue
            noted = (budget.status.disruptedPods if budget.status is not None else None) or {}
            if life.name not in noted:
                self._fail(f"pod {life.name} was evicted, and budget {name_of(budget)} does not know", life.name)
            grants = self._grants[uid]
            left = max(value - 1 - sum(grant.at > when for grant in grants) for when, value in healthy.steps(since))
            grants.append(_Grant(life.name, self._ground.now, math.floor(self._wall)))
            if left < desired:
                self._fail(
                    f"pod {life.name} was evicted: {left} of budget {name_of(budget)} stay healthy, {desired} must",
                    life.name,
                )

    def _granted_unready(self, life: Life, budget: Any, healthy: int, desired: int) -> None:
        """It goes while the others are enough; and while they cannot be counted, if they were when they last could.

        (EvictionREST in Kubernetes' pkg/registry/core/pod/storage/eviction.go looks at these two numbers only.)
        """
        if budget.spec.unhealthyPodEvictionPolicy == "AlwaysAllow":
            return
        if _is_uncounted(budget):
            healthy, desired = budget.status.currentHealthy or 0, budget.status.desiredHealthy or 0
        if healthy < desired:
            self._fail(
                f"pod {life.name}, which is not ready, was evicted: {healthy} are healthy, {desired} wanted", life.name
            )


def _is_uncounted(budget: Any) -> bool:
    """Whether its controller said that it cannot be counted: its numbers are of when it could be last."""
    conditions = budget.status.conditions if budget.status is not None else None
    return any(condition.reason == "SyncFailed" for condition in conditions or ())


def _is_evicted(pod: Any) -> bool:
    return any(
        condition.type == "DisruptionTarget" and condition.reason == "EvictionByEvictionAPI"
        for condition in (pod.status.conditions if pod.status is not None else None) or ()
    )
