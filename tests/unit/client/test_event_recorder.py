"""The recorder writes what it was told, in order, whatever happens to one of the events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Event, Namespace, Pod

from antei.api.errors import already_exists
from antei.api.objects import name_of, replace_meta
from antei.client import events
from antei.client.events import EventRecorder
from antei.client.local import LocalClient
from antei.server.registry import Registry
from antei.simulate.loop import run_virtual
from antei.store.memory import MemoryStore
from antei.world.virtual import virtual_world

POD = Pod(apiVersion="v1", kind="Pod", metadata=ObjectMeta(name="web", namespace="default", uid="1"))


class Creating:
    """A client that keeps what is created; `refuse` may raise instead."""

    def __init__(self, refuse: Callable[[Event], None] = lambda event: None) -> None:
        self._refuse = refuse
        self.tried: list[str] = []
        self.created: list[Event] = []

    async def create(self, event: Event) -> Event:
        self.tried.append(name_of(event))
        self._refuse(event)
        self.created.append(event)
        return event


async def _record(client: Any, reasons: list[str]) -> None:
    recorder = EventRecorder(client, virtual_world(1), "test")
    for reason in reasons:
        recorder.event(POD, "Normal", reason, "it happened")
    running = asyncio.create_task(recorder.run())
    await recorder.drain()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def _reasons(client: Creating) -> list[str | None]:
    return [event.reason for event in client.created]


def test_a_name_that_is_taken_is_given_up_for_another() -> None:
    taken: list[str] = []

    def refuse(event: Event) -> None:
        if len(taken) < 2:
            taken.append(name_of(event))
            raise already_exists("events", name_of(event))

    client = Creating(refuse)
    run_virtual(_record(client, ["Started", "Killing"]))
    assert _reasons(client) == ["Started", "Killing"]
    assert client.tried[:2] == taken
    assert len(set(client.tried)) == 4


def test_a_mistake_with_one_event_silences_no_other(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(event: Event) -> None:
        if event.reason == "Odd":
            raise KeyError("odd")

    client = Creating(refuse)
    asyncio.run(_record(client, ["Started", "Odd", "Killing"]))
    assert _reasons(client) == ["Started", "Killing"]
    assert [record.getMessage().splitlines()[0] for record in caplog.records] == ["event Odd not written"]


def test_what_finds_no_place_in_the_queue_is_counted_not_told_one_by_one(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_QUEUED", 2)
    client = Creating()
    with caplog.at_level(logging.WARNING):
        run_virtual(_record(client, ["One", "Two", "Three", "Four", "Five"]))
    assert _reasons(client) == ["One", "Two"]
    assert [record.getMessage() for record in caplog.records] == [
        "2 events wait to be written: more are dropped, beginning with Three",
        "3 events were dropped",
    ]


def test_a_thousand_pods_that_start_at_once_lose_no_event() -> None:
    async def session() -> int:
        client: Any = Creating()
        recorder = EventRecorder(client, virtual_world(1), "test")
        for number in range(1000):
            pod = replace_meta(POD, name=f"web-{number}", uid=str(number))
            for step in range(8):
                recorder.event(pod, "Normal", f"Step{step}", "it happened")
        running = asyncio.create_task(recorder.run())
        await recorder.drain()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return len(client.created)

    assert run_virtual(session()) == 8000


def test_a_repeated_event_is_counted_on_the_first() -> None:
    async def session() -> list[tuple[str | None, int | None]]:
        client = LocalClient(Registry(MemoryStore(), virtual_world(1)))
        await client.create(Namespace(apiVersion="v1", kind="Namespace", metadata=ObjectMeta(name="default")))
        await _record(client, ["Unhealthy", "Unhealthy", "Killing"])
        return [(event.reason, event.count) for event in (await client.list(Event)).items]

    assert sorted(run_virtual(session()), key=str) == [("Killing", 1), ("Unhealthy", 2)]
