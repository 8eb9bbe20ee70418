"""Init containers and sidecars."""

from __future__ import annotations

from typing import Any

from antei.runtime.simulated import ContainerProfile, ScheduledExit


def init(name: str, image: str = "init", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": image, **fields}


def pod(*init_containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"initContainers": list(init_containers), "containers": [{"name": "app", "image": "app"}], **spec}


SUCCEEDS = ContainerProfile(ends=ScheduledExit(5, 0))
FAILS = ContainerProfile(ends=ScheduledExit(5, 1))


def test_init_containers_run_in_order_each_to_completion(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(pod(init("one"), init("two")))
        await node.at(7)
        assert await node.phase() == "Pending"
        initialized = await node.condition("Initialized")
        assert initialized.reason == "ContainersNotInitialized"
        assert initialized.message == "containers with incomplete status: [two]"
        assert (await node.status("app")).state.waiting.reason == "PodInitializing"
        assert (await node.status("one")).ready
        await node.at(12)
        assert [node.times("started", container=c) for c in ("one", "two", "app")] == [[0], [5], [10]]
        assert await node.phase() == "Running"
        assert (await node.condition("Initialized")).status == "True"

    on_node(main, {"init": SUCCEEDS})


def test_a_failed_init_container_is_restarted_with_back_off(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(pod(init("one")))
        await node.at(60)
        assert node.times("started", container="one") == [0, 5, 20, 45]
        assert node.times("started", container="app") == []
        assert await node.phase() == "Pending"

    on_node(main, {"init": FAILS})


def test_a_failed_init_container_fails_a_pod_that_never_restarts(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(pod(init("one"), restartPolicy="Never"))
        await node.at(10)
        assert await node.phase() == "Failed"
        assert node.times("started", container="app") == []
        assert (await node.status("one")).state.terminated.exitCode == 1

    on_node(main, {"init": FAILS})


def test_an_init_container_that_succeeded_does_not_run_again(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(pod(init("one")))
        await node.at(6)
        node.runtime.crash(node.runtime.running("web").id)
        await node.at(10)
        await node.restart_agent()
        await node.at(60)
        assert node.times("started", container="one") == [0]
        assert node.times("started", container="app") == [5, 6]

    on_node(main, {"init": SUCCEEDS})


def test_a_sidecar_is_waited_for_until_it_has_started(on_node: Any) -> None:
    async def main(node: Any) -> None:
        startup = {"tcpSocket": {"port": 80}, "periodSeconds": 1, "failureThreshold": 30}
        await node.create(pod(init("proxy", "proxy", restartPolicy="Always", startupProbe=startup), init("one")))
        await node.at(20)
        assert [node.times("started", container=c) for c in ("proxy", "one", "app")] == [[0], [7], [12]]
        assert (await node.condition("Ready")).status == "True"

    on_node(main, {"init": SUCCEEDS, "proxy": ContainerProfile(listens_after_seconds=7)})


def test_an_unready_sidecar_makes_the_pod_unready(on_node: Any) -> None:
    async def main(node: Any) -> None:
        readiness = {"tcpSocket": {"port": 80}, "periodSeconds": 1}
        await node.create(pod(init("proxy", "proxy", restartPolicy="Always", readinessProbe=readiness)))
        await node.at(5)
        assert await node.phase() == "Running"
        ready = await node.condition("Ready")
        assert (ready.status, ready.message) == ("False", "containers with unready status: [proxy]")
        await node.at(10)
        ready = await node.condition("Ready")
        assert (ready.status, ready.reason, ready.message) == ("True", None, None)

    # The other container is elsewhere: a port that it listens on too would be answered by it.
    on_node(main, {"proxy": ContainerProfile(listens_after_seconds=7), "app": ContainerProfile(ports=(8080,))})


def test_a_sidecar_is_restarted_even_where_the_pod_never_restarts(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(pod(init("proxy", "proxy", restartPolicy="Always"), restartPolicy="Never"))
        await node.at(8)
        assert node.times("started", container="proxy")[:2] == [0, 3]
        assert await node.phase() == "Running"

    on_node(main, {"proxy": ContainerProfile(ends_at_attempt={0: ScheduledExit(3, 1)})})


def test_a_job_with_a_sidecar_completes_and_stops_the_sidecar(on_node: Any) -> None:
    async def main(node: Any) -> None:
        spec = pod(init("proxy", "proxy", restartPolicy="Always"), restartPolicy="Never")
        spec["containers"] = [{"name": "app", "image": "init"}]
        await node.create(spec)
        await node.at(20)
        assert node.times("signalled", "SIGTERM", "proxy") == [5]
        assert await node.phase() == "Succeeded"
        assert (await node.condition("Initialized")).reason == "PodCompleted"

    on_node(main, {"init": SUCCEEDS, "proxy": ContainerProfile(stops_after_seconds=2)})
