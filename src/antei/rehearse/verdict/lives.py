"""The marks of a run as the lives of containers: each from its start to its end, and on until the next. Pure.

    STARTED   READY    FAULT   TERMINATING  PRE_STOP  SIGTERM   EFFECTIVE_OUT   SIGKILL   EXITED      STARTED
       │◄──────── one life ─────────────────────────────────────────────────────────────────┼─────────►│◄─ next ─
                                                                                       nobody answers

Where a target does not show when SIGTERM came, it is reckoned from the deletion and the hook; where it does not show
when the network followed, from the slice and the endpoint lag.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from antei.rehearse.model import Mark, MarkKind, Outcome, Run
from antei.rehearse.verdict.facts import WorkloadFacts
from antei.rehearse.verdict.faults import Fault, FaultKind, faults_of

__all__ = ["Life", "lag_seconds", "lives_of"]

#: From a container's end until the slice says so.
_SLICE_SECONDS = 1.0


@dataclass(slots=True)
class Life:
    """One run of a pod's container; times are None for what did not happen or was not seen.

    `until` is when the next life of the pod begins, `back_at` when that is ready. `out_at` is when new connections
    stopped going there.
    `first_answer_at` is the first success that this life gave, where requests tell who answered.
    """

    pod: str
    node: str = ""
    started_at: float | None = None
    ready_at: float | None = None
    in_at: float | None = None
    terminating_at: float | None = None
    sigterm_at: float | None = None
    sigterm_is_seen: bool = False
    sigkill_at: float | None = None
    exited_at: float | None = None
    exit_text: str = ""
    out_at: float | None = None
    until: float = float("inf")
    back_at: float = float("inf")
    first_answer_at: float | None = None
    failed_probes: list[tuple[float, str]] = field(default_factory=list)
    fault: Fault | None = None

    @property
    def begin(self) -> float:
        return self.started_at if self.started_at is not None else float("-inf")

    @property
    def ends(self) -> float:
        """When nobody answers any more."""
        moments = [moment for moment in (self.exited_at, self.sigkill_at) if moment is not None]
        return min(moments) if moments else self.until

    @property
    def told_at(self) -> float | None:
        """When it was told to end: SIGTERM, or a hook that itself ended the program."""
        if self.terminating_at is not None and self.exited_at is not None and self.exited_at >= self.terminating_at:
            return self.exited_at if self.sigterm_at is None else min(self.sigterm_at, self.exited_at)
        return self.sigterm_at

    @property
    def gets_new_connections_until(self) -> float:
        """Its address outlives it: until the network followed, or until the next life serves in its place."""
        return self.out_at if self.out_at is not None else self.back_at

    @property
    def failed_liveness(self) -> bool:
        """Whether it was stopped for a probe's sake, not because its pod goes or the scenario killed it."""
        if self.fault is not None:
            return False
        if self.sigterm_is_seen and self.terminating_at is None:
            return True  # nothing else stops a container of a pod that stays
        if self.terminating_at is not None and (self.sigterm_at is None or self.terminating_at <= self.sigterm_at):
            return False
        ended = self.sigterm_at if self.sigterm_at is not None else self.exited_at
        return ended is not None and any(
            at <= ended + 0.5 and text.lower().startswith(("liveness", "startup")) for at, text in self.failed_probes
        )


def lag_seconds(run: Run) -> float:
    """How late the network follows the slice: as it was set, or as it was seen where that is more."""
    left: dict[str, float] = {}
    seen = [run.endpoint_lag_seconds]
    for mark in sorted(run.marks, key=lambda mark: mark.at):
        if mark.kind is MarkKind.ENDPOINT_OUT:
            left[mark.pod] = mark.at
        elif mark.kind is MarkKind.EFFECTIVE_OUT and mark.pod in left:
            seen.append(mark.at - left.pop(mark.pod))
    return max(seen)


def lives_of(run: Run, facts: WorkloadFacts) -> list[Life]:
    """By pod, in the order in which the pods first appear."""
    by_pod: dict[str, list[Mark]] = {}
    for mark in sorted(run.marks, key=lambda mark: mark.at):
        of_interest = not (mark.container and facts.container and mark.container != facts.container)
        if mark.pod and of_interest:
            by_pod.setdefault(mark.pod, []).append(mark)
    for request in run.requests:
        if request.pod:
            by_pod.setdefault(request.pod, [])
    lives = [life for pod, marks in by_pod.items() for life in _lives_of_pod(pod, marks)]
    lag = lag_seconds(run)
    for life in lives:
        _reckon(life, by_pod[life.pod], facts, lag)
    _attach_faults(lives, faults_of(run))
    _attach_answers(lives, run)
    return lives


def _lives_of_pod(pod: str, marks: Sequence[Mark]) -> Iterable[Life]:
    node = next((mark.node for mark in marks if mark.node), "")
    life = Life(pod, node)
    lives = [life]
    # A restart is told late, by the pod's status; it counts where no start was seen.
    begin = MarkKind.STARTED if any(mark.kind is MarkKind.STARTED for mark in marks) else MarkKind.RESTARTED
    for mark in marks:
        if mark.kind is MarkKind.RESTARTED and begin is MarkKind.STARTED:
            continue
        if mark.kind is begin and _begins_another(life, begin):
            life.until = mark.at
            if life.exited_at is None:
                life.exited_at = mark.at
            life = Life(pod, node)
            lives.append(life)
        if mark.kind is begin or mark.kind not in (MarkKind.STARTED, MarkKind.RESTARTED):
            _note(life, mark)  # a restart may be told before the start is seen: it is no start of the life that ended
    for one, following in pairwise(lives):
        one.back_at = following.ready_at if following.ready_at is not None else float("inf")
    return lives


def _begins_another(life: Life, begin: MarkKind) -> bool:
    """The first start that is seen may be that of the life at hand, which has not ended then."""
    if life.started_at is not None or life.exited_at is not None:
        return True
    return begin is MarkKind.RESTARTED or life.ready_at is not None


def _note(life: Life, mark: Mark) -> None:
    match mark.kind:
        case MarkKind.STARTED | MarkKind.RESTARTED:
            life.started_at = mark.at
        case MarkKind.READY:
            life.ready_at = life.ready_at if life.ready_at is not None else mark.at
        case MarkKind.EFFECTIVE_IN | MarkKind.ENDPOINT_IN:
            life.in_at = life.in_at if life.in_at is not None else mark.at
        case MarkKind.TERMINATING:
            life.terminating_at = mark.at
        case MarkKind.SIGTERM:
            life.sigterm_at, life.sigterm_is_seen = mark.at, True
        case MarkKind.SIGKILL:
            life.sigkill_at = mark.at
        case MarkKind.EXITED:
            life.exited_at, life.exit_text = mark.at, mark.text
        case MarkKind.GONE:
            life.exited_at = life.exited_at if life.exited_at is not None else mark.at
        case MarkKind.PROBE_FAILED:
            life.failed_probes.append((mark.at, mark.text))
        case _:
            pass


def _reckon(life: Life, marks: Sequence[Mark], facts: WorkloadFacts, lag: float) -> None:
    """What was not seen, from what was."""
    if life.sigterm_at is None and life.terminating_at is not None:
        hook_is_known = facts.pre_stop is None or facts.pre_stop.seconds is not None
        if hook_is_known and (life.exited_at is None or life.exited_at >= life.terminating_at):
            life.sigterm_at = life.terminating_at + min(facts.pre_stop_seconds, facts.grace_seconds)
    within = [mark for mark in marks if life.begin <= mark.at < life.until]
    effective = _last_out(within, MarkKind.EFFECTIVE_IN, MarkKind.EFFECTIVE_OUT)
    if effective is None and life.exited_at is not None:
        # A container that starts again at once does so before the network has followed.
        later = (m.at for m in marks if m.kind is MarkKind.EFFECTIVE_OUT and m.at >= max(life.exited_at, life.until))
        effective = next((at for at in later if at <= life.exited_at + lag + _SLICE_SECONDS), None)
    listed = _last_out(within, MarkKind.ENDPOINT_IN, MarkKind.ENDPOINT_OUT)
    if effective is not None:
        life.out_at = effective
    elif listed is not None:
        life.out_at = listed + lag
    elif life.terminating_at is not None:
        life.out_at = life.terminating_at + lag


def _last_out(marks: Sequence[Mark], enters: MarkKind, leaves: MarkKind) -> float | None:
    """When its address went out for good: one that comes in again was out for the life before, or for a while."""
    out = None
    for mark in marks:
        if mark.kind is leaves:
            out = mark.at
        elif mark.kind is enters:
            out = None
    return out


def _attach_faults(lives: Sequence[Life], faults: Iterable[Fault]) -> None:
    for fault in faults:
        if fault.kind not in (FaultKind.HANG, FaultKind.EXIT, FaultKind.NODE):
            continue
        for life in lives:
            is_meant = life.pod == fault.pod or (not fault.pod and fault.node and life.node == fault.node)
            if is_meant and life.begin <= fault.at < life.until and life.fault is None:
                life.fault = fault


def _attach_answers(lives: Sequence[Life], run: Run) -> None:
    by_pod: dict[str, list[float]] = {}
    for request in run.requests:
        if request.pod and request.outcome is Outcome.OK:
            by_pod.setdefault(request.pod, []).append(request.ended_at)
    for life in lives:
        answers = [at for at in by_pod.get(life.pod, ()) if life.begin <= at < life.until]
        life.first_answer_at = min(answers) if answers else None
