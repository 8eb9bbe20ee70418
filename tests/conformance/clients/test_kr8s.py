"""kr8s: objects that know their cluster, their waits and their streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any

import pytest
from antei_process import config_map, deployment, needs_namespaces, pod

from antei.testing import AnteiCluster

kr8s = pytest.importorskip("kr8s")

# Its own, of which we can mend nothing.
pytestmark = pytest.mark.filterwarnings("ignore")
LISTENS = {"exec": {"command": ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080"]}, "periodSeconds": 1}


@pytest.fixture
async def api(simulated: AnteiCluster, namespace: str) -> AsyncIterator[Any]:
    async with connected(simulated, namespace) as api:
        yield api


@asynccontextmanager
async def connected(cluster: AnteiCluster, namespace: str) -> AsyncIterator[Any]:
    api = await kr8s.asyncio.api(kubeconfig=str(cluster.kubeconfig), namespace=namespace)
    try:
        yield api
    finally:
        await api._session.aclose()  # it has no way of its own to close what it holds


async def test_objects_are_made_changed_and_gone(api: Any) -> None:
    objects = kr8s.asyncio.objects
    made = await objects.ConfigMap(config_map("a", x="1"), api=api)
    await made.create()
    assert await made.exists()
    await made.label({"color": "red"})
    await made.annotate(why="because")
    await made.patch({"data": {"y": "2"}})
    await made.refresh()
    assert (made.data, made.labels, made.annotations) == ({"x": "1", "y": "2"}, {"color": "red"}, {"why": "because"})
    found = [each.name async for each in api.get("configmaps", label_selector={"color": "red"})]
    assert found == ["a"]
    await made.delete()
    await made.wait("delete", timeout=60)
    with pytest.raises(kr8s.NotFoundError):
        await objects.ConfigMap.get("a", api=api)


async def test_it_waits_for_a_deployment_and_scales_it(api: Any, namespace: str) -> None:
    objects = kr8s.asyncio.objects
    web = await objects.Deployment(deployment("web", 2), api=api)
    await web.create()
    await web.wait("condition=Available", timeout=60)
    pods = await web.pods()
    assert len(pods) == 2
    assert all([await each.ready() for each in pods])
    await web.scale(3)
    await web.wait("jsonpath='{.status.readyReplicas}'=3", timeout=60)
    assert web.replicas == 3
    assert len([each async for each in api.get("pods", namespace=namespace)]) == 3
    assert (await web.pods())[0].metadata.ownerReferences[0].kind == "ReplicaSet"
    await web.delete(propagation_policy="Foreground")
    await web.wait("delete", timeout=60)


async def test_it_watches(api: Any, namespace: str) -> None:
    objects = kr8s.asyncio.objects
    seen: list[tuple[str, str]] = []
    begun = asyncio.Event()

    async def follow() -> None:
        async for change, found in api.watch("configmaps", namespace=namespace, label_selector={"round": "1"}):
            seen.append((change, found.name))
            begun.set()
            if change == "DELETED":
                return

    watching = asyncio.create_task(follow())
    made = await objects.ConfigMap({**config_map("a"), "metadata": {"name": "a", "labels": {"round": "1"}}}, api=api)
    await made.create()
    async with asyncio.timeout(60):
        await begun.wait()
        await made.delete()
        await watching
    assert (seen[0], seen[-1]) == (("ADDED", "a"), ("DELETED", "a"))


async def test_it_knows_nodes_versions_and_what_there_is(api: Any) -> None:
    assert [node.name async for node in kr8s.asyncio.get("nodes", api=api)] == ["node-1", "node-2", "node-3"]
    node = await kr8s.asyncio.objects.Node.get("node-3", api=api)
    await node.cordon()
    await node.refresh()
    assert node.unschedulable
    await node.uncordon()
    assert (await api.version())["minor"] == "37"
    kinds = {resource["kind"] for resource in await api.api_resources()}
    assert {"Pod", "Deployment", "PodDisruptionBudget", "EndpointSlice"} <= kinds
    assert (await api.whoami()) is not None


# Streams


@pytest.fixture(scope="module")
def streamed(antei_cluster_factory: Callable[..., AbstractContextManager[AnteiCluster]]) -> Iterator[AnteiCluster]:
    images = {
        "pause": {"command": ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait; done"]},
        "inner": {"command": ["${python}", "-m", "http.server", "8080", "--bind", "127.0.0.1"]},
    }
    with antei_cluster_factory(images=[images]) as cluster:
        cluster.apply(pod("box"), pod("inner", "inner", readinessProbe=LISTENS))
        yield cluster


@pytest.mark.live
@needs_namespaces()
async def test_it_runs_commands_and_forwards_ports(streamed: AnteiCluster) -> None:
    objects = kr8s.asyncio.objects
    async with connected(streamed, "default") as api:
        box = await objects.Pod.get("box", namespace="default", api=api)
        done = await box.exec(["echo", "out"], check=False)
        assert (done.returncode, done.stdout) == (0, b"out\n")
        failed = await box.exec(["sh", "-c", "echo err >&2; exit 4"], check=False)
        assert (failed.returncode, failed.stderr) == (4, b"err\n")
        inner = await objects.Pod.get("inner", namespace="default", api=api)
        async with inner.portforward(remote_port=8080, local_port="auto") as port:
            for _ in range(3):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET /etc/hostname HTTP/1.0\r\n\r\n")
                assert (await reader.read()).endswith(b"\r\n\r\ninner\n")
                writer.close()
