"""Pod conditions and readiness gates."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Node, Pod

from antei.client import PatchType
from antei.runtime.simulated import ContainerProfile, HttpAnswer
from antei.world.virtual import EPOCH


def app(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "app", "image": "app", **fields}]}


def test_a_container_without_probes_is_ready_when_it_runs(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app())
        await node.at(4)
        assert node.ready_changes() == [(0, False), (3, True)]
        pod = await node.get()
        assert {c.type: c.status for c in pod.status.conditions} == {
            "PodReadyToStartContainers": "True",
            "Initialized": "True",
            "Ready": "True",
            "ContainersReady": "True",
            "PodScheduled": "True",
        }
        assert (pod.status.podIP, pod.status.hostIP, pod.status.qosClass) == ("10.244.0.1", "10.0.0.1", "BestEffort")
        status = await node.status()
        assert status.containerID.startswith("simulated://")
        assert pod.status.startTime == EPOCH

    on_node(main, ContainerProfile(start_seconds=3))


def test_transition_times_move_only_when_the_status_does(on_node: Any) -> None:
    def answer(seconds: float) -> HttpAnswer:
        return HttpAnswer(200 if seconds < 20 else 500)

    async def main(node: Any) -> None:
        await node.create(
            app(readinessProbe={"httpGet": {"path": "/", "port": 80}, "periodSeconds": 5, "failureThreshold": 1})
        )
        await node.at(60)
        assert (await node.condition("Ready")).lastTransitionTime == EPOCH + timedelta(seconds=20)
        assert (await node.condition("Initialized")).lastTransitionTime == EPOCH

    on_node(main, ContainerProfile(http_otherwise=answer))


def test_a_readiness_gate_holds_the_pod_back_until_its_condition_is_true(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app() | {"readinessGates": [{"conditionType": "example.com/lb"}]})
        await node.at(5)
        ready = await node.condition("Ready")
        assert (ready.status, ready.reason) == ("False", "ReadinessGatesNotReady")
        assert ready.message == 'corresponding condition of pod readiness gate "example.com/lb" does not exist.'
        assert (await node.condition("ContainersReady")).status == "True"
        patch = {"status": {"conditions": [{"type": "example.com/lb", "status": "True"}]}}
        await node.client.patch(Pod, "web", "default", patch, patch_type=PatchType.STRATEGIC, subresource="status")
        await node.at(6)
        assert node.ready_changes() == [(0, False), (5, True)]
        assert (await node.condition("example.com/lb")).status == "True"

    on_node(main)


def test_a_node_that_was_taken_for_lost_says_again_that_its_pods_are_ready(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app())
        await node.at(5)
        patch = {"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "NodeNotReady"}]}}
        await node.client.patch(Pod, "web", "default", patch, patch_type=PatchType.STRATEGIC, subresource="status")
        await node.at(6)
        assert [ready for _, ready in node.ready_changes()] == [False, True, False, True]
        before = len(node.seen)
        await node.at(600)
        assert len(node.seen) == before

    on_node(main)


def test_the_node_says_that_it_is_there_and_still_is(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.at(25)
        found = await node.client.get(Node, "node-1")
        assert {c.type: c.status for c in found.status.conditions} == {
            "MemoryPressure": "False",
            "DiskPressure": "False",
            "PIDPressure": "False",
            "Ready": "True",
        }
        assert found.metadata.labels["kubernetes.io/hostname"] == "node-1"
        assert found.status.nodeInfo.kubeletVersion == "v1.37.0"
        assert found.spec.podCIDR == "10.244.0.0/24"
        lease = await node.client.get(Lease, "node-1", "kube-node-lease")
        assert lease.spec.holderIdentity == "node-1"
        assert (lease.spec.renewTime - EPOCH).total_seconds() < 20.1
        assert (lease.spec.renewTime - EPOCH).total_seconds() >= 20

    on_node(main)
