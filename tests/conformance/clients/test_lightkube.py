"""lightkube, the client whose types are antei's objects: synchronous and asynchronous."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import lightkube
import pytest
from antei_process import until
from lightkube.core.exceptions import ApiError
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.apps_v1 import DeploymentSpec
from lightkube.models.autoscaling_v1 import ScaleSpec
from lightkube.models.core_v1 import Container, PodSpec, PodTemplateSpec
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Node, Pod
from lightkube.types import CascadeType, PatchType

from antei.testing import AnteiCluster


@pytest.fixture
def client(simulated: AnteiCluster, namespace: str) -> Iterator[lightkube.Client]:
    client = simulated.client(namespace)
    yield client
    client.close()


@pytest.fixture
async def async_client(simulated: AnteiCluster, namespace: str) -> AsyncIterator[lightkube.AsyncClient]:
    client = await asyncio.to_thread(simulated.async_client, namespace)  # it looks at files
    yield client
    await client.close()


def config(name: str, **data: str) -> ConfigMap:
    return ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=ObjectMeta(name=name), data=data)


def web(replicas: int) -> Deployment:
    template = PodTemplateSpec(
        metadata=ObjectMeta(labels={"app": "web"}), spec=PodSpec(containers=[Container(name="main", image="web")])
    )
    selector = LabelSelector(matchLabels={"app": "web"})
    return Deployment(
        apiVersion="apps/v1",
        kind="Deployment",
        metadata=ObjectMeta(name="web", labels={"app": "web"}),
        spec=DeploymentSpec(replicas=replicas, selector=selector, template=template),
    )


def test_create_get_replace_and_delete(client: lightkube.Client, namespace: str) -> None:
    made = client.create(config("a", x="1"))
    assert made.metadata is not None
    assert (made.metadata.namespace, made.data) == (namespace, {"x": "1"})
    replaced = client.replace(config("a", x="2"))
    assert replaced.metadata is not None
    assert replaced.metadata.resourceVersion != made.metadata.resourceVersion
    with pytest.raises(ApiError) as stale:
        client.replace(made)
    assert stale.value.status.reason == "Conflict"
    with pytest.raises(ApiError) as taken:
        client.create(config("a"))
    assert taken.value.status.reason == "AlreadyExists"
    client.delete(ConfigMap, "a")
    with pytest.raises(ApiError) as missing:
        client.get(ConfigMap, "a")
    assert (missing.value.status.code, missing.value.status.reason) == (404, "NotFound")
    assert missing.value.status.message == 'configmaps "a" not found'


def test_every_patch_and_apply(client: lightkube.Client) -> None:
    client.create(config("a", x="1", y="2"))
    assert client.patch(ConfigMap, "a", {"data": {"y": None}}).data == {"x": "1"}
    assert client.patch(ConfigMap, "a", {"data": {"z": "3"}}, patch_type=PatchType.MERGE).data == {"x": "1", "z": "3"}
    operations: Any = [{"op": "remove", "path": "/data/x"}]
    assert client.patch(ConfigMap, "a", operations, patch_type=PatchType.JSON).data == {"z": "3"}
    applied = client.apply(config("b", k="ours"), field_manager="one")
    assert applied.data == {"k": "ours"}
    with pytest.raises(ApiError) as conflict:
        client.apply(config("b", k="theirs"), field_manager="two")
    assert 'conflict with "one"' in str(conflict.value.status.message)
    assert client.apply(config("b", k="theirs"), field_manager="two", force=True).data == {"k": "theirs"}
    assert client.apply(config("b"), field_manager="two").data is None


def test_lists_select_and_go_through_pages(client: lightkube.Client, namespace: str) -> None:
    for number in range(7):
        made = config(f"c-{number}")
        assert made.metadata is not None
        made.metadata.labels = {"half": "low" if number < 4 else "high"}
        client.create(made)
    low = client.list(ConfigMap, labels={"half": "low"}, chunk_size=2)
    assert [each.metadata.name for each in low if each.metadata] == ["c-0", "c-1", "c-2", "c-3"]
    assert low.resourceVersion
    assert len(list(client.list(ConfigMap, labels={"half": lightkube.operators.not_equal("low")}, chunk_size=1))) >= 3
    one = list(client.list(ConfigMap, fields={"metadata.name": "c-5"}))
    assert len(one) == 1
    everywhere = [each for each in client.list(ConfigMap, namespace="*") if each.metadata]
    assert namespace in {each.metadata.namespace for each in everywhere if each.metadata}
    assert sorted(node.metadata.name or "" for node in client.list(Node) if node.metadata) == [
        "node-1",
        "node-2",
        "node-3",
    ]


def test_a_deployment_becomes_available_scales_and_goes_with_its_pods(client: lightkube.Client) -> None:
    client.create(web(1))
    ready = client.wait(Deployment, "web", for_conditions=["Available"])
    assert ready.status is not None
    assert ready.status.readyReplicas == 1
    scale = Deployment.Scale(metadata=ObjectMeta(name="web"), spec=ScaleSpec(replicas=3))
    assert client.replace(scale, "web").spec == ScaleSpec(replicas=3)
    for _, seen in client.watch(Deployment, fields={"metadata.name": "web"}):
        if seen.status and seen.status.readyReplicas == 3:
            break
    assert client.get(Deployment.Scale, "web").status.replicas == 3
    client.delete(Deployment, "web", cascade=CascadeType.FOREGROUND)
    until("its pods are gone", lambda: not list(client.list(Pod, labels={"app": "web"})))
    with pytest.raises(ApiError):
        client.get(Deployment, "web")


def test_kinds_that_it_does_not_know_are_generic(client: lightkube.Client) -> None:
    budget = create_namespaced_resource("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
    client.create(
        budget(metadata=ObjectMeta(name="web"), spec={"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}})
    )
    found = client.get(budget, "web")
    assert found["spec"]["minAvailable"] == 1
    client.deletecollection(budget)
    assert list(client.list(budget)) == []


async def test_watches_and_writes_at_once(async_client: lightkube.AsyncClient) -> None:
    seen: list[tuple[str, str | None]] = []
    modified = asyncio.Event()

    async def follow() -> None:
        async for change, found in async_client.watch(ConfigMap, labels={"round": "1"}):
            assert found.metadata is not None
            seen.append((change, found.metadata.name))
            if change == "MODIFIED":
                modified.set()
            if change == "DELETED":
                return

    watching = asyncio.create_task(follow())
    made = config("a")
    assert made.metadata is not None
    made.metadata.labels = {"round": "1"}
    await async_client.create(made)
    await async_client.patch(ConfigMap, "a", {"data": {"x": "1"}})
    async with asyncio.timeout(60):
        await modified.wait()
        await async_client.delete(ConfigMap, "a")
        await watching
    assert seen == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


async def test_many_requests_at_once_over_one_client(async_client: lightkube.AsyncClient) -> None:
    await asyncio.gather(*(async_client.create(config(f"c-{number}")) for number in range(40)))
    names = [each.metadata.name async for each in async_client.list(ConfigMap) if each.metadata]
    assert sum(str(name).startswith("c-") for name in names) == 40
    await async_client.create(web(2))
    await async_client.wait(Deployment, "web", for_conditions=["Available"])
    pods = [pod async for pod in async_client.list(Pod, labels={"app": "web"})]
    logs = [[line async for line in async_client.log(pod.metadata.name)] for pod in pods if pod.metadata]
    assert logs == [[], []]
