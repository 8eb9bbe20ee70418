"""When a fault was detected, and when all was as before. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from antei.rehearse.model import MarkKind, ReadyCount, Run, Times
from antei.rehearse.verdict.faults import Fault, FaultKind
from antei.rehearse.verdict.trace import Evidence

__all__ = ["lowest_ready", "ready_before", "times_of"]


#: What Kubernetes does itself, it need not find out; how long a deleted pod stays in is told all the same.
_NOT_TO_DETECT = frozenset({FaultKind.PLANNED, FaultKind.SLOW})


def times_of(evidence: Evidence) -> Times:
    """Of several faults (a drain of each node) the longest times count."""
    run = evidence.run
    faults = [fault for fault in evidence.faults if fault.kind is not FaultKind.UNDONE]
    if not faults or run.fault_at is None:
        return Times(duration=run.ended_at)
    detected = [_detection(fault, evidence) for fault in faults]
    seen = [seconds for seconds in detected if seconds is not None]
    predicted = [evidence.facts.predicted_detection(fault.kind) for fault in faults if fault.kind not in _NOT_TO_DETECT]
    known = [seconds + evidence.lag for seconds in predicted if seconds is not None]
    return Times(
        detect=max(seen) if seen else None,
        recover=_recovery(faults, run),
        predicted_detect=max(known) if known else None,
        duration=run.ended_at,
    )


def _detection(fault: Fault, evidence: Evidence) -> float | None:
    """Until new connections no longer went to the pod that was hit, or until it was restarted."""
    if fault.kind in _NOT_TO_DETECT and not fault.pod:
        return None
    # A loss of a node is undone by the scenario; what is seen after that is not detection.
    until = min((f.at for f in evidence.faults if f.kind is FaultKind.UNDONE and f.at > fault.at), default=float("inf"))
    marks = [mark for mark in evidence.run.marks if fault.at <= mark.at <= until]
    if fault.pod:
        marks = [mark for mark in marks if mark.pod == fault.pod]
    elif fault.node:
        here = {life.pod for life in evidence.lives if life.node == fault.node}
        marks = [mark for mark in marks if mark.pod in here] or marks
    if fault.pod and _is_out_before(fault, evidence):
        return None
    sees_network = any(mark.kind is MarkKind.EFFECTIVE_OUT for mark in evidence.run.marks)
    out = MarkKind.EFFECTIVE_OUT if sees_network else MarkKind.ENDPOINT_OUT
    return min((mark.at - fault.at for mark in marks if mark.kind in (out, MarkKind.RESTARTED)), default=None)


def _is_out_before(fault: Fault, evidence: Evidence) -> bool:
    """Whether nothing went to the pod any more: the second crash of a loop need not be detected."""
    ways = (MarkKind.ENDPOINT_IN, MarkKind.ENDPOINT_OUT)
    before = [m.kind for m in evidence.run.marks if m.pod == fault.pod and m.kind in ways and m.at < fault.at]
    return bool(before) and before[-1] is MarkKind.ENDPOINT_OUT


def ready_before(run: Run) -> int:
    """Ready endpoints just before the first fault."""
    at = run.fault_at if run.fault_at is not None else float("inf")
    before = [count.ready for count in run.ready if count.at < at]
    if before:
        return before[-1]
    return run.ready[0].ready if run.ready else 0


def lowest_ready(run: Run) -> int:
    """The fewest ready endpoints from just before the first fault to the end."""
    at = run.fault_at if run.fault_at is not None else 0.0
    return min([ready_before(run), *(count.ready for count in run.ready if count.at >= at)])


def _recovery(faults: Sequence[Fault], run: Run) -> float | None:
    """From each fault to the end of the last shortage before the next; None where the last one did not end."""
    wanted = ready_before(run)
    longest = 0.0
    starts = [fault.at for fault in faults]
    for at, until in zip(starts, [*starts[1:], float("inf")], strict=True):
        ended = _shortage_ended(run.ready, wanted, at, until)
        if ended is None:
            return None
        longest = max(longest, ended - at)
    return longest


def _shortage_ended(ready: Sequence[ReadyCount], wanted: int, start: float, until: float) -> float | None:
    """When as many as wanted were ready again; `start` where none was ever missing, None where it stayed so.

    A shortage that the next fault meets is counted to its own end.
    """
    ended = start
    is_short = False
    for count in ready:
        if count.at < start:
            continue
        if count.at >= until and not is_short:
            break
        if count.ready < wanted:
            is_short = True
        elif is_short:
            is_short, ended = False, count.at
    return None if is_short else ended
