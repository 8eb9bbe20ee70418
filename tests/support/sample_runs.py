"""Runs as a rehearsal sees them, made up: a small simulation of pods, endpoints and an open-loop client.

The same seed gives the same runs. `all_runs()` are those that the pictures in docs show; `drain_without_pre_stop()` and
its like leave out one mechanism each.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from lightkube.models.core_v1 import HTTPGetAction, Probe

from antei.api.probe_arithmetic import Hook
from antei.rehearse.model import (
    Budget,
    Mark,
    MarkKind,
    Objectives,
    Outcome,
    ReadyCount,
    Request,
    Run,
    ScenarioResult,
    Verdict,
)
from antei.rehearse.verdict import WorkloadFacts, judge, not_played

NEVER = float("inf")
CLIENT_TIMEOUT_SECONDS = 5.0


def probe(period: int = 2, timeout: int = 1, failures: int = 2, path: str = "/ready") -> Probe:
    return Probe(
        httpGet=HTTPGetAction(port=8080, path=path),
        periodSeconds=period,
        timeoutSeconds=timeout,
        failureThreshold=failures,
        successThreshold=1,
    )


SOUND = WorkloadFacts(
    name="chat",
    container="chat",
    replicas=2,
    readiness=probe(),
    liveness=probe(3, 2, 2, "/alive"),
    startup=probe(1, 1, 60, "/alive"),
    pre_stop=Hook(5),
    grace_seconds=30,
    liveness_kill_seconds=6,
    longest_start_seconds=59,
    max_unavailable=0,
    max_surge=1,
    budgets=("chat",),
)


@dataclass(slots=True)
class Pod:
    """What becomes of one run of a pod's container; times in seconds, NEVER for what does not happen."""

    name: str
    node: str = "node-1"
    created: float = -60.0
    started: float = -58.0
    ready: float = -50.0
    serves: float | None = None  # from when it can answer; as `ready` where it is left out
    unready: float = NEVER
    terminating: float = NEVER
    pre_stop: float = NEVER
    sigterm: float = NEVER
    sigkill: float = NEVER
    exited: float = NEVER
    exit_code: int = 0
    hung: float = NEVER
    finishes: bool = True  # what is in flight at SIGTERM
    failures: list[tuple[float, str]] = field(default_factory=list)
    is_restart: bool = False

    @property
    def out(self) -> float:
        return min(self.unready, self.terminating, self.exited)

    @property
    def can_serve_from(self) -> float:
        return self.ready if self.serves is None else self.serves


@dataclass(slots=True)
class Stage:
    """One scenario: pods, faults, and the client that uses them meanwhile."""

    name: str
    pods: list[Pod]
    fault_at: float
    ended_at: float
    lag: float = 0.5
    rate: float = 60.0
    budget: int | None = 1
    faults: list[Mark] = field(default_factory=list)
    evictions_refused: int = 0
    seed: int = 1
    latency_seconds: float = 0.02
    fails_between: tuple[float, float] = (NEVER, NEVER)  # all pods answer 500

    def run(self) -> Run:
        chance = random.Random(f"{self.name} {self.seed}")
        ready = self._ready_counts()
        budgets = []
        if self.budget is not None:
            budgets = [Budget("chat", self.budget, min(count.ready for count in ready), self.evictions_refused)]
        return Run(
            scenario=self.name,
            requests=list(self._requests(chance)),
            marks=sorted(self._marks(), key=lambda mark: mark.at),
            ready=ready,
            budgets=budgets,
            fault_at=self.fault_at,
            ended_at=self.ended_at,
            restarts=sum(pod.is_restart for pod in self.pods),
            endpoint_lag_seconds=self.lag,
        )

    def _ready_counts(self) -> list[ReadyCount]:
        moments = sorted({0.0} | {at for pod in self.pods for at in (pod.ready, pod.out) if 0 < at < self.ended_at})
        return [ReadyCount(at, sum(pod.ready <= at < pod.out for pod in self.pods)) for at in moments]

    def _requests(self, chance: random.Random) -> Iterable[Request]:
        for number in range(int(self.ended_at * self.rate)):
            due = number / self.rate
            sent = due + chance.uniform(0.0001, 0.0008)
            serving = [pod for pod in self.pods if pod.ready + self.lag <= sent < pod.out + self.lag]
            serving = serving or [pod for pod in self.pods if pod.terminating <= sent < min(pod.sigterm, pod.exited)]
            took = self.latency_seconds * chance.lognormvariate(0, 0.5)
            if not serving:
                yield Request(due, sent, sent + 0.001, Outcome.REFUSED, "service", detail="connection refused")
                continue
            yield self._answered(due, sent, took, chance.choice(serving))

    def _answered(self, due: float, sent: float, took: float, pod: Pod) -> Request:
        def end(at: float, outcome: Outcome, status: int | None = None, detail: str = "") -> Request:
            return Request(due, sent, at, outcome, "service", status, pod.name, detail)

        if pod.exited <= sent or sent < pod.can_serve_from:
            return end(sent + 0.001, Outcome.REFUSED, detail="connection refused")
        if pod.hung <= sent + took:
            timeout = sent + CLIENT_TIMEOUT_SECONDS
            if pod.exited < timeout:
                return end(pod.exited, Outcome.RESET, detail="connection reset by peer")
            return end(timeout, Outcome.TIMED_OUT, detail="no answer within 5 s")
        if self.fails_between[0] <= sent < self.fails_between[1]:
            return end(sent + took, Outcome.SERVER_ERROR, 500)
        if pod.sigterm <= sent and not pod.finishes:
            return end(sent + 0.001, Outcome.RESET, detail="connection reset by peer")
        if pod.exited < sent + took and not (pod.finishes and pod.sigterm < NEVER):
            return end(pod.exited, Outcome.RESET, detail="connection reset by peer")
        return end(sent + took, Outcome.OK, 200)

    def _marks(self) -> Iterable[Mark]:
        yield from self.faults
        for pod in self.pods:
            yield from (mark for mark in self._pod_marks(pod) if 0 <= mark.at <= self.ended_at)

    def _pod_marks(self, pod: Pod) -> Iterable[Mark]:
        def mark(at: float, kind: MarkKind, text: str = "") -> Mark:
            return Mark(at, kind, pod.name, "chat" if kind in _OF_CONTAINER else "", text, pod.node)

        if pod.is_restart:
            yield mark(pod.started + 0.05, MarkKind.RESTARTED, "restart 1")
        else:
            yield mark(pod.created, MarkKind.CREATED)
            yield mark(pod.created + 0.1, MarkKind.SCHEDULED, pod.node)
        yield mark(pod.started, MarkKind.STARTED)
        yield mark(max(0.0, pod.ready), MarkKind.READY)
        yield mark(pod.ready + 0.02, MarkKind.ENDPOINT_IN)
        yield mark(pod.ready + self.lag, MarkKind.EFFECTIVE_IN)
        if pod.out < NEVER:
            yield mark(pod.out, MarkKind.UNREADY)
            yield mark(pod.out + 0.02, MarkKind.ENDPOINT_OUT)
            yield mark(pod.out + self.lag, MarkKind.EFFECTIVE_OUT)
        for at, kind in (
            (pod.terminating, MarkKind.TERMINATING),
            (pod.pre_stop, MarkKind.PRE_STOP),
            (pod.sigterm, MarkKind.SIGTERM),
            (pod.sigkill, MarkKind.SIGKILL),
        ):
            yield mark(at, kind)
        yield mark(pod.exited, MarkKind.EXITED, f"exit code {pod.exit_code}")
        if pod.terminating < NEVER:
            yield mark(pod.exited + 0.2, MarkKind.GONE)
        for at, text in pod.failures:
            yield mark(at, MarkKind.PROBE_FAILED, text)
        tick = max(pod.ready, -0.7)
        while tick < min(pod.exited, pod.hung, pod.unready, self.ended_at):
            yield mark(tick, MarkKind.PROBE_SUCCEEDED, "readiness")
            tick += 2.0


_OF_CONTAINER = frozenset(
    {
        MarkKind.STARTED,
        MarkKind.PRE_STOP,
        MarkKind.SIGTERM,
        MarkKind.SIGKILL,
        MarkKind.EXITED,
        MarkKind.RESTARTED,
        MarkKind.PROBE_FAILED,
        MarkKind.PROBE_SUCCEEDED,
    }
)


def _stopped(pod: Pod, at: float, *, hook: float = 5.0, takes: float = 0.3) -> Pod:
    """Deleted at that moment, with a hook of so many seconds."""
    pod.terminating, pod.sigterm = at, at + hook
    pod.pre_stop = at + 0.01 if hook else NEVER
    pod.exited = pod.sigterm + takes
    return pod


def _new(name: str, node: str, at: float, start: float = 1.5) -> Pod:
    return Pod(name, node, created=at, started=at + 0.4, ready=at + 0.4 + start)


def fault(at: float, text: str, pod: str = "", node: str = "") -> Mark:
    return Mark(at, MarkKind.FAULT, pod, text=text, node=node)


def drain() -> Run:
    pods = [
        _stopped(Pod("chat-7f-abcde", "node-1"), 2.0),
        Pod("chat-7f-fghij", "node-2"),
        _new("chat-7f-klmno", "node-3", 2.05),
    ]
    faults = [fault(2.0, "drain node-1", node="node-1"), fault(9.0, "uncordon node-1", node="node-1")]
    return Stage("drain", pods, 2.0, 14.0, faults=faults, evictions_refused=1).run()


def drain_without_pre_stop() -> Run:
    """SIGTERM at once, and the server ends at once: the endpoint race, and what is in flight is lost too."""
    gone = _stopped(Pod("chat-7f-abcde", "node-1", finishes=False), 2.0, hook=0.0, takes=0.02)
    pods = [gone, Pod("chat-7f-fghij", "node-2"), _new("chat-7f-klmno", "node-3", 2.05)]
    faults = [
        fault(
            2.0, "drain of node node-1, which is a sentence that takes more than a line of a telephone", node="node-1"
        ),
        fault(6.0, "uncordon node-1", node="node-1"),
    ]
    return Stage("drain", pods, 2.0, 10.0, faults=faults, seed=2, latency_seconds=0.03).run()


def drain_without_budget() -> Run:
    pods = [
        _stopped(Pod("chat-7f-abcde", "node-1"), 2.0, hook=1.0),
        _stopped(Pod("chat-7f-fghij", "node-1"), 2.02, hook=1.0),
        _new("chat-7f-klmno", "node-3", 2.05, start=4.0),
        _new("chat-7f-pqrst", "node-2", 2.08, start=4.0),
    ]
    return Stage("drain", pods, 2.0, 12.0, faults=[fault(2.0, "drain node-1", node="node-1")], budget=None).run()


def hang() -> Run:
    pods = [
        Pod("chat-7f-abcde", hung=2.0, unready=6.4, exited=15.2, sigterm=9.2, sigkill=15.2, exit_code=137,
            failures=[(3.6, "readiness: context deadline exceeded"), (5.6, "readiness: context deadline exceeded"),
                      (6.2, "liveness: context deadline exceeded"), (9.2, "liveness: context deadline exceeded")]),
        Pod("chat-7f-abcde", created=0.0, started=15.5, ready=17.0, is_restart=True),
        Pod("chat-7f-fghij", "node-2"),
    ]  # fmt: skip
    return Stage("hang", pods, 2.0, 21.0, faults=[fault(2.0, "pause chat-7f-abcde", "chat-7f-abcde")]).run()


def kill() -> Run:
    pods = [
        Pod("chat-7f-abcde", exited=2.0, exit_code=137),
        Pod("chat-7f-abcde", created=0.0, started=2.6, ready=4.0, is_restart=True),
        Pod("chat-7f-fghij", "node-2"),
    ]
    faults = [fault(2.0, "kill chat in chat-7f-abcde", "chat-7f-abcde")]
    return Stage("kill", pods, 2.0, 8.0, faults=faults, latency_seconds=0.04).run()


def rollout() -> Run:
    first, second = _new("chat-9c-klmno", "node-3", 2.0), _new("chat-9c-pqrst", "node-1", 4.1)
    pods = [
        _stopped(Pod("chat-7f-abcde", "node-1"), first.ready + 0.1),
        _stopped(Pod("chat-7f-fghij", "node-2"), second.ready + 0.1),
        first,
        second,
    ]
    return Stage("rollout", pods, 2.0, 15.0, faults=[fault(2.0, "rollout of deployment/chat")]).run()


def rollout_without_readiness() -> Run:
    first, second = _new("chat-9c-klmno", "node-3", 2.0), _new("chat-9c-pqrst", "node-1", 2.8)
    for pod in (first, second):
        pod.serves, pod.ready = pod.started + 3.0, pod.started
    pods = [_stopped(Pod("chat-7f-abcde", "node-1"), 2.6), _stopped(Pod("chat-7f-fghij", "node-2"), 3.4), first, second]
    return Stage("rollout", pods, 2.0, 12.0, faults=[fault(2.0, "rollout of deployment/chat")]).run()


def dependency_down() -> Run:
    pods = [Pod("chat-7f-abcde", unready=6.0), Pod("chat-7f-fghij", "node-2", unready=6.8)]
    back = [Pod(pod.name, pod.node, ready=15.2 + index) for index, pod in enumerate(pods)]
    stage = Stage("dependency-down", pods, 2.0, 20.0, fails_between=(2.0, 14.2))
    stage.faults = [
        fault(2.0, "dependency-down: statefulset/mysql pauses"),
        fault(14.0, "undo: statefulset/mysql resumes"),
    ]
    stage.pods = pods + back
    return stage.run()


def all_results() -> list[ScenarioResult]:
    """A whole rehearsal: sound scenarios, one that loses requests, one skipped, one that failed."""
    graceful = Objectives(lost=0, restarts=0, budget_kept=True)
    abrupt = Objectives(lost_within_detection=True, recover_seconds=60.0)
    no_hook = WorkloadFacts(
        name="chat", container="chat", replicas=2, readiness=probe(), liveness=probe(3, 2, 2), budgets=("chat",)
    )
    return [
        judge(rollout(), graceful, SOUND, title="A new revision rolls out"),
        judge(drain(), graceful, SOUND, title="Every node is drained, one after the other"),
        judge(drain_without_pre_stop(), graceful, no_hook, title="The same drain, without preStop"),
        judge(kill(), abrupt, SOUND, title="A container is killed"),
        judge(hang(), abrupt, SOUND, title="A container hangs"),
        judge(dependency_down(), abrupt, SOUND, title="What the workload depends on stops answering"),
        not_played("node-loss", "A node is lost", "this target cannot stop a node", abrupt),
        not_played("oom", "Memory runs out", "the pod was gone before", abrupt, verdict=Verdict.FAILED),
    ]
