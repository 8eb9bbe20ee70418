"""Evictions: which budgets are asked, what they answer, and what is left behind."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.models.core_v1 import Container, PodSpec
from lightkube.models.meta_v1 import DeleteOptions, LabelSelector, LabelSelectorRequirement, ObjectMeta, Preconditions
from lightkube.models.policy_v1 import Eviction, PodDisruptionBudgetSpec
from lightkube.resources.core_v1 import Pod
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api.budgets import budgets_of
from antei.api.errors import ApiError
from antei.api.objects import meta, replace_meta
from antei.api.resources import resource_of
from antei.server.registry import Registry
from antei.simulate.loop import run_virtual
from antei.store import Conflict, Key, Stored
from antei.store.memory import MemoryStore
from antei.world.system import system_world
from antei.world.virtual import virtual_world

MERGE = "application/merge-patch+json"
PODS, BUDGETS = resource_of(Pod), resource_of(PodDisruptionBudget)
REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."
READY = {"observedGeneration": 1, "currentHealthy": 2, "desiredHealthy": 1, "disruptionsAllowed": 1}
SPENT = {"observedGeneration": 1, "currentHealthy": 1, "desiredHealthy": 1, "disruptionsAllowed": 0}
SHORT = {"observedGeneration": 1, "currentHealthy": 0, "desiredHealthy": 1, "disruptionsAllowed": 0}


@pytest.fixture
def registry() -> Registry:
    return Registry(MemoryStore(), system_world())


async def add_pod(registry: Registry, phase: str = "Running", ready: bool = True, name: str = "p") -> Stored:
    spec = PodSpec(containers=[Container(name="c", image="c")], nodeName="n")
    await registry.create(PODS, "default", Pod(metadata=ObjectMeta(name=name, labels={"a": "b"}), spec=spec))
    status = {"phase": phase, "conditions": [{"type": "Ready", "status": "True" if ready else "False"}]}
    return await registry.patch(PODS, "default", name, {"status": status}, patch_type=MERGE, subresource="status")


async def add_budget(registry: Registry, status: dict[str, Any], name: str = "web", **spec: Any) -> None:
    await registry.create(
        BUDGETS,
        "default",
        PodDisruptionBudget(
            metadata=ObjectMeta(name=name),
            spec=PodDisruptionBudgetSpec(minAvailable=1, selector=LabelSelector(matchLabels={"a": "b"}), **spec),
        ),
    )
    await registry.patch(BUDGETS, "default", name, {"status": status}, patch_type=MERGE, subresource="status")


def eviction(**options: Any) -> Eviction:
    return Eviction(metadata=ObjectMeta(name="p"), deleteOptions=DeleteOptions(**options) if options else None)


async def evict(registry: Registry, body: Any = None, dry_run: bool = False) -> None:
    await registry.post_subresource(PODS, "default", "p", "eviction", body or eviction(), dry_run=dry_run)


async def refusal(registry: Registry, body: Any = None) -> ApiError:
    with pytest.raises(ApiError) as refused:
        await evict(registry, body)
    return refused.value


async def the_pod(registry: Registry) -> Any:
    return (await registry.get(PODS, "default", "p")).object


async def the_budget(registry: Registry) -> Any:
    return (await registry.get(BUDGETS, "default", "web")).object.status


async def test_an_eviction_spends_the_budget_tells_why_and_deletes_gracefully(registry: Registry) -> None:
    await add_pod(registry)
    await add_budget(registry, READY)
    await evict(registry)
    pod, budget = await the_pod(registry), await the_budget(registry)
    assert meta(pod).deletionGracePeriodSeconds == 30
    target = pod.status.conditions[-1]
    assert (target.type, target.status, target.reason, target.message) == (
        "DisruptionTarget",
        "True",
        "EvictionByEvictionAPI",
        "Eviction API: evicting",
    )
    assert (budget.disruptionsAllowed, list(budget.disruptedPods)) == (0, ["p"])
    allowed = budget.conditions[0]
    assert (allowed.type, allowed.status, allowed.reason) == ("DisruptionAllowed", "False", "InsufficientPods")


@pytest.mark.parametrize(
    ("ready", "policy", "status", "cause"),
    [
        (True, None, SPENT, "The disruption budget web needs 1 healthy pods and has 1 currently"),
        (False, None, SHORT, "The disruption budget web needs 1 healthy pods and has 0 currently"),
        (False, "IfHealthyBudget", SHORT, "The disruption budget web needs 1 healthy pods and has 0 currently"),
        (True, None, {**READY, "observedGeneration": 0}, "The disruption budget web is still being processed"),
    ],
)
async def test_budgets_that_refuse(
    registry: Registry, ready: bool, policy: str | None, status: dict[str, Any], cause: str
) -> None:
    await add_pod(registry, ready=ready)
    await add_budget(registry, status, unhealthyPodEvictionPolicy=policy)
    error = await refusal(registry)
    assert (error.code, error.reason, error.message) == (429, "TooManyRequests", REFUSED)
    assert error.status.details is not None
    causes = error.status.details.causes or []
    assert [found.reason for found in causes] == ["DisruptionBudget"]
    assert (causes[0].message or "").startswith(cause)
    assert meta(await the_pod(registry)).deletionTimestamp is None


@pytest.mark.parametrize(
    ("phase", "ready", "policy", "status"),
    [
        ("Pending", False, None, SPENT),
        ("Succeeded", False, None, SPENT),
        ("Failed", False, None, SPENT),
        ("Running", False, None, SPENT),  # unready, and enough others are healthy
        ("Running", False, "AlwaysAllow", SHORT),
    ],
)
async def test_pods_that_go_without_spending_a_budget(
    registry: Registry, phase: str, ready: bool, policy: str | None, status: dict[str, Any]
) -> None:
    await add_pod(registry, phase, ready)
    await add_budget(registry, status, unhealthyPodEvictionPolicy=policy)
    await evict(registry)
    items, _ = await registry.list(PODS, "default")
    assert all(meta(stored.object).deletionTimestamp is not None for stored in items)
    budget = await the_budget(registry)
    assert (budget.disruptionsAllowed, budget.disruptedPods) == (0, None)


async def test_a_pod_that_is_being_deleted_needs_no_budget(registry: Registry) -> None:
    await add_pod(registry)
    await registry.delete(PODS, "default", "p")
    await add_budget(registry, SPENT)
    await evict(registry)
    assert (await the_budget(registry)).disruptedPods is None


async def test_two_budgets_over_one_pod_are_an_error(registry: Registry) -> None:
    await add_pod(registry)
    await add_budget(registry, READY, "web")
    await add_budget(registry, READY, "other")
    error = await refusal(registry)
    assert (error.code, error.message) == (
        500,
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
    )


async def test_a_dry_run_asks_the_budget_and_changes_nothing(registry: Registry) -> None:
    await add_pod(registry)
    await add_budget(registry, READY)
    before = registry.store.revision
    await evict(registry, dry_run=True)
    await evict(registry, eviction(dryRun=["All"]))
    assert registry.store.revision == before
    spent = {"status": SPENT}
    await registry.patch(BUDGETS, "default", "web", spent, patch_type=MERGE, subresource="status")
    assert (await refusal(registry, eviction(dryRun=["All"]))).code == 429


@pytest.mark.parametrize("api_version", ["policy/v1", "policy/v1beta1", None])
async def test_evictions_of_both_versions_are_taken(registry: Registry, api_version: str | None) -> None:
    await add_pod(registry)
    await evict(registry, {"apiVersion": api_version, "kind": "Eviction", "metadata": {"name": "p"}})
    assert meta(await the_pod(registry)).deletionTimestamp is not None


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"apiVersion": "policy/v2", "kind": "Eviction", "metadata": {"name": "p"}}, 400),
        ({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "q"}}, 400),
        (eviction(preconditions=Preconditions(uid="other")), 409),
        (eviction(preconditions=Preconditions(resourceVersion="1")), 409),
    ],
)
async def test_evictions_that_are_refused_before_anything_happens(registry: Registry, body: Any, code: int) -> None:
    await add_pod(registry)
    assert (await refusal(registry, body)).code == code
    pod = await the_pod(registry)
    assert meta(pod).deletionTimestamp is None
    assert len(pod.status.conditions) == 1


async def test_options_of_the_deletion_are_honoured(registry: Registry) -> None:
    await add_pod(registry)
    await evict(registry, eviction(gracePeriodSeconds=5))
    assert meta(await the_pod(registry)).deletionGracePeriodSeconds == 5


class BusyStore(MemoryStore):
    """So many writes to a budget lose against a write of somebody else."""

    def __init__(self, conflicts: int) -> None:
        super().__init__()
        self.conflicts = conflicts
        self.is_busy = False

    async def update(self, key: Key, obj: Any, expected_revision: int) -> Stored:
        if self.is_busy and self.conflicts and key.bucket == BUDGETS.bucket:
            self.conflicts -= 1
            current = self.get(key)
            assert current is not None
            touched = replace_meta(current.object, labels={"n": str(self.conflicts)})
            raise Conflict(await super().update(key, touched, current.revision))
        return await super().update(key, obj, expected_revision)


@pytest.mark.parametrize(("conflicts", "code", "seconds"), [(3, None, 1.5), (1000, 504, 10.0)])
def test_a_disturbed_budget_is_tried_again_for_ten_seconds(conflicts: int, code: int | None, seconds: float) -> None:
    import asyncio

    store = BusyStore(conflicts)
    registry = Registry(store, virtual_world(1))

    async def main() -> None:
        await add_pod(registry)
        await add_budget(registry, READY)
        store.is_busy = True
        if code is None:
            await evict(registry)
        else:
            error = await refusal(registry)
            assert (error.code, error.message) == (
                code,
                'Timeout: couldn\'t update PodDisruptionBudget "web" due to conflicts',
            )
        # Every pause is 500 ms and up to a tenth of jitter.
        assert seconds <= asyncio.get_running_loop().time() <= seconds * 1.1

    run_virtual(main())


@pytest.mark.parametrize(
    ("selector", "selects"),
    [
        (LabelSelector(matchLabels={"a": "b"}), True),
        (LabelSelector(matchLabels={"a": "c"}), False),
        (LabelSelector(), True),
        (None, False),
        (LabelSelector(matchExpressions=[LabelSelectorRequirement(key="a", operator="Nonsense")]), False),
    ],
)
def test_which_budgets_select_a_pod(selector: LabelSelector | None, selects: bool) -> None:
    pod = Pod(metadata=ObjectMeta(name="p", labels={"a": "b"}))
    budget = PodDisruptionBudget(spec=PodDisruptionBudgetSpec(selector=selector))
    assert bool(budgets_of(pod, [budget])) is selects
