"""What rules stand on: numbers as they were, and what the controllers have been told of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Node, Pod

from antei.api.resources import resource_of
from antei.simulate.invariants.ground import Trail
from antei.simulate.invariants.knowledge import Knowledge
from antei.simulate.loop import run_virtual
from antei.store import Change, ChangeType, Key, Stored


@pytest.mark.parametrize(
    ("since", "values"),
    [(25.0, [1]), (20.0, [1, 3]), (15.0, [1, 3]), (5.0, [1, 3, 2]), (0.0, [1, 3, 2])],
)
def test_a_trail_tells_what_a_number_has_been_since(since: float, values: list[int]) -> None:
    trail = Trail()
    for at, value in ((1.0, 2), (10.0, 3), (11.0, 3), (20.0, 1)):
        trail.add(at, value)
    assert trail.values(since) == values
    assert (trail.most(since), trail.least(since), trail.now) == (max(values), min(values), 1)


class FakeInformer:
    def __init__(self) -> None:
        self.is_synced = False
        self.handlers: list[Callable[[Any, Any], None]] = []

    def add_handler(self, handler: Callable[[Any, Any], None]) -> None:
        self.handlers.append(handler)

    def tell(self, old: Any, new: Any) -> None:
        for handler in self.handlers:
            handler(old, new)


class FakeInformers:
    def __init__(self) -> None:
        self._of: dict[type[Any], FakeInformer] = {}

    def of(self, kind: type[Any]) -> FakeInformer:
        return self._of.setdefault(kind, FakeInformer())


def pod(name: str, revision: int) -> Pod:
    return Pod(metadata=ObjectMeta(name=name, namespace="default", resourceVersion=str(revision)))


def write(knowledge: Knowledge, kind: ChangeType, name: str, revision: int, at: float) -> None:
    stored = Stored(Key(resource_of(Pod).bucket, "default", name), pod(name, revision), b"", revision)
    knowledge.wrote(Change(kind, stored, None), at)


async def followed() -> tuple[Knowledge, FakeInformers]:
    knowledge, informers = Knowledge(), FakeInformers()
    knowledge.follow(informers)  # type: ignore[arg-type]
    for kind in (Pod, Node):
        informers.of(kind).is_synced = True
    assert knowledge.since((Pod,), 1.0) == 1.0
    return knowledge, informers


def test_a_write_counts_until_it_is_told() -> None:
    async def main() -> None:
        knowledge, informers = await followed()
        write(knowledge, ChangeType.ADDED, "a", 5, 2.0)
        write(knowledge, ChangeType.ADDED, "b", 6, 3.0)
        write(knowledge, ChangeType.MODIFIED, "a", 7, 4.0)
        assert knowledge.since((Pod,), 10.0) == 2.0
        assert knowledge.since((Node,), 10.0) == 10.0
        informers.of(Pod).tell(None, pod("a", 5))
        assert knowledge.since((Pod,), 10.0) == 3.0
        informers.of(Pod).tell(None, pod("b", 6))
        assert knowledge.since((Pod,), 10.0) == 4.0
        informers.of(Pod).tell(pod("a", 5), pod("a", 7))
        assert knowledge.since((Pod, Node), 10.0) == 10.0

    run_virtual(main())


def test_what_was_told_after_a_decision_was_untold_when_it_was_made() -> None:
    async def main() -> None:
        knowledge, informers = await followed()
        await asyncio.sleep(2)
        write(knowledge, ChangeType.ADDED, "a", 5, 2.0)
        write(knowledge, ChangeType.ADDED, "b", 6, 2.0)
        informers.of(Pod).tell(None, pod("b", 6))
        await asyncio.sleep(8)
        informers.of(Pod).tell(None, pod("a", 5))
        assert knowledge.since((Pod,), 10.0) == 10.0
        assert knowledge.since((Pod,), 11.0, reach_seconds=1.5) == 2.0
        assert knowledge.since((Node,), 11.0, reach_seconds=1.5) == 9.5
        assert knowledge.since((Pod,), 11.5, reach_seconds=1.5) == 10.0

    run_virtual(main())


def test_a_deletion_is_told_without_a_revision() -> None:
    async def main() -> None:
        knowledge, informers = await followed()
        write(knowledge, ChangeType.MODIFIED, "a", 5, 2.0)
        write(knowledge, ChangeType.DELETED, "a", 6, 3.0)
        write(knowledge, ChangeType.ADDED, "a", 7, 4.0)
        informers.of(Pod).tell(pod("a", 4), None)
        assert knowledge.since((Pod,), 10.0) == 4.0

    run_virtual(main())


def test_controllers_that_begin_anew_know_what_they_listed() -> None:
    async def main() -> None:
        knowledge, _ = await followed()
        write(knowledge, ChangeType.DELETED, "a", 5, 2.0)
        again = FakeInformers()
        knowledge.follow(again)  # type: ignore[arg-type]
        write(knowledge, ChangeType.ADDED, "b", 6, 3.0)
        assert knowledge.since((Pod,), 10.0) == 2.0
        again.of(Pod).is_synced = True
        assert knowledge.since((Pod,), 10.0) == 3.0

    run_virtual(main())
