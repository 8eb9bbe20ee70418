"""What the user asks for, put in the place of what a scenario asks for."""

from __future__ import annotations

from dataclasses import replace

from antei.rehearse.model import Objectives
from antei.rehearse.play import objectives_for
from antei.rehearse.scenario import select

ASKED = Objectives(lost=3, p99_seconds=0.25, recover_seconds=5.0, least_ready=2, restarts=1)


def test_what_is_asked_for_replaces_what_a_graceful_scenario_expects() -> None:
    [rollout] = select(["rollout"], [])
    assert objectives_for(rollout, ASKED) == replace(ASKED, budget_kept=True)


def test_what_is_not_asked_for_stays() -> None:
    [rollout] = select(["rollout"], [])
    assert objectives_for(rollout, Objectives()) == rollout.objectives


def test_losses_and_restarts_that_an_abrupt_scenario_causes_itself_are_not_held_against_it() -> None:
    [kill] = select(["kill"], [])
    found = objectives_for(kill, ASKED)
    assert (found.lost, found.restarts) == (None, None)
    assert (found.recover_seconds, found.least_ready, found.lost_within_detection) == (5.0, 2, True)
