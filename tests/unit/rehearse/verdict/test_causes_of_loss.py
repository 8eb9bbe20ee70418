"""Each lost request is traced to its cause, by marks and times, with numbers and a remedy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from lightkube.models.core_v1 import Probe
from sample_runs import SOUND, dependency_down, drain_without_budget, drain_without_pre_stop, fault, hang, kill, probe
from sample_runs import rollout_without_readiness as rollout_without_readiness_run

from antei.api.probe_arithmetic import Hook
from antei.rehearse.model import Cause, Mark, MarkKind, Objectives, Outcome, ReadyCount, Request, Run
from antei.rehearse.verdict import WorkloadFacts, judge

K = MarkKind
OK, REFUSED, RESET, TIMED_OUT = Outcome.OK, Outcome.REFUSED, Outcome.RESET, Outcome.TIMED_OUT


def request(sent: float, took: float, outcome: Outcome, pod: str = "", status: int | None = None) -> Request:
    return Request(sent, sent, sent + took, outcome, status=status, pod=pod)


def marks(pod: str, *steps: tuple[float, MarkKind] | tuple[float, MarkKind, str]) -> list[Mark]:
    return [Mark(step[0], step[1], pod, text=step[2] if len(step) > 2 else "") for step in steps]  # type: ignore[misc]


def run(
    scenario: str,
    requests: Sequence[Request],
    marks: Sequence[Mark],
    ready: Sequence[tuple[float, int]] = ((0, 2),),
    lag: float = 0.0,
    ended_at: float = 60.0,
) -> Run:
    at = min((mark.at for mark in marks if mark.kind is K.FAULT), default=2.0)
    return Run(
        scenario, requests, marks, [ReadyCount(*one) for one in ready], [], at, ended_at, endpoint_lag_seconds=lag
    )


def causes(run: Run, facts: WorkloadFacts) -> list[Cause]:
    return list(judge(run, Objectives(), facts).causes)


BARE = WorkloadFacts(container="chat", replicas=2)
PROBED = replace(BARE, readiness=probe(), liveness=probe(3, 2, 2))
BRIEF_HOOK = replace(PROBED, pre_stop=Hook(1))
DELETED = (fault(2.0, "deleted", "a"), *marks("a", (2.0, K.TERMINATING)))


@dataclass(frozen=True)
class Case:
    run: Run
    facts: WorkloadFacts
    cause: str
    lost: int
    says: str
    remedy: str


RESTARTING = [
    fault(2.0, "killed: SIGKILL to container chat", "a"),
    *marks("a", (2.0, K.EXITED, "exit code 137"), (2.3, K.STARTED), (2.5, K.EFFECTIVE_OUT)),
    *marks("a", (5.0, K.READY), (5.5, K.EFFECTIVE_IN)),
]  # fmt: skip
LIVENESS_FAILS = [
    fault(1.0, "deleted", "b"),
    *marks("a", (6.0, K.PROBE_FAILED, "liveness: context deadline exceeded"), (6.1, K.SIGTERM), (6.2, K.EXITED)),
]

CASES = {
    "endpoint race without preStop": Case(
        run("delete",
            [request(2.1, 0.01, REFUSED, "a"), request(2.4, 0.01, RESET, "a")],
            [*DELETED, *marks("a", (2.0, K.SIGTERM), (2.1, K.EXITED), (2.02, K.ENDPOINT_OUT), (2.5, K.EFFECTIVE_OUT))],
            lag=0.5),
        PROBED, "endpoint-race", 2,
        "1 refusal and 1 reset 0.1 to 0.4 s after SIGTERM of a: no preStop, endpoint lag 0.5 s",
        "add `preStop.sleep` of at least 2 s (`containers[chat].lifecycle.preStop.sleep.seconds`: 2)",
    ),
    "endpoint race with a preStop that is too short": Case(
        run("delete",
            [request(3.5, 0.01, REFUSED)],
            [*DELETED, *marks("a", (3.0, K.SIGTERM), (3.1, K.EXITED), (2.02, K.ENDPOINT_OUT), (6.0, K.EFFECTIVE_OUT))]),
        BRIEF_HOOK, "endpoint-race", 1,
        "1 refusal 0.5 s after SIGTERM of a: preStop sleeps 1 s, endpoint lag 4 s",
        "raise `preStop.sleep` from 1 to at least 5 s",
    ),
    "endpoint race with a grace period that leaves no room for the pause": Case(
        run("delete", [request(3.5, 0.01, REFUSED)],
            [*DELETED, *marks("a", (3.0, K.SIGTERM), (3.1, K.EXITED), (6.0, K.EFFECTIVE_OUT))], lag=4.0),
        replace(BRIEF_HOOK, grace_seconds=5), "endpoint-race", 1, "preStop sleeps 1 s",
        "and raise `terminationGracePeriodSeconds` from 5 to at least 7",
    ),
    "endpoint race on a cluster that does not show signals": Case(
        run("delete", [request(3.2, 0.01, REFUSED)], [*DELETED, *marks("a", (3.5, K.ENDPOINT_OUT), (4.0, K.GONE))]),
        BRIEF_HOOK, "endpoint-race", 1, "1 refusal 0.2 s after SIGTERM of a", "raise `preStop.sleep` from 1",
    ),
    "a hook that ends the server itself": Case(
        run("delete", [request(2.5, 0.01, REFUSED, "a")],
            [*DELETED, *marks("a", (2.0, K.PRE_STOP), (2.2, K.EXITED), (2.8, K.EFFECTIVE_OUT))]),
        replace(PROBED, pre_stop=Hook(None)), "endpoint-race", 1,
        "its preStop hook ended 0.2 s after the deletion", "let the preStop hook last at least 2 s",
    ),
    "no graceful shutdown": Case(
        run("delete",
            [request(6.8, 0.25, RESET, "a"), request(6.9, 0.15, RESET, "a"), request(1.0, 0.4, OK, "a")],
            [*DELETED, *marks("a", (7.0, K.SIGTERM), (7.05, K.EXITED), (2.5, K.EFFECTIVE_OUT))]),
        SOUND, "no-graceful-shutdown", 2,
        "2 resets of requests in flight at SIGTERM of a, the oldest for 0.2 s: the server ended 50 ms after it",
        "finish what it has begun (up to 0.4 s here)",
    ),
    "grace period too short": Case(
        run("delete", [request(6.0, 6.0, RESET, "a")],
            [*DELETED, *marks("a", (2.0, K.PRE_STOP), (7.0, K.SIGTERM), (12.0, K.SIGKILL), (12.0, K.EXITED))]),
        replace(SOUND, grace_seconds=10), "grace-too-short", 1,
        "1 reset of requests in flight at SIGKILL of a, 10 s after it was told: the grace period is 10 s, of which "
        "preStop took 5 s, and 5 s after SIGTERM the server was not done",
        "raise `terminationGracePeriodSeconds` from 10 to at least 13",
    ),
    "a connection that was kept alive": Case(
        run("delete", [request(7.2, 0.01, RESET, "a")],
            [*DELETED, *marks("a", (2.5, K.EFFECTIVE_OUT), (7.0, K.SIGTERM), (7.3, K.EXITED))]),
        SOUND, "keep-alive-race", 1, "on connections that were kept alive", "`Connection: close`",
    ),
    "one replica": Case(
        run("delete", [request(3.5, 0.01, REFUSED), request(4.5, 0.01, REFUSED)],
            [*DELETED, *marks("a", (7.0, K.SIGTERM))], ready=((0, 1), (2.0, 0), (6.0, 1))),
        replace(SOUND, replicas=1, budgets=()), "no-endpoint", 2,
        "2 refusals 1.5 to 2.5 s after the last ready endpoint had gone: there is one replica; "
        "the Service had none for 4 s",
        "`replicas: 2`, and a PodDisruptionBudget with `minAvailable: 1`",
    ),
    "nobody in effect yet, though the slice names one again": Case(
        run("kill", [request(5.0, 0.01, REFUSED)],
            [fault(1.9, "scaled"), *marks("a", (2.5, K.EFFECTIVE_OUT), (6.0, K.EFFECTIVE_IN))],
            ready=((0, 1), (2.0, 0), (2.3, 1))),
        replace(SOUND, replicas=1), "no-endpoint", 1, "1 refusal", "`replicas: 2`",
    ),
    "an Ingress that answers 503 because nobody is ready": Case(
        run("delete", [request(3.5, 0.01, Outcome.SERVER_ERROR, status=503)], DELETED, ready=((0, 1), (2.0, 0))),
        replace(SOUND, replicas=1), "no-endpoint", 1, "1 server error", "`replicas: 2`",
    ),
    "a drain without a budget": Case(
        run("drain", [request(3.5, 0.01, REFUSED)], [fault(2.0, "drain of node n")], ready=((0, 2), (2.0, 0))),
        replace(SOUND, budgets=()), "no-endpoint", 1, "no budget holds a drain back from taking all 2 replicas at once",
        "add a PodDisruptionBudget with `minAvailable: 1`",
    ),
    "maxUnavailable that takes all": Case(
        run("rollout", [request(3.5, 0.01, REFUSED)], [fault(2.0, "rollout")], ready=((0, 2), (2.0, 0))),
        replace(SOUND, max_unavailable=2, max_surge=0), "no-endpoint", 1,
        "maxUnavailable 2 lets the rollout take all 2 replicas", "`rollingUpdate: {maxUnavailable: 0, maxSurge: 1}`",
    ),
    "strategy Recreate": Case(
        run("rollout", [request(3.5, 0.01, REFUSED)], [fault(2.0, "rollout")], ready=((0, 2), (2.0, 0))),
        replace(SOUND, recreates=True, max_unavailable=None), "no-endpoint", 1, "the strategy is Recreate",
        "`strategy.type: RollingUpdate`",
    ),
    "no readiness probe": Case(
        run("rollout",
            [request(4.2, 0.01, REFUSED, "b"), request(6.0, 0.01, REFUSED, "b"), request(7.0, 0.1, OK, "b")],
            [fault(2.0, "rollout of a new revision"), *marks("b", (3.0, K.CREATED), (4.0, K.STARTED), (4.0, K.READY))]),
        BARE, "no-readiness-probe", 2,
        "2 refusals 0.2 to 2.0 s after b started: without a readiness probe it gets requests as soon as it runs, "
        "and it first answered 3.1 s after its start",
        "add `containers[chat].readinessProbe`",
    ),
    "no readiness probe, and it never answers": Case(
        run("bad-rollout", [request(9.0, 0.01, REFUSED, "b")],
            [fault(2.0, "rollout of a revision that nobody can use"), *marks("b", (4.0, K.STARTED), (4.0, K.READY))]),
        BARE, "no-readiness-probe", 1, "it has not been seen to answer", "readinessProbe",
    ),
    "a Service that publishes what is not ready": Case(
        run("rollout", [request(4.2, 0.01, REFUSED, "b")],
            [fault(2.0, "rollout"), *marks("b", (3.0, K.CREATED), (4.0, K.STARTED), (6.0, K.READY))]),
        PROBED, "not-ready", 1, "while its readiness probe still failed", "`publishNotReadyAddresses: false`",
    ),
    "readiness that passes too early": Case(
        run("rollout", [request(6.5, 0.01, Outcome.SERVER_ERROR, "b", 500), request(8.0, 0.1, OK, "b")],
            [fault(2.0, "rollout"), *marks("b", (3.0, K.CREATED), (4.0, K.STARTED), (6.0, K.READY))]),
        PROBED, "ready-too-early", 1, "1 server error 0.5 s after b was ready", "`containers[chat].readinessProbe`",
    ),
    "a hang, seen by readiness": Case(
        run("hang", [request(1.9, 5.0, TIMED_OUT, "a"), request(5.0, 5.0, TIMED_OUT, "a")],
            [fault(2.0, "hang: SIGSTOP to container chat", "a"), *marks("a", (6.5, K.EFFECTIVE_OUT))]),
        PROBED, "hang", 2,
        "2 timeouts as a hung (1 in flight, 1 sent 3.0 s after): its address was out after 4.5 s; the readiness probe "
        "(every 2 s, 2 failures, 1 s timeout) takes 5 s at worst",
        "lower `readinessProbe.periodSeconds` from 2 to 1: 3 s at worst instead of 5 s",
    ),
    "a hang without readiness": Case(
        run("hang", [request(5.0, 5.0, TIMED_OUT, "a")], [fault(2.0, "hang: SIGSTOP", "a")]),
        replace(PROBED, readiness=None, liveness_kill_seconds=6), "hang", 1,
        "it stayed in; without a readiness probe only liveness acts, after 14 s at worst", "readinessProbe",
    ),
    "a hang that nothing looks for": Case(
        run("hang", [request(5.0, 5.0, TIMED_OUT, "a")], [fault(2.0, "hang: SIGSTOP", "a")]),
        BARE, "hang", 1, "it stayed in, no probe looks", "`livenessProbe`",
    ),
    "in flight when killed": Case(
        run("kill", [request(1.95, 0.06, RESET, "a")], RESTARTING),
        PROBED, "killed-in-flight", 1, "1 reset in flight when a was killed (exit code 137)", "repeat",
    ),
    "sent to a pod that was killed": Case(
        run("kill", [request(2.2, 0.01, REFUSED, "a")], RESTARTING, lag=0.5),
        PROBED, "sent-to-dead-pod", 1, "1 refusal 0.2 s after a was killed", "repeat",
    ),
    "sent to the container that starts in place of the killed one, before the network followed": Case(
        run("kill", [request(2.4, 0.01, REFUSED, "a")], RESTARTING, lag=0.5),
        PROBED, "sent-to-dead-pod", 1, "1 refusal 0.4 s after a was killed", "repeat",
    ),
    "sent to a pod that was killed, and whose restart is told before its start": Case(
        run("kill", [request(2.2, 0.01, REFUSED)],
            [fault(2.0, "killed: SIGKILL to container chat", "a"),
             *marks("a", (0.0, K.READY), (2.01, K.EXITED, "exit code 137"), (2.02, K.RESTARTED), (2.04, K.STARTED)),
             *marks("a", (3.0, K.READY), (3.5, K.EFFECTIVE_OUT), (4.1, K.EFFECTIVE_IN))], lag=1.5),
        PROBED, "sent-to-dead-pod", 1, "1 refusal 0.2 s after a was killed", "repeat",
    ),
    "a node is lost": Case(
        run("node-loss", [request(20.0, 5.0, TIMED_OUT, "a")],
            [fault(2.0, "node n1 lost", node="n1"), Mark(0.0, K.READY, "a", node="n1"),
             *marks("a", (50.0, K.EFFECTIVE_OUT))]),
        PROBED, "node-loss", 1, "1 timeout 18.0 s after node n1 of a was lost: its address was out after 48 s",
        "--node-monitor-grace-period",
    ),
    "a crash that nobody asked for": Case(
        run("rollout", [request(4.9, 0.2, RESET, "a"), request(5.2, 0.01, REFUSED, "a")],
            [fault(2.0, "rollout"), *marks("a", (5.0, K.EXITED, "exit code 1"), (5.4, K.EFFECTIVE_OUT))]),
        PROBED, "crash", 2, "after a ended by itself with exit code 1", "`kubectl logs --previous a`",
    ),
    "liveness restarts what serves": Case(
        run("delete", [request(6.0, 0.15, RESET, "a")], LIVENESS_FAILS),
        PROBED, "liveness-restart", 1,
        "1 reset as a was stopped by its probe (liveness: context deadline exceeded)",
        "raise `livenessProbe.failureThreshold` from 2 to at least 4",
    ),
    "liveness had failed before anybody looked": Case(
        run("baseline", [request(1.0, 0.15, RESET, "a")],
            marks("a", (0.0, K.READY), (1.1, K.SIGTERM), (1.2, K.EXITED))),
        PROBED, "liveness-restart", 1, "1 reset as a was stopped by its probe", "`livenessProbe.failureThreshold`",
    ),
    "what it depends on is down": Case(
        run("dependency-down",
            [request(3.0, 0.1, Outcome.SERVER_ERROR, "a", 500), request(9.0, 0.01, REFUSED)],
            [fault(2.0, "dependency statefulset/db down: SIGSTOP to its 1 pods"), fault(12.0, "undone: resumed db-0")],
            ready=((0, 2), (7.0, 0), (14.0, 2))),
        PROBED, "dependency-down", 2, "went away for 10 s; readiness took all replicas out of the Service", "retry",
    ),
    "nothing explains it": Case(
        run("delete", [request(30.0, 1.0, TIMED_OUT, "b"), request(31.0, 1.0, TIMED_OUT, "b")],
            [*DELETED, *marks("a", (2.5, K.SIGTERM), (2.6, K.EXITED))]),
        PROBED, "unexplained", 2, "2 timeouts unexplained: sent to b at 30.0, 31.0 s of the scenario", "log",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_loss_is_traced_to_its_cause(case: Case) -> None:
    found = causes(case.run, case.facts)
    losing = [cause for cause in found if cause.lost]
    assert [(cause.id, cause.lost) for cause in losing] == [(case.cause, case.lost)]
    assert case.says in losing[0].message
    assert case.remedy in losing[0].remedy


def test_a_mixture_is_taken_apart_and_what_lost_most_comes_first() -> None:
    story = [
        *DELETED,
        *marks("a", (2.0, K.SIGTERM), (2.05, K.EXITED), (2.5, K.EFFECTIVE_OUT)),
        *marks("c", (3.0, K.CREATED), (3.2, K.STARTED), (3.2, K.READY)),
    ]
    requests = [
        *(request(2.1 + n / 100, 0.001, REFUSED, "a") for n in range(5)),
        *(request(1.99, 0.06, RESET, "a") for _ in range(2)),
        *(request(4.0 + n / 100, 0.001, REFUSED, "c") for n in range(3)),
        request(50.0, 1.0, TIMED_OUT, "b"),
        request(55.0, 0.1, OK, "c"),
    ]
    found = causes(run("delete", requests, story), BARE)
    assert [(cause.id, cause.lost, cause.pod) for cause in found] == [
        ("endpoint-race", 5, "a"),
        ("no-readiness-probe", 3, "c"),
        ("no-graceful-shutdown", 2, "a"),
        ("unexplained", 1, ""),
    ]


def test_many_pods_with_one_cause_are_told_as_one() -> None:
    story = [fault(1.0, "rollout of a new revision")]
    requests = []
    for number in range(5):
        pod, at = f"pod-{number}", 2.0 + number
        story += marks(pod, (at, K.TERMINATING), (at, K.SIGTERM), (at + 0.1, K.EXITED), (at + 0.5, K.EFFECTIVE_OUT))
        requests += [request(at + 0.2, 0.01, REFUSED, pod) for _ in range(number + 1)]
    [cause] = causes(run("rollout", requests, story), PROBED)
    assert cause.lost == 15
    assert cause.pod == ""
    assert "SIGTERM of pod-4" in cause.message
    assert cause.message.endswith("so were 10 more at 4 other pods")


@pytest.mark.parametrize(
    ("made", "facts", "expected"),
    [
        (drain_without_pre_stop(), PROBED, {"endpoint-race"}),
        (drain_without_budget(), replace(SOUND, budgets=()), {"no-endpoint"}),
        (hang(), SOUND, {"hang"}),
        (kill(), SOUND, {"sent-to-dead-pod", "killed-in-flight"}),
        (rollout_without_readiness_run(), replace(SOUND, readiness=None), {"no-readiness-probe"}),
        (dependency_down(), SOUND, {"dependency-down"}),
    ],
    ids=lambda value: value.scenario if isinstance(value, Run) else "",
)
def test_a_whole_run_leaves_nothing_unexplained(made: Run, facts: WorkloadFacts, expected: set[str]) -> None:
    assert {cause.id for cause in causes(made, facts) if cause.lost} <= expected


def test_client_errors_are_told_and_not_counted() -> None:
    requests = [request(3.0, 0.1, Outcome.CLIENT_ERROR, "a", 404) for _ in range(2)]
    [cause] = causes(run("delete", requests, DELETED), PROBED)
    assert (cause.id, cause.lost) == ("client-error", 0)
    assert "2 requests answered as the client's own fault (2 × 404)" in cause.message


def killed_starts(kind: str) -> list[Mark]:
    story = [fault(1.0, "slow start: rollout of a revision that takes 10 s longer"), *marks("b", (2.0, K.CREATED))]
    for start in (3.0, 13.0):
        failed = (start + 8.9, K.PROBE_FAILED, f"{kind}: connection refused")
        story += marks("b", (start, K.STARTED), failed, (start + 9, K.SIGTERM), (start + 9.1, K.EXITED))
    return story


@pytest.mark.parametrize(
    ("kind", "facts", "cause", "remedy"),
    [
        ("liveness", replace(PROBED, longest_start_seconds=9), "no-startup-probe", "`failureThreshold: 10`"),
        (
            "startup",
            replace(PROBED, startup=Probe(periodSeconds=3, failureThreshold=3), longest_start_seconds=9),
            "startup-too-short",
            "raise `startupProbe.failureThreshold` from 3 to 10",
        ),
    ],
)
def test_a_start_that_a_probe_ends_is_told_though_nothing_is_lost(
    kind: str, facts: WorkloadFacts, cause: str, remedy: str
) -> None:
    [found] = causes(run("slow-start", [request(1.0, 0.1, OK)], killed_starts(kind)), facts)
    assert (found.id, found.lost) == (cause, 0)
    assert "b was killed 2 times before it was ready, 9 s after its start" in found.message
    assert remedy in found.remedy


def test_connections_that_were_tried_again_are_told_though_they_were_answered() -> None:
    story = [*DELETED, *marks("a", (2.0, K.SIGTERM), (2.3, K.EXITED), (3.7, K.EFFECTIVE_OUT))]
    late = [request(2.5 + n / 10, 1.01, OK, "b") for n in range(3)]
    usual = [request(n / 10, 0.01, OK, "b") for n in range(30)]
    [cause] = causes(run("delete", [*usual, *late, request(9.0, 1.5, OK, "b")], story), PROBED)
    assert (cause.id, cause.lost, cause.pod) == ("slow-connection", 0, "a")
    assert cause.message.startswith("3 requests took 1.0 s, sent while the address of a was still in: it was out 1.4 s")
    assert cause.remedy == "let `preStop` last at least 3 s"


def test_a_start_that_the_scenario_itself_ends_is_not_laid_to_a_probe() -> None:
    story = [
        fault(2.0, "crash 1 of 2: SIGKILL to container chat", "a"),
        *marks("a", (2.0, K.EXITED), (12.0, K.STARTED), (12.01, K.PROBE_FAILED, "startup: connection refused")),
        fault(12.02, "crash 2 of 2: SIGKILL to container chat", "a"),
        *marks("a", (12.03, K.EXITED), (32.0, K.STARTED), (33.0, K.READY)),
    ]
    assert causes(run("crash-loop", [request(1.0, 0.1, OK)], story), SOUND) == []


def test_a_hang_that_nobody_ends_is_told() -> None:
    found = causes(run("hang", [], [fault(2.0, "hang: SIGSTOP", "a")]), replace(PROBED, liveness=None))
    assert [cause.id for cause in found] == ["no-liveness-probe"]
    assert "not restarted in the 58 s until the end" in found[0].message


def test_a_rollout_that_takes_more_than_it_must_is_told() -> None:
    story = [fault(2.0, "rollout of a new revision")]
    found = causes(run("rollout", [], story, ready=((0, 2), (2.1, 1), (5, 2))), replace(SOUND, max_unavailable=1))
    assert [cause.id for cause in found] == ["max-unavailable"]
    assert "from 2 to 1" in found[0].message


def test_a_drain_that_no_budget_holds_back_is_told() -> None:
    story = [fault(2.0, "drain of node n1", node="n1")]
    found = causes(run("drain", [], story, ready=((0, 3), (2.1, 0), (5, 3))), replace(SOUND, budgets=()))
    assert [cause.id for cause in found] == ["no-budget"]
