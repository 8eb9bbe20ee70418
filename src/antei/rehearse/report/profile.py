"""What a rehearsal shows of how a workload's pods live, for simulations of it. Pure.

profile   start-up times, what they do on SIGTERM and for how long, and what they cannot do without: `antei simulate
          --profile-from` reads it
lives     when what happened to each pod that came or went, in seconds of its scenario
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from antei.rehearse.load.accounting import percentile
from antei.rehearse.model import Mark, MarkKind, Run, ScenarioResult
from antei.rehearse.verdict.faults import FaultKind, faults_of

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
    needed: dict[str, None] = {}
    in_flight = lost = 0
    for result in results:
        if result.run is None:
            continue
        if result.name not in _SLOWED:
            starts += _starts(result.run)
        if result.requests.lost:
            needed.update(dict.fromkeys(_taken_away(result.run)))
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
    if needed:
        found["dependsOn"] = list(needed)
    if in_flight:
        found["onSigterm"] = "exit" if lost * 2 > in_flight else "finish"
    return found


def _starts(run: Run) -> list[float]:
    """From a container's start until it can serve: half-way between the last failed probe and the first success.

    Of each start on its own: one that ended before it could serve says nothing of how long it takes.
    """
    found = []
    for start in (mark for mark in run.marks if mark.kind is MarkKind.STARTED):
        mine = [
            mark
            for mark in run.marks
            if mark.pod == start.pod and mark.container in ("", start.container) and mark.at >= start.at
        ]
        end = min((m.at for m in mine if m.kind is MarkKind.EXITED and m.at > start.at), default=float("inf"))
        probes = sorted(
            (mark.at, mark.kind) for mark in mine if mark.kind in (MarkKind.PROBE_SUCCEEDED, MarkKind.PROBE_FAILED)
        )
        success = next((at for at, kind in probes if kind is MarkKind.PROBE_SUCCEEDED), end)
        if success < end:
            failed = [at for at, kind in probes if at < success]
            found.append((success + (failed[-1] if failed else start.at)) / 2 - start.at)
    return found


def _taken_away(run: Run) -> Iterator[str]:
    """The workloads that this scenario took away from the one that is rehearsed: "statefulset/mysql"."""
    for fault in faults_of(run):
        named = re.match(r"dependency (\S+) down", fault.text)
        if fault.kind is FaultKind.DEPENDENCY and named is not None:
            yield named[1]


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
