"""Pods that get other resources while they run, in virtual time: in place, by a restart, later, or never."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from lightkube.resources.core_v1 import Pod
from lightkube.resources.scheduling_v1 import PriorityClass

from antei.api.conditions import find
from antei.api.errors import ApiError
from antei.client import PatchType
from antei.runtime import Limits, RuntimeFailure


def spec(cpu: str = "1", memory: str = "1Gi", **container: Any) -> dict[str, Any]:
    resources = {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": "4", "memory": "4Gi"}}
    return {"containers": [{"name": "app", "image": "app", "resources": resources, **container}]}


async def resize(node: Any, name: str = "web", **requests: str) -> Pod:
    patch = {"spec": {"containers": [{"name": "app", "resources": {"requests": requests}}]}}
    changed: Pod = await node.client.patch(
        Pod, name, "default", patch, patch_type=PatchType.STRATEGIC, subresource="resize"
    )
    return changed


async def condition(node: Any, kind: str, name: str = "web") -> Any:
    return find((await node.get(name)).status.conditions, kind)


def test_a_container_gets_more_without_a_restart(on_node: Any) -> None:
    async def main(node: Any) -> None:
        created = await node.create(spec())
        await node.at(5)
        assert (await node.status()).resources.requests == {"cpu": "1", "memory": "1Gi"}
        changed = await resize(node, cpu="2")
        assert changed.metadata.generation == created.metadata.generation + 1
        await node.at(6)
        status = await node.status()
        assert (status.resources.requests["cpu"], status.allocatedResources["cpu"]) == ("2", "2")
        assert node.times("resized") == [5]
        assert node.times("started") == [0]
        assert await condition(node, "PodResizePending") is None
        assert await condition(node, "PodResizeInProgress") is None

    on_node(main)


def test_a_resource_whose_policy_says_so_is_changed_by_a_restart(on_node: Any) -> None:
    async def main(node: Any) -> None:
        policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
        await node.create(spec(resizePolicy=policy) | {"terminationGracePeriodSeconds": 5})
        await node.at(5)
        await resize(node, cpu="2")
        await node.at(10)
        assert node.times("started") == [0]
        await resize(node, memory="2Gi")
        await node.at(30)
        assert node.times("signalled", "SIGTERM") == [10]
        assert len(node.times("started")) == 2
        assert ("Killing", "Container app resize requires restart") in await node.events("Killing")
        status = await node.status()
        assert (status.restartCount, status.resources.requests["memory"]) == (1, "2Gi")

    on_node(main)


def test_what_the_node_never_has_is_infeasible_and_what_it_has_not_now_is_deferred(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(spec())
        await node.create(spec(cpu="2"), "other")
        await node.at(5)
        await resize(node, cpu="3")
        await node.at(6)
        pending = await condition(node, "PodResizePending")
        assert (pending.status, pending.reason, pending.message) == (
            "True",
            "Deferred",
            "Node didn't have enough resource: cpu, requested: 3000, used: 2000, capacity: 4000",
        )
        assert (await node.status()).resources.requests["cpu"] == "1"
        await node.delete("other", grace_seconds=1)
        await node.at(20)
        assert (await node.status()).resources.requests["cpu"] == "3"
        assert await condition(node, "PodResizePending") is None

    on_node(main)


def test_more_than_the_node_has_is_said_to_be_infeasible(on_node: Any) -> None:
    async def main(node: Any) -> None:
        small = spec()
        small["containers"][0]["resources"]["limits"] = {"cpu": "9", "memory": "4Gi"}
        await node.create(small)
        await node.at(5)
        await resize(node, cpu="8")
        await node.at(6)
        pending = await condition(node, "PodResizePending")
        assert (pending.reason, pending.message) == (
            "Infeasible",
            "Node didn't have enough capacity: cpu, requested: 8000, capacity: 4000",
        )
        await resize(node, cpu="2")
        await node.at(7)
        assert await condition(node, "PodResizePending") is None
        assert (await node.status()).resources.requests["cpu"] == "2"

    on_node(main)


def test_a_node_that_comes_back_finishes_what_it_did_not_get_to(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(spec())
        await node.at(5)
        task = asyncio.ensure_future(node.restart_agent(down_seconds=10))
        await node.at(6)
        await resize(node, cpu="2")
        await task
        await node.at(20)
        assert (await node.status()).resources.requests["cpu"] == "2"
        assert node.times("started") == [0]
        assert len(node.times("resized")) == 1

    on_node(main)


def sizes(cpu: str, generation: int, error: str = "") -> str:
    said = f',"error":"{error}"' if error else ""
    resources = f'{{"limits":{{"cpu":"4","memory":"4Gi"}},"requests":{{"cpu":"{cpu}","memory":"1Gi"}}}}'
    return f'{{"containers":[{{"name":"app","resources":{resources}}}],"generation":{generation}{said}}}'


def test_events_tell_of_a_resize(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(spec())
        await node.create(spec(cpu="2"), "other")
        await node.at(5)
        await resize(node, cpu="3")
        await node.at(6)
        refused = "Node didn't have enough resource: cpu, requested: 3000, used: 2000, capacity: 4000"
        deferred = ("ResizeDeferred", f"Pod resize Deferred: {sizes('3', 2, refused)}")
        assert await node.events("ResizeDeferred") == [deferred]
        await node.delete("other", grace_seconds=1)
        await node.at(20)
        assert await node.events("ResizeDeferred") == [deferred]
        assert await node.events("ResizeStarted") == [("ResizeStarted", f"Pod resize started: {sizes('3', 2)}")]
        assert await node.events("ResizeCompleted") == [("ResizeCompleted", f"Pod resize completed: {sizes('3', 2)}")]

    on_node(main)


def test_an_infeasible_size_and_one_that_the_runtime_refuses_are_events_too(
    on_node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(node: Any) -> None:
        async def refuse(container_id: str, limits: Limits) -> None:
            raise RuntimeFailure("ResizeFailed", "busy")

        large = spec()
        large["containers"][0]["resources"]["limits"] = {"cpu": "9", "memory": "4Gi"}
        await node.create(large)
        await node.at(5)
        await resize(node, cpu="8")
        await node.at(6)
        [(_, message)] = await node.events("ResizeInfeasible")
        assert message.startswith("Pod resize Infeasible: {")
        assert "Node didn't have enough capacity: cpu, requested: 8000, capacity: 4000" in message
        monkeypatch.setattr(node.runtime, "resize", refuse)
        await resize(node, cpu="2")
        await node.at(40)
        [(_, message)] = await node.events("ResizeError")
        assert message.startswith("Pod resize error: {")
        assert '"error":"container app: busy"' in message
        assert await node.events("ResizeCompleted") == []

    on_node(main)


def test_the_most_important_pod_gets_its_size_first(on_node: Any) -> None:
    async def main(node: Any) -> None:
        for name, value in (("low", 10), ("high", 1000)):
            manifest = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}}
            await node.client.create(msgspec.convert({**manifest, "value": value}, PriorityClass))
        await node.create(spec() | {"priorityClassName": "low"}, "a")
        await node.create(spec() | {"priorityClassName": "high"}, "b")
        await node.create(spec(cpu="2"), "other")
        await node.at(5)
        await resize(node, "a", cpu="2")
        await node.at(6)
        await resize(node, "b", cpu="3")
        await node.at(7)
        assert [(await condition(node, "PodResizePending", name)).reason for name in ("a", "b")] == ["Deferred"] * 2
        await node.delete("other", grace_seconds=1)
        await node.at(20)
        assert (await node.status(name="b")).resources.requests["cpu"] == "3"
        assert (await node.status(name="a")).resources.requests["cpu"] == "1"
        assert (await condition(node, "PodResizePending", "a")).reason == "Deferred"

    on_node(main)


@pytest.mark.parametrize("while_down", [False, True])
def test_a_size_without_room_is_still_deferred_after_a_restart(on_node: Any, while_down: bool) -> None:
    async def main(node: Any) -> None:
        await node.create(spec())
        await node.create(spec(cpu="2"), "other")
        await node.at(5)
        if not while_down:
            await resize(node, cpu="3")
        await node.at(6)
        restarting = asyncio.ensure_future(node.restart_agent(down_seconds=10))
        await node.at(10)
        if while_down:
            await resize(node, cpu="3")
        await restarting
        await node.at(20)
        assert (await condition(node, "PodResizePending")).reason == "Deferred"
        assert (await node.status()).resources.requests["cpu"] == "1"
        assert node.times("resized") == []
        await node.delete("other", grace_seconds=1)
        await node.at(40)
        assert (await node.status()).resources.requests["cpu"] == "3"
        assert await condition(node, "PodResizePending") is None

    on_node(main)


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (
            {"containers": [{"name": "app", "resources": {"limits": {"cpu": None}}}]},
            "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
        ),
        (
            {"containers": [{"name": "app", "resources": {"requests": {"cpu": "4", "memory": "4Gi"}}}]},
            'spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing',
        ),
        (
            {"containers": [{"name": "app", "resources": {"requests": {"ephemeral-storage": "1Gi"}}}]},
            "spec: Forbidden: only cpu and memory resources are mutable",
        ),
        (
            {"containers": [{"name": "app", "resources": {"requests": {"cpu": "5"}}}]},
            "must be less than or equal to cpu limit",
        ),
    ],
)
def test_a_size_that_cannot_be_is_refused(on_node: Any, patch: dict[str, Any], message: str) -> None:
    async def main(node: Any) -> None:
        await node.create(spec())
        with pytest.raises(ApiError) as caught:
            await node.client.patch(
                Pod, "web", "default", {"spec": patch}, patch_type=PatchType.STRATEGIC, subresource="resize"
            )
        assert caught.value.code == 422
        assert message in caught.value.message

    on_node(main)


def test_only_resources_are_taken_from_a_resize(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(spec())
        patch = {"spec": {"containers": [{"name": "app", "image": "other"}], "activeDeadlineSeconds": 5}}
        same = await node.client.patch(
            Pod, "web", "default", patch, patch_type=PatchType.STRATEGIC, subresource="resize"
        )
        assert (same.spec.containers[0].image, same.spec.activeDeadlineSeconds) == ("app", None)

    on_node(main)
