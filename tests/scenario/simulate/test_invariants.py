"""Every rule holds under faults by chance; and of each rule a broken copy is found out, within 200 seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from lightkube.resources.core_v1 import Pod

import antei.control.endpointslice
import antei.control.replicaset.controller
import antei.node.container
import antei.node.pod_worker
import antei.server.eviction
import antei.server.registry.deleting
from antei.api.objects import replace, replace_meta
from antei.client.informer import Informer
from antei.client.local import LocalClient
from antei.control.controller import WorkQueue
from antei.control.deployment.rolling import Bounds
from antei.control.statefulset.plan import _Step
from antei.node.agent import NodeAgent
from antei.server.deletion import Step
from antei.simulate.faults import schedule
from antei.simulate.soak import Soak, shrink, soak_seed
from antei.store.state import Reader

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
    plan = antei.control.replicaset.controller.plan

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


def adopting_nothing(patch: pytest.MonkeyPatch) -> None:
    async def wrong(self: Any) -> dict[str, Any]:
        return {}

    patch.setattr(NodeAgent, "_find_left_over", wrong)


def deleting_without_grace(patch: pytest.MonkeyPatch) -> None:
    plan_deletion = antei.server.registry.deleting.plan_deletion

    def wrong(strategy: Any, current: Any, *rest: Any) -> Any:
        planned = plan_deletion(strategy, current, *rest)
        return dataclasses.replace(planned, step=Step.REMOVE) if isinstance(current.object, Pod) else planned

    patch.setattr(antei.server.registry.deleting, "plan_deletion", wrong)


def half_the_grace(patch: pytest.MonkeyPatch) -> None:
    grace_for_deletion = antei.node.pod_worker.grace_for_deletion
    patch.setattr(
        antei.node.pod_worker, "grace_for_deletion", lambda spec, seconds: grace_for_deletion(spec, seconds) / 2
    )


def half_the_backoff(patch: pytest.MonkeyPatch) -> None:
    restart_delay = antei.node.container.restart_delay
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
        if offered[0] % 997:
            offer(self, change)

    patch.setattr(Reader, "offer", wrong)


def queues_without_memory(patch: pytest.MonkeyPatch) -> None:
    add = WorkQueue.add

    def wrong(self: Any, key: Any) -> None:
        self._queued.discard(key)
        add(self, key)

    patch.setattr(WorkQueue, "add", wrong)


def caches_that_keep_the_dead(patch: pytest.MonkeyPatch) -> None:
    def wrong(self: Any, items: Any) -> None:
        for obj in items:
            self._set((obj.metadata.namespace or "", obj.metadata.name), obj)

    patch.setattr(Informer, "_replace", wrong)


#: With the first seed that finds it, as it was when this was written: from there on few are needed.
MUTANTS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], int]] = {
    "budget-kept": (granting_without_counting, 0),
    "max-unavailable": (rounding_up, 3),
    "max-surge": (one_pod_too_many, 0),
    "stable-identity": (all_ordinals_at_once, 13),
    "only-ready-served": (serving_whoever_is_there, 0),
    "once-at-a-time": (adopting_nothing, 0),
    "nothing-left": (deleting_without_grace, 0),
    "grace-kept": (half_the_grace, 0),
    "restarts-back-off": (half_the_backoff, 5),
    "no-lost-update": (overwriting, 0),
    "watches-complete": (forgetful_watches, 0),
    "queues-bounded": (queues_without_memory, 68),
    "declared-state": (caches_that_keep_the_dead, 14),
}


@pytest.mark.parametrize("rule", MUTANTS)
def test_a_broken_rule_is_found_out(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate, first = MUTANTS[rule]
    mutate(monkeypatch)
    for seed in (*range(first, MOST_SEEDS), *range(first)):
        broken = soak_seed(Soak(), seed).broken
        if broken is not None and broken.rule == rule:
            return
    raise AssertionError(f"{rule} was not found broken in {MOST_SEEDS} seeds")


def test_what_breaks_a_rule_is_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    half_the_backoff(monkeypatch)
    first = MUTANTS["restarts-back-off"][1]
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
