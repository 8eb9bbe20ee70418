"""Pods that make room for more important ones, in virtual time: who goes, what is said, who gets the room."""

from __future__ import annotations

import asyncio
from typing import Any

from lightkube.resources.core_v1 import Node, Pod
from lightkube.resources.policy_v1 import PodDisruptionBudget
from lightkube.resources.scheduling_v1 import PriorityClass

from antei.api.conditions import find
from antei.control.disruption import DisruptionController
from antei.control.scheduler import SchedulerController


def node(name: str) -> Node:
    return Node.from_dict(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "status": {"allocatable": {"cpu": "2", "memory": "8Gi", "pods": "110"}},
        }
    )


def pod(name: str, cpu: str, priority_class: str = "", **spec: Any) -> Pod:
    if priority_class:
        spec["priorityClassName"] = priority_class
    return Pod.from_dict(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "labels": {"app": name.partition("-")[0]}},
            "spec": {
                "containers": [{"name": "main", "image": "main", "resources": {"requests": {"cpu": cpu}}}],
                **spec,
            },
        }
    )


async def prepare(stage: Any, *nodes: str) -> None:
    for name in nodes:
        await stage.add(node(name))
    for name, value, policy in (("high", 1000, None), ("middle", 500, None), ("polite", 1000, "Never")):
        fields = {"value": value} | ({"preemptionPolicy": policy} if policy else {})
        metadata = {"name": name}
        await stage.client.create(
            PriorityClass.from_dict(
                {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": metadata, **fields}
            )
        )


async def bound(stage: Any, *pods: Pod) -> None:
    for each in pods:
        await stage.client.create(each)
        await asyncio.sleep(0.01)
        assert (await stage.get(Pod, each.metadata.name)).spec.nodeName


async def budget(stage: Any, app: str) -> None:
    await stage.client.create(
        PodDisruptionBudget.from_dict(
            {
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": {"name": app, "namespace": "default"},
                "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": app}}},
            }
        )
    )


async def going(stage: Any) -> list[str]:
    return [p.metadata.name for p in (await stage.client.list(Pod, "default")).items if p.metadata.deletionTimestamp]


async def where(stage: Any, name: str) -> str | None:
    return (await stage.get(Pod, name)).spec.nodeName


def test_a_less_important_pod_makes_room_within_its_grace_period(play: Any) -> None:
    async def main(stage: Any) -> None:
        await prepare(stage, "a")
        await bound(stage, pod("small-0", "500m"), pod("small-1", "500m"), pod("small-2", "500m"))
        created = await stage.client.create(pod("big", "1", "high"))
        await asyncio.sleep(0.1)
        assert await going(stage) == ["small-2"]  # the room for one was there, and one is enough
        victim = await stage.get(Pod, "small-2")
        reason = find(victim.status.conditions, "DisruptionTarget")
        assert (reason.status, reason.reason, reason.message) == (
            "True",
            "PreemptionByScheduler",
            "default-scheduler: preempting to accommodate a higher priority pod",
        )
        assert victim.metadata.deletionGracePeriodSeconds == 30
        assert await stage.events("Preempted") == [f"Preempted by pod {created.metadata.uid} on node a"]
        assert await stage.events("FailedScheduling") == ["0/1 nodes are available: 1 Insufficient cpu."]
        assert (await stage.get(Pod, "big")).status.nominatedNodeName == "a"

        # What is being made free is kept: neither a less important pod gets it, nor does the same one take more.
        await stage.client.create(pod("late", "500m"))
        await stage.client.create(pod("other", "2", "high", nodeName="elsewhere"))
        await stage.client.patch(Pod, "big", "default", {"metadata": {"labels": {"changed": "yes"}}})
        await asyncio.sleep(20)
        assert await going(stage) == ["small-2"]
        assert (
            "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to a terminating pod on the "
            "nominated node." in await stage.events("FailedScheduling")
        )

        await stage.client.delete(Pod, "small-2", "default", grace_period_seconds=0)
        await asyncio.sleep(10)
        assert (await where(stage, "big"), await where(stage, "late")) == ("a", None)
        assert (await stage.get(Pod, "big")).status.nominatedNodeName is None

    play(main, [SchedulerController])


def test_the_node_whose_pods_are_under_no_exhausted_budget_is_emptied(play: Any) -> None:
    async def main(stage: Any) -> None:
        await prepare(stage, "a", "b")
        await budget(stage, "kept")
        await bound(stage, pod("kept-0", "1500m"), pod("free-0", "1500m"))
        await stage.client.create(pod("big", "1", "high"))
        await asyncio.sleep(0.1)
        assert await going(stage) == ["free-0"]
        assert (await stage.get(Pod, "big")).status.nominatedNodeName == await where(stage, "free-0")

    play(main, [SchedulerController, DisruptionController])


def test_a_budget_is_broken_where_nothing_else_helps(play: Any) -> None:
    async def main(stage: Any) -> None:
        await prepare(stage, "a")
        await budget(stage, "kept")
        await bound(stage, pod("kept-0", "2"))
        await stage.client.create(pod("big", "1", "high"))
        await asyncio.sleep(0.1)
        assert await going(stage) == ["kept-0"]

    play(main, [SchedulerController, DisruptionController])


def test_the_least_important_pods_go_and_equal_ones_never(play: Any) -> None:
    async def main(stage: Any) -> None:
        await prepare(stage, "a", "b")
        await bound(stage, pod("m", "2", "middle"), pod("zero", "2"))
        await stage.client.create(pod("big", "1", "high"))
        await asyncio.sleep(0.1)
        assert await going(stage) == ["zero"]
        await stage.client.create(pod("equal", "2", "middle"))
        await asyncio.sleep(0.1)
        assert await going(stage) == ["zero"]
        assert (await stage.events("FailedScheduling"))[-1] == (
            "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: "
            "1 Insufficient cpu, 1 No preemption victims found for incoming pod."
        )

    play(main, [SchedulerController])


def test_a_policy_of_never_waits_in_front_of_the_others(play: Any) -> None:
    async def main(stage: Any) -> None:
        await prepare(stage, "a")
        await bound(stage, pod("small", "2"))
        await stage.client.create(pod("calm", "1", "polite"))
        await asyncio.sleep(0.1)
        assert await going(stage) == []
        assert await stage.events("FailedScheduling") == [
            "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."
        ]

    play(main, [SchedulerController])


def test_a_more_important_pod_takes_over_what_was_made_free_for_another(play: Any) -> None:
    async def main(stage: Any) -> None:
        await prepare(stage, "a")
        await bound(stage, pod("small", "2"))
        await stage.client.create(pod("first", "2", "middle"))
        await asyncio.sleep(0.1)
        assert (await stage.get(Pod, "first")).status.nominatedNodeName == "a"
        await stage.client.create(pod("second", "2", "high"))
        await asyncio.sleep(0.1)
        assert (await stage.get(Pod, "first")).status.nominatedNodeName is None
        await stage.client.delete(Pod, "small", "default", grace_period_seconds=0)
        await asyncio.sleep(10)
        assert (await where(stage, "first"), await where(stage, "second")) == (None, "a")

    play(main, [SchedulerController])
