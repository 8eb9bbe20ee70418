from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightkube.models.core_v1 import Probe

from antei.node.probes.results import Results
from antei.node.probes.thresholds import ProbeKind, Verdict, advance, begin
from antei.node.probes.worker import next_due


@pytest.mark.parametrize(
    ("kind", "outcomes", "success", "failure", "verdicts"),
    [
        (ProbeKind.LIVENESS, "", 1, 3, "S"),
        (ProbeKind.READINESS, "", 1, 3, "F"),
        (ProbeKind.STARTUP, "", 1, 3, "U"),
        (ProbeKind.LIVENESS, "fff", 1, 3, "SSSF"),
        (ProbeKind.LIVENESS, "ffsfff", 1, 3, "SSSSSSF"),
        (ProbeKind.READINESS, "s", 1, 3, "FS"),
        (ProbeKind.READINESS, "sss", 3, 3, "FFFS"),
        (ProbeKind.READINESS, "ssfsss", 3, 1, "FFFFFFS"),
        (ProbeKind.READINESS, "sffs", 1, 2, "FSSFS"),
        (ProbeKind.STARTUP, "ffs", 1, 3, "UUUS"),
        (ProbeKind.STARTUP, "fff", 1, 3, "UUUF"),
    ],
)
def test_a_verdict_changes_when_a_run_reaches_its_threshold(
    kind: ProbeKind, outcomes: str, success: int, failure: int, verdicts: str
) -> None:
    progress = begin(kind)
    seen = [progress.verdict]
    for outcome in outcomes:
        progress = advance(progress, outcome == "s", Probe(successThreshold=success, failureThreshold=failure))
        seen.append(progress.verdict)
    letters = {"S": Verdict.SUCCESS, "F": Verdict.FAILURE, "U": Verdict.UNKNOWN}
    assert seen == [letters[letter] for letter in verdicts]


@given(st.lists(st.booleans()), st.integers(1, 5), st.integers(1, 5))
def test_a_settled_verdict_is_what_the_last_outcomes_all_say(outcomes: list[bool], success: int, failure: int) -> None:
    progress = begin(ProbeKind.READINESS)
    for position, outcome in enumerate(outcomes, 1):
        progress = advance(progress, outcome, Probe(successThreshold=success, failureThreshold=failure))
        length = success if outcome else failure
        assert progress.is_settled is (outcomes[:position][-length:] == [outcome] * length)


def test_defaults_are_one_success_and_three_failures() -> None:
    progress = begin(ProbeKind.READINESS)
    progress = advance(progress, True, Probe())
    assert progress.verdict is Verdict.SUCCESS
    for _ in range(2):
        progress = advance(progress, False, Probe())
    assert progress.verdict is Verdict.SUCCESS
    assert advance(progress, False, Probe()).verdict is Verdict.FAILURE


def test_changes_are_published_and_samples_are_not() -> None:
    told: list[tuple[ProbeKind, Verdict]] = []
    results = Results(lambda kind, verdict: told.append((kind, verdict)))
    results.begin(ProbeKind.READINESS, Verdict.FAILURE)
    for verdict in (Verdict.FAILURE, Verdict.SUCCESS, Verdict.SUCCESS, Verdict.FAILURE):
        results.record(ProbeKind.READINESS, verdict)
    assert told == [(ProbeKind.READINESS, Verdict.SUCCESS), (ProbeKind.READINESS, Verdict.FAILURE)]


@pytest.mark.parametrize(
    ("due", "period", "now", "following"),
    [
        (0, 10, 0, 10),
        (0, 10, 3.5, 10),  # an attempt that took 3.5 s
        (0, 10, 10, 10),  # as long as a period: the next is due now
        (0, 10, 13, 10),  # missed by 3 s: made at once, and the one after it at 20 s again
        (0, 10, 35, 30),  # of several that were missed one is made up for
        (20, 0.1, 20.1, 20.1),
    ],
)
def test_attempts_keep_to_a_grid(due: float, period: float, now: float, following: float) -> None:
    assert next_due(due, period, now) == pytest.approx(following)
