"""The HTTP transport of `antei.client`, against antei's own server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from custom_kinds import crd
from lightkube.models.core_v1 import Container, PodSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Binding, ConfigMap, Pod

from antei.api.customresources import custom_kind
from antei.api.errors import ApiError
from antei.api.objects import replace_meta
from antei.client import Client, EventType, PatchType
from antei.client.http import HttpClient
from antei.server.http.server import ApiServer


@pytest.fixture
async def client(api_server: ApiServer, tmp_path: Path) -> AsyncIterator[HttpClient]:
    file = tmp_path / "client-kubeconfig"
    file.write_text(api_server.kubeconfig)
    client = await asyncio.to_thread(HttpClient.from_kubeconfig, file)
    yield client
    await client.aclose()


def config_map(name: str, **data: str) -> ConfigMap:
    metadata = ObjectMeta(name=name, namespace="default")
    return ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=metadata, data=data)


async def test_it_is_a_client(client: HttpClient) -> None:
    as_protocol: Client = client
    created = await as_protocol.create(config_map("a", x="1"))
    assert created.metadata is not None
    assert created.metadata.uid
    assert await client.get(ConfigMap, "a", "default") == created
    patched = await client.patch(ConfigMap, "a", "default", {"data": {"x": "2"}}, patch_type=PatchType.STRATEGIC)
    assert patched.data == {"x": "2"}
    with pytest.raises(ApiError) as stale:
        await client.update(created)
    assert stale.value.code == 409
    await client.delete(ConfigMap, "a", "default", uid=created.metadata.uid)
    with pytest.raises(ApiError) as gone:
        await client.get(ConfigMap, "a", "default")
    assert (gone.value.code, gone.value.reason) == (404, "NotFound")


async def test_a_list_names_apiversion_and_kind_and_where_to_watch_from(client: HttpClient) -> None:
    for name in ("a", "b"):
        await client.create(config_map(name))
    listing = await client.list(ConfigMap, "default")
    assert [(item.kind, item.metadata.name if item.metadata else "") for item in listing.items] == [
        ("ConfigMap", "a"),
        ("ConfigMap", "b"),
    ]
    assert int(listing.resource_version) > 0


async def test_a_watch_yields_changes(client: HttpClient) -> None:
    listing = await client.list(ConfigMap)
    await client.create(config_map("a"))
    await client.delete(ConfigMap, "a", "default")
    seen = []
    async with asyncio.timeout(10):
        async for event in client.watch(ConfigMap, resource_version=listing.resource_version):
            seen.append(event.type)
            if len(seen) == 2:
                break
    assert seen == [EventType.ADDED, EventType.DELETED]


async def test_a_pod_is_bound(client: HttpClient) -> None:
    metadata = ObjectMeta(name="p", namespace="default")
    spec = PodSpec(containers=[Container(name="c", image="i")])
    await client.create(Pod(apiVersion="v1", kind="Pod", metadata=metadata, spec=spec))
    target = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
    await client.post_subresource(Pod, "p", "default", "binding", Binding.from_dict(target))
    bound = await client.get(Pod, "p", "default")
    assert bound.spec is not None
    assert bound.spec.nodeName == "n"


async def test_a_server_that_is_not_there_is_an_os_error(client: HttpClient, api_server: ApiServer) -> None:
    await api_server.stop()
    with pytest.raises(OSError):
        await client.get(ConfigMap, "a", "default")


def test_a_context_that_is_not_there_is_named(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text("apiVersion: v1\nkind: Config\nclusters: []\ncontexts: []\nusers: []\n")
    with pytest.raises(ValueError, match="No current context"):
        HttpClient.from_kubeconfig(file)


async def test_objects_of_custom_kinds_go_both_ways(client: HttpClient) -> None:
    """As controllers have them: the kind's class comes from its definition."""
    definition = await client.create(crd())
    kind = custom_kind(definition).served[0].type
    metadata = ObjectMeta(name="a", namespace="default")
    identity = {"apiVersion": "example.com/v1", "kind": "CronTab", "metadata": metadata}
    created = await client.create(kind.of({**identity, "spec": {"cron": "* *"}}))
    assert (created["spec"], created.kind) == ({"cron": "* *", "replicas": 1}, "CronTab")
    assert await client.get(kind, "a", "default") == created
    listing = await client.list(kind)
    assert listing.items == (created,)
    changed = await client.update(replace_meta(created, labels={"x": "y"}))
    events = client.watch(kind, "default", resource_version=listing.resource_version)
    async with asyncio.timeout(60):
        event = await anext(aiter(events))
    assert (event.type, event.object) == (EventType.MODIFIED, changed)
    await client.delete(kind, "a", "default")
