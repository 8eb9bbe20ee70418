"""Objectives against what was seen, and the times from fault to detection and recovery."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sample_runs import SOUND, drain, drain_without_pre_stop, fault, hang, kill, rollout

from antei.rehearse.model import Budget, Mark, MarkKind, Objectives, Outcome, ReadyCount, Request, Run, Times, Verdict
from antei.rehearse.verdict import judge, not_played
from antei.rehearse.verdict.faults import FaultKind, faults_of

WITHIN = Objectives(lost_within_detection=True)


def quiet(**changes: object) -> Run:
    """Ten requests that all succeed, and a delete of which nobody notices anything."""
    requests = [Request(n, n, n + 0.1, Outcome.OK, pod="a") for n in range(10)]
    made = Run("delete", requests, [fault(2.0, "deleted", "a")], [ReadyCount(0, 2)], [], 2.0, 10.0)
    return replace(made, **changes)  # type: ignore[arg-type]


def test_a_run_that_meets_everything_says_so() -> None:
    everything = Objectives(0, 1.0, 1.0, 2, True, 0, True)
    result = judge(quiet(), everything, SOUND, title="A pod is deleted")
    assert (result.verdict, result.reason) == (Verdict.MET, "none of 10 requests lost")
    assert (result.name, result.title, result.lost, result.lowest_ready) == ("delete", "A pod is deleted", 0, 2)


SHORT = (ReadyCount(0, 2), ReadyCount(3.0, 1))
BACK = (*SHORT, ReadyCount(7.0, 2))


@pytest.mark.parametrize(
    ("run", "objectives", "reason"),
    [
        (quiet(), Objectives(p99_seconds=0.05), "p99 latency was 0.1 s, 50 ms allowed"),
        (quiet(ready=SHORT), Objectives(recover_seconds=5), "it did not recover: 1 ready at the lowest"),
        (quiet(ready=BACK), Objectives(recover_seconds=4), "it recovered after 5 s, 4 s allowed"),
        (quiet(ready=BACK), Objectives(least_ready=2), "1 ready at the lowest, 2 wanted"),
        (
            quiet(budgets=[Budget("chat", 2, 1)]),
            Objectives(budget_kept=True),
            "budget chat wants 2 healthy, there were 1",
        ),
        (quiet(restarts=1), Objectives(restarts=0), "1 restart, 0 allowed"),
        (quiet(requests=[]), Objectives(), "no request was sent, so nothing is known"),
        (
            drain_without_pre_stop(),
            Objectives(lost=0),
            "16 requests of 600 lost, 0 allowed: 15 refusals and 1 reset 0.0 to 0.5 s after SIGTERM of chat-7f-abcde",
        ),
        (drain_without_pre_stop(), WITHIN, "neither in flight nor sent before detection"),
        (
            quiet(ready=SHORT, restarts=2),
            Objectives(least_ready=2, restarts=1),
            "1 ready at the lowest, 2 wanted; 2 restarts, 1 allowed",
        ),
    ],
)
def test_each_objective_that_is_missed_is_said_with_its_numbers(run: Run, objectives: Objectives, reason: str) -> None:
    result = judge(run, objectives, SOUND)
    assert result.verdict is Verdict.MISSED
    assert reason in result.reason


@pytest.mark.parametrize("run", [kill(), hang()], ids=["kill", "hang"])
def test_what_was_sent_before_detection_could_act_is_allowed(run: Run) -> None:
    result = judge(run, WITHIN, SOUND)
    assert result.lost > 0
    assert result.verdict is Verdict.MET
    assert "all in flight or sent before detection could act" in result.reason


def test_what_was_sent_after_detection_should_have_acted_is_not() -> None:
    late = Request(30.0, 30.0, 35.0, Outcome.TIMED_OUT, pod="chat-7f-abcde")
    story = [fault(2.0, "hang: SIGSTOP", "chat-7f-abcde")]
    run = Run("hang", [late], story, [ReadyCount(0, 2)], [], 2.0, 40.0)
    result = judge(run, WITHIN, SOUND)
    assert result.verdict is Verdict.MISSED
    assert "1 request of 1 lost that were neither in flight nor sent before detection (5 s)" in result.reason


def test_the_reason_names_the_cause_of_what_was_late() -> None:
    late = [Request(11.0, 11.0, 11.1, Outcome.SERVER_ERROR, pod="other", status=500)]
    early = [Request(2.0 + n / 10, 2.0 + n / 10, 9.0, Outcome.TIMED_OUT, pod="chat-7f-abcde") for n in range(9)]
    run = Run("hang", [*early, *late], [fault(2.0, "hang", "chat-7f-abcde")], [ReadyCount(0, 2)], [], 2.0, 40.0)
    result = judge(run, WITHIN, SOUND)
    assert [cause.id for cause in result.causes] == ["hang", "unexplained"]
    assert "could act: 1 server error unexplained" in result.reason


def test_what_nothing_explains_is_never_within_detection() -> None:
    lost = Request(2.5, 2.5, 3.0, Outcome.SERVER_ERROR, pod="other", status=500)
    run = replace(kill(), requests=[lost])
    assert judge(run, WITHIN, SOUND).verdict is Verdict.MISSED


def test_without_a_probe_nothing_but_what_was_in_flight_is_allowed() -> None:
    bare = replace(SOUND, readiness=None, liveness=None)
    result = judge(hang(), WITHIN, bare)
    assert result.verdict is Verdict.MISSED
    assert result.times.predicted_detect is None


def test_a_run_that_did_not_finish_has_failed_whatever_it_lost() -> None:
    result = judge(quiet(is_finished=False, reason="no pod serves"), Objectives(), SOUND)
    assert (result.verdict, result.reason) == (Verdict.FAILED, "no pod serves")


def test_what_was_not_played_has_its_reason_and_no_numbers() -> None:
    result = not_played("node-loss", "A node is lost", "not here", Objectives())
    assert (result.verdict, result.reason, result.lost, result.run) == (Verdict.SKIPPED, "not here", 0, None)


def test_the_lowest_ready_count_is_that_after_the_first_fault() -> None:
    counts = [ReadyCount(0, 1), ReadyCount(1, 2), ReadyCount(2.0, 1), ReadyCount(4, 2)]
    assert judge(quiet(ready=counts), Objectives(), SOUND).lowest_ready == 1
    assert judge(quiet(ready=counts[:2]), Objectives(), SOUND).lowest_ready == 2


def at(moment: float, kind: MarkKind, pod: str = "a") -> Mark:
    return Mark(moment, kind, pod)


@pytest.mark.parametrize(
    ("run", "detect", "recover"),
    [
        (hang(), 4.9, 15.0),
        (kill(), 0.5, 2.0),
        (drain(), None, 1.95),
        (rollout(), None, 0.0),
        # The restart comes before the network follows.
        (
            Run(
                "kill",
                [],
                [fault(2.0, "killed: SIGKILL", "a"), at(2.3, MarkKind.RESTARTED), at(3, MarkKind.EFFECTIVE_OUT)],
                [],
                [],
                2.0,
                9.0,
            ),
            0.3,
            0.0,
        ),
        # Where the network is not seen, the slice counts.
        (
            Run("hang", [], [fault(2.0, "hang", "a"), at(5, MarkKind.ENDPOINT_OUT)], [ReadyCount(0, 2)], [], 2.0, 9.0),
            3.0,
            0.0,
        ),
        # What is undone is not detected.
        (
            Run(
                "unready",
                [],
                [fault(2.0, "unready", "a"), fault(4.0, "undone: it is asked again"), at(5, MarkKind.ENDPOINT_OUT)],
                [],
                [],
                2.0,
                9.0,
            ),
            None,
            0.0,
        ),
    ],
)
def test_times_are_counted_from_the_fault(run: Run, detect: float | None, recover: float | None) -> None:
    times = judge(run, Objectives(), SOUND).times
    assert times.detect == (pytest.approx(detect) if detect is not None else None)
    assert times.recover == (pytest.approx(recover) if recover is not None else None)


def test_of_several_drains_the_longest_recovery_counts() -> None:
    story = [fault(2.0, "drain of node a", node="a"), fault(10.0, "drain of node b", node="b")]
    counts = [ReadyCount(0, 2), ReadyCount(2.1, 1), ReadyCount(4, 2), ReadyCount(10.1, 1), ReadyCount(15, 2)]
    times = judge(Run("drain", [], story, counts, [], 2.0, 20.0), Objectives(), SOUND).times
    assert times.recover == pytest.approx(5.0)


def test_a_crash_of_what_is_out_already_need_not_be_detected() -> None:
    story = [
        fault(2.0, "crash 1 of 2: SIGKILL", "a"),
        at(2.1, MarkKind.ENDPOINT_OUT),
        fault(12.0, "crash 2 of 2: SIGKILL", "a"),
        at(32.0, MarkKind.RESTARTED),
    ]
    assert judge(quiet(scenario="crash-loop", marks=story, ended_at=40.0), WITHIN, SOUND).times.detect == pytest.approx(
        0.1
    )


def test_without_a_fault_there_are_no_times_but_the_duration() -> None:
    run = quiet(scenario="baseline", marks=[], fault_at=None)
    assert judge(run, Objectives(recover_seconds=1), SOUND).times == Times(duration=10.0)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("killed: SIGKILL to container chat", FaultKind.EXIT),
        ("out of memory: SIGKILL to chat, as the kernel does it", FaultKind.EXIT),
        ("crash 1 of 2: SIGKILL to container chat", FaultKind.EXIT),
        ("hang: SIGSTOP to container chat", FaultKind.HANG),
        ("node node-2 lost", FaultKind.NODE),
        ("undone: node node-2 is back, reconnected", FaultKind.UNDONE),
        ("unready: its readiness probe is made to fail, the container is not touched", FaultKind.UNREADY),
        ("deleted", FaultKind.PLANNED),
        ("drain of node node-1", FaultKind.PLANNED),
        ("rollout of a revision that nobody can use", FaultKind.PLANNED),
        ("slow start: rollout of a revision that takes 10 s longer", FaultKind.SLOW),
        ("scaled from 2 to 1 replicas", FaultKind.PLANNED),
        ("dependency statefulset/mysql down: SIGSTOP to its 2 pods", FaultKind.DEPENDENCY),
        ("undone: resumed mysql-0", FaultKind.UNDONE),
    ],
)
def test_the_text_of_a_fault_tells_its_kind(text: str, kind: FaultKind) -> None:
    [found] = faults_of(quiet(scenario="mine", marks=[fault(1.0, text)], fault_at=None))
    assert found.kind is kind


def test_where_no_mark_tells_the_scenarios_name_does() -> None:
    [found] = faults_of(quiet(scenario="hang", marks=[]))
    assert (found.kind, found.at) == (FaultKind.HANG, 2.0)
