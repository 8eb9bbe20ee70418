"""Budgets, evictions and their two minutes, in exact virtual seconds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.models.policy_v1 import Eviction
from lightkube.resources.apps_v1 import Deployment, ReplicaSet, StatefulSet
from lightkube.resources.core_v1 import Pod
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api.conditions import find
from antei.api.errors import ApiError
from antei.api.objects import owner_reference, replace, replace_meta, to_time
from antei.control.disruption import DisruptionController

WEB = {"app": "web"}


def budget(**spec: Any) -> PodDisruptionBudget:
    return PodDisruptionBudget.from_dict(
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": {"matchLabels": WEB}, **spec},
        }
    )


def pod(name: str, owner: Any = None) -> Pod:
    metadata: dict[str, Any] = {"name": name, "namespace": "default", "labels": WEB}
    if owner is not None:
        metadata["ownerReferences"] = [owner_reference(owner).to_dict()]
    return Pod.from_dict(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {"nodeName": "a", "containers": [{"name": "main", "image": "main"}]},
        }
    )


def workload(kind: type[Any], replicas: int, owner: Any = None) -> Any:
    metadata: dict[str, Any] = {"name": "web", "namespace": "default"}
    if owner is not None:
        metadata["ownerReferences"] = [owner_reference(owner).to_dict()]
    template = {"metadata": {"labels": WEB}, "spec": {"containers": [{"name": "main", "image": "main"}]}}
    return kind.from_dict(
        {
            "apiVersion": "apps/v1",
            "kind": kind.__name__,
            "metadata": metadata,
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": WEB},
                "template": template,
                **({"serviceName": "web"} if kind is StatefulSet else {}),
            },
        }
    )


async def add_ready(stage: Any, count: int, owner: Any = None) -> None:
    for number in range(count):
        await stage.client.create(pod(f"web-{number}", owner))
        await stage.set_ready(f"web-{number}")
    await asyncio.sleep(0.1)


async def status(stage: Any) -> tuple[int, int, int, int]:
    found = (await stage.get(PodDisruptionBudget, "web")).status
    return found.expectedPods, found.desiredHealthy, found.currentHealthy, found.disruptionsAllowed


async def evict(stage: Any, name: str) -> None:
    metadata = ObjectMeta(name=name, namespace="default")
    eviction = Eviction(apiVersion="policy/v1", kind="Eviction", metadata=metadata)
    await stage.client.post_subresource(Pod, name, "default", "eviction", eviction)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"minAvailable": 2}, (7, 2, 7, 5)),
        ({"minAvailable": "50%"}, (8, 4, 7, 3)),
        ({"maxUnavailable": 1}, (8, 7, 7, 0)),
        ({"maxUnavailable": "40%"}, (8, 4, 7, 3)),
    ],
)
def test_expected_pods_are_those_of_the_deployment_behind_the_replica_set(
    play: Any, spec: dict[str, Any], expected: tuple[int, ...]
) -> None:
    async def main(stage: Any) -> None:
        deployment = await stage.client.create(workload(Deployment, 8))
        replica_set = await stage.client.create(workload(ReplicaSet, 5, deployment))
        await stage.client.create(budget(**spec))
        await add_ready(stage, 7, replica_set)
        assert await status(stage) == expected
        current = (await stage.get(PodDisruptionBudget, "web")).status
        condition = find(current.conditions, "DisruptionAllowed")
        assert condition.reason == ("SufficientPods" if expected[3] else "InsufficientPods")
        assert current.observedGeneration == 1

    play(main, [DisruptionController])


def test_an_eviction_is_counted_at_once_and_refused_when_the_budget_is_spent(play: Any) -> None:
    async def main(stage: Any) -> None:
        stateful_set = await stage.client.create(workload(StatefulSet, 3))
        await stage.client.create(budget(minAvailable=2))
        await add_ready(stage, 3, stateful_set)
        await evict(stage, "web-0")
        with pytest.raises(ApiError, match="Cannot evict pod") as refused:
            await evict(stage, "web-1")
        assert refused.value.code == 429
        await asyncio.sleep(0.1)
        assert await status(stage) == (3, 2, 2, 0)
        await stage.client.delete(Pod, "web-0", "default", grace_period_seconds=0)
        await stage.client.create(pod("web-3", stateful_set))
        await stage.set_ready("web-3")
        await asyncio.sleep(0.1)
        assert await status(stage) == (3, 2, 3, 1)
        assert not (await stage.get(PodDisruptionBudget, "web")).status.disruptedPods

    play(main, [DisruptionController])


def test_a_pod_whose_eviction_was_not_carried_out_counts_again_after_120_s(play: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.client.create(budget(minAvailable=1))
        await add_ready(stage, 2)
        await asyncio.sleep(9.9)
        current = await stage.get(PodDisruptionBudget, "web")
        at = to_time(stage.world.clock.now())
        disrupted = replace(current.status, disruptionsAllowed=0, disruptedPods={"web-0": at})
        await stage.client.update(replace(current, status=disrupted), "status")
        await asyncio.sleep(0.1)
        assert await status(stage) == (2, 1, 1, 0)

        async def counts_again() -> bool:
            return (await status(stage))[2] == 2

        assert await stage.until(counts_again) == 130.0
        assert await status(stage) == (2, 1, 2, 1)
        assert await stage.events("NotDeleted") == ["Pod was expected by PDB default/web to be deleted but it wasn't"]

    play(main, [DisruptionController])


def test_readiness_and_scale_change_what_is_allowed(play: Any) -> None:
    async def main(stage: Any) -> None:
        stateful_set = await stage.client.create(workload(StatefulSet, 3))
        await stage.client.create(budget(maxUnavailable=1))
        await add_ready(stage, 3, stateful_set)
        assert await status(stage) == (3, 2, 3, 1)
        await stage.set_ready("web-2", ready=False)
        await asyncio.sleep(0.01)
        assert await status(stage) == (3, 2, 2, 0)
        await stage.client.patch(StatefulSet, "web", "default", {"spec": {"replicas": 2}})
        await asyncio.sleep(0.01)
        assert await status(stage) == (2, 1, 2, 1)

    play(main, [DisruptionController])


def test_pods_whose_controller_has_no_scale_allow_nothing(play: Any) -> None:
    async def main(stage: Any) -> None:
        owner = await stage.client.create(
            type(pod("x")).from_dict(
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {"name": "owner", "namespace": "default"},
                    "spec": {"containers": [{"name": "main", "image": "main"}]},
                }
            )
        )
        await stage.client.create(budget(maxUnavailable=1))
        await add_ready(stage, 1, owner)
        current = (await stage.get(PodDisruptionBudget, "web")).status
        condition = find(current.conditions, "DisruptionAllowed")
        text = "pods does not implement the scale subresource"
        assert (current.disruptionsAllowed, condition.reason, condition.message) == (0, "SyncFailed", text)
        assert set(await stage.events("CalculateExpectedPodCountFailed")) == {
            f"Failed to calculate the number of expected pods: {text}"
        }

    play(main, [DisruptionController])


def test_a_disruption_target_condition_is_cleared_when_nothing_came_of_it_for_120_s(play: Any) -> None:
    async def main(stage: Any) -> None:
        await add_ready(stage, 1)
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "EvictionByEvictionAPI",
            "lastTransitionTime": to_time(stage.world.clock.now()),
        }
        found = await stage.get(Pod, "web-0")
        conditions = [c.to_dict() for c in found.status.conditions]
        patch = {"status": {"conditions": [*conditions, condition]}}
        await stage.client.patch(Pod, "web-0", "default", patch, subresource="status")

        async def is_cleared() -> bool:
            pod_now = await stage.get(Pod, "web-0")
            return find(pod_now.status.conditions, "DisruptionTarget").status == "False"

        assert await stage.until(is_cleared) == 120.0

    play(main, [DisruptionController])


def test_two_budgets_over_one_pod_are_told_of_and_let_nothing_go(play: Any) -> None:
    async def main(stage: Any) -> None:
        second = budget(minAvailable=0)
        await stage.client.create(budget(minAvailable=0))
        await stage.client.create(replace_meta(second, name="again"))
        await asyncio.sleep(0.1)
        await add_ready(stage, 1)
        text = 'Pod "default"/"web-0" matches multiple PodDisruptionBudgets.  Chose "web" arbitrarily.'
        assert await stage.events("MultiplePodDisruptionBudgets") == [text]
        assert await status(stage) == (1, 0, 1, 1)
        with pytest.raises(ApiError) as refused:
            await evict(stage, "web-0")
        assert refused.value.code == 500

    play(main, [DisruptionController])
