"""Old events go, a minute apart; what cannot be removed is nobody's failure."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import pytest
from lightkube.models.core_v1 import ObjectReference
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Event

from antei.api.objects import replace
from antei.server.expiry import EVENT_BUCKET, EventExpiry
from antei.simulate.loop import run_virtual
from antei.store import Key, Stored, StoreError
from antei.store.memory import MemoryStore
from antei.world.virtual import virtual_world

START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.moment = START

    def now(self) -> datetime:
        return self.moment


class Full(MemoryStore):
    """A store whose disk is full."""

    async def delete(self, key: Key, expected_revision: int) -> Stored:
        raise StoreError("the disk is full")


async def _write(store: MemoryStore, name: str, at: datetime) -> None:
    event = Event(
        apiVersion="v1",
        kind="Event",
        metadata=ObjectMeta(name=name, namespace="default", creationTimestamp=at),
        involvedObject=ObjectReference(),
        lastTimestamp=at,
    )
    await store.create(Key(EVENT_BUCKET, "default", name), event)


async def test_events_of_more_than_an_hour_ago_are_removed_and_later_ones_kept() -> None:
    store, clock = MemoryStore(), Clock()
    for name, minutes in (("first", 0), ("second", 1), ("late", 30)):
        await _write(store, name, START + timedelta(minutes=minutes))
    expiry = EventExpiry(store, clock)
    clock.moment = START + timedelta(minutes=62)
    await expiry.sweep_when_due()
    assert [stored.key.name for stored in store.list(EVENT_BUCKET).items] == ["late"]


async def test_what_happened_again_has_another_hour() -> None:
    store, clock = MemoryStore(), Clock()
    expiry = EventExpiry(store, clock)
    await expiry.sweep_when_due()
    for name in ("once", "twice"):
        await _write(store, name, START)
        stored = store.get(Key(EVENT_BUCKET, "default", name))
        assert stored is not None
        await expiry.added(stored)
    assert stored is not None
    again = replace(stored.object, lastTimestamp=START + timedelta(minutes=30))
    await store.update(stored.key, again, stored.revision)
    left = []
    for minutes in (59, 60, 61, 89, 91):
        clock.moment = START + timedelta(minutes=minutes)
        await expiry.sweep_when_due()
        left.append([stored.key.name for stored in store.list(EVENT_BUCKET).items])
    assert left == [["once", "twice"], ["twice"], ["twice"], ["twice"], []]


async def test_what_cannot_be_removed_is_left_for_the_next_time(caplog: pytest.LogCaptureFixture) -> None:
    store, clock = Full(), Clock()
    await _write(store, "first", START)
    clock.moment = START + timedelta(hours=2)
    expiry = EventExpiry(store, clock)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            await expiry.sweep_when_due()
            clock.moment += timedelta(minutes=1)
    assert [stored.key.name for stored in store.list(EVENT_BUCKET).items] == ["first"]
    assert caplog.messages == ["event first has expired and could not be removed: the disk is full"] * 2


def test_events_go_also_while_nothing_happens() -> None:
    async def session() -> list[int]:
        world = virtual_world(1)
        store = MemoryStore()
        await _write(store, "old", world.clock.now())
        running = asyncio.create_task(EventExpiry(store, world.clock).run())
        left = []
        for _ in range(3):
            await asyncio.sleep(1780)
            left.append(len(store.list(EVENT_BUCKET).items))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return left

    assert run_virtual(session()) == [1, 1, 0]
