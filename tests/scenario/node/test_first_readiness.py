"""The first attempt of a readiness probe comes before most servers listen; the kubelet tries once more."""

from __future__ import annotations

from typing import Any

import pytest

from antei.runtime.simulated import ContainerProfile, HttpAnswer


def app(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "app", "image": "app", **fields}]}


def http(path: str = "/", **fields: Any) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": 80}, "periodSeconds": 10, **fields}


@pytest.mark.parametrize(
    ("listens_after", "probe", "ready_at"),
    [
        (0.0, {}, 0),  # the first attempt finds it
        (0.05, {}, 0.1),  # the second
        (0.2, {}, 10),  # there is no third before the period is over
        (0.05, {"successThreshold": 2}, 10),
        (0.05, {"initialDelaySeconds": 3}, 3),
        (3.05, {"initialDelaySeconds": 3}, 13),  # after a delay there is one attempt, as at any other time
    ],
)
def test_a_server_that_listens_in_no_time_is_ready_in_no_time(
    on_node: Any, listens_after: float, probe: dict[str, Any], ready_at: float
) -> None:
    async def main(node: Any) -> None:
        await node.create(app(readinessProbe=http(**probe)))
        await node.at(30)
        assert [second for second, is_ready in node.ready_changes() if is_ready] == [pytest.approx(ready_at, abs=0.002)]

    on_node(main, ContainerProfile(listens_after_seconds=listens_after))


def test_the_grid_stays_where_it_was(on_node: Any) -> None:
    asked: list[float] = []

    def answer(seconds: float) -> HttpAnswer:
        asked.append(round(seconds, 1))
        return HttpAnswer(500)

    async def main(node: Any) -> None:
        await node.create(app(readinessProbe=http()))
        await node.at(31)
        assert asked == [0, 0.1, 10, 20, 30]

    on_node(main, ContainerProfile(http_otherwise=answer))


@pytest.mark.parametrize("kind", ["livenessProbe", "startupProbe"])
def test_probes_that_end_a_container_are_tried_on_the_grid_only(on_node: Any, kind: str) -> None:
    async def main(node: Any) -> None:
        await node.create(app(**{kind: http(failureThreshold=2)}))
        await node.at(9)
        assert len(await node.events("Unhealthy")) == 1
        assert (await node.status()).restartCount == 0

    on_node(main, ContainerProfile(http_otherwise=HttpAnswer(500)))


def test_after_a_startup_probe_readiness_is_tried_once(on_node: Any) -> None:
    asked: list[float] = []

    def answer(seconds: float) -> HttpAnswer:
        asked.append(round(seconds, 1))
        return HttpAnswer(500)

    async def main(node: Any) -> None:
        await node.create(app(startupProbe=http("/started"), readinessProbe=http("/ready")))
        await node.at(9)
        assert asked == [0]

    on_node(main, ContainerProfile(http={"/ready": answer}))
