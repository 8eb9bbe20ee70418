"""The marks of a run as lanes: what each pod was at which time, and what happened to it. Pure.

pending ──► starting ──► ready ◄──► unready        terminating ──► (gone)
   CREATED    STARTED      READY      UNREADY   TERMINATING      EXITED, GONE
                 ▲                      │ EXITED
                 └──────── down ◄───────┘
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from antei.rehearse.model import Mark, MarkKind, Run

__all__ = ["Lane", "Span", "State", "lanes_of"]

#: What the recorder says at its begin is how things were before.
_BEGIN_SECONDS = 0.05


class State(StrEnum):
    PENDING = "pending"
    STARTING = "starting"
    READY = "ready"
    UNREADY = "unready"
    DOWN = "down"  # no container runs
    TERMINATING = "terminating"


@dataclass(frozen=True, slots=True)
class Span:
    start: float
    end: float
    state: State


@dataclass(frozen=True, slots=True)
class Lane:
    """`effective`: when new connections went there, or where that was not seen, when its address was in the slice."""

    pod: str
    node: str
    spans: tuple[Span, ...]
    effective: tuple[tuple[float, float], ...]
    probes: tuple[Mark, ...]
    marks: tuple[Mark, ...]  # all others that are drawn


_PROBES = (MarkKind.PROBE_SUCCEEDED, MarkKind.PROBE_FAILED)
_DRAWN = (
    MarkKind.PRE_STOP,
    MarkKind.SIGTERM,
    MarkKind.SIGKILL,
    MarkKind.EXITED,
    MarkKind.RESTARTED,
    MarkKind.FAULT,
    MarkKind.EVENT,
)


def lanes_of(run: Run) -> list[Lane]:
    """In the order in which the pods came."""
    by_pod: dict[str, list[Mark]] = {}
    for mark in sorted(run.marks, key=lambda mark: mark.at):
        if mark.pod:
            by_pod.setdefault(mark.pod, []).append(mark)
    lanes = [_lane(pod, marks, run.ended_at) for pod, marks in by_pod.items()]
    return sorted(lanes, key=lambda lane: (lane.spans[0].start if lane.spans else 0.0, lane.pod))


def _lane(pod: str, marks: Sequence[Mark], end: float) -> Lane:
    return Lane(
        pod=pod,
        node=next((mark.node for mark in marks if mark.node), ""),
        spans=tuple(_spans(marks, end)),
        effective=tuple(_effective(marks, end)),
        probes=tuple(mark for mark in marks if mark.kind in _PROBES),
        marks=tuple(mark for mark in marks if mark.kind in _DRAWN),
    )


def _spans(marks: Sequence[Mark], end: float) -> list[Span]:
    state = _state_before(marks)
    since = 0.0
    spans: list[Span] = []
    for mark in marks:
        following = _next_state(state, mark)
        if following is state:
            continue
        if state is not None and mark.at > since:
            spans.append(Span(since, mark.at, state))
        state, since = following, mark.at
    if state is not None and end > since:
        spans.append(Span(since, end, state))
    return spans


def _state_before(marks: Sequence[Mark]) -> State | None:
    """What the pod was when the scenario began; None where it was not there."""
    for mark in marks:
        match mark.kind:
            case MarkKind.CREATED:
                return None
            case MarkKind.SCHEDULED | MarkKind.STARTED:
                return State.PENDING
            case MarkKind.READY:
                return State.READY if mark.at <= _BEGIN_SECONDS else State.UNREADY
            case MarkKind.UNREADY:
                return State.UNREADY if mark.at <= _BEGIN_SECONDS else State.READY
            case MarkKind.TERMINATING | MarkKind.EXITED | MarkKind.ENDPOINT_OUT | MarkKind.EFFECTIVE_OUT:
                return State.READY
            case _:
                continue
    return State.READY


def _next_state(state: State | None, mark: Mark) -> State | None:
    """A pod that terminates stays so whatever its containers do; a container's end is told before the pod's."""
    if mark.kind is MarkKind.GONE:
        return None
    if state is State.TERMINATING:
        return state
    match mark.kind:
        case MarkKind.CREATED:
            return State.PENDING
        case MarkKind.STARTED:
            return State.STARTING if state is not State.READY else state
        case MarkKind.READY:
            return State.READY
        case MarkKind.UNREADY:
            return State.UNREADY if state is State.READY else state
        case MarkKind.EXITED:
            return State.DOWN
        case MarkKind.TERMINATING:
            return State.TERMINATING
        case _:
            return state


def _effective(marks: Sequence[Mark], end: float) -> list[tuple[float, float]]:
    seen = any(mark.kind in (MarkKind.EFFECTIVE_IN, MarkKind.EFFECTIVE_OUT) for mark in marks)
    enters = MarkKind.EFFECTIVE_IN if seen else MarkKind.ENDPOINT_IN
    leaves = MarkKind.EFFECTIVE_OUT if seen else MarkKind.ENDPOINT_OUT
    changes = [mark for mark in marks if mark.kind in (enters, leaves)]
    if not changes:
        before = _state_before(marks)
        return [(0.0, end)] if before is State.READY else []
    since = 0.0 if changes[0].kind is leaves else None
    found: list[tuple[float, float]] = []
    for mark in changes:
        if mark.kind is enters and since is None:
            since = mark.at
        elif mark.kind is leaves and since is not None:
            found.append((since, mark.at))
            since = None
    return [*found, (since, end)] if since is not None else found
