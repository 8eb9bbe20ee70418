"""Scenarios as YAML: those that come with antei, users' own, and what is wrong with bad ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from antei.rehearse.model import Objectives
from antei.rehearse.scenario import (
    Condition,
    Fault,
    ScenarioError,
    baseline,
    builtin_scenarios,
    parse_scenario,
    select,
)

GOOD = """
name: mine
title: Mine
steps:
- {sleep: 1s}
- {fault: kill, pods: all}
- {wait: restarted, within: 90s}
- {undo: all}
expect: {lost: 3, p99: 250ms, recover: 30s}
"""


def test_the_thirteen_of_the_book_are_there_and_each_can_be_told_from_the_others() -> None:
    names = [scenario.name for scenario in builtin_scenarios()]
    assert sorted(names) == [
        "bad-rollout",
        "crash-loop",
        "delete",
        "dependency-down",
        "drain",
        "hang",
        "kill",
        "node-loss",
        "oom",
        "rollout",
        "scale-down",
        "slow-start",
        "unready",
    ]
    assert len({scenario.title for scenario in builtin_scenarios()}) == len(names)
    assert all(scenario.reason for scenario in builtin_scenarios())


def test_the_graceful_ones_may_lose_nothing_and_the_abrupt_ones_what_detection_explains() -> None:
    graceful = {"rollout", "bad-rollout", "drain", "delete", "unready", "slow-start", "scale-down"}
    for scenario in builtin_scenarios():
        wants = scenario.objectives
        assert (wants.lost == 0) == (scenario.name in graceful), scenario.name
        assert wants.lost_within_detection == (scenario.name not in graceful), scenario.name


def test_a_baseline_does_nothing_and_has_no_moment() -> None:
    assert baseline().moment is None
    assert baseline().faults == [Fault.NOTHING]


def test_a_scenario_of_ones_own_is_read_with_its_objectives_and_its_moment() -> None:
    scenario = parse_scenario(GOOD, "mine.yaml")
    assert scenario.objectives == Objectives(lost=3, p99_seconds=0.25, recover_seconds=30)
    assert scenario.moment == 1
    assert (scenario.steps[2].wait, scenario.steps[2].within_seconds) == (Condition.RESTARTED, 90)
    assert scenario.lead_in_seconds == 2


def test_a_later_fault_can_be_the_moment() -> None:
    scenario = parse_scenario("{name: m, title: M, steps: [{fault: delete}, {fault: kill, moment: true}]}", "mine.yaml")
    assert scenario.moment == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name: m\ntitle: M\nsteps:\n- {fault: explode}\n", "mine.yaml: steps[0].fault: Invalid enum value 'explode'"),
        (
            "{name: m, title: M, steps: [{fault: kill, wait: gone}]}",
            "steps[0]: exactly one of fault, wait, sleep, undo",
        ),
        ("{name: m, title: M, steps: [{within: 3s}]}", "steps[0]: exactly one of fault, wait, sleep, undo"),
        ("{name: m, title: M, steps: [{sleep: soon}]}", "steps[0].sleep: 'soon' is not a duration"),
        ("{name: m, title: M, steps: [{wait: gone, within: x}]}", "steps[0].within: 'x' is not a duration"),
        ("{name: m, title: M, steps: [{undo: some}]}", "steps[0].undo: Invalid enum value 'some'"),
        ("{name: m, title: M, steps: []}", "steps: there are none"),
        ("{name: m, title: M, steps: [{fault: kill}], lead_in: x}", "lead_in: 'x' is not a duration"),
        ("{name: m, title: M, steps: [{fault: kill}], expect: {p99: x}}", "expect.p99: 'x' is not a duration"),
        (
            "{name: m, title: M, steps: [{fault: kill}], expect: {lots: 1}}",
            "expect: Object contains unknown field `lots`",
        ),
        ("{name: m, title: M, steps: [{fault: kill}], expects: {}}", "Object contains unknown field `expects`"),
        ("{name: 'a,b', title: M, steps: [{fault: kill}]}", "name: 'a,b' must be a word"),
        ("{title: M, steps: [{fault: kill}]}", "Object missing required field `name`"),
        ("{name: m, title: M, steps: [{fault: crash-loop, times: 0}]}", "steps[0].times: at least 1"),
        ("{name: m, title: M, steps: [{fault: kill, moment: true}, {fault: kill, moment: true}]}", "only one can be"),
        ("name: [", "mine.yaml:1: "),
        ("- a list", "Expected `object`, got `array`"),
    ],
)
def test_a_bad_scenario_is_refused_with_file_and_field(text: str, problem: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(text, "mine.yaml")
    assert str(caught.value).startswith("mine.yaml")
    assert problem in str(caught.value)


def test_scenarios_are_chosen_by_name_and_by_path_and_skipped_by_name(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(GOOD)
    assert [s.name for s in select(["kill", str(tmp_path / "mine.yaml"), "drain"], ["drain"])] == ["kill", "mine"]
    assert len(select([], ["drain", "hang"])) == 11


@pytest.mark.parametrize(
    ("chosen", "skipped", "problem"),
    [
        (["kil"], [], "there is no scenario 'kil'"),
        ([], ["kil"], "there is no scenario 'kil' to skip"),
        (["./none.yaml"], [], "none.yaml: "),
    ],
)
def test_a_name_that_is_none_is_refused(chosen: list[str], skipped: list[str], problem: str) -> None:
    with pytest.raises(ScenarioError, match=problem):
        select(chosen, skipped)
