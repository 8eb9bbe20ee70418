"""Lists in chunks lead through one snapshot, or say that they no longer can."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap

from antei.api.errors import ApiError
from antei.api.resources import resource_of
from antei.server.listing import Page
from antei.server.registry import Registry
from antei.store.memory import MemoryStore
from antei.store.state import Limits
from antei.world.system import system_world

MAPS = resource_of(ConfigMap)


async def filled(count: int = 5, store: MemoryStore | None = None) -> Registry:
    registry = Registry(store or MemoryStore(), system_world())
    for number in range(count):
        labels = {"even": str(number % 2 == 0).lower()}
        await registry.create(MAPS, "default", ConfigMap(metadata=ObjectMeta(name=f"c{number}", labels=labels)))
    return registry


def names(page: Page) -> list[str]:
    return [stored.key.name for stored in page.items]


async def test_pages_lead_through_the_list_as_it_was() -> None:
    registry = await filled()
    first = await registry.list_page(MAPS, None, limit=2)
    assert (names(first), first.remaining, first.revision) == (["c0", "c1"], 3, 5)
    await registry.delete(MAPS, "default", "c2")
    await registry.create(MAPS, "default", ConfigMap(metadata=ObjectMeta(name="c1x")))
    second = await registry.list_page(MAPS, None, limit=2, continue_token=first.continue_token)
    assert (names(second), second.remaining, second.revision) == (["c2", "c3"], 1, 5)
    last = await registry.list_page(MAPS, None, limit=2, continue_token=second.continue_token)
    assert (names(last), last.remaining, last.continue_token) == (["c4"], None, "")


async def test_a_selector_leaves_the_remaining_count_unknown() -> None:
    registry = await filled()
    page = await registry.list_page(MAPS, "default", limit=1, label_selector="even=true")
    assert (names(page), page.remaining) == (["c0"], None)
    page = await registry.list_page(
        MAPS, "default", limit=5, label_selector="even=true", continue_token=page.continue_token
    )
    assert (names(page), page.continue_token) == (["c2", "c4"], "")


@pytest.mark.parametrize(("limit", "token"), [(5, False), (6, False), (0, False), (4, True)])
async def test_a_token_is_given_only_where_more_follows(limit: int, token: bool) -> None:
    page = await (await filled()).list_page(MAPS, None, limit=limit)
    assert bool(page.continue_token) is token


async def test_an_expired_token_offers_to_go_on_with_what_there_is() -> None:
    first = await (await filled()).list_page(MAPS, None, limit=2)
    other = await filled(7, MemoryStore(Limits(history=1)))  # it no longer knows that revision
    with pytest.raises(ApiError) as expired:
        await other.list_page(MAPS, None, limit=2, continue_token=first.continue_token)
    assert (expired.value.code, expired.value.reason) == (410, "Expired")
    assert expired.value.message.startswith("The provided continue parameter is too old")
    metadata = expired.value.status.metadata
    assert metadata is not None
    rest = await other.list_page(MAPS, None, continue_token=metadata.continue_ or "")
    assert names(rest) == ["c2", "c3", "c4", "c5", "c6"]


async def test_a_token_is_good_for_as_long_as_the_store_keeps_its_history() -> None:
    registry = await filled(store=MemoryStore(Limits(history=50)))
    first = await registry.list_page(MAPS, None, limit=2)
    for number in range(50):
        await registry.create(MAPS, "default", ConfigMap(metadata=ObjectMeta(name=f"d{number}")))
    rest = await registry.list_page(MAPS, None, continue_token=first.continue_token)
    assert (names(rest), rest.revision) == (["c2", "c3", "c4"], first.revision)
    first = await registry.list_page(MAPS, None, limit=3)
    for number in range(100):
        await registry.create(MAPS, "default", ConfigMap(metadata=ObjectMeta(name=f"e{number}")))
    with pytest.raises(ApiError) as expired:
        await registry.list_page(MAPS, None, continue_token=first.continue_token)
    assert expired.value.code == 410


async def test_a_list_is_what_it_was_at_any_revision_that_is_kept() -> None:
    registry = await filled(3)
    seen = {registry.store.revision: ["c0", "c1", "c2"]}
    await registry.delete(MAPS, "default", "c1")
    seen[registry.store.revision] = ["c0", "c2"]
    await registry.create(MAPS, "kube-system", ConfigMap(metadata=ObjectMeta(name="b")))
    seen[registry.store.revision] = ["c0", "c2", "b"]
    await registry.create(MAPS, "default", ConfigMap(metadata=ObjectMeta(name="c1")))
    for revision, expected in seen.items():
        page = await registry.list_page(MAPS, None, revision=revision)
        assert (names(page), page.revision) == (expected, revision)
    in_default = await registry.list_page(MAPS, "default", revision=max(seen), limit=1)
    assert (names(in_default), in_default.remaining) == (["c0"], 1)
    with pytest.raises(ApiError) as refused:
        await registry.list_page(MAPS, None, revision=registry.store.revision + 1)
    assert (refused.value.code, refused.value.reason) == (504, "Timeout")


@pytest.mark.parametrize(
    "token", ["what?", base64.b64encode(b"{}").decode(), base64.b64encode(b'{"v":"x","rv":1,"start":["",""]}').decode()]
)
async def test_a_token_that_is_none_is_refused(token: Any) -> None:
    registry = await filled()
    with pytest.raises(ApiError) as refused:
        await registry.list_page(MAPS, None, continue_token=token)
    assert refused.value.code == 400
    assert refused.value.message.startswith("invalid continue token: continue key is not valid")
