"""What the figures of probes, hooks and grace periods come to."""

from __future__ import annotations

import pytest
from lightkube.models.core_v1 import (
    Container,
    ExecAction,
    HTTPGetAction,
    Lifecycle,
    LifecycleHandler,
    PodSpec,
    Probe,
    SleepAction,
)

from antei.api.probe_arithmetic import (
    Hook,
    Range,
    Stop,
    deletion_stop,
    detection,
    hook_of,
    liveness_stop,
    longest_start,
    refusal,
    sleep_of,
    stop_of,
)


def container(hook: LifecycleHandler | None = None, **probes: Probe) -> Container:
    return Container(name="c", lifecycle=Lifecycle(preStop=hook) if hook is not None else None, **probes)


def run(*command: str) -> LifecycleHandler:
    return LifecycleHandler(exec=ExecAction(command=list(command)))


@pytest.mark.parametrize(
    ("probe", "hangs", "refuses"),
    [
        (Probe(), Range(21, 31), Range(20, 30)),
        (Probe(periodSeconds=2, timeoutSeconds=1, failureThreshold=2), Range(3, 5), Range(2, 4)),
        (Probe(periodSeconds=1, timeoutSeconds=5, failureThreshold=3), Range(15, 16), Range(2, 3)),
        (Probe(periodSeconds=5, timeoutSeconds=2, failureThreshold=1), Range(2, 7), Range(0, 5)),
    ],
)
def test_detection_takes_the_failures_and_up_to_a_period_more(probe: Probe, hangs: Range, refuses: Range) -> None:
    assert detection(probe) == hangs
    assert refusal(probe) == refuses


@pytest.mark.parametrize(
    ("hook", "expected"),
    [
        (None, None),
        (LifecycleHandler(sleep=SleepAction(seconds=5)), Hook(5)),
        (run("sleep", "5"), Hook(5, is_command=True)),
        (run("/bin/sh", "-c", "sleep 1.5m"), Hook(90, is_command=True)),
        (run("sleep", "0.2"), Hook(1, is_command=True)),
        (run("nginx", "-s", "quit"), Hook(None)),
        (run("sh", "-c", "sleep 5; nginx -s quit"), Hook(None)),
        (LifecycleHandler(httpGet=HTTPGetAction(port=80)), Hook(None)),
    ],
)
def test_the_length_of_a_hook_is_known_where_it_only_sleeps(
    hook: LifecycleHandler | None, expected: Hook | None
) -> None:
    assert hook_of(container(hook)) == expected


def test_no_command_does_not_sleep() -> None:
    assert sleep_of(None) is None


@pytest.mark.parametrize(
    ("hook", "grace", "sigterm", "left", "sigkill"),
    [
        (None, 30, Range(0, 0), Range(30, 30), Range(30, 30)),
        (LifecycleHandler(sleep=SleepAction(seconds=5)), 30, Range(5, 5), Range(25, 25), Range(30, 30)),
        (LifecycleHandler(sleep=SleepAction(seconds=50)), 30, Range(30, 30), Range(2, 2), Range(32, 32)),
        (run("quit"), 30, Range(0, 30), Range(2, 30), Range(30, 32)),
        (run("quit"), 0, Range(0, 0), Range(2, 2), Range(2, 2)),  # without a grace period no hook runs
        (LifecycleHandler(sleep=SleepAction(seconds=30)), 30, Range(30, 30), Range(2, 2), Range(32, 32)),
        (LifecycleHandler(sleep=SleepAction(seconds=5)), 1, Range(1, 1), Range(2, 2), Range(3, 3)),
        (None, 1, Range(0, 0), Range(2, 2), Range(2, 2)),
    ],
)
def test_hook_and_sigterm_share_the_grace_period(
    hook: LifecycleHandler | None, grace: int, sigterm: Range, left: Range, sigkill: Range
) -> None:
    stop = stop_of(container(hook), grace)
    assert (stop.sigterm, stop.left, stop.sigkill) == (sigterm, left, sigkill)


def test_a_pod_that_is_deleted_with_a_grace_period_of_0_has_1_s() -> None:
    hooked = container(LifecycleHandler(sleep=SleepAction(seconds=5)))
    none = PodSpec(containers=[], terminationGracePeriodSeconds=0)
    assert deletion_stop(hooked, none) == Stop(Range(1, 1), Range(2, 2), Range(3, 3))
    assert deletion_stop(container(), none) == Stop(Range(0, 0), Range(2, 2), Range(2, 2))
    assert deletion_stop(hooked, PodSpec(containers=[])) == Stop(Range(5, 5), Range(25, 25), Range(30, 30))


def test_a_failed_liveness_probe_may_have_a_grace_period_of_its_own() -> None:
    spec = PodSpec(containers=[], terminationGracePeriodSeconds=40)
    own = liveness_stop(container(livenessProbe=Probe(terminationGracePeriodSeconds=7)), spec)
    shared = liveness_stop(container(livenessProbe=Probe()), spec)
    assert own is not None
    assert own.sigkill == Range(7, 7)
    assert shared is not None
    assert shared.sigkill == Range(40, 40)
    assert liveness_stop(container(), spec) is None


def test_the_longest_start_is_bounded_by_the_startup_probe_or_else_by_liveness() -> None:
    liveness = Probe(initialDelaySeconds=5, periodSeconds=3, failureThreshold=2)
    assert longest_start(container(livenessProbe=liveness)) == 5 + 3
    assert (
        longest_start(container(livenessProbe=liveness, startupProbe=Probe(periodSeconds=1, failureThreshold=60))) == 59
    )
    assert longest_start(container()) is None
