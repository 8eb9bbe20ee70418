"""Probes: SEMANTICS, to the virtual second."""

from __future__ import annotations

from typing import Any

import pytest

from antei.runtime.simulated import ContainerProfile, ExecAnswer, HttpAnswer, ScheduledExit


def app(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "app", "image": "app", **fields}]}


def http(**fields: Any) -> dict[str, Any]:
    return {"httpGet": {"path": "/ok", "port": 8080}, **fields}


FAILING = ContainerProfile(http_otherwise=HttpAnswer(500))


def test_a_failing_liveness_probe_kills_the_container_at_its_third_failure(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app(livenessProbe=http(initialDelaySeconds=5, periodSeconds=10, failureThreshold=3)))
        await node.at(25)
        assert node.times("started") == [0, 25]
        assert node.times("signalled") == [25]
        status = await node.status()
        assert status.restartCount == 1
        assert status.lastState.terminated.reason == "Completed"
        assert await node.events("Unhealthy") == [
            ("Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 500")
        ] * 3
        assert await node.events("Killing") == [("Killing", "Container app failed liveness probe, will be restarted")]

    on_node(main, FAILING)
