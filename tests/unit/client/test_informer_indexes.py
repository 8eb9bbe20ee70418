"""One informer's indexes serve all who share it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap, Namespace

from antei.api.objects import Object, labels_of, name_of, replace_meta
from antei.client.informer import Informer
from antei.client.local import LocalClient
from antei.server.registry import Registry
from antei.simulate.loop import run_virtual
from antei.store.memory import MemoryStore
from antei.world.virtual import virtual_world


def _teams(obj: Object) -> tuple[str, ...]:
    team = labels_of(obj).get("team")
    return (team,) if team else ()


def _config_map(name: str, team: str, namespace: str = "default") -> ConfigMap:
    metadata = ObjectMeta(name=name, namespace=namespace, labels={"team": team})
    return ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=metadata)


def _following(main: Callable[[LocalClient, Informer[ConfigMap]], Coroutine[Any, Any, None]]) -> None:
    async def session() -> None:
        client = LocalClient(Registry(MemoryStore(), virtual_world(1)))
        for name in ("default", "other"):
            await client.create(Namespace(apiVersion="v1", kind="Namespace", metadata=ObjectMeta(name=name)))
        informer = Informer(client, ConfigMap)
        informer.add_index("team", _teams)
        running = asyncio.create_task(informer.run())
        await informer.wait_synced()
        await main(client, informer)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run_virtual(session())


def test_the_same_index_again_is_no_other() -> None:
    async def main(client: LocalClient, informer: Informer[ConfigMap]) -> None:
        await client.create(_config_map("a", "red"))
        await asyncio.sleep(0.01)
        informer.add_index("team", _teams)
        assert [name_of(found) for found in informer.by_index("team", "red")] == ["a"]

    _following(main)


def test_a_name_that_stands_for_another_index_is_refused() -> None:
    async def main(client: LocalClient, informer: Informer[ConfigMap]) -> None:
        with pytest.raises(ValueError, match="another index 'team'"):
            informer.add_index("team", lambda obj: (name_of(obj),))

    _following(main)


def test_objects_keep_their_order_and_leave_the_values_that_they_lose() -> None:
    async def main(client: LocalClient, informer: Informer[ConfigMap]) -> None:
        created = [await client.create(_config_map(name, "red")) for name in ("a", "b", "c")]
        await client.create(_config_map("elsewhere", "red", "other"))
        await client.update(replace_meta(created[0], labels={"team": "red", "seen": "twice"}))
        await client.update(replace_meta(created[1], labels={"team": "blue"}))
        await asyncio.sleep(0.01)
        assert [name_of(found) for found in informer.by_index("team", "red")] == ["a", "c", "elsewhere"]
        assert [name_of(found) for found in informer.by_index("team", "blue")] == ["b"]
        assert [name_of(found) for found in informer.items("default")] == ["a", "b", "c"]
        assert labels_of(informer.items("default")[0])["seen"] == "twice"

    _following(main)


def test_one_handler_that_goes_wrong_does_not_blind_the_others() -> None:
    seen: list[str] = []

    def mistaken(old: ConfigMap | None, new: ConfigMap | None) -> None:
        raise KeyError("odd")

    async def main(client: LocalClient, informer: Informer[ConfigMap]) -> None:
        informer.add_handler(mistaken)
        informer.add_handler(lambda old, new: seen.append(name_of(new)) if new is not None else None)
        for name in ("a", "b"):
            await client.create(_config_map(name, "red"))
        await asyncio.sleep(0.01)

    with pytest.raises(ExceptionGroup, match="mistakes in virtual time"):
        _following(main)
    assert seen == ["a", "b"]
