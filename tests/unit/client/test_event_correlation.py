"""Repeats are counted, similar events combined, floods cut: with client-go's figures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from lightkube.models.core_v1 import EventSource, ObjectReference
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Event

from antei.client.event_correlation import Correlated, EventCorrelator

START = datetime(2026, 1, 1, tzinfo=UTC)


def event(
    message: str = "it happened", *, reason: str = "Failed", about: str = "web", component: str = "kubelet"
) -> Event:
    return Event(
        apiVersion="v1",
        kind="Event",
        metadata=ObjectMeta(name=f"{about}.1", namespace="default"),
        involvedObject=ObjectReference(apiVersion="v1", kind="Pod", name=about, namespace="default", uid=about),
        type="Warning",
        reason=reason,
        message=message,
        source=EventSource(component=component),
        count=1,
        firstTimestamp=START,
        lastTimestamp=START,
    )


def told(correlator: EventCorrelator, given: Event, seconds: float = 0, name: str = "new") -> Correlated | None:
    correlated = correlator.correlate(given, START + timedelta(seconds=seconds), name)
    if correlated is not None:
        correlator.written(correlated.event)
    return correlated


def counted(correlated: Correlated | None) -> tuple[bool, int | None]:
    assert correlated is not None
    return correlated.is_repeat, correlated.event.count


def test_the_same_event_again_is_a_higher_count() -> None:
    correlator = EventCorrelator()
    assert [counted(told(correlator, event(), n)) for n in range(3)] == [(False, 1), (True, 2), (True, 3)]
    assert counted(told(correlator, event(reason="Killing"))) == (False, 1)
    assert counted(told(correlator, event(about="db"))) == (False, 1)
    assert counted(told(correlator, event(component="scheduler"))) == (False, 1)


def test_the_tenth_text_about_one_thing_is_combined_and_so_are_all_after_it() -> None:
    correlator = EventCorrelator()
    found = [told(correlator, event(f"try {n}"), n, f"name-{n}") for n in range(12)]
    assert [counted(one) for one in found[:9]] == [(False, 1)] * 9
    tenth, eleventh, twelfth = found[9:]
    assert tenth is not None
    assert eleventh is not None
    assert (tenth.event.message, counted(tenth)) == ("(combined from similar events): try 9", (False, 1))
    assert tenth.event.metadata is not None
    assert eleventh.event.metadata is not None
    assert tenth.event.metadata.name == "name-9"
    assert (eleventh.event.message, counted(eleventh)) == ("(combined from similar events): try 10", (True, 2))
    assert eleventh.event.metadata.name == "name-9", "it is counted on the event that is there"
    assert counted(twelfth) == (True, 3)


def test_after_ten_quiet_minutes_similar_events_stand_for_themselves_again() -> None:
    correlator = EventCorrelator()
    for number in range(9):
        told(correlator, event(f"try {number}"), number)
    late = told(correlator, event("try again"), 8 + 601)
    assert late is not None
    assert late.event.message == "try again"


@pytest.mark.parametrize(("seconds", "more"), [(0, 0), (299, 0), (301, 1), (900, 3), (100_000, 25)])
def test_one_source_may_tell_25_events_of_one_object_and_then_one_in_five_minutes(seconds: float, more: int) -> None:
    correlator = EventCorrelator()
    written = [told(correlator, event(), 0) for _ in range(40)]
    assert sum(one is not None for one in written) == 25
    assert told(correlator, event(about="db")) is not None, "another object has a budget of its own"
    written = [told(correlator, event(), seconds) for _ in range(40)]
    assert sum(one is not None for one in written) == more


def test_what_is_remembered_has_a_bound() -> None:
    correlator = EventCorrelator()
    for number in range(5000):
        told(correlator, event(about=f"pod-{number}"))
    assert counted(told(correlator, event(about="pod-4999"))) == (True, 2)
    assert counted(told(correlator, event(about="pod-0"))) == (False, 1)
