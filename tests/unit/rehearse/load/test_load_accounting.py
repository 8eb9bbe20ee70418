"""Counts and percentiles are exact."""

from __future__ import annotations

import random

import pytest

from antei.rehearse.load.accounting import count_requests, per_bin, percentile, sigterms
from antei.rehearse.load.log import RequestLog
from antei.rehearse.model import Mark, MarkKind, Outcome, Request


def _request(due_at: float, took: float, outcome: Outcome = Outcome.OK, pod: str = "", late: float = 0.0) -> Request:
    return Request(due_at, due_at + late, due_at + took, outcome, pod=pod)


def test_percentiles_are_values_that_were_measured() -> None:
    requests = [_request(n / 10, n / 1000) for n in range(1, 101)]
    random.Random(1).shuffle(requests)
    counts = count_requests(requests)
    assert counts.p50_seconds == pytest.approx(0.050)
    assert counts.p90_seconds == pytest.approx(0.090)
    assert counts.p99_seconds == pytest.approx(0.099)
    assert counts.max_seconds == pytest.approx(0.100)


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([], 99, 0.0), ([7.0], 50, 7.0), ([1.0, 2.0], 50, 1.0), ([1.0, 2.0], 51, 2.0), ([1.0, 2.0, 3.0], 100, 3.0)],
)
def test_percentile_is_the_nearest_rank(values: list[float], percent: float, expected: float) -> None:
    assert percentile(values, percent) == expected


def test_every_outcome_is_counted_and_only_successes_have_latencies() -> None:
    requests = [_request(n, 0.5) for n in range(3)]
    requests += [_request(n, 10.0, outcome) for n in range(2) for outcome in Outcome if outcome is not Outcome.OK]
    counts = count_requests(requests)
    assert counts.sent == len(requests)
    assert counts.succeeded == 3
    assert counts.by_outcome == {outcome.value: 3 if outcome is Outcome.OK else 2 for outcome in Outcome}
    assert counts.lost == 10
    assert counts.max_seconds == 0.5


def test_lateness_is_the_clients_own_and_latency_contains_it() -> None:
    counts = count_requests([_request(n, 0.5, late=0.25 if n == 9 else 0.0) for n in range(10)])
    assert counts.client_lateness_p99_seconds == 0.25
    assert counts.p99_seconds == 0.5


def test_nothing_sent_is_nothing_counted() -> None:
    counts = count_requests([])
    assert (counts.sent, counts.lost, counts.p99_seconds, counts.by_outcome) == (0, 0, 0.0, {})


def test_in_flight_at_sigterm_are_those_of_the_pod_that_was_told() -> None:
    marks = [
        Mark(5.0, MarkKind.SIGTERM, "chat-a"),
        Mark(9.0, MarkKind.SIGTERM, "chat-a"),
        Mark(6.0, MarkKind.SIGKILL, "chat-b"),
    ]
    requests = [
        _request(4.0, 0.9, pod="chat-a"),  # over by then
        _request(4.5, 0.5, pod="chat-a"),  # ended at that very moment
        _request(4.9, 0.5, pod="chat-a"),
        _request(5.0, 0.5, Outcome.RESET, pod="chat-a"),
        _request(4.9, 0.5, Outcome.RESET, late=0.2, pod="chat-a"),  # due before, sent after
        _request(4.9, 0.5, Outcome.RESET, pod="chat-b"),
        _request(4.9, 0.5, Outcome.RESET),
        _request(8.0, 3.0, Outcome.TIMED_OUT, pod="chat-a"),
    ]
    counts = count_requests(requests, sigterms(marks))
    assert counts.in_flight_at_sigterm == 3
    assert counts.in_flight_at_sigterm_lost == 2


def test_bins_hold_what_was_due_in_them_and_empty_ones_are_there() -> None:
    requests = [
        _request(-0.1, 1),
        _request(0.0, 2),
        _request(0.9, 4, Outcome.RESET),
        _request(2.0, 1),
        _request(3.0, 1),
    ]
    bins = per_bin(requests, 1.0, 0.0, 3.0)
    assert [(entry.at, entry.sent, entry.ok, entry.lost) for entry in bins] == [
        (0, 2, 1, 1),
        (1, 0, 0, 0),
        (2, 1, 1, 0),
    ]
    assert bins[0].by_outcome == {"ok": 1, "reset": 1}
    assert bins[0].max_seconds == bins[0].p99_seconds == 2
    assert bins[1].max_seconds == 0.0


def test_the_log_gives_back_what_was_put_in() -> None:
    log = RequestLog("keep-alive")
    log.add(1.0, 1.5, 2.0, Outcome.OK, 200, "chat-a")
    log.add(2.0, 2.5, 3.0, Outcome.RESET, None, "chat-a", "connection reset by peer")
    log.add(3.0, 3.5, 4.0, Outcome.OK, 0)
    assert list(log) == [
        Request(1.0, 1.5, 2.0, Outcome.OK, "keep-alive", 200, "chat-a"),
        Request(2.0, 2.5, 3.0, Outcome.RESET, "keep-alive", None, "chat-a", "connection reset by peer"),
        Request(3.0, 3.5, 4.0, Outcome.OK, "keep-alive", 0),
    ]
    assert log[-1] == log[2]
    assert log[1:] == list(log)[1:]
    assert len(log) == 3
    with pytest.raises(IndexError):
        log[3]
