"""Every rule holds under faults by chance; and of each rule a broken copy is found out, within 200 seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from lightkube.resources.core_v1 import Pod

import antei.control.daemonset.plan
import antei.control.deployment.plan
import antei.control.deployment.scaling
import antei.control.deployment.status
import antei.control.disruption
import antei.control.endpointslice
import antei.control.replicaset.controller
import antei.control.replicaset.plan
import antei.node.container
import antei.node.pod_worker
import antei.server.eviction
import antei.server.registry.deleting
from antei.api.objects import replace, replace_meta
from antei.client.informer import Informer
from antei.client.local import LocalClient
from antei.control.controller import WorkQueue
from antei.control.daemonset.placement import Fit
from antei.control.deployment.rolling import Bounds
from antei.control.garbagecollector import GarbageCollectorController
from antei.control.statefulset.plan import _Step
from antei.node.agent import NodeAgent
from antei.node.pod_worker import PodWorker
from antei.server.deletion import Step
from antei.simulate.fault_schedule import schedule
from antei.simulate.invariants import RULES
from antei.simulate.invariants.watchman import LIVENESS
from antei.simulate.soak import Soak, shrink, soak_seed
from antei.store import ChangeType
from antei.store.state import Reader, State

pytestmark = pytest.mark.lasts(25)

SEEDS_IN_CI = 20
MOST_SEEDS = 200


@pytest.mark.parametrize("seed", range(SEEDS_IN_CI))
def test_no_rule_is_broken_whatever_happens(seed: int) -> None:
    held = soak_seed(Soak(), seed)
    assert held.broken is None, f"seed {seed}: {held.broken}"


# --- mutants: one of each rule ---


def granting_without_counting(patch: pytest.MonkeyPatch) -> None:
    spend = antei.server.eviction.spend

    def wrong(budget: Any, pod_name: str, now: Any) -> Any:
        spent = spend(budget, pod_name, now)
        allowed = budget.status.disruptionsAllowed
        return replace(spent, status=replace(spent.status, disruptionsAllowed=allowed))

    patch.setattr(antei.server.eviction, "spend", wrong)


def rounding_up(patch: pytest.MonkeyPatch) -> None:
    right = Bounds.min_available.fget  # type: ignore[attr-defined]
    patch.setattr(Bounds, "min_available", property(lambda self: max(0, right(self) - 1)))


def one_pod_too_many(patch: pytest.MonkeyPatch) -> None:
    plan = vars(antei.control.replicaset.controller)["plan"]

    def wrong(snapshot: Any, now: Any) -> Any:
        planned = plan(snapshot, now)
        return dataclasses.replace(planned, create=planned.create + 1) if planned.create else planned

    patch.setattr(antei.control.replicaset.controller, "plan", wrong)


def all_ordinals_at_once(patch: pytest.MonkeyPatch) -> None:
    decide = _Step.decide

    def wrong(self: Any) -> Any:
        self._is_ordered = False
        return decide(self)

    patch.setattr(_Step, "decide", wrong)


def serving_whoever_is_there(patch: pytest.MonkeyPatch) -> None:
    endpoint_of = antei.control.endpointslice.endpoint_of

    def wrong(service: Any, pod: Any, zone: Any) -> Any:
        endpoint = endpoint_of(service, pod, zone)
        return replace(endpoint, conditions=replace(endpoint.conditions, ready=True))

    patch.setattr(antei.control.endpointslice, "endpoint_of", wrong)


def serving_those_that_go(patch: pytest.MonkeyPatch) -> None:
    endpoint_of = antei.control.endpointslice.endpoint_of

    def wrong(service: Any, pod: Any, zone: Any) -> Any:
        endpoint = endpoint_of(service, pod, zone)
        assert endpoint.conditions is not None
        return replace(endpoint, conditions=replace(endpoint.conditions, ready=endpoint.conditions.serving))

    patch.setattr(antei.control.endpointslice, "endpoint_of", wrong)


def adopting_nothing(patch: pytest.MonkeyPatch) -> None:
    async def wrong(self: Any) -> dict[str, Any]:
        return {}

    patch.setattr(NodeAgent, "_find_left_over", wrong)


def deleting_without_grace(patch: pytest.MonkeyPatch) -> None:
    plan_deletion = vars(antei.server.registry.deleting)["plan_deletion"]

    def wrong(strategy: Any, current: Any, *rest: Any) -> Any:
        planned = plan_deletion(strategy, current, *rest)
        return dataclasses.replace(planned, step=Step.REMOVE) if isinstance(current.object, Pod) else planned

    patch.setattr(antei.server.registry.deleting, "plan_deletion", wrong)


def half_the_grace(patch: pytest.MonkeyPatch) -> None:
    grace_for_deletion = vars(antei.node.pod_worker)["grace_for_deletion"]
    patch.setattr(
        antei.node.pod_worker, "grace_for_deletion", lambda spec, seconds: grace_for_deletion(spec, seconds) / 2
    )


def half_the_backoff(patch: pytest.MonkeyPatch) -> None:
    restart_delay = vars(antei.node.container)["restart_delay"]
    patch.setattr(antei.node.container, "restart_delay", lambda backoff, ended: restart_delay(backoff, ended) / 2)


def overwriting(patch: pytest.MonkeyPatch) -> None:
    update = LocalClient.update

    async def wrong(self: Any, obj: Any, subresource: str = "") -> Any:
        return await update(self, replace_meta(obj, resourceVersion=None), subresource)

    patch.setattr(LocalClient, "update", wrong)


def forgetful_watches(patch: pytest.MonkeyPatch) -> None:
    offer, offered = Reader.offer, [0]

    def wrong(self: Any, change: Any) -> None:
        offered[0] += 1
        if offered[0] % 97:
            offer(self, change)

    patch.setattr(Reader, "offer", wrong)


def watches_that_stammer(patch: pytest.MonkeyPatch) -> None:
    offer, offered = Reader.offer, [0]

    def wrong(self: Any, change: Any) -> None:
        offered[0] += 1
        offer(self, change)
        if offered[0] % 97 == 0:
            offer(self, change)

    patch.setattr(Reader, "offer", wrong)


def pods_that_are_not_seen_to_leave(patch: pytest.MonkeyPatch) -> None:
    """Watches that are narrowed by a field go by what an object was, too; these do not go by what it is."""
    offer = State._offer

    def wrong(self: Any, change: Any, readers: Any) -> None:
        if readers is self._readers.get(change.stored.key.bucket) or change.type is not ChangeType.DELETED:
            offer(self, change, readers)

    patch.setattr(State, "_offer", wrong)


def queues_without_memory(patch: pytest.MonkeyPatch) -> None:
    add = WorkQueue.add

    def wrong(self: Any, key: Any) -> None:
        self._queued.discard(key)
        add(self, key)

    patch.setattr(WorkQueue, "add", wrong)


def deadlines_that_are_over(patch: pytest.MonkeyPatch) -> None:
    deadline_in = antei.control.deployment.status.deadline_in
    patch.setattr(antei.control.deployment.status, "deadline_in", lambda *given: deadline_in(*given) or 0.0)


def garbage_that_stays(patch: pytest.MonkeyPatch) -> None:
    async def wrong(self: Any, key: Any) -> None:
        return None

    patch.setattr(GarbageCollectorController, "reconcile", wrong)


def daemons_that_spare_a_node(patch: pytest.MonkeyPatch) -> None:
    fit_of = vars(antei.control.daemonset.plan)["fit_of"]

    def wrong(daemon_set: Any, node: Any) -> Any:
        return Fit(False, False) if node.metadata.name == "node-3" else fit_of(daemon_set, node)

    patch.setattr(antei.control.daemonset.plan, "fit_of", wrong)


def the_forced_live_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PodWorker, "removed", lambda self: None)


def caches_that_keep_the_dead(patch: pytest.MonkeyPatch) -> None:
    def wrong(self: Any, items: Any) -> None:
        for obj in items:
            self._set((obj.metadata.namespace or "", obj.metadata.name), obj)

    patch.setattr(Informer, "_replace", wrong)


def surging_once_more(patch: pytest.MonkeyPatch) -> None:
    right = Bounds.max_total.fget  # type: ignore[attr-defined]
    patch.setattr(Bounds, "max_total", property(lambda self: right(self) + 1))


def recreating_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(antei.control.deployment.plan._Step, "_old_pods_are_running", lambda self: False)


def deleting_the_ready_first(patch: pytest.MonkeyPatch) -> None:
    in_order = vars(antei.control.replicaset.plan)["in_deletion_order"]
    patch.setattr(antei.control.replicaset.plan, "in_deletion_order", lambda *given: in_order(*given)[::-1])


def available_as_soon_as_ready(patch: pytest.MonkeyPatch) -> None:
    count = vars(antei.control.replicaset.controller)["count_pods"]
    patch.setattr(
        antei.control.replicaset.controller,
        "count_pods",
        lambda groups, template, seconds, now: count(groups, template, 0, now),
    )


def shares_of_too_little(patch: pytest.MonkeyPatch) -> None:
    shares = antei.control.deployment.scaling._shares

    def wrong(deployment: Any, active: Any, allowed: int) -> Any:
        return shares(deployment, active, allowed // 2)

    patch.setattr(antei.control.deployment.scaling, "_shares", wrong)


def shares_of_too_much(patch: pytest.MonkeyPatch) -> None:
    shares = antei.control.deployment.scaling._shares

    def wrong(deployment: Any, active: Any, allowed: int) -> Any:
        return shares(deployment, active, allowed + 1 if allowed else 0)

    patch.setattr(antei.control.deployment.scaling, "_shares", wrong)


def budgets_that_round_down(patch: pytest.MonkeyPatch) -> None:
    count = vars(antei.control.disruption)["count"]

    def wrong(*given: Any) -> Any:
        counted = count(*given)
        return dataclasses.replace(counted, desired_healthy=max(0, counted.desired_healthy - 1))

    patch.setattr(antei.control.disruption, "count", wrong)


def unready_pods_may_always_go(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(antei.server.eviction, "unready_pod_may_go", lambda budget: True)


def two_ordinals_at_once(patch: pytest.MonkeyPatch) -> None:
    right = _Step._max_unavailable
    patch.setattr(_Step, "_max_unavailable", lambda self: right(self) + 1)


def the_first_ordinal_first(patch: pytest.MonkeyPatch) -> None:
    make = _Step.__init__

    def wrong(self: Any, snapshot: Any, now: Any) -> None:
        make(self, snapshot, now)
        self._condemned = self._condemned[::-1]

    patch.setattr(_Step, "__init__", wrong)


def restarts_that_dawdle(patch: pytest.MonkeyPatch) -> None:
    restart_delay = vars(antei.node.container)["restart_delay"]
    patch.setattr(antei.node.container, "restart_delay", lambda backoff, ended: restart_delay(backoff, ended) * 2)


def twice_the_grace(patch: pytest.MonkeyPatch) -> None:
    grace_for_deletion = vars(antei.node.pod_worker)["grace_for_deletion"]
    patch.setattr(
        antei.node.pod_worker, "grace_for_deletion", lambda spec, seconds: grace_for_deletion(spec, seconds) * 2
    )


#: Each with the rule that finds it, and the first seed that did when this was written: from there on few are needed.
MUTANTS: dict[Callable[[pytest.MonkeyPatch], None], tuple[str, int]] = {
    granting_without_counting: ("budget-kept", 0),
    budgets_that_round_down: ("budget-kept", 0),
    unready_pods_may_always_go: ("budget-kept", 16),
    rounding_up: ("max-unavailable", 0),
    deleting_the_ready_first: ("max-unavailable", 3),
    available_as_soon_as_ready: ("max-unavailable", 0),
    shares_of_too_little: ("max-unavailable", 109),
    one_pod_too_many: ("max-surge", 0),
    surging_once_more: ("max-surge", 0),
    recreating_at_once: ("max-surge", 12),
    shares_of_too_much: ("max-surge", 3),
    all_ordinals_at_once: ("stable-identity", 7),
    two_ordinals_at_once: ("stable-identity", 117),
    the_first_ordinal_first: ("stable-identity", 13),
    serving_whoever_is_there: ("only-ready-served", 0),
    serving_those_that_go: ("only-ready-served", 0),
    adopting_nothing: ("once-at-a-time", 0),
    deleting_without_grace: ("nothing-left", 0),
    half_the_grace: ("grace-kept", 0),
    twice_the_grace: ("grace-kept", 0),
    half_the_backoff: ("restarts-back-off", 0),
    restarts_that_dawdle: ("restarts-back-off", 0),
    overwriting: ("no-lost-update", 0),
    forgetful_watches: ("watches-complete", 0),
    watches_that_stammer: ("watches-complete", 0),
    pods_that_are_not_seen_to_leave: ("watches-complete", 0),
    queues_without_memory: ("queues-bounded", 121),
    deadlines_that_are_over: ("queues-bounded", 0),
    caches_that_keep_the_dead: ("declared-state", 23),
    garbage_that_stays: ("declared-state", 1),
    daemons_that_spare_a_node: ("declared-state", 2),
    the_forced_live_on: ("declared-state", 23),
}


def found_by(rule: str, seeds: Iterable[int]) -> int | None:
    """The first of these seeds in which that rule, and no other before it, is broken."""
    for seed in seeds:
        broken = soak_seed(Soak(), seed).broken
        if broken is not None and broken.rule == rule:
            return seed
    return None


def test_each_rule_has_a_mutant() -> None:
    assert {rule for rule, _ in MUTANTS.values()} == {rule.name for rule in RULES} | {LIVENESS}


@pytest.mark.parametrize("mutate", MUTANTS, ids=lambda mutate: mutate.__name__)
def test_a_broken_rule_is_found_out(
    mutate: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    rule, first = MUTANTS[mutate]
    mutate(monkeypatch)
    seed = found_by(rule, (*range(first, MOST_SEEDS), *range(first)))
    assert seed is not None, f"{rule} was not found broken in {MOST_SEEDS} seeds"


def test_what_breaks_a_rule_is_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    half_the_backoff(monkeypatch)
    first = MUTANTS[half_the_backoff][1]
    seed, broken = next(
        (seed, held.broken) for seed in range(first, MOST_SEEDS) if (held := soak_seed(Soak(), seed)).broken is not None
    )
    assert broken.rule == "restarts-back-off"
    assert broken.events
    fewer = shrink(Soak(), seed, broken.rule, tries=25)
    assert len(fewer) < len(schedule(seed))
    assert len(fewer) <= 8
    again = soak_seed(Soak(schedule=fewer), seed).broken
    assert again is not None
    assert again.rule == broken.rule
