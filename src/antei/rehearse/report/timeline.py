"""One scenario's timeline, ready for the template: lanes, charts, what the pointer shows, all of it as text. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from antei.rehearse.load.accounting import Bin
from antei.rehearse.model import Mark, MarkKind, Run, ScenarioResult
from antei.rehearse.report.charts import (
    WIDTH,
    Axis,
    Chart,
    Tick,
    bins_of,
    latency_chart,
    rate_chart,
    ready_chart,
    time_axis,
)
from antei.rehearse.report.figures import seconds_or_dash
from antei.rehearse.report.lanes import Lane, State, lanes_of
from antei.rehearse.verdict.faults import Fault, FaultKind, faults_of

__all__ = ["Timeline", "timeline_of"]

_READY_HEIGHT, _RATE_HEIGHT, _LATENCY_HEIGHT = 70, 90, 90
#: Rows of the table of events; more of them help nobody.
_MOST_EVENTS = 400
#: Faults that are told below the charts.
_MOST_FAULTS = 12
#: Marks nearer than this, in percent of the width, would hide each other; and where they go instead, in pixels.
_NEAR_PERCENT, _LEVELS = 1.6, (16, 8, 24)
_HATCHED = (State.PENDING, State.STARTING, State.TERMINATING)
_NAMES = {MarkKind.PRE_STOP: "preStop", MarkKind.SIGTERM: "SIGTERM", MarkKind.SIGKILL: "SIGKILL"}


@dataclass(frozen=True, slots=True)
class Timeline:
    """What the template draws; places across are percent. `texts` say each chart in words."""

    end: str
    units: int
    lanes: Sequence[dict[str, Any]]
    ready: Chart
    rate: Chart
    latency: Chart
    ready_text: str
    axis: Sequence[Tick]
    faults: Sequence[float]
    undone: Sequence[float]
    done: Sequence[dict[str, Any]]
    done_left_out: int
    texts: dict[str, str]
    events: Sequence[dict[str, str]]
    events_left_out: int
    data: dict[str, Any]


def timeline_of(result: ScenarioResult) -> Timeline:
    """Of a result with its run."""
    run = result.run
    assert run is not None
    axis = Axis(run.ended_at)
    lanes = lanes_of(run)
    width, bins = bins_of(run)
    faults = faults_of(run)
    told = [fault for fault in faults if fault.text]
    lost_at = [request.sent_at for request in run.requests if request.outcome.is_lost]
    wanted = [(budget.desired_healthy, f"budget {budget.name}") for budget in result.budgets]
    events = [mark for mark in run.marks if mark.kind is not MarkKind.PROBE_SUCCEEDED]
    return Timeline(
        end=f"{run.ended_at:.1f}",
        units=WIDTH,
        lanes=[_lane(lane, axis) for lane in lanes],
        ready=ready_chart(run.ready, wanted, axis, _READY_HEIGHT),
        rate=rate_chart(bins, width, lost_at, axis, _RATE_HEIGHT),
        latency=latency_chart(bins, width, result.objectives.p99_seconds, axis, _LATENCY_HEIGHT),
        ready_text="against the budget" if wanted else "",
        axis=time_axis(axis),
        faults=sorted({axis.percent(fault.at) for fault in faults if fault.kind is not FaultKind.UNDONE}),
        undone=sorted({axis.percent(fault.at) for fault in faults if fault.kind is FaultKind.UNDONE}),
        done=[_done(fault) for fault in told[:_MOST_FAULTS]],
        done_left_out=max(0, len(told) - _MOST_FAULTS),
        texts=_texts(result, run),
        events=[_event(mark) for mark in sorted(events, key=lambda mark: mark.at)[:_MOST_EVENTS]],
        events_left_out=max(0, len(events) - _MOST_EVENTS),
        data=_data(run, lanes, width, bins),
    )


def _lane(lane: Lane, axis: Axis) -> dict[str, Any]:
    failed = [mark for mark in lane.probes if mark.kind is MarkKind.PROBE_FAILED]
    passed = [mark for mark in lane.probes if mark.kind is MarkKind.PROBE_SUCCEEDED]
    return {
        "pod": lane.pod,
        "node": lane.node,
        "spans": [
            {
                "x": axis.percent(span.start),
                "width": round(axis.percent(span.end) - axis.percent(span.start), 2),
                "state": span.state.value,
                "is_hatched": span.state in _HATCHED,
            }
            for span in lane.spans
        ],
        "effective": [
            {"x": axis.percent(start), "width": round(axis.percent(end) - axis.percent(start), 2)}
            for start, end in lane.effective
        ],
        "passed": _places(passed, axis),
        "failed": _places(failed, axis),
        "marks": _staggered(lane.marks, axis),
        "text": _lane_text(lane),
    }


def _staggered(marks: Sequence[Mark], axis: Axis) -> list[dict[str, Any]]:
    """In the middle of the lane; what would cover its neighbour takes turns above and below."""
    placed: list[dict[str, Any]] = []
    for mark in marks:
        x = axis.percent(mark.at)
        is_near = bool(placed) and x - placed[-1]["x"] < _NEAR_PERCENT
        level = (placed[-1]["level"] + 1) % len(_LEVELS) if is_near else 0
        placed.append({"kind": mark.kind.value, "x": x, "level": level, "y": _LEVELS[level]})
    return placed


def _places(marks: Sequence[Mark], axis: Axis) -> list[float]:
    """Each place once: more ticks than a tenth of a percent apart cannot be seen."""
    return list(dict.fromkeys(round(axis.percent(mark.at), 1) for mark in marks))


def _lane_text(lane: Lane) -> str:
    spans = ", ".join(f"{span.state.value} {span.start:.1f} to {span.end:.1f} s" for span in lane.spans)
    marks = ", ".join(f"{_name(mark)} at {mark.at:.1f} s" for mark in lane.marks if mark.kind is not MarkKind.EVENT)
    return f"Pod {lane.pod}: {spans or 'not there'}{f'; {marks}' if marks else ''}"


def _name(mark: Mark) -> str:
    return _NAMES.get(mark.kind, mark.kind.value)


def _done(fault: Fault) -> dict[str, Any]:
    where = f" ({fault.pod})" if fault.pod and fault.pod not in fault.text else ""
    return {"at": f"{fault.at:.1f}", "text": f"{fault.text}{where}", "is_undone": fault.kind is FaultKind.UNDONE}


def _texts(result: ScenarioResult, run: Run) -> dict[str, str]:
    requests = result.requests
    budgets = "; ".join(f"budget {budget.name} wants {budget.desired_healthy}" for budget in result.budgets)
    lost = [request.sent_at for request in run.requests if request.outcome.is_lost]
    when = f" between {min(lost):.1f} and {max(lost):.1f} s" if lost else ""
    steps = ", ".join(f"{count.ready} from {count.at:.1f} s" for count in run.ready[:20])
    return {
        "ready": f"Ready endpoints: {steps}{f'; {budgets}' if budgets else ''}",
        "rate": f"Requests: {requests.sent:,} sent, {requests.lost:,} lost{when}",
        "latency": (
            f"Latency: p50 {seconds_or_dash(requests.p50_seconds)}, p99 {seconds_or_dash(requests.p99_seconds)}, "
            f"most {seconds_or_dash(requests.max_seconds)}"
        ),
    }


def _event(mark: Mark) -> dict[str, str]:
    return {"at": f"{mark.at:.2f}", "pod": mark.pod, "what": _name(mark), "text": mark.text or mark.node}


def _data(run: Run, lanes: Sequence[Lane], width: float, bins: Sequence[Bin]) -> dict[str, Any]:
    """What the script tells about a moment."""
    return {
        "end": run.ended_at,
        "fault": run.fault_at,
        "width": width,
        "ready": [[round(count.at, 3), count.ready] for count in run.ready],
        "bins": [
            {
                "sent": entry.sent,
                "ok": entry.ok,
                "lost": entry.lost,
                "outcomes": entry.by_outcome,
                "p50": round(entry.p50_seconds, 4),
                "p99": round(entry.p99_seconds, 4),
                "max": round(entry.max_seconds, 4),
            }
            for entry in bins
        ],
        "lanes": [
            {
                "pod": lane.pod,
                "node": lane.node,
                "spans": [[round(s.start, 3), round(s.end, 3), s.state.value] for s in lane.spans],
                "effective": [[round(start, 3), round(end, 3)] for start, end in lane.effective],
                "marks": [[round(mark.at, 3), _told(mark)] for mark in (*lane.marks, *lane.probes)],
            }
            for lane in lanes
        ],
    }


def _told(mark: Mark) -> str:
    return f"{_name(mark)}: {mark.text}" if mark.text else _name(mark)
