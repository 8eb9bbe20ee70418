"""What a rehearsal shows of how a workload's pods live, for simulations of it. Pure.

profile   start-up times, what they do on SIGTERM and for how long: `antei simulate --profile-from` reads it
lives     when what happened to each pod that came or went, in seconds of its scenario
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from antei.rehearse.load.accounting import percentile
from antei.rehearse.model import Mark, MarkKind, Run, ScenarioResult

__all__ = ["lives", "profile"]

#: What a life is told by; probes and events are the timeline's.
_TOLD = frozenset(
    {
        MarkKind.STARTED,
        MarkKind.READY,
        MarkKind.ENDPOINT_IN,
        MarkKind.EFFECTIVE_IN,
        MarkKind.TERMINATING,
        MarkKind.ENDPOINT_OUT,
        MarkKind.EFFECTIVE_OUT,
        MarkKind.PRE_STOP,
        MarkKind.SIGTERM,
        MarkKind.SIGKILL,
        MarkKind.EXITED,
        MarkKind.RESTARTED,
        MarkKind.GONE,
    }
)
_CHANGES = frozenset({MarkKind.STARTED, MarkKind.TERMINATING, MarkKind.EXITED})
_MOST_LIVES = 50
#: Scenarios that make starts longer than they are.
_SLOWED = ("slow-start", "drain", "bad-rollout", "dependency-down")


def lives(run: Run) -> list[dict[str, Any]]:
    """Of the pods that something happened to, in the order in which it began."""
    by_pod: dict[str, list[Mark]] = {}
    for mark in sorted(run.marks, key=lambda mark: mark.at):
        if mark.pod and mark.kind in _TOLD:
            by_pod.setdefault(mark.pod, []).append(mark)
    changed = [(pod, marks) for pod, marks in by_pod.items() if any(mark.kind in _CHANGES for mark in marks)]
    return [
        {"pod": pod, "marks": [{"kind": mark.kind.value, "at": round(mark.at, 3)} for mark in marks]}
        for pod, marks in changed[:_MOST_LIVES]
    ]


def profile(results: Sequence[ScenarioResult]) -> Mapping[str, Any]:
    """Empty where nothing was seen of it: on a cluster whose nodes do not tell."""
    starts: list[float] = []
    stops: list[float] = []
    in_flight = lost = 0
    for result in results:
        if result.run is None:
            continue
        if result.name not in _SLOWED:
            starts += _starts(result.run)
        stops += _stops(result.run)
        in_flight += result.requests.in_flight_at_sigterm
        lost += result.requests.in_flight_at_sigterm_lost
    found: dict[str, Any] = {}
    if starts:
        starts.sort()
        found["startup"] = f"{starts[0]:.3f}s..{max(starts[0], percentile(starts, 90)):.3f}s"
    if stops:
        stops.sort()
        found["stop"] = f"{stops[0]:.3f}s..{max(stops[0], percentile(stops, 90)):.3f}s"
    if in_flight:
        found["onSigterm"] = "exit" if lost * 2 > in_flight else "finish"
    return found


def _starts(run: Run) -> list[float]:
    """From a container's start until it can serve: half-way between the last failed probe and the first success."""
    found = []
    for pod in {mark.pod for mark in run.marks if mark.kind is MarkKind.STARTED}:
        mine = sorted((mark for mark in run.marks if mark.pod == pod), key=lambda mark: mark.at)
        start = next(mark for mark in mine if mark.kind is MarkKind.STARTED)
        after = [mark for mark in mine if mark.at >= start.at and mark.container in ("", start.container)]
        success = next((mark for mark in after if mark.kind is MarkKind.PROBE_SUCCEEDED), None)
        if success is None:
            continue
        failures = [mark.at for mark in after if mark.kind is MarkKind.PROBE_FAILED and mark.at < success.at]
        found.append((success.at + (failures[-1] if failures else start.at)) / 2 - start.at)
    return found


def _stops(run: Run) -> list[float]:
    """From SIGTERM to the end, of those that SIGKILL did not end."""
    found = []
    for mark in run.marks:
        if mark.kind is MarkKind.SIGTERM:
            later = [m for m in run.marks if m.pod == mark.pod and m.container == mark.container and m.at >= mark.at]
            end = min((m.at for m in later if m.kind is MarkKind.EXITED), default=None)
            if end is not None and not any(m.kind is MarkKind.SIGKILL and m.at <= end for m in later):
                found.append(end - mark.at)
    return found
