"""A node that falls silent, and what becomes of its pods: exact virtual seconds."""

from __future__ import annotations

import asyncio
from typing import Any

from lightkube.models.coordination_v1 import LeaseSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Node, Pod

from antei.api.conditions import find
from antei.api.errors import ApiError
from antei.api.objects import is_terminating, replace, to_micro_time
from antei.api.pods import is_ready
from antei.control.nodelifecycle import NodeLifecycleController
from antei.control.podgc import PodGarbageCollector
from antei.control.tainteviction import TaintEvictionController

CONTROLLERS = [NodeLifecycleController, TaintEvictionController, PodGarbageCollector]


def node(name: str = "a") -> Node:
    return Node.from_dict(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }
    )


def pod(name: str, **spec: Any) -> Pod:
    return Pod.from_dict(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"nodeName": "a", "containers": [{"name": "main", "image": "main"}], **spec},
        }
    )


async def heartbeats(stage: Any, seconds: float) -> None:
    """A Lease that is renewed every 10 s for so long."""
    metadata = ObjectMeta(name="a", namespace="kube-node-lease")
    lease = Lease(apiVersion="coordination.k8s.io/v1", kind="Lease", metadata=metadata, spec=LeaseSpec())
    lease = await stage.client.create(lease)
    end = stage.seconds + seconds
    while True:
        renewed = to_micro_time(stage.world.clock.now())
        lease = await stage.client.update(replace(lease, spec=LeaseSpec(holderIdentity="a", renewTime=renewed)))
        if stage.seconds >= end:
            return
        await asyncio.sleep(10)


def taints_of(found: Node) -> list[tuple[str, str]]:
    return [(taint.key, taint.effect) for taint in (found.spec.taints if found.spec else None) or ()]


async def is_silent(stage: Any) -> bool:
    found = await stage.get(Node, "a", "")
    return find(found.status.conditions, "Ready").status == "Unknown"


async def is_going(stage: Any, name: str) -> bool:
    return is_terminating(await stage.get(Pod, name))


def test_a_silent_node_is_unreachable_after_50_s_and_its_pods_go_300_s_later(play: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.add(node())
        forever = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}
        await stage.client.create(pod("web"))
        await stage.client.create(pod("daemon", tolerations=[forever]))
        await stage.set_ready("web")
        await heartbeats(stage, 100)
        assert await stage.until(lambda: is_silent(stage)) == 150.0
        await asyncio.sleep(0)
        lost = await stage.get(Node, "a", "")
        assert {c.status for c in lost.status.conditions} == {"Unknown"}
        assert find(lost.status.conditions, "Ready").message == "Kubelet stopped posting node status."
        await asyncio.sleep(0.01)
        lost = await stage.get(Node, "a", "")
        assert taints_of(lost) == [
            ("node.kubernetes.io/unreachable", "NoSchedule"),
            ("node.kubernetes.io/unreachable", "NoExecute"),
        ]
        assert not is_ready(await stage.get(Pod, "web"))
        assert await stage.until(lambda: is_going(stage, "web")) == 450.0
        web = await stage.get(Pod, "web")
        assert find(web.status.conditions, "DisruptionTarget").reason == "DeletionByTaintManager"
        assert await stage.events("TaintManagerEviction") == ["Marking for deletion Pod default/web"]
        await asyncio.sleep(2000)
        assert not await is_going(stage, "daemon")

    play(main, CONTROLLERS)


def test_a_node_that_comes_back_in_time_keeps_its_pods(play: Any) -> None:
    async def main(stage: Any) -> None:
        created = await stage.add(node())
        await stage.client.create(pod("web"))
        await stage.until(lambda: is_silent(stage))
        await asyncio.sleep(200)
        back = await stage.get(Node, "a", "")
        await stage.client.update(replace(back, status=created.status), "status")
        await asyncio.sleep(0.1)
        assert taints_of(await stage.get(Node, "a", "")) == []
        assert await stage.events("TaintManagerEviction") == ["Cancelling deletion of Pod default/web"]
        await heartbeats(stage, 1000)
        assert not await is_going(stage, "web")

    play(main, CONTROLLERS)


def test_a_cordoned_node_and_one_that_is_not_ready_are_tainted_as_they_are(play: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.add(node())
        await stage.client.patch(Node, "a", "", {"spec": {"unschedulable": True}})
        await asyncio.sleep(0.1)
        assert taints_of(await stage.get(Node, "a", "")) == [("node.kubernetes.io/unschedulable", "NoSchedule")]
        patch = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
        await stage.client.patch(Node, "a", "", patch, subresource="status")
        await stage.client.patch(Node, "a", "", {"spec": {"unschedulable": None}})
        await asyncio.sleep(0.1)
        assert taints_of(await stage.get(Node, "a", "")) == [
            ("node.kubernetes.io/not-ready", "NoSchedule"),
            ("node.kubernetes.io/not-ready", "NoExecute"),
        ]

    play(main, CONTROLLERS)


def test_pods_of_a_node_that_is_gone_are_failed_and_removed_after_40_s(play: Any) -> None:
    async def is_gone(stage: Any) -> bool:
        try:
            await stage.get(Pod, "web")
        except ApiError as error:
            return error.code == 404
        return False

    async def main(stage: Any) -> None:
        await stage.add(node())
        await stage.client.create(pod("web"))
        await asyncio.sleep(5)
        await stage.client.delete(Node, "a")
        assert await stage.until(lambda: is_gone(stage)) == 45.0

    play(main, CONTROLLERS)
