"""Watches over HTTP: where they begin, what they send, and that they end."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from antei.server.bootstrap import bootstrap
from antei.server.http.server import ApiServer
from antei.server.registry import Registry
from antei.store.memory import MemoryStore
from antei.store.state import Limits
from antei.world.system import system_world

if TYPE_CHECKING:
    from http_api import HttpApi

    from conftest import FakePodLogs

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


async def create(api: HttpApi, name: str) -> int:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
    return int((await api.json("POST", CONFIG_MAPS, status=201, json=body))["metadata"]["resourceVersion"])


async def next_event(response: Any) -> dict[str, Any]:
    async with asyncio.timeout(10):
        line = await response.content.readline()
    assert line, "the stream has ended"
    event: dict[str, Any] = json.loads(line)
    return event


async def test_a_watch_from_a_revision_sends_what_came_after_it(http_api: HttpApi) -> None:
    await create(http_api, "before")
    revision = await create(http_api, "at")
    async with http_api.request("GET", f"{CONFIG_MAPS}?watch=1&resourceVersion={revision}") as response:
        assert response.headers["Transfer-Encoding"] == "chunked"
        await create(http_api, "after")
        await http_api.json("DELETE", f"{CONFIG_MAPS}/at")
        added, deleted = await next_event(response), await next_event(response)
    assert (added["type"], added["object"]["metadata"]["name"]) == ("ADDED", "after")
    assert (deleted["type"], deleted["object"]["metadata"]["name"]) == ("DELETED", "at")
    assert int(deleted["object"]["metadata"]["resourceVersion"]) > revision


@pytest.mark.parametrize("revision", ["", "0"])
async def test_a_watch_without_a_revision_begins_with_what_is_there(http_api: HttpApi, revision: str) -> None:
    await create(http_api, "a")
    async with http_api.request("GET", f"{CONFIG_MAPS}?watch=true&resourceVersion={revision}") as response:
        assert (await next_event(response))["object"]["metadata"]["name"] == "a"
        await create(http_api, "b")
        assert (await next_event(response))["object"]["metadata"]["name"] == "b"


async def test_initial_events_end_with_the_bookmark_that_client_go_waits_for(http_api: HttpApi) -> None:
    revision = await create(http_api, "a")
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion="
    async with http_api.request("GET", f"{CONFIG_MAPS}?{query}") as response:
        assert (await next_event(response))["type"] == "ADDED"
        bookmark = await next_event(response)
    assert bookmark["type"] == "BOOKMARK"
    assert bookmark["object"]["kind"] == "ConfigMap"
    assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert int(bookmark["object"]["metadata"]["resourceVersion"]) >= revision


async def test_selectors_turn_changes_into_additions_and_deletions(http_api: HttpApi) -> None:
    revision = await create(http_api, "a")
    headers = {"Content-Type": "application/merge-patch+json"}
    query = f"watch=1&labelSelector=on%3Dyes&resourceVersion={revision}"
    async with http_api.request("GET", f"{CONFIG_MAPS}?{query}") as response:
        for value in ("yes", "no"):
            patch = json.dumps({"metadata": {"labels": {"on": value}}})
            await http_api.json("PATCH", f"{CONFIG_MAPS}/a", data=patch, headers=headers)
        assert [(await next_event(response))["type"] for _ in range(2)] == ["ADDED", "DELETED"]


async def test_a_table_watch_names_its_columns_once(http_api: HttpApi) -> None:
    await create(http_api, "a")
    await create(http_api, "b")
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    async with http_api.request("GET", f"{CONFIG_MAPS}?watch=1", headers=accept) as response:
        first, second = (await next_event(response))["object"], (await next_event(response))["object"]
    assert [c["name"] for c in first["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert second["columnDefinitions"] == []
    assert second["rows"][0]["cells"][0] == "b"


async def test_a_retired_version_is_watched_in_its_own_form(http_api: HttpApi) -> None:
    body = {
        "apiVersion": "batch/v1beta1",
        "kind": "CronJob",
        "metadata": {"name": "c"},
        "spec": {
            "schedule": "0 * * * *",
            "jobTemplate": {
                "spec": {
                    "template": {
                        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]},
                    }
                }
            },
        },
    }
    path = "/apis/batch/v1beta1/namespaces/default/cronjobs"
    await http_api.json("POST", path, status=201, json=body)
    async with http_api.request("GET", f"{path}?watch=1") as response:
        assert (await next_event(response))["object"]["apiVersion"] == "batch/v1beta1"


async def test_a_watch_ends_after_its_timeout(http_api: HttpApi) -> None:
    async with http_api.request("GET", f"{CONFIG_MAPS}?watch=1&timeoutSeconds=1") as response, asyncio.timeout(10):
        assert await response.read() == b""


async def test_a_watch_is_let_go_when_its_client_leaves(http_api: HttpApi, api_server: ApiServer) -> None:
    async with http_api.request("GET", f"{CONFIG_MAPS}?watch=1") as response:
        assert response.status == 200
        assert api_server.open_streams == 1
        response.close()
    async with asyncio.timeout(10):
        while api_server.open_streams:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)


async def test_a_stopping_server_ends_its_watches(http_api: HttpApi, api_server: ApiServer) -> None:
    async with http_api.request("GET", f"{CONFIG_MAPS}?watch=1") as response:
        async with asyncio.timeout(10):
            await api_server.stop()
            assert await response.read() == b""


async def test_a_revision_that_is_yet_to_come_is_refused(http_api: HttpApi) -> None:
    status = await http_api.json("GET", f"{CONFIG_MAPS}?watch=1&resourceVersion=99999", status=504)
    assert status["message"].startswith("Timeout: Too large resource version")


async def test_a_revision_that_is_no_longer_kept_is_gone(tmp_path: Path, pod_logs: FakePodLogs) -> None:
    registry = Registry(MemoryStore(Limits(history=3)), system_world())
    await bootstrap(registry, provisioner="antei.dev/directory", api_endpoints=[("127.0.0.1", 6443)])
    server = ApiServer(registry, system_world(), tmp_path / "data", pod_logs)
    await server.start()
    headers = {"Authorization": f"Bearer {server.token}"}
    try:
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(f"{server.url}/api/v1/namespaces?watch=1&resourceVersion=1", ssl=False) as response,
        ):
            event = await next_event(response)
            assert await response.read() == b"", "the stream ends with its error"
    finally:
        await server.stop()
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")


async def test_many_watches_see_every_change(http_api: HttpApi) -> None:
    responses = [await http_api.request("GET", f"{CONFIG_MAPS}?watch=1") for _ in range(50)]
    try:
        for name in ("a", "b", "c"):
            await create(http_api, name)
        for response in responses:
            names = [(await next_event(response))["object"]["metadata"]["name"] for _ in range(3)]
            assert names == ["a", "b", "c"]
    finally:
        for response in responses:
            response.close()
