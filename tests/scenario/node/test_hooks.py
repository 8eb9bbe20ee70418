"""postStart and preStop."""

from __future__ import annotations

from typing import Any

from antei.runtime.simulated import ContainerProfile, ExecAnswer


def app(**lifecycle: Any) -> dict[str, Any]:
    return {"containers": [{"name": "app", "image": "app", "lifecycle": lifecycle}]}


def test_the_container_is_not_running_until_post_start_ends(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app(postStart={"exec": {"command": ["sleep", "7"]}}))
        await node.at(6)
        status = await node.status()
        assert status.state.waiting.reason == "ContainerCreating"
        assert await node.phase() == "Pending"
        await node.at(8)
        assert node.ready_changes() == [(0, False), (7, True)]
        assert node.times("started") == [0]

    on_node(main)


def test_a_failed_post_start_hook_kills_the_container(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app(postStart={"exec": {"command": ["bad"]}}))
        await node.at(5)
        assert node.times("signalled", "SIGTERM")[0] == 0
        assert (await node.status()).state.waiting.reason == "CrashLoopBackOff"
        events = await node.events()
        assert ("FailedPostStartHook", "PostStartHook failed") in events
        assert ("Killing", "FailedPostStartHook") in events
        assert node.ready_changes() == [(0, False)]

    on_node(main, ContainerProfile(exec={("bad",): ExecAnswer(1)}))


def test_a_sleep_hook_delays_the_stop_signal(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app(preStop={"sleep": {"seconds": 5}}))
        await node.at(1)
        await node.delete()
        await node.at(20)
        assert node.times("signalled", "SIGTERM") == [6]

    on_node(main)


def test_an_http_hook_asks_the_container_and_ignores_the_status(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app(preStop={"httpGet": {"path": "/drain", "port": 80}}))
        await node.at(1)
        await node.delete()
        await node.at(20)
        assert node.times("signalled", "SIGTERM") == [1]
        assert await node.events("FailedPreStopHook") == []

    on_node(main)


def test_an_http_hook_that_nobody_answers_fails(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app(preStop={"httpGet": {"path": "/drain", "port": 81}}))
        await node.at(1)
        await node.delete()
        await node.at(20)
        assert await node.events("FailedPreStopHook") == [("FailedPreStopHook", "PreStopHook failed")]
        assert node.times("signalled", "SIGTERM") == [1]

    on_node(main, ContainerProfile(ports=(80,)))


def test_liveness_restarts_run_the_pre_stop_hook_too(on_node: Any) -> None:
    async def main(node: Any) -> None:
        spec = app(preStop={"exec": {"command": ["sleep", "3"]}})
        spec["containers"][0]["livenessProbe"] = {"tcpSocket": {"port": 81}, "periodSeconds": 1, "failureThreshold": 1}
        await node.create(spec)
        await node.at(3.5)
        assert node.times("signalled", "SIGTERM") == [3]
        assert node.times("started") == [0, 3]

    on_node(main, ContainerProfile(ports=(80,)))
