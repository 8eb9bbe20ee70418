"""Probes: SEMANTICS, to the virtual second."""

from __future__ import annotations

from typing import Any

import pytest

from antei.runtime.simulated import ContainerProfile, ExecAnswer, HttpAnswer, ScheduledExit


def app(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "app", "image": "app", **fields}]}


def http(**fields: Any) -> dict[str, Any]:
    return {"httpGet": {"path": "/ok", "port": 8080}, **fields}


FAILING = ContainerProfile(http_otherwise=HttpAnswer(500))


def test_a_failing_liveness_probe_kills_the_container_at_its_third_failure(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app(livenessProbe=http(initialDelaySeconds=5, periodSeconds=10, failureThreshold=3)))
        await node.at(25)
        assert node.times("started") == [0, 25]
        assert node.times("signalled") == [25]
        status = await node.status()
        assert status.restartCount == 1
        assert status.lastState.terminated.reason == "Completed"
        assert (
            await node.events("Unhealthy")
            == [("Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 500")] * 3
        )
        assert await node.events("Killing") == [("Killing", "Container app failed liveness probe, will be restarted")]

    on_node(main, FAILING)


def test_the_kill_of_a_failing_container_takes_the_probes_grace_period(on_node: Any) -> None:
    async def main(node: Any) -> None:
        probe = http(periodSeconds=10, failureThreshold=1, terminationGracePeriodSeconds=4)
        await node.create(app(livenessProbe=probe) | {"terminationGracePeriodSeconds": 60})
        await node.at(30)
        # Fails at once, ignores SIGTERM, is killed after the probe's 4 s, not the pod's 60 s.
        assert node.times("signalled", "SIGTERM")[0] == 0
        assert node.times("signalled", "SIGKILL")[0] == 4
        assert (await node.status()).lastState.terminated.exitCode == 137

    on_node(main, ContainerProfile(http_otherwise=HttpAnswer(500), stops_after_seconds=None))


def test_probing_is_on_hold_while_a_failed_container_is_being_stopped(on_node: Any) -> None:
    async def main(node: Any) -> None:
        probe = http(periodSeconds=2, failureThreshold=2)
        await node.create(app(livenessProbe=probe) | {"terminationGracePeriodSeconds": 20})
        await node.at(21.5)
        assert len(await node.events("Unhealthy")) == 2
        assert node.times("signalled", "SIGKILL") == []
        await node.at(25)
        assert node.times("signalled", "SIGKILL") == [22]
        assert node.times("started") == [0, 22]

    on_node(main, ContainerProfile(http_otherwise=HttpAnswer(500), stops_after_seconds=None))


def test_liveness_holds_while_runs_of_failures_stay_below_the_threshold(on_node: Any) -> None:
    def answer(seconds: float) -> HttpAnswer:
        return HttpAnswer(200 if int(seconds / 10) % 3 == 2 else 500)

    async def main(node: Any) -> None:
        await node.create(app(livenessProbe=http(periodSeconds=10, failureThreshold=3)))
        await node.at(600)
        assert node.times("started") == [0]

    on_node(main, ContainerProfile(http_otherwise=answer))


def test_readiness_failure_removes_readiness_but_restarts_nothing(on_node: Any) -> None:
    def answer(seconds: float) -> HttpAnswer:
        return HttpAnswer(500 if 30 <= seconds < 60 else 200)

    async def main(node: Any) -> None:
        await node.create(app(readinessProbe=http(periodSeconds=5, failureThreshold=2)))
        await node.at(100)
        assert node.ready_changes() == [(0, False), (0, True), (35, False), (60, True)]
        assert node.times("started") == [0]
        assert (await node.status()).restartCount == 0
        assert {reason for reason, _ in await node.events()} >= {"Unhealthy"}
        assert await node.events("Killing") == []

    on_node(main, ContainerProfile(http_otherwise=answer))


def test_readiness_needs_as_many_successes_as_its_success_threshold(on_node: Any) -> None:
    async def main(node: Any) -> None:
        probe = http(initialDelaySeconds=3, periodSeconds=10, successThreshold=3)
        await node.create(app(readinessProbe=probe))
        await node.at(60)
        assert node.ready_changes() == [(0, False), (23, True)]

    on_node(main)


def test_liveness_and_readiness_wait_for_the_startup_probe_and_are_then_tried_at_once(on_node: Any) -> None:
    seen: list[tuple[float, str]] = []

    def answer_of(what: str) -> Any:
        def answer(seconds: float) -> HttpAnswer:
            seen.append((round(seconds, 3), what))
            return HttpAnswer(200 if what != "startup" or seconds >= 20 else 503)

        return answer

    async def main(node: Any) -> None:
        await node.create(
            app(
                startupProbe={"httpGet": {"path": "/startup", "port": 80}, "periodSeconds": 7, "failureThreshold": 30},
                livenessProbe={"httpGet": {"path": "/liveness", "port": 80}, "periodSeconds": 10},
                readinessProbe={"httpGet": {"path": "/readiness", "port": 80}, "periodSeconds": 10},
            )
        )
        await node.at(15)
        status = await node.status()
        assert (status.started, status.ready) == (False, False)
        await node.at(32)
        status = await node.status()
        assert (status.started, status.ready) == (True, True)
        assert [s for s, what in seen if what == "startup"] == [0, 7, 14, 21]
        assert [s for s, what in seen if what == "liveness"] == [21, 31]
        assert [s for s, what in seen if what == "readiness"] == [21, 31]

    on_node(main, ContainerProfile(http={f"/{w}": answer_of(w) for w in ("startup", "liveness", "readiness")}))


def test_a_startup_probe_that_never_succeeds_kills_and_restarts(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app(startupProbe=http(periodSeconds=10, failureThreshold=4)))
        await node.at(31)
        assert node.times("started") == [0, 30]
        assert await node.events("Killing") == [("Killing", "Container app failed startup probe, will be restarted")]

    on_node(main, FAILING)


def test_an_initial_delay_longer_than_the_startup_is_kept(on_node: Any) -> None:
    seen: list[float] = []

    def answer(seconds: float) -> HttpAnswer:
        seen.append(round(seconds, 3))
        return HttpAnswer()

    async def main(node: Any) -> None:
        await node.create(
            app(
                startupProbe={"tcpSocket": {"port": 80}, "periodSeconds": 2, "failureThreshold": 10},
                livenessProbe=http(initialDelaySeconds=30, periodSeconds=10),
            )
        )
        await node.at(45)
        assert seen == [30, 40]

    on_node(main, ContainerProfile(listens_after_seconds=5, http_otherwise=answer))


@pytest.mark.parametrize(
    ("probe", "profile", "message"),
    [
        (
            {"exec": {"command": ["check"]}},
            ContainerProfile(exec={("check",): ExecAnswer(1, b"no database\n")}),
            "Liveness probe failed: no database\n",
        ),
        (
            {"exec": {"command": ["sleep", "5"]}, "timeoutSeconds": 2},
            ContainerProfile(),
            'Liveness probe failed: command timed out: "sleep 5" timed out after 2s',
        ),
        (
            {"httpGet": {"path": "/ok", "port": 8080}},
            ContainerProfile(ports=(80,)),
            'Liveness probe failed: Get "http://10.244.0.1:8080/ok": '
            "dial tcp 10.244.0.1:8080: connect: connection refused",
        ),
        (
            {"httpGet": {"path": "/ok", "port": 8080}},
            ContainerProfile(http_otherwise=HttpAnswer(delay_seconds=3)),
            'Liveness probe failed: Get "http://10.244.0.1:8080/ok": '
            "context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
        ),
        (
            {"tcpSocket": {"port": 8080}},
            ContainerProfile(ports=(80,)),
            "Liveness probe failed: dial tcp 10.244.0.1:8080: connect: connection refused",
        ),
        (
            {"grpc": {"port": 8080}},
            ContainerProfile(grpc={"": "NOT_SERVING"}),
            'Liveness probe failed: service unhealthy (responded with "NOT_SERVING")',
        ),
    ],
    ids=["exec", "exec-timeout", "http-refused", "http-timeout", "tcp", "grpc"],
)
def test_each_kind_of_probe_says_what_failed(
    on_node: Any, probe: dict[str, Any], profile: ContainerProfile, message: str
) -> None:
    async def main(node: Any) -> None:
        await node.create(app(livenessProbe={**probe, "periodSeconds": 10, "failureThreshold": 2}))
        await node.at(9)
        assert await node.events("Unhealthy") == [("Unhealthy", message)]
        assert node.times("started") == [0]
        await node.at(19)
        assert len(node.times("started")) == 2

    on_node(main, profile)


def test_a_redirect_to_another_host_is_a_success_with_a_warning(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app(readinessProbe=http()))
        await node.at(1)
        assert (await node.status()).ready
        assert await node.events("ProbeWarning") == [
            ("ProbeWarning", "Readiness probe warning: Probe terminated redirects, Response body: moved")
        ]

    on_node(main, ContainerProfile(http_otherwise=HttpAnswer(302, b"moved", {"Location": "http://login.example/"})))


def test_a_port_name_that_does_not_exist_is_an_error_and_no_outcome(on_node: Any) -> None:
    async def main(node: Any) -> None:
        probe = {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 5, "failureThreshold": 1}
        await node.create(app(livenessProbe=probe))
        await node.at(30)
        assert node.times("started") == [0]
        message = 'Liveness probe errored and resulted in unknown state: strconv.Atoi: parsing "http": invalid syntax'
        assert ("Unhealthy", message) in await node.events()

    on_node(main)


def test_liveness_stops_with_the_deletion_and_readiness_goes_on(on_node: Any) -> None:
    def answer(seconds: float) -> HttpAnswer:
        return HttpAnswer(200 if seconds < 12 else 500)

    async def main(node: Any) -> None:
        await node.create(
            app(
                livenessProbe={**http(periodSeconds=5, failureThreshold=1)},
                readinessProbe={**http(periodSeconds=5, failureThreshold=1)},
            )
        )
        await node.at(11)
        await node.delete(grace_seconds=30)
        await node.at(40)
        assert node.ready_changes() == [(0, False), (0, True), (15, False)]
        assert all("Liveness" not in message for _, message in await node.events("Unhealthy"))
        assert node.times("signalled", "SIGKILL") == []
        await node.at(42)
        assert node.times("signalled", "SIGKILL") == [41]

    on_node(main, ContainerProfile(http_otherwise=answer, stops_after_seconds=None))


def test_a_slow_probe_does_not_shift_those_after_it(on_node: Any) -> None:
    seen: list[float] = []

    def answer(seconds: float) -> HttpAnswer:
        seen.append(round(seconds, 3))
        return HttpAnswer(delay_seconds=13 if seconds < 5 else 0)

    async def main(node: Any) -> None:
        await node.create(app(readinessProbe=http(periodSeconds=5, timeoutSeconds=20)))
        await node.at(21)
        # The tick of second 10 is due when the slow attempt ends at 13; then the grid goes on.
        assert seen == [0, 13, 15, 20]

    on_node(main, ContainerProfile(http_otherwise=answer))


def test_a_restarted_container_is_probed_anew_from_its_own_start(on_node: Any) -> None:
    seen: list[float] = []

    def answer(seconds: float) -> HttpAnswer:
        seen.append(round(seconds, 3))
        return HttpAnswer()

    async def main(node: Any) -> None:
        await node.create(app(readinessProbe=http(initialDelaySeconds=2, periodSeconds=10)))
        await node.at(14)
        assert seen == [2, 2]
        assert node.ready_changes() == [(0, False), (2, True), (7.5, False), (9.5, True)]

    on_node(main, {"app": ContainerProfile(ends=ScheduledExit(7.5, 1), http_otherwise=answer)})
