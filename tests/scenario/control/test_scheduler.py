"""The scheduler against a real registry in virtual time: what it binds, what it says, when it tries again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from lightkube.resources.core_v1 import Node, PersistentVolume, PersistentVolumeClaim, Pod

from antei.api.conditions import find
from antei.api.errors import internal_error
from antei.api.objects import name_of, replace
from antei.client import PatchType
from antei.control.scheduler import SchedulerController, controller
from antei.control.scheduler.pod_facts import facts_of


def node(name: str, cpu: str = "4", **spec: Any) -> Node:
    return Node.from_dict(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "spec": spec,
            "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}},
        }
    )


def pod(name: str, cpu: str = "100m", labels: dict[str, str] | None = None, **spec: Any) -> Pod:
    return Pod.from_dict(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "labels": labels or {}},
            "spec": {
                "containers": [{"name": "main", "image": "main", "resources": {"requests": {"cpu": cpu}}}],
                **spec,
            },
        }
    )


async def where(stage: Any, name: str) -> str | None:
    found = await stage.client.get(Pod, name, "default")
    return found.spec.nodeName if found.spec else None


def test_pods_are_bound_at_once_and_each_counts_before_the_next_is_placed(play: Any) -> None:
    async def main(stage: Any) -> None:
        for name in ("a", "b", "c"):
            await stage.add(node(name))
        for number in range(6):
            await stage.client.create(pod(f"web-{number}"))
        await asyncio.sleep(0.01)
        names = [await where(stage, f"web-{number}") for number in range(6)]
        assert sorted(str(name) for name in names) == ["a", "a", "b", "b", "c", "c"]
        assert "Successfully assigned default/web-0 to a" in await stage.events("Scheduled")

    play(main, [SchedulerController])


def test_a_pod_that_fits_nowhere_says_why_and_is_bound_when_a_node_has_room(play: Any) -> None:
    async def main(stage: Any) -> None:
        tainted = node("b", taints=[{"key": "dedicated", "value": "db", "effect": "NoSchedule"}])
        for each in (node("a", cpu="1"), tainted, node("c", unschedulable=True)):
            await stage.add(each)
        await stage.client.create(pod("big", cpu="2"))
        await asyncio.sleep(0.01)
        message = (
            "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s), "
            "1 node(s) were unschedulable. preemption: 0/3 nodes are available: "
            "3 Preemption is not helpful for scheduling."
        )
        assert await stage.events("FailedScheduling") == [message]
        stored = await stage.client.get(Pod, "big", "default")
        condition = find(stored.status.conditions, "PodScheduled")
        assert (condition.status, condition.reason, condition.message) == ("False", "Unschedulable", message)
        await stage.client.patch(Node, "c", "", {"spec": {"unschedulable": None}})
        await asyncio.sleep(0.001)
        assert await bound(stage, "big")

    play(main, [SchedulerController])


async def bound(stage: Any, name: str) -> bool:
    return bool(await where(stage, name))


def test_room_that_a_deleted_pod_leaves_goes_to_the_most_important_pod_that_waits(play: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.add(node("a", cpu="1"))
        await stage.client.create(pod("first", cpu="1"))
        await asyncio.sleep(0.01)
        await stage.client.create(pod("plain", cpu="1"))
        await stage.client.create(pod("urgent", cpu="1", priorityClassName="system-node-critical"))
        await asyncio.sleep(20)
        await stage.client.delete(Pod, "first", "default", grace_period_seconds=0)
        await asyncio.sleep(0.01)
        assert await where(stage, "urgent") == "a"
        assert await where(stage, "plain") is None

    play(main, [SchedulerController])


def test_scheduling_gates_and_other_schedulers_are_respected(play: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.add(node("a"))
        await stage.client.create(pod("gated", schedulingGates=[{"name": "example.com/wait"}]))
        await stage.client.create(pod("foreign", schedulerName="mine"))
        await asyncio.sleep(1000)
        assert not await bound(stage, "gated")
        assert not await bound(stage, "foreign")
        stored = await stage.client.get(Pod, "gated", "default")
        assert find(stored.status.conditions, "PodScheduled").reason == "SchedulingGated"
        await stage.client.patch(
            Pod, "gated", "default", [{"op": "remove", "path": "/spec/schedulingGates"}], patch_type=PatchType.JSON
        )
        await asyncio.sleep(11)
        assert await bound(stage, "gated")

    play(main, [SchedulerController])


def test_a_pod_waits_for_its_claim_and_follows_the_volume_to_its_node(play: Any) -> None:
    async def main(stage: Any) -> None:
        for name in ("a", "b"):
            await stage.add(node(name))
        volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
        await stage.client.create(pod("db", volumes=volumes))
        await asyncio.sleep(0.01)
        [message] = await stage.events("FailedScheduling")
        assert message.startswith('0/2 nodes are available: persistentvolumeclaim "data" not found. preemption:')
        await stage.client.create(volume_on("b"))
        await stage.client.create(bound_claim())
        await asyncio.sleep(2)
        assert await where(stage, "db") == "b"

    play(main, [SchedulerController])


def test_a_claim_for_one_pod_is_given_to_the_next_when_that_has_gone(play: Any) -> None:
    async def main(stage: Any) -> None:
        for name in ("a", "b"):
            await stage.add(node(name))
        await stage.client.create(volume_on("b"))
        claim = bound_claim()
        await stage.client.create(replace(claim, spec=replace(claim.spec, accessModes=["ReadWriteOncePod"])))
        volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
        await stage.client.create(pod("first", volumes=volumes))
        await asyncio.sleep(0.01)
        assert await where(stage, "first") == "b"
        await stage.client.create(pod("second", volumes=volumes))
        await asyncio.sleep(0.01)
        [message] = await stage.events("FailedScheduling")
        assert message.startswith(
            "0/2 nodes are available: 2 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access "
            "mode already in-use by another pod."
        )
        await stage.client.delete(Pod, "first", "default", grace_period_seconds=0)
        await asyncio.sleep(2)
        assert await where(stage, "second") == "b"

    play(main, [SchedulerController])


def volume_on(node_name: str) -> PersistentVolume:
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node_name]}]}
    return PersistentVolume.from_dict(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": "disk"},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "local": {"path": "/disk"},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
            },
        }
    )


def bound_claim() -> PersistentVolumeClaim:
    return PersistentVolumeClaim.from_dict(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {
                "name": "data",
                "namespace": "default",
                "annotations": {"pv.kubernetes.io/bind-completed": "yes"},
            },
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
                "volumeName": "disk",
            },
        }
    )


def test_a_condition_that_cannot_be_written_is_written_later_and_holds_nobody_up(play: Any) -> None:
    async def main(stage: Any) -> None:
        patch, failures = stage.client.patch, [internal_error("no"), ConnectionResetError("reset")]

        async def failing(kind: Any, name: str, *arguments: Any, **options: Any) -> Any:
            if name == "large" and failures:
                raise failures.pop()
            return await patch(kind, name, *arguments, **options)

        stage.client.patch = failing
        await stage.add(node("a"))
        await stage.client.create(pod("large", cpu="100"))
        await stage.client.create(pod("small"))
        await asyncio.sleep(0.1)
        assert (await stage.get(Pod, "small")).spec.nodeName == "a"
        await asyncio.sleep(10)
        large = await stage.get(Pod, "large")
        assert find(large.status.conditions, "PodScheduled").reason == "Unschedulable"
        assert failures == []

    play(main, [SchedulerController])


def test_a_pod_that_goes_wrong_holds_up_no_other_and_is_tried_again(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    mistakes = [KeyError("odd"), KeyError("odd")]

    def facts(each: Pod) -> Any:
        if name_of(each) == "odd" and mistakes:
            raise mistakes.pop()
        return facts_of(each)

    monkeypatch.setattr(controller, "facts_of", facts)

    async def main(stage: Any) -> None:
        await stage.add(node("a"))
        for name in ("odd", "web"):
            await stage.client.create(pod(name))
        await asyncio.sleep(0.01)
        assert [await where(stage, name) for name in ("odd", "web")] == [None, "a"]
        await asyncio.sleep(5)
        assert await where(stage, "odd") == "a"

    with pytest.raises(ExceptionGroup, match="mistakes in virtual time"):
        play(main, [SchedulerController])
    assert not mistakes


def test_a_bind_that_fails_after_the_pod_was_seen_on_a_node_keeps_its_place_there(play: Any) -> None:
    async def main(stage: Any) -> None:
        bind = stage.client.post_subresource

        async def lost_answer(*arguments: Any) -> None:
            await bind(*arguments)
            await asyncio.sleep(0.1)
            raise ConnectionResetError("the answer is lost")

        stage.client.post_subresource = lost_answer
        await stage.add(node("a", cpu="1"))
        await stage.client.create(pod("first", cpu="1"))
        await asyncio.sleep(1)
        assert await where(stage, "first") == "a"
        await stage.client.create(pod("second", cpu="1"))
        await asyncio.sleep(1)
        assert await where(stage, "second") is None

    play(main, [SchedulerController])
