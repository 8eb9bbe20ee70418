"""DaemonSets in virtual time, with a scripted kubelet on every node."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from lightkube.models.apps_v1 import DaemonSetSpec, DaemonSetUpdateStrategy, RollingUpdateDaemonSet
from lightkube.models.core_v1 import Container, NodeSpec, PodSpec, PodTemplateSpec, Taint
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.resources.apps_v1 import DaemonSet
from lightkube.resources.core_v1 import Node

from antei.api.objects import is_terminating
from antei.api.pods import is_ready
from antei.control.daemonset import DaemonSetController
from antei.control.pod_state import node_of

CONTROLLERS = [DaemonSetController]


def node(name: str, labels: dict[str, str] | None = None, **spec: Any) -> Node:
    return Node(apiVersion="v1", kind="Node", metadata=ObjectMeta(name=name, labels=labels), spec=NodeSpec(**spec))


def daemon_set(rolling: RollingUpdateDaemonSet | None = None, **pod: Any) -> DaemonSet:
    return DaemonSet(
        apiVersion="apps/v1",
        kind="DaemonSet",
        metadata=ObjectMeta(name="agent", namespace="default"),
        spec=DaemonSetSpec(
            selector=LabelSelector(matchLabels={"app": "agent"}),
            updateStrategy=DaemonSetUpdateStrategy(type="RollingUpdate", rollingUpdate=rolling),
            revisionHistoryLimit=10,
            template=PodTemplateSpec(
                metadata=ObjectMeta(labels={"app": "agent"}),
                spec=PodSpec(containers=[Container(name="agent", image="agent:1")], **pod),
            ),
        ),
    )


async def where(w: Any) -> list[str]:
    return sorted(node_of(p) for p in await w.pods())


async def status(w: Any) -> Any:
    return (await w.client.get(DaemonSet, "agent", "default")).status


def test_one_pod_a_node_that_it_fits(simulate: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(node("a", {"disk": "ssd"}))
        await w.client.create(node("b", {"disk": "ssd"}, taints=[Taint(key="gpu", effect="NoSchedule")]))
        await w.client.create(node("c"))
        await w.client.create(
            node("d", {"disk": "ssd"}, taints=[Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")])
        )
        await w.client.create(daemon_set(nodeSelector={"disk": "ssd"}))
        await asyncio.sleep(5)
        assert await where(w) == ["a", "d"]
        await w.client.create(node("e", {"disk": "ssd"}))
        await asyncio.sleep(5)
        assert await where(w) == ["a", "d", "e"]
        s = await status(w)
        assert (s.desiredNumberScheduled, s.currentNumberScheduled, s.numberReady, s.numberAvailable) == (3, 3, 3, 3)
        assert (s.numberMisscheduled, s.numberUnavailable, s.updatedNumberScheduled) == (0, None, 3)
        taints = [{"key": "x", "effect": "NoExecute"}]
        await w.client.patch(Node, "a", "", {"spec": {"taints": taints}})
        await asyncio.sleep(5)
        assert await where(w) == ["d", "e"]

    simulate(main, CONTROLLERS)


def test_an_update_takes_one_node_after_the_other(simulate: Any) -> None:
    async def main(w: Any) -> None:
        for name in ("a", "b", "c"):
            await w.client.create(node(name))
        await w.client.create(daemon_set(RollingUpdateDaemonSet(maxUnavailable=1, maxSurge=0)))
        await asyncio.sleep(10)
        w.created.clear()
        fewest = 3

        async def observe() -> None:
            nonlocal fewest
            while True:
                fewest = min(fewest, sum(is_ready(p) and not is_terminating(p) for p in await w.pods()))
                await asyncio.sleep(0.01)

        watcher = asyncio.create_task(observe())
        containers = [{"name": "agent", "image": "agent:2"}]
        await w.client.patch(
            DaemonSet, "agent", "default", {"spec": {"template": {"spec": {"containers": containers}}}}
        )
        await asyncio.sleep(20)
        watcher.cancel()
        assert fewest == 2
        # A second to stop, then a new pod at once, a second to get ready.
        assert [seconds for seconds, _ in w.created] == [11.0, 13.0, 15.0]
        assert {p.spec.containers[0].image for p in await w.pods()} == {"agent:2"}

    simulate(main, CONTROLLERS)


def test_an_update_with_surge_never_leaves_a_node_without_a_ready_pod(simulate: Any) -> None:
    async def main(w: Any) -> None:
        for name in ("a", "b"):
            await w.client.create(node(name))
        await w.client.create(daemon_set(RollingUpdateDaemonSet(maxUnavailable=0, maxSurge=1)))
        await asyncio.sleep(10)
        containers = [{"name": "agent", "image": "agent:2"}]
        await w.client.patch(
            DaemonSet, "agent", "default", {"spec": {"template": {"spec": {"containers": containers}}}}
        )
        for _ in range(100):
            ready = {node_of(p) for p in await w.pods() if is_ready(p) and not is_terminating(p)}
            assert ready == {"a", "b"}
            await asyncio.sleep(0.1)
        assert {p.spec.containers[0].image for p in await w.pods()} == {"agent:2"}
        assert await where(w) == ["a", "b"]

    simulate(main, CONTROLLERS)


def test_a_failed_daemon_pod_is_replaced_ever_more_slowly(simulate: Any, script: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(node("a"))
        await w.client.create(daemon_set())
        await asyncio.sleep(60)
        starts = [seconds for seconds, _ in w.created]
        pauses = [after - before for before, after in itertools.pairwise(starts)]
        assert pauses == sorted(pauses)
        assert pauses[-1] >= 8
        assert await w.events("FailedDaemonPod")

    simulate(main, CONTROLLERS, lambda _: script(ready_seconds=None, exit_seconds=1, exit_code=1))
