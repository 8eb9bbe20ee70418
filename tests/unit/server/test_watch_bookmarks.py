"""Bookmarks of a watch, in virtual time: each minute, and two seconds before its end."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap, Namespace

from antei.api.resources import resource_of
from antei.server.catalog import Catalog
from antei.server.http.exchange import Exchange
from antei.server.http.routes import resolve
from antei.server.http.streams import Streams
from antei.server.http.tables import Tabulator
from antei.server.http.watch import Watches
from antei.server.registry import Registry
from antei.server.selection import SelectedWatch
from antei.simulate.loop import run_virtual
from antei.store import Stored
from antei.store.memory import MemoryStore
from antei.world.measures import Measures
from antei.world.virtual import virtual_world

PATH = "/api/v1/namespaces/default/configmaps"


class Client:
    """An ASGI client that notes when each line came, and may stop reading."""

    def __init__(self, query: str, reads_lines: int | None = None, pauses: tuple[float, float] = (0, 0)) -> None:
        self.lines: list[tuple[float, dict[str, Any]]] = []
        self.has_ended = False
        self._reads_lines = reads_lines
        self._pauses = pauses
        scope = {"method": "GET", "path": PATH, "headers": [], "query_string": query.encode()}
        self.exchange = Exchange(scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError("the client stays")

    async def _send(self, message: Any) -> None:
        if self._reads_lines is not None and len(self.lines) >= self._reads_lines:
            await asyncio.Event().wait()
        if self._pauses[0] <= asyncio.get_running_loop().time() < self._pauses[1]:
            await asyncio.sleep(self._pauses[1] - asyncio.get_running_loop().time())
        now = asyncio.get_running_loop().time()
        body = message.get("body", b"")
        self.lines += [(now, json.loads(line)) for line in body.splitlines()]
        self.has_ended = message["type"] == "http.response.body" and not message.get("more_body")


async def _registry() -> Registry:
    registry = Registry(MemoryStore(), virtual_world(1))
    namespace = Namespace(apiVersion="v1", kind="Namespace", metadata=ObjectMeta(name="default"))
    await registry.create(resource_of(Namespace), "", namespace)
    return registry


async def _create(registry: Registry, name: str) -> int:
    item = ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=ObjectMeta(name=name, namespace="default"))
    return (await registry.create(resource_of(ConfigMap), "default", item)).revision


async def _serve(registry: Registry, client: Client) -> None:
    route = resolve(PATH, Catalog(registry.store))
    assert route is not None
    watches = Watches(registry, Tabulator(registry.world.clock), Streams(), Measures())
    await watches.serve(client.exchange, route)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(200, [60, 120, 180, 198]), (61, [59]), (62, [60]), (10, [8]), (2, []), (1, [])],
)
def test_when_bookmarks_come(seconds: int, expected: list[int]) -> None:
    async def session() -> list[tuple[float, str]]:
        registry = await _registry()
        client = Client(f"watch=1&allowWatchBookmarks=true&resourceVersion=1&timeoutSeconds={seconds}")
        began = asyncio.get_running_loop().time()
        await _serve(registry, client)
        assert asyncio.get_running_loop().time() - began == pytest.approx(seconds)
        assert client.has_ended
        return [(at - began, line["type"]) for at, line in client.lines]

    assert run_virtual(session()) == [(pytest.approx(at), "BOOKMARK") for at in expected]


def test_a_bookmark_has_the_revision_of_all_that_the_watch_has_passed() -> None:
    async def session() -> tuple[int, list[tuple[str, int]]]:
        registry = await _registry()
        client = Client("watch=1&allowWatchBookmarks=true&timeoutSeconds=70&resourceVersion=1&labelSelector=a%3Db")
        watching = asyncio.create_task(_serve(registry, client))
        await asyncio.sleep(30)
        written = await _create(registry, "not-selected")
        await watching
        versions = [(line["type"], int(line["object"]["metadata"]["resourceVersion"])) for _, line in client.lines]
        return written, versions

    written, versions = run_virtual(session())
    assert versions == [("BOOKMARK", written), ("BOOKMARK", written)]


def test_without_a_timeout_a_watch_lasts_half_an_hour_to_an_hour() -> None:
    async def session() -> float:
        registry = await _registry()
        await _serve(registry, Client("watch=1&resourceVersion=1"))
        return asyncio.get_running_loop().time()

    assert 1800 <= run_virtual(session()) <= 3600


def test_a_client_that_reads_nothing_is_cut() -> None:
    async def session() -> float:
        registry = await _registry()
        client = Client("watch=1&resourceVersion=1", reads_lines=1)
        watching = asyncio.create_task(_serve(registry, client))
        await asyncio.sleep(1)
        began = asyncio.get_running_loop().time()
        for name in ("a", "b"):
            await _create(registry, name)
        with pytest.raises(TimeoutError):
            await watching
        return asyncio.get_running_loop().time() - began

    assert run_virtual(session()) == pytest.approx(30)


def test_a_change_that_a_slow_client_makes_wait_beyond_a_bookmark_is_sent_once_and_first() -> None:
    async def session() -> list[tuple[float, str]]:
        registry = await _registry()
        client = Client("watch=1&allowWatchBookmarks=true&timeoutSeconds=100&resourceVersion=1", pauses=(45, 70))
        watching = asyncio.create_task(_serve(registry, client))
        await asyncio.sleep(50)
        for name in ("a", "b"):
            await _create(registry, name)
        await watching
        return [(at, line["object"]["metadata"].get("name", line["type"])) for at, line in client.lines]

    assert run_virtual(session()) == [(70, "a"), (70, "b"), (70, "BOOKMARK"), (98, "BOOKMARK")]


def test_a_change_that_is_converted_while_a_bookmark_is_due_is_not_lost() -> None:
    async def session() -> list[str | bool]:
        registry = await _registry()
        seen: list[str | bool] = []

        async def convert(stored: Stored) -> Stored:
            await asyncio.sleep(10)
            return stored

        changes = SelectedWatch(registry.store.watch(resource_of(ConfigMap).bucket, None, 1), None, None, 0, convert)
        await _create(registry, "a")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await anext(changes)
        seen.append(changes.is_idle)
        async with asyncio.timeout(15):
            seen.append((await anext(changes))[1].key.name)
        return [*seen, changes.is_idle]

    assert run_virtual(session()) == [False, "a", True]
