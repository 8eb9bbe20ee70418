"""Which event each lost request is due to, by marks and times. Pure.

A request whose pod is known is held against that pod's lives only; one that reached nobody, against all. The rules are
tried in the order of `_RULES`, the first that fits decides, and of several lives the one whose event is nearest.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from antei.rehearse.model import MarkKind, Outcome, Request, Run
from antei.rehearse.verdict.facts import WorkloadFacts
from antei.rehearse.verdict.faults import Fault, FaultKind, faults_of
from antei.rehearse.verdict.lives import Life, lag_seconds, lives_of

__all__ = ["UNEXPLAINED", "Blame", "Evidence", "evidence_of", "trace"]

UNEXPLAINED = "unexplained"
#: Clients and observers see one event at slightly different moments.
_JITTER_SECONDS = 0.05
#: A container that runs without a readiness probe is given so long to answer for the first time.
_START_SECONDS = 120.0
#: How long a program may be up and yet not serve, though its readiness probe has passed.
_WARM_UP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Blame:
    """`at` is the moment of the event to which the request is due; `life` is None where no single pod is meant."""

    request: Request
    cause: str
    at: float
    life: Life | None = None
    fault: Fault | None = None
    is_before_detection: bool = False  # it was in flight, or nothing could have known yet


@dataclass(frozen=True, slots=True)
class Evidence:
    """A run, made ready to be asked. `dependency_until`: when what it depends on was back and it could know."""

    run: Run
    facts: WorkloadFacts
    lives: Sequence[Life]
    faults: Sequence[Fault]
    lag: float
    dependency: Fault | None
    dependency_until: float
    longest_answer: float  # seconds that the slowest success took
    in_effect: Sequence[tuple[float, int]] = ()  # from when on new connections went to so many; where that is seen

    def ready_at(self, at: float) -> int | None:
        """Ready endpoints at that moment; None before the first count."""
        index = bisect_right([count.at for count in self.run.ready], at) - 1
        return self.run.ready[index].ready if index >= 0 else None

    def is_empty_at(self, at: float) -> bool:
        """Whether new connections find nobody: the slice says so, or the network that follows it later."""
        if self.ready_at(at) == 0 or (self.lag > 0 and self.ready_at(at - self.lag) == 0):
            return True
        index = bisect_right([since for since, _ in self.in_effect], at) - 1
        return index >= 0 and self.in_effect[index][1] == 0

    def deadline(self, fault: Fault) -> float:
        """Until when requests may be lost to it before anything can have acted on it."""
        if fault.kind is FaultKind.DEPENDENCY:
            return self.dependency_until
        predicted = self.facts.predicted_detection(fault.kind)
        return fault.at + (predicted if predicted is not None else 0.0) + self.lag + SLACK_SECONDS


#: What the observer, the API and the network may add to a prediction.
SLACK_SECONDS = 1.0


def evidence_of(run: Run, facts: WorkloadFacts) -> Evidence:
    faults = faults_of(run)
    lag = lag_seconds(run)
    dependency = next((fault for fault in faults if fault.kind is FaultKind.DEPENDENCY), None)
    until = float("-inf")
    if dependency is not None:
        undone = max(
            (fault.at for fault in faults if fault.kind is FaultKind.UNDONE and fault.at >= dependency.at),
            default=dependency.at,
        )
        predicted = facts.predicted_detection(FaultKind.DEPENDENCY) or 0.0
        until = max(undone + predicted, _ready_again_at(run, dependency.at, undone)) + lag + SLACK_SECONDS
    lives = lives_of(run, facts)
    return Evidence(run, facts, lives, faults, lag, dependency, until, _longest_answer(run), _in_effect(run))


def _in_effect(run: Run) -> list[tuple[float, int]]:
    """Nothing where the network is not seen. A scenario begins when all that are ready are in effect."""
    kinds = (MarkKind.EFFECTIVE_IN, MarkKind.EFFECTIVE_OUT)
    marks = sorted((mark for mark in run.marks if mark.kind in kinds), key=lambda mark: mark.at)
    if not marks or not run.ready:
        return []
    first = {mark.pod: mark.kind for mark in reversed(marks)}
    counts = [(0.0, max(run.ready[0].ready, sum(kind is MarkKind.EFFECTIVE_OUT for kind in first.values())))]
    for mark in marks:
        more = 1 if mark.kind is MarkKind.EFFECTIVE_IN else -1
        counts.append((mark.at, max(0, counts[-1][1] + more)))
    return counts


def _ready_again_at(run: Run, gone_at: float, undone_at: float) -> float:
    """When as many were ready as before; what is depended on may take its time to start."""
    before = max((count.ready for count in run.ready if count.at < gone_at), default=0)
    return next((count.at for count in run.ready if count.at >= undone_at and count.ready >= before), undone_at)


def _longest_answer(run: Run) -> float:
    return max((request.latency_seconds for request in run.requests if request.outcome is Outcome.OK), default=0.0)


def trace(evidence: Evidence) -> list[Blame]:
    """One for each lost request, in the order of the requests."""
    return [_blame(request, evidence) for request in evidence.run.requests if request.outcome.is_lost]


def _blame(request: Request, evidence: Evidence) -> Blame:
    lives = [life for life in evidence.lives if not request.pod or life.pod == request.pod]
    for rule in _RULES:
        found = [blame for blame in rule(request, lives, evidence) if blame is not None]
        if found:
            return min(found, key=lambda blame: abs(blame.at - request.sent_at))
    return Blame(request, UNEXPLAINED, request.sent_at)


Rule = Callable[[Request, Sequence[Life], Evidence], Iterator[Blame]]


def _is_in_flight(request: Request, at: float) -> bool:
    return request.sent_at < at <= request.ended_at + _JITTER_SECONDS


def _dependency_down(request: Request, lives: Sequence[Life], evidence: Evidence) -> Iterator[Blame]:
    """Whatever fails while what the workload needs is away, and until its probes can have seen it back."""
    fault = evidence.dependency
    if fault is not None and fault.at <= request.ended_at and request.sent_at <= evidence.dependency_until:
        yield Blame(request, "dependency-down", fault.at, None, fault, is_before_detection=True)


def _fault(request: Request, lives: Sequence[Life], evidence: Evidence) -> Iterator[Blame]:
    """The scenario itself stopped the container from answering, without a word."""
    for life in lives:
        fault = life.fault
        if fault is None or fault.at > request.ended_at + _JITTER_SECONDS or request.sent_at >= life.back_at:
            continue
        in_flight = request.sent_at < fault.at
        if not request.pod and not in_flight and request.sent_at > life.gets_new_connections_until + _JITTER_SECONDS:
            continue
        cause = {FaultKind.HANG: "hang", FaultKind.NODE: "node-loss"}.get(
            fault.kind, "killed-in-flight" if in_flight else "sent-to-dead-pod"
        )
        is_early = in_flight or request.sent_at <= evidence.deadline(fault)
        yield Blame(request, cause, fault.at, life, fault, is_before_detection=is_early)


def _killed_at_deadline(request: Request, lives: Sequence[Life], evidence: Evidence) -> Iterator[Blame]:
    """SIGTERM was not enough, and the grace period was over."""
    for life in lives:
        if life.sigkill_at is not None and life.sigterm_at is not None and _is_in_flight(request, life.sigkill_at):
            cause = "liveness-restart" if life.failed_liveness else "grace-too-short"
            yield Blame(request, cause, life.sigkill_at, life)


def _no_endpoint(request: Request, lives: Sequence[Life], evidence: Evidence) -> Iterator[Blame]:
    """Nobody was ready, so that the Service refused it, or the Ingress answered 502 or 503 for it."""
    is_refusal = request.outcome in (Outcome.REFUSED, Outcome.UNREACHABLE, Outcome.RESET) or (
        request.outcome is Outcome.SERVER_ERROR and request.status in (502, 503, 504)
    )
    if not is_refusal or not evidence.is_empty_at(request.sent_at):
        return
    if any(life.told_at is not None and _is_in_flight(request, life.told_at) for life in lives):
        return
    yield Blame(request, "no-endpoint", _emptied_at(evidence.run, request.sent_at))


def _emptied_at(run: Run, at: float) -> float:
    """When the ready count last fell to 0 before that moment."""
    emptied = at
    before: int | None = None
    for count in run.ready:
        if count.at > at:
            break
        if count.ready == 0 and before != 0:
            emptied = count.at
        before = count.ready
    return emptied


def _sent_after_sigterm(request: Request, lives: Sequence[Life], evidence: Evidence) -> Iterator[Blame]:
    """The endpoint race; with the address out already, a connection that was kept alive."""
    for life in lives:
        term = life.told_at
        if term is None or not term <= request.sent_at < life.until:
            continue
        if life.failed_liveness:
            yield Blame(request, "liveness-restart", term, life)
        elif request.sent_at <= life.gets_new_connections_until + _JITTER_SECONDS:
            yield Blame(request, "endpoint-race", term, life)
        elif request.pod:
            yield Blame(request, "keep-alive-race", term, life)


def _in_flight_at_sigterm(request: Request, lives: Sequence[Life], evidence: Evidence) -> Iterator[Blame]:
    for life in lives:
        told = life.told_at
        if told is None:
            continue
        # Where nobody saw SIGTERM, the hook's end is only about known.
        early = told - (0.0 if life.sigterm_is_seen else 1.0)
        if request.sent_at < told and request.ended_at + _JITTER_SECONDS >= early:
            cause = "liveness-restart" if life.failed_liveness else "no-graceful-shutdown"
            yield Blame(request, cause, told, life)


def _crash(request: Request, lives: Sequence[Life], evidence: Evidence) -> Iterator[Blame]:
    """The container ended, and nobody had asked it to in this life."""
    for life in lives:
        ended = life.exited_at
        if ended is None or life.sigterm_at is not None or life.terminating_at is not None:
            continue
        in_flight = _is_in_flight(request, ended)
        until = life.gets_new_connections_until if not request.pod else life.back_at
        if in_flight or ended <= request.sent_at <= until + _JITTER_SECONDS:
            fault = Fault(ended, FaultKind.EXIT, life.pod)
            is_early = in_flight or request.sent_at <= evidence.deadline(fault)
            yield Blame(request, "crash", ended, life, None, is_before_detection=is_early)


def _not_yet_serving(request: Request, lives: Sequence[Life], evidence: Evidence) -> Iterator[Blame]:
    """It was sent to a container that runs but does not serve yet."""
    for life in lives:
        if life.started_at is None or request.sent_at < life.started_at - _JITTER_SECONDS:
            continue
        if request.sent_at >= min(life.ends, life.until) and not request.pod:
            continue
        first = life.first_answer_at
        if first is not None and request.sent_at > first:
            continue
        if evidence.facts.readiness is None:
            if first is not None or request.sent_at - life.started_at <= _START_SECONDS:
                yield Blame(request, "no-readiness-probe", life.started_at, life)
        elif life.ready_at is None or request.sent_at < life.ready_at - _JITTER_SECONDS:
            if request.pod:
                yield Blame(request, "not-ready", life.started_at, life)
        elif request.sent_at - life.ready_at <= _WARM_UP_SECONDS:
            yield Blame(request, "ready-too-early", life.ready_at, life)


_RULES: Sequence[Rule] = (
    _dependency_down,
    _fault,
    _killed_at_deadline,
    _no_endpoint,
    _sent_after_sigterm,
    _in_flight_at_sigterm,
    _crash,
    _not_yet_serving,
)
