"""What a budget allows: the arithmetic alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from lightkube.resources.core_v1 import Pod
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.control.disruption_arithmetic import BudgetError, count, failed_status, status_of

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def pods(ready: int, unready: int = 0, going: int = 0) -> list[Pod]:
    def one(number: int, status: str, deleted: bool) -> Pod:
        return Pod.from_dict(
            {
                "metadata": {
                    "name": f"web-{number}",
                    **({"deletionTimestamp": "2026-01-01T12:00:00Z"} if deleted else {}),
                },
                "status": {"conditions": [{"type": "Ready", "status": status}]},
            }
        )

    kinds = [("True", False)] * ready + [("False", False)] * unready + [("True", True)] * going
    return [one(number, status, deleted) for number, (status, deleted) in enumerate(kinds)]


def budget(disrupted: dict[str, Any] | None = None, **spec: Any) -> PodDisruptionBudget:
    status = {"disruptedPods": disrupted} if disrupted else {}
    return PodDisruptionBudget.from_dict({"metadata": {"name": "web", "generation": 3}, "spec": spec, "status": status})


@pytest.mark.parametrize(
    ("spec", "selected", "scales", "expected", "desired", "healthy", "allowed"),
    [
        ({"minAvailable": 1}, pods(1), {}, 1, 1, 1, 0),
        ({"minAvailable": 1}, pods(2), {}, 2, 1, 2, 1),
        ({"minAvailable": 0}, pods(2), {}, 2, 0, 2, 2),
        ({"minAvailable": 3}, pods(2), {}, 2, 3, 2, 0),
        ({"minAvailable": "50%"}, pods(7), {"rs": 7}, 7, 4, 7, 3),
        ({"maxUnavailable": "50%"}, pods(7), {"rs": 7}, 7, 3, 7, 4),
        ({"minAvailable": "100%"}, pods(3), {"rs": 3}, 3, 3, 3, 0),
        ({"minAvailable": "1%"}, pods(3), {"rs": 3}, 3, 1, 3, 2),
        ({"maxUnavailable": 0}, pods(3), {"rs": 3}, 3, 3, 3, 0),
        ({"maxUnavailable": 5}, pods(3), {"rs": 3}, 3, 0, 3, 3),
        ({"maxUnavailable": 1}, pods(2, unready=1), {"rs": 3}, 3, 2, 2, 0),
        ({"maxUnavailable": 1}, pods(3, going=2), {"rs": 3}, 3, 2, 3, 1),
        ({"maxUnavailable": 1}, pods(4), {"a": 2, "b": 2}, 4, 3, 4, 1),
        ({"minAvailable": 0}, [], {}, 0, 0, 0, 0),
        ({"maxUnavailable": 1}, pods(1), {}, 0, 0, 1, 0),
        ({}, pods(2), {}, 0, 0, 2, 0),
    ],
)
def test_the_count(
    spec: dict[str, Any],
    selected: list[Pod],
    scales: dict[str, int],
    expected: int,
    desired: int,
    healthy: int,
    allowed: int,
) -> None:
    found = count(budget(**spec), selected, scales, NOW)
    assert (found.expected, found.desired_healthy, found.current_healthy) == (expected, desired, healthy)
    assert found.allowed == allowed


@pytest.mark.parametrize(
    ("age_seconds", "healthy", "is_kept"), [(0, 1, True), (119, 1, True), (120, 2, False), (500, 2, False)]
)
def test_an_evicted_pod_is_not_counted_for_two_minutes(age_seconds: int, healthy: int, is_kept: bool) -> None:
    at = NOW - timedelta(seconds=age_seconds)
    for written in (at, at.strftime("%Y-%m-%dT%H:%M:%SZ")):
        found = count(budget({"web-0": written}, minAvailable=1), pods(2), {}, NOW)
        assert (found.current_healthy, found.recheck_at is not None) == (healthy, is_kept)
        assert [pod.metadata.name for pod in found.not_deleted if pod.metadata] == ([] if is_kept else ["web-0"])
        if is_kept:
            assert found.recheck_at == at + timedelta(minutes=2)


def test_entries_of_pods_that_are_gone_or_going_are_dropped() -> None:
    found = count(budget({"web-0": NOW, "gone": NOW}, minAvailable=0), pods(0, going=1), {}, NOW)
    assert dict(found.disrupted) == {}


def test_a_value_that_is_no_percentage_is_an_error() -> None:
    with pytest.raises(BudgetError, match="string is not a percentage"):
        count(budget(maxUnavailable="two"), pods(1), {}, NOW)


def test_a_condition_moves_its_time_only_with_its_status() -> None:
    spent = budget(minAvailable=2)
    first = status_of(spent, count(spent, pods(2), {}, NOW), NOW)
    assert first.observedGeneration == 3
    known = PodDisruptionBudget(metadata=spent.metadata, spec=spent.spec, status=first)
    later = NOW + timedelta(seconds=60)
    assert status_of(known, count(known, pods(2), {}, later), later) == first
    freed = status_of(known, count(known, pods(3), {}, later), later)
    assert freed.conditions is not None
    assert (freed.conditions[0].reason, freed.conditions[0].lastTransitionTime) == ("SufficientPods", later)


def test_a_budget_that_cannot_be_worked_out_allows_nothing() -> None:
    known = budget(minAvailable=1)
    status = failed_status(known, "no scale", NOW)
    assert status.disruptionsAllowed == 0
    assert status.conditions is not None
    assert (status.conditions[0].reason, status.conditions[0].message) == ("SyncFailed", "no scale")
