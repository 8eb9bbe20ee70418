"""restartPolicyRules with the action RestartAllContainers, in virtual time (KEP-5532)."""

from __future__ import annotations

from typing import Any

import pytest

from antei.runtime.simulated import ContainerProfile, ScheduledExit

RULE = {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}
NEVER = {"restartPolicy": "Never"}
#: Ends with 42 once, and then no more.
SOURCE = ContainerProfile(ends_at_attempt={0: ScheduledExit(10, 42)})
STUBBORN = ContainerProfile(stops_after_seconds=None)
DONE = ContainerProfile(ends=ScheduledExit(1, 0))


def source(**fields: Any) -> dict[str, Any]:
    return {"name": "source", "image": "source", "restartPolicyRules": [RULE], **NEVER, **fields}


def pod(*others: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {**NEVER, "containers": [source(), *others], **spec}


def test_all_containers_begin_anew_in_their_order(on_node: Any) -> None:
    async def main(node: Any) -> None:
        hook = {"preStop": {"exec": {"command": ["sleep", "5"]}}}
        init = {"name": "init", "image": "done"}
        sidecar = {"name": "sidecar", "image": "app", "restartPolicy": "Always"}
        main = {"name": "main", "image": "stubborn", "lifecycle": hook}
        finished = {"name": "finished", "image": "done"}
        await node.create(pod(main, finished, initContainers=[init, sidecar]))
        await node.at(30)
        # Ended after ten seconds of its own: those that do not heed SIGTERM have two seconds, and no hook is run.
        assert node.times("started", container="source") == [1, 14]
        assert node.times("signalled", "SIGTERM", container="main") == [11]
        assert node.times("signalled", "SIGKILL", container="main") == [13]
        assert node.times("exec") == []
        assert node.times("started", container="init") == [0, 13]
        assert node.times("started", container="finished") == [1, 14]
        assert len(node.times("sandbox-created") or node.times("created")) == 1
        for name in ("source", "main", "finished", "init", "sidecar"):
            status = await node.status(name)
            last = status.lastState.terminated
            assert (name, status.restartCount, last.reason, last.exitCode) == (name, 1, "RestartingAllContainers", 137)
        assert (await node.condition("AllContainersRestarting")).status == "False"
        assert await node.phase() == "Running"

    on_node(main, {"source": SOURCE, "stubborn": STUBBORN, "done": DONE})


def test_the_pod_says_what_happens(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(pod({"name": "main", "image": "stubborn"}))
        await node.at(9)
        assert (await node.condition("AllContainersRestarting")).status == "False"
        await node.at(11)
        condition = await node.condition("AllContainersRestarting")
        assert (condition.status, condition.reason, condition.message) == (
            "True",
            "RestartAllContainersStarted",
            "container exited with restart policy rule",
        )
        assert (await node.status("source")).state.terminated.exitCode == 42
        assert {pod.status.phase for second, pod in node.seen if pod.status and second > 0} == {"Running"}
        await node.at(12)
        waiting = {
            (status.state.waiting.reason, status.restartCount)
            for _, seen in node.seen
            for status in (seen.status.containerStatuses if seen.status else None) or ()
            if status.state.waiting
        }
        assert ("RestartingAllContainers", 1) in waiting

    on_node(main, {"source": SOURCE, "stubborn": STUBBORN})


def test_an_init_container_may_ask_for_it_too(on_node: Any) -> None:
    async def main(node: Any) -> None:
        main = {"name": "main", "image": "app"}
        await node.create({**NEVER, "containers": [main], "initContainers": [source()]})
        await node.at(60)
        assert node.times("started", container="source") == [0, 11]
        assert node.times("started", container="main") == [14]
        assert (await node.status("main")).restartCount == 0

    on_node(main, {"source": ContainerProfile(ends=ScheduledExit(3, 0), ends_at_attempt={0: ScheduledExit(10, 42)})})


def test_a_container_that_ends_at_once_does_not_start_more_than_once_a_second(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(pod())
        await node.at(5.5)
        assert node.times("started") == [0, 1, 2, 3, 4, 5]
        assert await node.phase() == "Running"

    on_node(main, {"source": ContainerProfile(ends=ScheduledExit(0, 42))})


def test_the_first_rule_that_matches_counts(on_node: Any) -> None:
    async def main(node: Any) -> None:
        rules = [{**RULE, "action": "Restart"}, RULE]
        main = {"name": "main", "image": "app"}
        await node.create({**NEVER, "containers": [source(restartPolicyRules=rules), main]})
        await node.at(30)
        assert len(node.times("started", container="source")) == 2
        assert node.times("started", container="main") == [0]

    on_node(main, {"source": SOURCE})


def test_a_pod_that_is_deleted_meanwhile_ends(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(pod({"name": "main", "image": "stubborn"}))
        await node.at(11)
        await node.delete(grace_seconds=20)
        await node.at(30)
        assert node.times("started", container="source") == [0]
        assert node.gone_at() == pytest.approx(12)

    on_node(main, {"source": SOURCE, "stubborn": STUBBORN})


@pytest.mark.parametrize("second", [10.5, 12.2])
def test_it_goes_on_after_a_restart_of_the_node(on_node: Any, second: float) -> None:
    async def main(node: Any) -> None:
        await node.create(pod({"name": "main", "image": "stubborn"}))
        await node.at(second)
        await node.restart_agent(down_seconds=0)
        await node.at(60)
        assert len(node.times("started", container="source")) == 2
        assert len(node.times("started", container="main")) == 2
        assert (await node.status("source")).restartCount == 1
        assert (await node.status("main")).state.running is not None

    on_node(main, {"source": SOURCE, "stubborn": STUBBORN})
