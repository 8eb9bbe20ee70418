"""`simulate:` of several files, and what was learnt elsewhere: who has the last word."""

from __future__ import annotations

from pathlib import Path

from antei.simulate.behaviour import Behaviour
from antei.simulate.distribution import Distribution
from antei.simulate.settings import read_settings

FIVE, SIXTY = Distribution(5.0, 5.0), Distribution(60.0, 60.0)


def test_a_later_file_has_the_last_word_field_by_field(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("simulate: {services: {web: 50, api: 7}, workloads: {web: {startup: 60s, crashesPerDay: 2}}}")
    second.write_text("simulate: {services: {web: 1}, workloads: {web: {startup: 5s}}}")
    settings = read_settings([first, second])
    assert settings.load_of("default", "web") == 1
    assert settings.load_of("default", "api") == 7
    assert settings.behaviour_of("default", "web") == Behaviour(startup=FIVE, crashes_per_day=2)


def test_what_was_learnt_says_only_what_the_settings_leave_open(tmp_path: Path) -> None:
    given = tmp_path / "antei.yaml"
    given.write_text("simulate: {workloads: {web: {startup: 60s}}}")
    learnt = Behaviour(startup=FIVE, stop=FIVE)
    settings = read_settings([given]).with_workloads_below({"web": learnt})
    assert settings.behaviour_of("default", "web") == Behaviour(startup=SIXTY, stop=FIVE)
    again = settings.with_workloads_below({"web": Behaviour(stop=SIXTY, runs=SIXTY)})
    assert again.behaviour_of("default", "web") == Behaviour(startup=SIXTY, stop=FIVE, runs=SIXTY)
