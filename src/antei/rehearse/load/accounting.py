"""From requests to numbers. Pure; nothing is estimated: percentiles are by sorting (nearest rank)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, floor

from antei.rehearse.model import Mark, MarkKind, Outcome, Request, RequestCounts

__all__ = ["Bin", "count_requests", "in_flight_at", "per_bin", "percentile", "sigterms"]


def sigterms(marks: Iterable[Mark]) -> dict[str, list[float]]:
    """When each pod was told to end, by pod: once for each of its containers and restarts."""
    found: dict[str, list[float]] = {}
    for mark in marks:
        if mark.kind is MarkKind.SIGTERM:
            found.setdefault(mark.pod, []).append(mark.at)
    return found


def count_requests(
    requests: Iterable[Request], sigterms_by_pod: Mapping[str, Sequence[float]] | None = None
) -> RequestCounts:
    """Percentiles of latency are those of the requests that succeeded: a refusal is quick and is counted as lost."""
    by_outcome: dict[str, int] = {}
    latencies: list[float] = []
    lateness: list[float] = []
    in_flight = in_flight_lost = 0
    for request in requests:
        by_outcome[request.outcome] = by_outcome.get(request.outcome, 0) + 1
        lateness.append(request.sent_at - request.due_at)
        if request.outcome is Outcome.OK:
            latencies.append(request.latency_seconds)
        if sigterms_by_pod and in_flight_at(request, sigterms_by_pod.get(request.pod, ())):
            in_flight += 1
            in_flight_lost += request.outcome.is_lost
    latencies.sort()
    lateness.sort()
    return RequestCounts(
        sent=len(lateness),
        succeeded=by_outcome.get(Outcome.OK, 0),
        by_outcome={outcome.value: by_outcome[outcome] for outcome in Outcome if outcome in by_outcome},
        in_flight_at_sigterm=in_flight,
        in_flight_at_sigterm_lost=in_flight_lost,
        p50_seconds=percentile(latencies, 50),
        p90_seconds=percentile(latencies, 90),
        p99_seconds=percentile(latencies, 99),
        max_seconds=latencies[-1] if latencies else 0.0,
        client_lateness_p99_seconds=percentile(lateness, 99),
    )


def in_flight_at(request: Request, moments: Iterable[float]) -> bool:
    """Whether it had been sent and had not ended at one of these moments."""
    return any(request.sent_at <= moment < request.ended_at for moment in moments)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest of the ascending values that so many percent of them do not exceed; 0.0 of none."""
    if not ordered:
        return 0.0
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]


@dataclass(slots=True)
class Bin:
    """The requests that were due in [at, at + width)."""

    at: float
    sent: int = 0
    ok: int = 0
    lost: int = 0
    by_outcome: dict[str, int] = field(default_factory=dict)
    p50_seconds: float = 0.0  # of those that succeeded
    p99_seconds: float = 0.0
    max_seconds: float = 0.0


def per_bin(requests: Iterable[Request], width_seconds: float, start: float, end: float) -> list[Bin]:
    """Bins of one width from `start` until `end` is covered, empty ones included; what was due outside is left out."""
    bins = [Bin(start + number * width_seconds) for number in range(ceil((end - start) / width_seconds))]
    latencies: list[list[float]] = [[] for _ in bins]
    for request in requests:
        number = floor((request.due_at - start) / width_seconds)
        if not 0 <= number < len(bins):
            continue
        entry = bins[number]
        entry.sent += 1
        entry.by_outcome[request.outcome.value] = entry.by_outcome.get(request.outcome.value, 0) + 1
        entry.lost += request.outcome.is_lost
        if request.outcome is Outcome.OK:
            entry.ok += 1
            latencies[number].append(request.latency_seconds)
    for entry, found in zip(bins, latencies, strict=True):
        found.sort()
        entry.p50_seconds = percentile(found, 50)
        entry.p99_seconds = percentile(found, 99)
        entry.max_seconds = found[-1] if found else 0.0
    return bins
