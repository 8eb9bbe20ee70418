"""The numbers that `--explain` shows, by table."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from lightkube.models.core_v1 import (
    Container,
    ExecAction,
    HTTPGetAction,
    Lifecycle,
    LifecycleHandler,
    PodCondition,
    PodSpec,
    PodStatus,
    Probe,
    SleepAction,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.models.policy_v1 import PodDisruptionBudgetSpec
from lightkube.resources.core_v1 import Pod
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api.probe_arithmetic import Range, longest_start
from antei.check.arithmetic import (
    Budget,
    budget_at,
    drain_seconds,
    earliest_ready,
    pod_ready,
    ready_after_start,
    rollout_of,
)
from antei.control.disruption_arithmetic import count


def _probe(**fields: int) -> Probe:
    names = {"delay": "initialDelaySeconds", "period": "periodSeconds", "timeout": "timeoutSeconds"}
    names |= {"failures": "failureThreshold", "successes": "successThreshold", "grace": "terminationGracePeriodSeconds"}
    given: dict[str, Any] = {names[name]: value for name, value in fields.items()}
    return Probe(httpGet=HTTPGetAction(port=80), **given)


def _container(**fields: Any) -> Container:
    return Container(name="c", **fields)


def _sleeping(seconds: int) -> Lifecycle:
    return Lifecycle(preStop=LifecycleHandler(sleep=SleepAction(seconds=seconds)))


def _running(*command: str) -> Lifecycle:
    return Lifecycle(preStop=LifecycleHandler(exec=ExecAction(command=list(command))))


@pytest.mark.parametrize(
    ("container", "longest", "earliest", "ready"),
    [
        (_container(), None, 0, Range(0, None)),
        (_container(livenessProbe=_probe(delay=90, period=15)), 120, 0, Range(0, 120)),
        (
            _container(livenessProbe=_probe(delay=90, period=15), readinessProbe=_probe(delay=15, period=15)),
            120,
            15,
            Range(15, 135),
        ),
        (_container(startupProbe=_probe(period=1, failures=120), livenessProbe=_probe()), 119, 0, Range(0, 119)),
        (
            _container(
                startupProbe=_probe(delay=5, period=2, failures=10), readinessProbe=_probe(period=4, successes=3)
            ),
            23,
            13,
            Range(13, 31),
        ),
        (_container(readinessProbe=_probe(delay=3)), None, 3, Range(3, None)),
    ],
)
def test_how_long_a_start_may_take(container: Container, longest: int | None, earliest: int, ready: Range) -> None:
    assert longest_start(container) == longest
    assert earliest_ready(container) == earliest
    assert ready_after_start(container) == ready


def test_a_pod_is_ready_with_its_last_container() -> None:
    slow, fast = _container(readinessProbe=_probe(delay=9), livenessProbe=_probe()), _container(livenessProbe=_probe())
    assert pod_ready(PodSpec(containers=[fast, slow])) == Range(9, 30)
    assert pod_ready(PodSpec(containers=[fast, _container()])) == Range(0, None)


_NOW = datetime(2030, 1, 1, tzinfo=UTC)


def _healthy(number: int) -> Pod:
    status = PodStatus(conditions=[PodCondition(type="Ready", status="True")])
    return Pod(apiVersion="v1", kind="Pod", metadata=ObjectMeta(name=f"p-{number}", namespace="x"), status=status)


@pytest.mark.parametrize("field", ["minAvailable", "maxUnavailable"])
@pytest.mark.parametrize("value", [0, 1, 3, "0%", "1%", "34%", "50%", "67%", "100%", "200%"])
def test_a_budget_allows_what_the_disruption_controller_allows(field: str, value: int | str) -> None:
    spec = PodDisruptionBudgetSpec(**{field: value})
    budget = PodDisruptionBudget(apiVersion="policy/v1", kind="PodDisruptionBudget", metadata=ObjectMeta(), spec=spec)
    for replicas in range(11):
        counted = count(budget, [_healthy(n) for n in range(replicas)], {"uid": replicas}, _NOW)
        assert budget_at(spec, replicas) == Budget(replicas, counted.desired_healthy, counted.allowed)


_READY, _STOP = Range(10, 60), Range(5, 30)


@pytest.mark.parametrize(
    ("replicas", "margins", "extra", "steps", "at_least", "duration"),
    [
        (4, (1, 0), {}, 4, 4, Range(40, 240)),
        (4, (1, 1), {}, 2, 3, Range(20, 120)),
        (5, (1, 1), {"min_ready": 30}, 3, 4, Range(120, 270)),
        (4, (0, 0), {"waits_for_end": True}, 1, 0, Range(15, 90)),  # Recreate
        (3, (0, 1), {"waits_for_end": True}, 3, 2, Range(45, 270)),  # StatefulSet
        (2, (1, 0), {"progress_deadline": 40}, 2, 2, Range(20, 80)),  # reported as failed before it is
        (0, (1, 0), {}, 0, 0, Range(0, 0)),
    ],
)
def test_a_rollout_takes_its_steps_one_after_the_other(
    replicas: int, margins: tuple[int, int], extra: dict[str, Any], steps: int, at_least: int, duration: Range
) -> None:
    surge, unavailable = margins
    rollout = rollout_of(replicas, max_surge=surge, max_unavailable=unavailable, ready=_READY, stop=_STOP, **extra)
    assert (rollout.steps, rollout.ready_at_least, rollout.duration) == (steps, at_least, duration)


def test_a_start_that_nothing_bounds_is_bounded_by_the_progress_deadline() -> None:
    endless = rollout_of(2, max_surge=1, max_unavailable=0, ready=Range(0, None), stop=_STOP)
    assert endless.duration == Range(0, None)
    bounded = rollout_of(2, max_surge=1, max_unavailable=0, ready=Range(0, None), stop=_STOP, progress_deadline=600)
    assert bounded.duration == Range(0, 1200)


@pytest.mark.parametrize(
    ("pods", "allowed", "waits_for_end", "duration"),
    [
        (0, 0, False, Range(0, 0)),
        (3, 0, False, None),
        (3, None, False, Range(5, 30)),  # no budget: all at once
        (1, 1, False, Range(5, 30)),
        (3, 1, False, Range(25, 160)),
        (3, 2, False, Range(15, 95)),
        (2, 1, True, Range(20, 125)),
    ],
)
def test_a_drain_waits_for_replacements(
    pods: int, allowed: int | None, waits_for_end: bool, duration: Range | None
) -> None:
    assert drain_seconds(pods, allowed, ready=_READY, stop=_STOP, waits_for_end=waits_for_end) == duration
