"""Containers that are added to a running pod: when they start, that they never start again, and how they end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from lightkube.models.core_v1 import ContainerStatus
from lightkube.resources.core_v1 import Pod

from antei.api.errors import ApiError
from antei.client import PatchType
from antei.runtime.simulated import ContainerProfile, ScheduledExit
from antei.testing import VirtualCluster

PROFILES = {
    "app": ContainerProfile(stops_after_seconds=1),
    "short": ContainerProfile(ends=ScheduledExit(after_seconds=5, exit_code=3)),
    "done": ContainerProfile(ends=ScheduledExit(after_seconds=20)),
    "slow": ContainerProfile(ends=ScheduledExit(after_seconds=60)),
}
pytestmark = pytest.mark.antei(virtual_time=True, profiles=PROFILES)


def pod(image: str = "app", **spec: Any) -> dict[str, Any]:
    containers = [{"name": "main", "image": image}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "box"}, "spec": {"containers": containers, **spec}}


async def add(cluster: VirtualCluster, *containers: dict[str, Any]) -> None:
    """As `kubectl debug` does."""
    patch = {"spec": {"ephemeralContainers": list(containers)}}
    await cluster.client.patch(
        Pod, "box", "default", patch, patch_type=PatchType.STRATEGIC, subresource="ephemeralcontainers"
    )


async def box(cluster: VirtualCluster) -> Pod:
    return await cluster.client.get(Pod, "box", "default")


async def status(cluster: VirtualCluster, name: str = "look") -> ContainerStatus:
    found = (await box(cluster)).status
    assert found is not None
    return next(each for each in found.ephemeralContainerStatuses or () if each.name == name)


async def test_one_that_ends_is_not_started_again_and_the_pod_stays_ready(antei_cluster: VirtualCluster) -> None:
    await antei_cluster.apply(pod())
    await add(antei_cluster, {"name": "look", "image": "short"})
    await asyncio.sleep(1)
    running = await status(antei_cluster)
    assert running.state is not None
    assert running.state.running is not None
    assert running.ready is False
    await asyncio.sleep(600)
    ended = (await status(antei_cluster)).state
    assert ended is not None
    assert ended.terminated is not None
    assert ended.terminated.exitCode == 3
    assert len(antei_cluster.runtime.happenings("started", "box")) == 2
    found = (await box(antei_cluster)).status
    assert found is not None
    assert (found.phase, {c.type: c.status for c in found.conditions or ()}["Ready"]) == ("Running", "True")


async def test_it_starts_while_init_containers_still_run(antei_cluster: VirtualCluster) -> None:
    await antei_cluster.apply(pod(initContainers=[{"name": "first", "image": "slow"}]), wait_seconds=0)
    await asyncio.sleep(1)
    await add(antei_cluster, {"name": "look", "image": "app"})
    await asyncio.sleep(1)
    assert [entry.container for entry in antei_cluster.runtime.happenings("started", "box")] == ["first", "look"]


async def test_it_ends_with_its_pod_within_the_grace_period(antei_cluster: VirtualCluster) -> None:
    await antei_cluster.apply(pod())
    await add(antei_cluster, {"name": "look", "image": "app"})
    await asyncio.sleep(5)
    await antei_cluster.client.delete(Pod, "box", "default")
    await asyncio.sleep(2)
    signalled = [entry.container for entry in antei_cluster.runtime.happenings("signalled", "box")]
    assert sorted(signalled) == ["look", "main"]
    with pytest.raises(ApiError):
        await box(antei_cluster)


async def test_a_pod_that_is_done_does_not_wait_for_it(antei_cluster: VirtualCluster) -> None:
    await antei_cluster.apply(pod("done", restartPolicy="Never"))
    await add(antei_cluster, {"name": "look", "image": "app"})
    await asyncio.sleep(30)
    found = (await box(antei_cluster)).status
    assert found is not None
    assert found.phase == "Succeeded"


async def test_a_node_that_comes_back_adopts_it(antei_cluster: VirtualCluster) -> None:
    await antei_cluster.apply(pod())
    await add(antei_cluster, {"name": "look", "image": "app"}, {"name": "was", "image": "short"})
    await asyncio.sleep(10)
    before = await status(antei_cluster)
    await antei_cluster.simulated.stop_node("node-1")
    await add(antei_cluster, {"name": "late", "image": "app"})
    await asyncio.sleep(5)
    await antei_cluster.simulated.start_node("node-1")
    await asyncio.sleep(10)
    assert (await status(antei_cluster)).containerID == before.containerID
    late = (await status(antei_cluster, "late")).state
    assert late is not None
    assert late.running is not None
    assert len(antei_cluster.runtime.happenings("started", "box")) == 4


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        (
            [{"op": "remove", "path": "/spec/ephemeralContainers/0"}],
            'spec.ephemeralContainers: Forbidden: existing ephemeral containers "look" may not be removed',
        ),
        (
            [{"op": "replace", "path": "/spec/ephemeralContainers/0/image", "value": "other"}],
            'spec.ephemeralContainers: Forbidden: existing ephemeral containers "look" may not be changed\nimage',
        ),
        (
            [{"op": "add", "path": "/spec/ephemeralContainers/-", "value": {"name": "main", "image": "app"}}],
            'spec.ephemeralContainers[1].name: Duplicate value: "main"',
        ),
    ],
)
async def test_what_was_added_stays_as_it_is(
    antei_cluster: VirtualCluster, operations: list[dict[str, Any]], message: str
) -> None:

    await antei_cluster.apply(pod())
    await add(antei_cluster, {"name": "look", "image": "app"})
    with pytest.raises(ApiError) as refused:
        await antei_cluster.client.patch(
            Pod, "box", "default", operations, patch_type=PatchType.JSON, subresource="ephemeralcontainers"
        )
    assert refused.value.code == 422
    assert message in refused.value.message
    # Elsewhere than by their subresource they cannot be touched at all.
    with pytest.raises(ApiError):
        await antei_cluster.client.patch(Pod, "box", "default", operations, patch_type=PatchType.JSON)
