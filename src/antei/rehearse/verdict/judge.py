"""Whether a run met its objectives, and the reason in one sentence. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from antei.rehearse.load.accounting import count_requests, sigterms
from antei.rehearse.model import Cause, Objectives, RequestCounts, Run, ScenarioResult, Times, Verdict
from antei.rehearse.verdict.causes import causes_of
from antei.rehearse.verdict.facts import WorkloadFacts
from antei.rehearse.verdict.times import lowest_ready, times_of
from antei.rehearse.verdict.trace import Blame, evidence_of, trace
from antei.rehearse.verdict.wording import number, seconds

__all__ = ["judge", "not_played"]


def judge(run: Run, objectives: Objectives, facts: WorkloadFacts, *, title: str = "") -> ScenarioResult:
    """FAILED where the run did not get to its end: its counts and causes are those until then."""
    evidence = evidence_of(run, facts)
    blames = trace(evidence)
    causes = causes_of(evidence, blames)
    requests = count_requests(run.requests, sigterms(run.marks))
    times = times_of(evidence)
    lowest = lowest_ready(run)
    misses = list(_misses(run, objectives, requests, times, lowest, blames, causes))
    if not run.is_finished:
        verdict, reason = Verdict.FAILED, run.reason or "the scenario did not come to its end"
    elif misses:
        verdict, reason = Verdict.MISSED, "; ".join(misses)
    else:
        verdict, reason = Verdict.MET, _praise(requests, objectives, times)
    return ScenarioResult(
        name=run.scenario,
        title=title or run.scenario,
        verdict=verdict,
        reason=reason,
        objectives=objectives,
        requests=requests,
        causes=causes,
        budgets=tuple(run.budgets),
        times=times,
        lowest_ready=lowest,
        restarts=run.restarts,
        run=run,
    )


def not_played(
    name: str, title: str, reason: str, objectives: Objectives, *, verdict: Verdict = Verdict.SKIPPED
) -> ScenarioResult:
    """The row of a scenario that was skipped, or that failed before anything was seen."""
    return ScenarioResult(name, title, verdict, reason, objectives, RequestCounts(0, 0), (), (), Times(), 0, 0)


def _misses(
    run: Run,
    objectives: Objectives,
    requests: RequestCounts,
    times: Times,
    lowest: int,
    blames: Sequence[Blame],
    causes: Sequence[Cause],
) -> Iterator[str]:
    if requests.sent == 0:
        yield "no request was sent, so nothing is known"
    allowed = objectives.lost
    if objectives.lost_within_detection:
        late = [blame for blame in blames if not blame.is_before_detection]
        if len(late) > (allowed or 0):
            bound = f" ({seconds(times.predicted_detect)})" if times.predicted_detect is not None else ""
            yield (
                f"{number(len(late), 'request')} of {requests.sent:,} lost that were neither in flight nor sent before "
                f"detection{bound} could act{_mainly(causes, late)}"
            )
    elif allowed is not None and requests.lost > allowed:
        lost = number(requests.lost, "request")
        yield f"{lost} of {requests.sent:,} lost, {allowed:,} allowed{_mainly(causes, blames)}"
    if objectives.p99_seconds is not None and requests.p99_seconds > objectives.p99_seconds:
        yield f"p99 latency was {seconds(requests.p99_seconds)}, {seconds(objectives.p99_seconds)} allowed"
    if objectives.recover_seconds is not None and run.fault_at is not None:
        if times.recover is None:
            yield f"it did not recover: {lowest} ready at the lowest, and not as many as before at the end"
        elif times.recover > objectives.recover_seconds:
            yield f"it recovered after {seconds(times.recover)}, {seconds(objectives.recover_seconds)} allowed"
    if objectives.least_ready is not None and lowest < objectives.least_ready:
        yield f"{lowest} ready at the lowest, {objectives.least_ready} wanted"
    if objectives.budget_kept:
        for budget in run.budgets:
            if budget.is_violated:
                yield (
                    f"budget {budget.name} wants {budget.desired_healthy} healthy, there were {budget.lowest_healthy}"
                )
    if objectives.restarts is not None and run.restarts > objectives.restarts:
        yield f"{number(run.restarts, 'restart')}, {objectives.restarts} allowed"


def _mainly(causes: Sequence[Cause], blames: Sequence[Blame]) -> str:
    """What the most of these are due to."""
    counts = Counter(blame.cause for blame in blames)
    found = max((cause for cause in causes if cause.lost), key=lambda cause: counts[cause.id], default=None)
    return f": {found.message}" if found is not None else ""


def _praise(requests: RequestCounts, objectives: Objectives, times: Times) -> str:
    sent = number(requests.sent, "request")
    if not requests.lost:
        return f"none of {sent} lost"
    if objectives.lost_within_detection:
        bound = f" ({seconds(times.predicted_detect)} at worst)" if times.predicted_detect is not None else ""
        return f"{requests.lost:,} of {sent} lost, all in flight or sent before detection could act{bound}"
    if objectives.lost is None:
        return f"{requests.lost:,} of {sent} lost; no objective says how many may be"
    return f"{requests.lost:,} of {sent} lost, {objectives.lost:,} allowed"
