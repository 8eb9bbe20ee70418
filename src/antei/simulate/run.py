"""One simulation from its seed to its outcome: a pure function of plan and seed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from antei.api.errors import ApiError
from antei.rehearse.load.accounting import count_requests, sigterms
from antei.rehearse.model import MarkKind, Objectives, Run, ScenarioResult
from antei.rehearse.observe import Seen
from antei.rehearse.stage import StepFailed
from antei.rehearse.verdict import judge
from antei.runtime import RuntimeFailure
from antei.simulate.behaviour import BehaviourError
from antei.simulate.loop import run_virtual
from antei.simulate.outcome import Outcome, WorkloadOutcome
from antei.simulate.plan import BadPlan, Plan
from antei.simulate.scenarios import Play, Stuck, play_of
from antei.simulate.scene import Scene, Served, open_scene

__all__ = ["Played", "play", "run_seed"]

_FAILURES = (Stuck, StepFailed, ApiError, OSError, LookupError, RuntimeFailure, ExceptionGroup)


@dataclass(frozen=True, slots=True)
class Played:
    """`results` are for reports, one a Service; only where they were asked for."""

    outcome: Outcome
    results: Sequence[ScenarioResult] = ()


def run_seed(plan: Plan, seed: int) -> Outcome:
    """What a sweep runs, in whatever process. Raises BadPlan."""
    return play(plan, seed).outcome


def play(
    plan: Plan,
    seed: int,
    *,
    with_results: bool = False,
    tell: Callable[[str], None] | None = None,
    skips_calm: bool = True,
) -> Played:
    """Raises BadPlan. `tell` is handed each line of the event log.

    Probes of containers that nothing happens to are skipped; the run is the same without `skips_calm`, and slower.
    """
    try:
        return run_virtual(_play(plan, play_of(plan), seed, with_results, tell, skips_calm))
    except ExceptionGroup as group:
        # The cluster's tasks are a group, and so is what ends them.
        if (bad := group.subgroup((BadPlan, BehaviourError))) is not None:
            raise BadPlan(str(_first(bad))) from group
        raise


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


async def _play(
    plan: Plan, what: Play, seed: int, with_results: bool, tell: Callable[[str], None] | None, skips_calm: bool
) -> Played:
    async with open_scene(plan, seed, tell, what.heartbeat_seconds(plan), skips_calm=skips_calm) as scene:
        # What goes wrong does not wait for a probe or a heartbeat: it falls anywhere in their periods.
        await asyncio.sleep(scene.chance.stream("moment").uniform(0.0, what.moment_seconds))
        scene.begin(what.arrivals, what.expected_seconds)
        reason, seconds = await _act(scene, what)
        ended_at = scene.cluster.seconds
        rows = [_row(scene, served, what, reason, ended_at, with_results) for served in scene.served]
        outcome = Outcome(
            seed=seed,
            is_finished=not reason,
            reason=reason,
            seconds=round(seconds, 3),
            ready_after_seconds=round(scene.ready_after_seconds, 3),
            workloads=[row for row, _ in rows],
            writes=scene.log.writes,
            digest=scene.log.digest,
            other_evictions_refused=scene.refused_elsewhere,
        )
        return Played(outcome, [result for _, result in rows if result is not None])


async def _act(scene: Scene, what: Play) -> tuple[str, float]:
    """Why it did not come to its end, and how long it took."""
    await asyncio.sleep(what.lead_in_seconds)
    began, limit = scene.cluster.seconds, scene.plan.duration_seconds
    reason = ""
    try:
        async with asyncio.timeout(limit):
            await what.act(scene)
    except TimeoutError:
        reason = scene.stuck or f"not finished after {limit:g} s"
        if not scene.stuck and (waiting := scene.unfinished()):
            reason = f"{reason}; {'; '.join(waiting)}"
    except _FAILURES as error:
        reason = str(error) or type(error).__name__
    seconds = scene.cluster.seconds - began
    await asyncio.sleep(what.lead_out_seconds)
    return reason, seconds


def _row(
    scene: Scene, served: Served, what: Play, reason: str, ended_at: float, with_result: bool
) -> tuple[WorkloadOutcome, ScenarioResult | None]:
    load, workload = served.load, served.workload
    replicas, facts = served.replicas, served.facts
    if load is not None:
        load.stop(ended_at)
    seen = served.recorder.end()
    requests = load.requests if load is not None else ()
    counts = count_requests(requests, sigterms(seen.marks))
    exact = load.counts(counts) if load is not None else counts
    lowest = min((count.ready for count in seen.ready), default=0)
    row = WorkloadOutcome(
        name=workload.name,
        namespace=workload.namespace,
        service=workload.service.metadata.name or "" if workload.service.metadata else "",
        replicas=replicas,
        sent=exact.sent,
        lost=exact.lost,
        by_outcome=dict(exact.by_outcome),
        lowest_ready=lowest,
        restarts=seen.restarts,
        evictions_refused=sum(budget.evictions_refused for budget in seen.budgets),
        budgets_violated=[budget.name for budget in seen.budgets if budget.is_violated],
        p99_seconds=round(exact.p99_seconds, 4),
    )
    if not with_result:
        return row, None
    run = Run(
        scenario=what.name,
        requests=requests,
        marks=seen.marks,
        ready=seen.ready,
        budgets=seen.budgets,
        fault_at=_first_fault(seen),
        ended_at=ended_at - scene.began,
        is_finished=not reason,
        reason=reason,
        restarts=seen.restarts,
        endpoint_lag_seconds=scene.plan.settings.endpoint_lag.most,
    )
    title = what.title if len(scene.served) == 1 else f"{what.title}: {workload.name}"
    judged = judge(run, Objectives(budget_kept=True), facts, title=title)
    return row, replace(judged, requests=exact)


def _first_fault(seen: Seen) -> float | None:
    return next((mark.at for mark in seen.marks if mark.kind is MarkKind.FAULT), None)
