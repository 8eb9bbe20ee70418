"""What a rehearsal tells simulations of how a workload's pods live."""

from __future__ import annotations

from collections.abc import Sequence

from antei.rehearse.model import Mark, MarkKind, Objectives, RequestCounts, Run, ScenarioResult, Times, Verdict
from antei.rehearse.report.profile import profile


def seen(*marks: tuple[float, MarkKind, str], name: str = "crash-loop", lost: int = 0) -> ScenarioResult:
    told = [
        Mark(at, kind, text=text) if kind is MarkKind.FAULT else Mark(at, kind, "web-1", "web", text)
        for at, kind, text in marks
    ]
    run = Run(name, (), told, (), (), 1.0, 60.0)
    counts = RequestCounts(100, 100 - lost, {"ok": 100 - lost, "server-error": lost})
    return ScenarioResult(name, "", Verdict.MET, "", Objectives(), counts, (), (), Times(), 1, 0, run=run)


def startup(*results: Sequence[tuple[float, MarkKind, str]]) -> object:
    return profile([seen(*marks) for marks in results]).get("startup")


def test_a_start_is_half_way_between_the_last_failed_probe_and_the_first_success() -> None:
    marks = [
        (10.0, MarkKind.STARTED, ""),
        (11.0, MarkKind.PROBE_FAILED, "startup"),
        (12.0, MarkKind.PROBE_SUCCEEDED, "startup"),
    ]
    assert startup(marks) == "1.500s..1.500s"


def test_a_start_that_ended_before_it_served_and_the_back_off_after_it_are_no_start_up_time() -> None:
    marks = [
        (10.0, MarkKind.STARTED, ""),
        (10.2, MarkKind.EXITED, "exit code 1"),
        (20.2, MarkKind.STARTED, ""),
        (21.2, MarkKind.PROBE_SUCCEEDED, "startup"),
    ]
    assert startup(marks) == "0.500s..0.500s"


def test_what_the_workload_loses_requests_without_is_what_it_depends_on() -> None:
    down = (1.0, MarkKind.FAULT, "dependency statefulset/db down: SIGSTOP to db-0")
    assert profile([seen(down, name="dependency-down", lost=7)])["dependsOn"] == ["statefulset/db"]
    assert "dependsOn" not in profile([seen(down, name="dependency-down", lost=0)])
    assert "dependsOn" not in profile([seen((1.0, MarkKind.FAULT, "SIGKILL to web"), name="kill", lost=7)])
