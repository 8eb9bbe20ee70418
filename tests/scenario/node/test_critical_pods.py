"""Critical pods that were bound to a full node, in virtual time: others make room within their grace periods."""

from __future__ import annotations

from typing import Any

from antei.runtime.simulated import ContainerProfile

SLOW = ContainerProfile(stops_after_seconds=4)


def spec(cpu: str, **more: Any) -> dict[str, Any]:
    return {"containers": [{"name": "app", "image": "app", "resources": {"requests": {"cpu": cpu}}}], **more}


CRITICAL = {"priorityClassName": "system-node-critical", "priority": 2_000_001_000}


async def fill(node: Any) -> None:
    await node.create(spec("3"), "large")
    await node.create(spec("500m"), "small")
    await node.at(1)


def test_a_critical_pod_takes_the_place_of_others(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await fill(node)
        await node.create(spec("2", **CRITICAL), "critical")
        await node.at(4.9)
        # Not before the room is free.
        assert await node.phase("critical") == "Pending"
        assert len(node.times("started")) == 2
        await node.at(6)
        assert await node.phase("critical") == "Running"
        assert node.times("started")[2] == 5
        large = await node.get("large")
        assert (large.status.phase, large.status.reason, large.status.message) == (
            "Failed",
            "Preempting",
            "Preempted in order to admit critical pod",
        )
        condition = await node.condition("DisruptionTarget", "large")
        assert (condition.status, condition.reason, condition.message) == (
            "True",
            "TerminationByKubelet",
            "Pod was preempted by Kubelet to accommodate a critical pod",
        )
        assert await node.events("Preempting") == [("Preempting", "Preempted in order to admit critical pod")]
        assert await node.phase("small") == "Running"

    on_node(main, SLOW)


def test_a_critical_pod_that_no_preemption_makes_room_for_is_rejected(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await fill(node)
        await node.create(spec("5", **CRITICAL), "critical")
        await node.at(3)
        critical = await node.get("critical")
        assert (critical.status.phase, critical.status.reason) == ("Failed", "UnexpectedAdmissionError")
        assert critical.status.message == (
            "Pod was rejected: Unexpected error while attempting to recover from admission failure: preemption: error "
            "finding a set of pods to preempt: no set of running pods found to reclaim resources: "
            "[(res: cpu, q: 1000), ]"
        )
        assert await node.phase("large") == "Running"

    on_node(main, SLOW)


def test_any_other_pod_is_rejected(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await fill(node)
        await node.create(spec("2"), "plain")
        await node.at(3)
        plain = await node.get("plain")
        assert (plain.status.phase, plain.status.reason) == ("Failed", "OutOfcpu")
        assert await node.phase("large") == "Running"

    on_node(main, SLOW)
