from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from lightkube.models.core_v1 import PodSpec, Probe

from antei.node.backoff import Backoff, after_restart, restart_delay
from antei.node.durations import go_duration
from antei.node.restarts import Role, should_restart
from antei.node.termination import Deadline, grace_for_deletion, grace_for_probe, predecessors
from antei.simulate.loop import run_virtual


def spec(**fields: Any) -> PodSpec:
    return msgspec.convert({"containers": [{"name": "app"}, {"name": "log"}], **fields}, PodSpec)


@pytest.mark.parametrize(
    ("of_spec", "requested", "grace"), [(None, None, 30), (5, None, 5), (5, 60, 60), (5, 0, 1), (0, None, 0)]
)
def test_the_grace_period_of_a_deletion(of_spec: int | None, requested: int | None, grace: float) -> None:
    assert grace_for_deletion(spec(terminationGracePeriodSeconds=of_spec), requested) == grace


def test_a_probe_may_have_a_grace_period_of_its_own() -> None:
    assert grace_for_probe(spec(), Probe()) == 30
    assert grace_for_probe(spec(terminationGracePeriodSeconds=7), None) == 7
    assert grace_for_probe(spec(), Probe(terminationGracePeriodSeconds=3)) == 3


def test_sidecars_wait_for_all_that_started_after_them() -> None:
    init = [
        {"name": "one", "restartPolicy": "Always"},
        {"name": "setup"},
        {"name": "two", "restartPolicy": "Always"},
    ]
    assert predecessors(spec(initContainers=init)) == {
        "one": ("two", "app", "log"),
        "setup": (),
        "two": ("app", "log"),
        "app": (),
        "log": (),
    }


def test_a_deadline_that_comes_nearer_is_noticed_by_what_waits_for_it() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        deadline = Deadline(100)
        loop.call_at(10, deadline.shorten, 20)
        loop.call_at(11, deadline.shorten, 50)
        assert await deadline.bounds(asyncio.sleep(1000)) is False
        assert loop.time() == 20
        assert await deadline.bounds(asyncio.sleep(5)) is False
        assert await deadline.bounds(asyncio.sleep(5), least=30) is True
        assert loop.time() == 25

    run_virtual(main())


def test_what_fails_within_a_deadline_fails_outside() -> None:
    async def fail() -> None:
        raise ValueError("no")

    async def main() -> None:
        with pytest.raises(ValueError, match="no"):
            await Deadline(5).bounds(fail())

    run_virtual(main())


def test_back_off_doubles_up_to_its_cap_and_is_forgotten() -> None:
    backoff, now, delays = Backoff(), 0.0, []
    for _ in range(8):
        delay = restart_delay(backoff, now)
        delays.append(delay)
        backoff = after_restart(backoff, now, now + delay)
        now += delay + 1
    assert delays == [0, 10, 20, 40, 80, 160, 300, 300]
    assert restart_delay(backoff, backoff.since + 600) == 300
    assert restart_delay(backoff, backoff.since + 601) == 0
    assert after_restart(backoff, backoff.since + 601, 5000).delay_seconds == 10


@pytest.mark.parametrize(
    ("policy", "container", "role", "exit_code", "restarts"),
    [
        ("Always", {}, Role.MAIN, 0, True),
        ("OnFailure", {}, Role.MAIN, 0, False),
        ("OnFailure", {}, Role.MAIN, 1, True),
        ("Never", {}, Role.MAIN, 1, False),
        ("Always", {}, Role.INIT, 0, False),
        ("Always", {}, Role.INIT, 1, True),
        ("Never", {}, Role.INIT, 1, False),
        ("Never", {"restartPolicy": "Always"}, Role.SIDECAR, 0, True),
        ("Always", {"restartPolicy": "Never"}, Role.MAIN, 1, False),
        (
            "Never",
            {"restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]},
            Role.MAIN,
            42,
            True,
        ),
        (
            "Never",
            {"restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "NotIn", "values": [42]}}]},
            Role.MAIN,
            42,
            False,
        ),
    ],
)
def test_who_is_restarted(policy: str, container: dict[str, Any], role: Role, exit_code: int, restarts: bool) -> None:
    made = msgspec.convert({"containers": [{"name": "c", **container}], "restartPolicy": policy}, PodSpec)
    assert should_restart(made, made.containers[0], role, exit_code) is restarts


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.2954, "295ms"),
        (5.365, "5.365s"),
        (5.3, "5.3s"),
        (10, "10s"),
        (80, "1m20s"),
        (300, "5m0s"),
        (3600.5, "1h0m0.5s"),
    ],
)
def test_durations_are_written_as_go_writes_them(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text
