"""The scheduler against a real registry in virtual time: what it binds, what it says, when it tries again."""

from __future__ import annotations

import asyncio
from typing import Any

from lightkube.resources.core_v1 import Node, PersistentVolume, PersistentVolumeClaim, Pod

from antei.api.conditions import find
from antei.api.objects import replace
from antei.client import PatchType
from antei.control.scheduler import SchedulerController


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


async def add(workloads: Any, new: Node) -> None:
    """Creation leaves a status out; the node agent reports it afterwards."""
    created = await workloads.client.create(new)
    await workloads.client.update(replace(created, status=new.status), "status")


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


async def where(workloads: Any, name: str) -> str | None:
    found = await workloads.client.get(Pod, name, "default")
    return found.spec.nodeName if found.spec else None


def never_ready(script: Any) -> Any:
    return lambda _: script(ready_seconds=None)


def test_pods_are_bound_at_once_and_each_counts_before_the_next_is_placed(simulate: Any, script: Any) -> None:
    async def main(workloads: Any) -> None:
        for name in ("a", "b", "c"):
            await add(workloads, node(name))
        for number in range(6):
            await workloads.client.create(pod(f"web-{number}"))
        await asyncio.sleep(0.01)
        names = [await where(workloads, f"web-{number}") for number in range(6)]
        assert sorted(str(name) for name in names) == ["a", "a", "b", "b", "c", "c"]
        assert ("Scheduled", "Successfully assigned default/web-0 to a") in await workloads.events()

    simulate(main, [SchedulerController], never_ready(script))


def test_a_pod_that_fits_nowhere_says_why_and_is_bound_when_a_node_has_room(simulate: Any, script: Any) -> None:
    async def main(workloads: Any) -> None:
        tainted = node("b", taints=[{"key": "dedicated", "value": "db", "effect": "NoSchedule"}])
        for each in (node("a", cpu="1"), tainted, node("c", unschedulable=True)):
            await add(workloads, each)
        await workloads.client.create(pod("big", cpu="2"))
        await asyncio.sleep(0.01)
        message = (
            "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s), "
            "1 node(s) were unschedulable. preemption: 0/3 nodes are available: "
            "3 Preemption is not helpful for scheduling."
        )
        assert await workloads.events("FailedScheduling") == [("FailedScheduling", message)]
        stored = await workloads.client.get(Pod, "big", "default")
        condition = find(stored.status.conditions, "PodScheduled")
        assert (condition.status, condition.reason, condition.message) == ("False", "Unschedulable", message)
        await workloads.client.patch(Node, "c", "", {"spec": {"unschedulable": None}})
        # The change comes within the first backoff of a second.
        assert await workloads.until(lambda: bound(workloads, "big")) == 1.01

    simulate(main, [SchedulerController], never_ready(script))


async def bound(workloads: Any, name: str) -> bool:
    return bool(await where(workloads, name))


def test_room_that_a_deleted_pod_leaves_goes_to_the_most_important_pod_that_waits(simulate: Any, script: Any) -> None:
    async def main(workloads: Any) -> None:
        await add(workloads, node("a", cpu="1"))
        await workloads.client.create(pod("first", cpu="1"))
        await asyncio.sleep(0.01)
        await workloads.client.create(pod("plain", cpu="1"))
        await workloads.client.create(
            pod("urgent", cpu="1", priority=1000, preemptionPolicy="Never", priorityClassName="system-node-critical")
        )
        await asyncio.sleep(20)
        await workloads.client.delete(Pod, "first", "default", grace_period_seconds=0)
        await asyncio.sleep(0.01)
        assert await where(workloads, "urgent") == "a"
        assert await where(workloads, "plain") is None

    simulate(main, [SchedulerController], never_ready(script))


def test_scheduling_gates_and_other_schedulers_are_respected(simulate: Any, script: Any) -> None:
    async def main(workloads: Any) -> None:
        await add(workloads, node("a"))
        await workloads.client.create(pod("gated", schedulingGates=[{"name": "example.com/wait"}]))
        await workloads.client.create(pod("foreign", schedulerName="mine"))
        await asyncio.sleep(1000)
        assert not await bound(workloads, "gated")
        assert not await bound(workloads, "foreign")
        stored = await workloads.client.get(Pod, "gated", "default")
        assert find(stored.status.conditions, "PodScheduled").reason == "SchedulingGated"
        await workloads.client.patch(
            Pod, "gated", "default", [{"op": "remove", "path": "/spec/schedulingGates"}], patch_type=PatchType.JSON
        )
        await asyncio.sleep(11)
        assert await bound(workloads, "gated")

    simulate(main, [SchedulerController], never_ready(script))


def test_a_pod_waits_for_its_claim_and_follows_the_volume_to_its_node(simulate: Any, script: Any) -> None:
    async def main(workloads: Any) -> None:
        for name in ("a", "b"):
            await add(workloads, node(name))
        volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
        await workloads.client.create(pod("db", volumes=volumes))
        await asyncio.sleep(0.01)
        [(_, message)] = await workloads.events("FailedScheduling")
        assert message.startswith('0/2 nodes are available: persistentvolumeclaim "data" not found. preemption:')
        await workloads.client.create(volume_on("b"))
        await workloads.client.create(bound_claim())
        await asyncio.sleep(2)
        assert await where(workloads, "db") == "b"

    simulate(main, [SchedulerController], never_ready(script))


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
