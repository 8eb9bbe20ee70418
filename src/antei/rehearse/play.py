"""A rehearsal from its first to its last scenario.

    healthy ─► baseline ─► for each scenario:

        healthy ─► load begins ─► lead-in ─► steps (faults, waits, undoing) ─► lead-out ─► load ends ─► verdict
           ▲                                       │ fails: said, and on to healing                        │
           └───────────────────────────── heal: all that is left is undone ◄──────────────────────────────┘

A scenario that cannot be played here is skipped with its reason. When the workload does not get healthy again, what is
left is not played. Cancelled (Ctrl-C), everything is undone first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from antei.api.errors import ApiError
from antei.rehearse.load import LoadClient
from antei.rehearse.model import Cause, Objectives, Request, Run, ScenarioResult, Verdict
from antei.rehearse.observe import Recorder
from antei.rehearse.safety import Journal, finish
from antei.rehearse.scenario import Fault, Scenario
from antei.rehearse.stage import Stage, StepFailed
from antei.rehearse.steps import Steps
from antei.rehearse.target import NEEDS, Capability, Target
from antei.rehearse.verdict import WorkloadFacts, judge, not_played
from antei.rehearse.workload import Workload, replicas_of
from antei.runtime import RuntimeFailure
from antei.world import Clock

__all__ = ["Listener", "Plan", "Rehearsal", "objectives_for"]

_LOG = logging.getLogger(__name__)
_FAILURES = (StepFailed, ApiError, OSError, LookupError, RuntimeFailure)
_HEALTHY_SECONDS = 180.0


class Listener(Protocol):
    """Who is told while it plays (`report.terminal.LiveReport`)."""

    def scenario_started(self, name: str, title: str) -> None: ...

    def progress(self, text: str) -> None: ...

    def scenario_ended(self, result: ScenarioResult) -> None: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """`load` makes the clients of one scenario, whose times count from the moment it is given."""

    scenarios: Sequence[Scenario]
    load: Callable[[float], Sequence[LoadClient]]
    objectives: Objectives  # the user's own, in place of a scenario's where they say something
    endpoint_lag_seconds: float = 0.0


def objectives_for(scenario: Scenario, asked: Objectives) -> Objectives:
    """The scenario's with the user's. Where losses and restarts are inevitable, the user's numbers do not count."""
    own, is_abrupt = scenario.objectives, scenario.objectives.lost_within_detection
    return replace(
        own,
        lost=asked.lost if asked.lost is not None and not is_abrupt else own.lost,
        p99_seconds=asked.p99_seconds if asked.p99_seconds is not None else own.p99_seconds,
        recover_seconds=asked.recover_seconds if asked.recover_seconds is not None else own.recover_seconds,
        least_ready=asked.least_ready if asked.least_ready is not None else own.least_ready,
        restarts=asked.restarts if asked.restarts is not None and not is_abrupt else own.restarts,
    )


class Rehearsal:
    """Of one workload on one target, whose informers run. `left` says what could not be undone."""

    def __init__(
        self,
        target: Target,
        workload: Workload,
        facts: WorkloadFacts,
        plan: Plan,
        journal: Journal,
        listener: Listener,
        clock: Clock,
    ) -> None:
        self._target = target
        self._workload = workload
        self._facts = facts
        self._plan = plan
        self._listener = listener
        self._recorder = Recorder(target, workload)
        self._stage = Stage(target, workload, self._recorder)
        self._steps = Steps(self._stage, journal, clock, facts.container)
        self._clients: Sequence[LoadClient] = ()
        self.results: list[ScenarioResult] = []
        self.left: list[str] = []

    async def run(self) -> Sequence[ScenarioResult]:
        """Plays all; `results` has those that were played even when this is cancelled."""
        try:
            return await self._play_all()
        finally:
            for client in self._clients:
                client.abort()

    async def _play_all(self) -> Sequence[ScenarioResult]:
        unhealthy = ""
        for scenario in self._plan.scenarios:
            self._listener.scenario_started(scenario.name, scenario.title)
            reason = self._why_not(scenario)
            if reason:
                result = not_played(scenario.name, scenario.title, reason, self._objectives(scenario))
            elif unhealthy:
                result = not_played(scenario.name, scenario.title, unhealthy, self._objectives(scenario))
            elif Fault.UNREADY in scenario.faults and self._facts.readiness is None:
                result = self._cannot_be_unready(scenario)
            else:
                result = await self._play(scenario)
                if result.verdict is Verdict.FAILED and result.run is None:
                    unhealthy = "not played: the workload did not get healthy again"
            self.results.append(result)
            self._listener.scenario_ended(result)
        return self.results

    async def wait_ready(self, within_seconds: float) -> None:
        """Raises StepFailed."""
        await self._stage.wait_healthy(within_seconds)

    def _objectives(self, scenario: Scenario) -> Objectives:
        return objectives_for(scenario, self._plan.objectives)

    def _why_not(self, scenario: Scenario) -> str:
        """Why it cannot be played here; empty when it can."""
        kind = type(self._workload.owner).__name__
        if scenario.kinds and kind not in scenario.kinds:
            return f"it is for {', '.join(scenario.kinds)}, and this is a {kind}"
        try:
            replicas = replicas_of(self._stage.owner)
        except StepFailed as error:
            return str(error)
        if replicas < scenario.min_replicas:
            return f"it needs {scenario.min_replicas} replicas, and there are {replicas}"
        for fault in scenario.faults:
            if fault is Fault.DEPENDENCY_DOWN and not self._workload.dependencies:
                return "there is no other workload behind a Service that it could depend on"
            need = NEEDS.get(fault)
            if need is not None and (reason := self._target.cannot(Capability(need))):
                return reason
        return ""

    def _cannot_be_unready(self, scenario: Scenario) -> ScenarioResult:
        """It is not this target that cannot play it: the workload lacks what it is about."""
        reason = "there is no readiness probe: nothing takes a pod that cannot serve out of the Service"
        remedy = f"add `containers[{self._facts.container}].readinessProbe` on the path that clients use"
        row = not_played(scenario.name, scenario.title, reason, self._objectives(scenario), verdict=Verdict.MISSED)
        return replace(row, causes=(Cause("no-readiness-probe", 0, reason, remedy),))

    async def _play(self, scenario: Scenario) -> ScenarioResult:
        try:
            self._listener.progress("waiting until all is healthy")
            await self._stage.wait_healthy(_HEALTHY_SECONDS)
        except _FAILURES as error:
            reason = f"it was not healthy before: {error}"
            objectives = self._objectives(scenario)
            return not_played(scenario.name, scenario.title, reason, objectives, verdict=Verdict.FAILED)
        self._recorder.begin()
        fault_at: float | None = None
        reason = ""
        telling = asyncio.create_task(self._tell(), name="progress")
        try:
            await self._start_load()
            await asyncio.sleep(scenario.lead_in_seconds)
            for number, step in enumerate(scenario.steps):
                if number == scenario.moment:
                    fault_at = self._recorder.now
                await self._steps.play(step)
            await asyncio.sleep(scenario.lead_out_seconds)
        except _FAILURES as error:
            reason = str(error) or type(error).__name__
            _LOG.info("scenario %s: %r", scenario.name, error)
        finally:
            telling.cancel()
            played_until = self._recorder.now
            await finish(self._heal())
        ended_at = self._recorder.now
        requests = await self._stop_load()
        seen = self._recorder.end()
        if seen.left_out:
            _LOG.warning("scenario %s: %d marks too many were left out", scenario.name, seen.left_out)
        run = Run(
            scenario=scenario.name,
            requests=requests,
            marks=seen.marks,
            # What healing brings back has not recovered by itself.
            ready=[count for count in seen.ready if count.at <= played_until],
            budgets=seen.budgets,
            fault_at=fault_at,
            ended_at=ended_at,
            is_finished=not reason,
            reason=reason,
            restarts=seen.restarts,
            endpoint_lag_seconds=self._plan.endpoint_lag_seconds,
        )
        return await asyncio.to_thread(judge, run, self._objectives(scenario), self._facts, title=scenario.title)

    async def _start_load(self) -> None:
        self._clients = self._plan.load(self._recorder.began)
        for client in self._clients:
            await client.start()

    async def _stop_load(self) -> Sequence[Request]:
        await asyncio.gather(*(client.stop() for client in self._clients))
        if len(self._clients) == 1:
            return self._clients[0].requests
        return sorted((r for client in self._clients for r in client.requests), key=lambda r: r.ended_at)

    async def _tell(self) -> None:
        """So many requests, so many lost: once a second."""
        counted, lost = [0] * len(self._clients), 0
        while True:
            await asyncio.sleep(1)
            counted += [0] * (len(self._clients) - len(counted))
            for number, client in enumerate(self._clients):
                for request in client.requests[counted[number] :]:
                    lost += request.outcome.is_lost
                counted[number] = len(client.requests)
            ready = len(self._recorder.ready_names)
            self._listener.progress(f"{self._recorder.now:.0f} s, {sum(counted)} requests, {lost} lost, {ready} ready")

    async def _heal(self) -> None:
        """Also when cancelled: then what is undone is more important than the cancelling."""
        failed = await self._steps.undo_all()
        self.left += failed
        for sentence in failed:
            _LOG.warning("not undone: %s", sentence)
