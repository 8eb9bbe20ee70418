"""The causes of what went wrong in a run: of each lost request, and of what was missed without any loss. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from antei.rehearse.load.accounting import percentile
from antei.rehearse.model import Cause, MarkKind, Outcome, Request, Run
from antei.rehearse.verdict.explanations import EXPLANATIONS
from antei.rehearse.verdict.facts import WorkloadFacts
from antei.rehearse.verdict.faults import FaultKind
from antei.rehearse.verdict.lives import Life
from antei.rehearse.verdict.times import ready_before
from antei.rehearse.verdict.trace import Blame, Evidence
from antei.rehearse.verdict.wording import number, seconds, span

__all__ = ["causes_of"]

#: So many pods are told one by one; with more of them the worst stands for all.
_TOLD_PODS = 3
#: TCP sends the first packet of a connection again after so long (1 s, but for what clocks differ).
_RESENT_SECONDS = 0.9


def causes_of(evidence: Evidence, blames: Sequence[Blame]) -> list[Cause]:
    """Those that lost most first; then those that lost nothing and yet explain what was missed."""
    by_cause: dict[str, dict[str, list[Blame]]] = {}
    for blame in blames:
        pod = blame.life.pod if blame.life is not None else ""
        by_cause.setdefault(blame.cause, {}).setdefault(pod, []).append(blame)
    found = [cause for name, by_pod in by_cause.items() for cause in _causes(name, by_pod, evidence)]
    found.sort(key=lambda cause: -cause.lost)
    known = {cause.id for cause in found}
    return found + [cause for cause in _without_loss(evidence) if cause.id not in known]


def _causes(name: str, by_pod: dict[str, list[Blame]], evidence: Evidence) -> Iterator[Cause]:
    explain = EXPLANATIONS[name]
    pods = sorted(by_pod.items(), key=lambda item: -len(item[1]))
    if len(pods) <= _TOLD_PODS:
        for pod, blames in pods:
            message, remedy = explain(blames, evidence)
            yield Cause(name, len(blames), message, remedy, pod)
        return
    message, remedy = explain(pods[0][1], evidence)
    others = sum(len(blames) for _, blames in pods[1:])
    more = f"; so were {others:,} more at {number(len(pods) - 1, 'other pod')}"
    yield Cause(name, others + len(pods[0][1]), message + more, remedy)


def _without_loss(evidence: Evidence) -> Iterator[Cause]:
    yield from _client_errors(evidence.run)
    yield from _slow_connections(evidence)
    yield from _killed_while_starting(evidence)
    yield from _never_restarted(evidence)
    yield from _fell_below(evidence)


def _client_errors(run: Run) -> Iterator[Cause]:
    wrong = [request for request in run.requests if request.outcome is Outcome.CLIENT_ERROR]
    if wrong:
        statuses = Counter(request.status for request in wrong if request.status is not None)
        said = ", ".join(f"{count:,} × {status}" for status, count in statuses.most_common(3))
        message = f"{number(len(wrong), 'request')} answered as the client's own fault{f' ({said})' if said else ''}"
        yield Cause("client-error", 0, message, "let the rehearsal ask for a path that the workload serves")


def _slow_connections(evidence: Evidence) -> Iterator[Cause]:
    """A pod that is gone answers nothing, not even a refusal: its packets are sent again, after a second at first."""
    ended = [life for life in evidence.lives if life.exited_at is not None and life.out_at is not None]
    answered = sorted(r.latency_seconds for r in evidence.run.requests if r.outcome is Outcome.OK)
    if not ended or not answered:
        return
    slow = percentile(answered, 50) + _RESENT_SECONDS
    taken: list[Request] = [r for r in evidence.run.requests if r.outcome is Outcome.OK and r.latency_seconds >= slow]
    for life in ended:
        assert life.exited_at is not None
        assert life.out_at is not None
        found = [r.latency_seconds for r in taken if life.exited_at <= r.sent_at <= life.out_at]
        taken = [r for r in taken if not life.exited_at <= r.sent_at <= life.out_at]
        if found:
            late = seconds(life.out_at - life.exited_at)
            message = (
                f"{number(len(found), 'request')} took {span(found)}, sent while the address of {life.pod} was still "
                f"in: it was out {late} after its container had ended"
            )
            yield Cause("slow-connection", 0, message, _pause_remedy(life, evidence), life.pod)


def _pause_remedy(life: Life, evidence: Evidence) -> str:
    if life.terminating_at is None or life.out_at is None:
        return ""
    needed = math.ceil(life.out_at - life.terminating_at) + 1
    return f"let `preStop` last at least {needed} s" if needed > evidence.facts.pre_stop_seconds else ""


def _killed_while_starting(evidence: Evidence) -> Iterator[Cause]:
    """Liveness, or a startup probe that is too short, ended what was still starting."""
    facts = evidence.facts
    by_pod: dict[str, list[float]] = {}
    for life in evidence.lives:
        ended = life.sigterm_at if life.sigterm_at is not None else life.exited_at
        if life.failed_liveness and life.ready_at is None and life.started_at is not None and ended is not None:
            by_pod.setdefault(life.pod, []).append(ended - life.started_at)
    for pod, lasted in by_pod.items():
        times = "once" if len(lasted) == 1 else f"{len(lasted)} times"
        which = "startup" if facts.startup is not None else "liveness"
        allows = facts.longest_start_seconds
        limit = f": the {which} probe allows a start {allows} s" if allows is not None else ""
        message = f"{pod} was killed {times} before it was ready, {seconds(max(lasted))} after its start{limit}"
        more = max(int(max(lasted)) * 2, (allows or 0) * 3, 30)
        if facts.startup is None:
            yield Cause("no-startup-probe", 0, message, _startup_remedy(facts, more), pod)
        else:
            period = facts.startup.periodSeconds or 10
            remedy = f"raise `startupProbe.failureThreshold` from {facts.startup.failureThreshold or 3} to "
            yield Cause("startup-too-short", 0, message, f"{remedy}{-(-more // period)}", pod)


def _startup_remedy(facts: WorkloadFacts, needed: int) -> str:
    period = min(5, (facts.liveness.periodSeconds or 10) if facts.liveness is not None else 10)
    return f"add `startupProbe` with `periodSeconds: {period}` and `failureThreshold: {-(-needed // period)}`"


def _never_restarted(evidence: Evidence) -> Iterator[Cause]:
    for life in evidence.lives:
        fault = life.fault
        if fault is None or fault.kind is not FaultKind.HANG or evidence.facts.liveness is not None:
            continue
        if life.exited_at is None:
            hung = seconds(evidence.run.ended_at - fault.at)
            message = f"{life.pod} hung and was not restarted in the {hung} until the end: no liveness probe"
            yield Cause("no-liveness-probe", 0, message, "add `livenessProbe` that asks the process itself", life.pod)


def _fell_below(evidence: Evidence) -> Iterator[Cause]:
    """A planned disruption that took more replicas away than it had to."""
    run, facts = evidence.run, evidence.facts
    first = next((fault.at for fault in evidence.faults if fault.kind in (FaultKind.PLANNED, FaultKind.SLOW)), None)
    if first is None or not run.ready:
        return
    before = ready_before(run)
    lowest = min((count.ready for count in run.ready if count.at >= first), default=before)
    story = " ".join([run.scenario, *(fault.text for fault in evidence.faults)]).lower()
    fell = f"from {before} to {lowest}"
    if "roll" in story and lowest < before and facts.max_unavailable:
        message = (
            f"the rollout took the ready count {fell}: maxUnavailable is {facts.max_unavailable} of {facts.replicas}"
        )
        yield Cause("max-unavailable", 0, message, "`rollingUpdate: {maxUnavailable: 0, maxSurge: 1}`")
    is_drain = "drain" in story or any(m.kind is MarkKind.EVENT and "evict" in m.text.lower() for m in run.marks)
    if is_drain and not facts.budgets and before > 1 and lowest < before - 1:
        message = f"the drain took the ready count {fell}: no budget holds it back"
        yield Cause("no-budget", 0, message, f"add a PodDisruptionBudget with `minAvailable: {before - 1}`")
