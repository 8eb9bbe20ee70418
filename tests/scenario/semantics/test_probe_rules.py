"""Probes on the whole cluster: when they are tried, what they decide, and what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.resources.core_v1 import Pod

from antei.runtime.simulated import ContainerProfile, HttpAnswer

IGNORES = ContainerProfile(stops_after_seconds=None)
BROKEN = HttpAnswer(500)

SERVICE = """
    apiVersion: v1
    kind: Service
    metadata: {name: web}
    spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}
"""
#: One container; `%s` is whatever more it has.
POD = """
    apiVersion: v1
    kind: Pod
    metadata: {name: web, labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 20
      containers:
      - name: app
        image: app
        ports: [{name: http, containerPort: 8080}]
        %s
"""


class Asked:
    """A container that notes when it is asked, by path, and answers 200 unless a path is listed as broken."""

    def __init__(self, *broken: str) -> None:
        self.broken = set(broken)
        self.seconds: dict[str, list[float]] = {}

    @property
    def profile(self) -> ContainerProfile:
        return ContainerProfile(http={f"/{path}": self._answer(path) for path in ("live", "ready", "startup")})

    def _answer(self, path: str) -> Any:
        def answer(since_start: float) -> HttpAnswer:
            self.seconds.setdefault(path, []).append(round(since_start, 3))
            return BROKEN if path in self.broken else HttpAnswer()

        return answer


def test_without_numbers_a_probe_has_its_defaults(cluster: Any) -> None:
    """No delay, every 10 s, 1 s to answer, one success is enough, three failures are one too many."""

    async def main(stage: Any) -> None:
        await stage.apply(POD % "livenessProbe: {httpGet: {port: http}}", SERVICE)
        stored = (await stage.get(Pod, "web")).spec.containers[0].livenessProbe
        assert (stored.initialDelaySeconds, stored.periodSeconds, stored.timeoutSeconds) == (None, 10, 1)
        assert (stored.successThreshold, stored.failureThreshold) == (1, 3)
        assert (stored.httpGet.path, stored.httpGet.scheme) == ("/", "HTTP")
        await stage.at(5)
        stage.hang("web")
        await stage.at(30.9)
        assert stage.signals("web") == []
        await stage.at(31)  # asked at 10, 20 and 30 s, each for a second in vain
        assert stage.signals("web") == [(31, "SIGTERM")]
        assert (
            await stage.events("Unhealthy")
            == [
                f'Liveness probe failed: Get "http://{(await stage.get(Pod, "web")).status.podIP}:8080/": '
                "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
            ]
            * 3
        )
        assert await stage.events("Killing") == ["Container app failed liveness probe, will be restarted"]
        await stage.at(51)  # a hung process does not even see SIGTERM
        assert stage.signals("web") == [(31, "SIGTERM"), (51, "SIGKILL")]
        assert stage.times("started", "web") == [0, 51]
        container = await stage.container("web")
        assert container.restartCount == 1
        end = container.lastState.terminated
        assert (end.exitCode, end.reason) == (137, "Error")
        assert (stage.second_of(end.startedAt), stage.second_of(end.finishedAt)) == (0, 51)

    cluster(main)


@pytest.mark.parametrize(
    ("probe", "asked"),
    [
        ("{}", [0, 10, 20, 30, 40, 50]),
        ("{initialDelaySeconds: 15}", [15, 25, 35, 45, 55]),
        ("{periodSeconds: 25}", [0, 25, 50]),
        ("{initialDelaySeconds: 3, periodSeconds: 20}", [3, 23, 43]),
    ],
)
def test_attempts_are_made_at_whole_periods_after_the_delay(cluster: Any, probe: str, asked: list[float]) -> None:
    web = Asked()

    async def main(stage: Any) -> None:
        numbers = probe.replace("}", ", httpGet: {port: http, path: /ready}}").replace("{,", "{")
        await stage.apply(POD % f"readinessProbe: {numbers}")
        await stage.at(59)
        assert web.seconds["ready"] == asked
        assert stage.readiness("web") == [(0, False), (asked[0], True)]

    cluster(main, web.profile)


def test_a_verdict_changes_only_after_a_run_of_equal_outcomes(cluster: Any) -> None:
    #                 0     5     10     15    20     25     30    35    40     45    50    55
    outcomes = [True, True, False, True, False, False, False, True, False, True, True, True]

    async def main(stage: Any) -> None:
        await stage.apply(
            SERVICE,
            POD
            % """readinessProbe:
          {httpGet: {port: http}, periodSeconds: 5, failureThreshold: 3, successThreshold: 3}
            """,
        )
        await stage.at(59)
        assert stage.readiness("web") == [(0, False), (55, True)]
        assert [change for change in stage.served("web") if change[0] >= 0] == [(55, 1)]
        assert len(await stage.events("Unhealthy")) == outcomes.count(False)

    def answer(since_start: float) -> HttpAnswer:
        return HttpAnswer(200 if outcomes[round(since_start) // 5] else 503)

    cluster(main, ContainerProfile(http_otherwise=answer))


def test_until_the_startup_probe_succeeds_nothing_else_is_probed_then_all_at_once(cluster: Any) -> None:
    web = Asked("startup", "live", "ready")

    async def main(stage: Any) -> None:
        await stage.apply(
            SERVICE,
            POD
            % """startupProbe: {httpGet: {port: http, path: /startup}, periodSeconds: 7, failureThreshold: 30}
        livenessProbe: {httpGet: {port: http, path: /live}, periodSeconds: 10}
        readinessProbe: {httpGet: {port: http, path: /ready}, periodSeconds: 10}
            """,
        )
        await stage.at(20)
        container = await stage.container("web")
        assert (container.started, container.ready) == (False, False)
        assert container.state.running is not None
        assert await stage.serving("web") == []
        web.broken.clear()
        await stage.at(21)
        container = await stage.container("web")
        assert (container.started, container.ready) == (True, True)
        assert await stage.serving("web") == ["web"]
        await stage.at(45)
        assert web.seconds == {"startup": [0, 7, 14, 21], "live": [21, 31, 41], "ready": [21, 31, 41]}
        assert stage.times("started", "web") == [0]

    cluster(main, web.profile)


def test_a_startup_probe_that_fails_too_often_restarts_the_container(cluster: Any) -> None:
    web = Asked("startup")

    async def main(stage: Any) -> None:
        await stage.apply(
            POD % "startupProbe: {httpGet: {port: http, path: /startup}, periodSeconds: 5, failureThreshold: 4}"
        )
        await stage.at(30)
        # Failures at 0, 5, 10 and 15 s; restarted at once; the next run has four attempts of its own.
        assert stage.times("started", "web") == [0, 15]
        await stage.at(40)
        assert stage.times("started", "web") == [0, 15, 40]  # ended at 30 s, and 10 s of back-off
        assert await stage.events("Killing") == ["Container app failed startup probe, will be restarted"] * 2
        assert web.seconds["startup"][:9] == [0, 5, 10, 15, 0, 5, 10, 15, 0]

    cluster(main, web.profile)


def test_while_a_failed_container_is_being_stopped_it_is_not_probed(cluster: Any) -> None:
    web = Asked("live")

    async def main(stage: Any) -> None:
        await stage.apply(POD % "livenessProbe: {httpGet: {port: http, path: /live}, periodSeconds: 1}")
        await stage.at(30)
        assert web.seconds["live"][:4] == [0, 1, 2, 0]
        assert stage.signals("web")[:2] == [(2, "SIGTERM"), (22, "SIGKILL")]
        assert stage.times("started", "web") == [0, 22]
        assert len(await stage.events("Unhealthy")) == 6

    profile = web.profile
    cluster(main, ContainerProfile(http=profile.http, stops_after_seconds=None))


@pytest.mark.parametrize("kind", ["liveness", "startup"])
@pytest.mark.parametrize(("of_probe", "grace"), [("", 20), (", terminationGracePeriodSeconds: 7", 7)])
def test_the_stop_takes_the_probes_grace_period_or_the_pods_and_the_hook_is_in_it(
    cluster: Any, kind: str, of_probe: str, grace: int
) -> None:
    async def main(stage: Any) -> None:
        probe = f"{{httpGet: {{port: http}}, periodSeconds: 1, failureThreshold: 2{of_probe}}}"
        await stage.apply(POD % f"{kind}Probe: {probe}\n        lifecycle: {{preStop: {{sleep: {{seconds: 3}}}}}}")
        await stage.at(25)
        assert stage.signals("web")[:2] == [(4, "SIGTERM"), (1 + grace, "SIGKILL")]
        assert stage.times("started", "web") == [0, 1 + grace]

    cluster(main, ContainerProfile(http_otherwise=BROKEN, stops_after_seconds=None))


def test_a_failed_liveness_probe_restarts_only_its_own_container(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(
            SERVICE,
            """
            apiVersion: v1
            kind: Pod
            metadata: {name: web, labels: {app: web}}
            spec:
              containers:
              - name: app
                image: app
                ports: [{name: http, containerPort: 8080}]
              - name: proxy
                image: proxy
                livenessProbe: {tcpSocket: {port: 9090}, periodSeconds: 5}
            """,
        )
        await stage.at(7)
        stage.adjust("web", "proxy", ports=())
        await stage.at(30)
        assert stage.times("started", container="app") == [0]
        assert stage.times("started", container="proxy") == [0, 22]  # failed at 10, 15, 20 s; needs 2 s to end
        assert stage.readiness("web") == [(0, False), (0, True), (22, False), (22, True)]

    cluster(
        main, {"app": ContainerProfile(ports=(8080,)), "proxy": ContainerProfile(ports=(9090,), stops_after_seconds=2)}
    )


@pytest.mark.parametrize(
    ("policy", "phase", "killing"),
    [
        ("Always", "Running", "Container app failed liveness probe, will be restarted"),
        ("OnFailure", "Running", "Container app failed liveness probe, will be restarted"),
        ("Never", "Failed", "Container app failed liveness probe"),
    ],
)
def test_whether_what_failed_its_liveness_probe_runs_again_is_the_restart_policys(
    cluster: Any, policy: str, phase: str, killing: str
) -> None:
    async def main(stage: Any) -> None:
        probe = "livenessProbe: {httpGet: {port: http}, periodSeconds: 1, failureThreshold: 1, initialDelaySeconds: 5}"
        await stage.apply((POD % probe).replace("containers:", f"restartPolicy: {policy}\n      containers:"))
        await stage.at(6)
        assert await stage.phase("web") == phase
        assert stage.times("started", "web") == ([0] if policy == "Never" else [0, 5])
        assert await stage.events("Killing") == [killing]

    cluster(main, ContainerProfile(http_otherwise=BROKEN, stop_exit_code=143))


def test_an_error_of_the_prober_is_no_outcome(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(
            POD
            % """livenessProbe: {httpGet: {port: nowhere}, periodSeconds: 5, failureThreshold: 1}
        readinessProbe: {httpGet: {port: http}, periodSeconds: 5}
            """
        )
        await stage.at(21)
        assert stage.times("started", "web") == [0]
        assert stage.readiness("web") == [(0, False), (0, True)]
        message = (
            'Liveness probe errored and resulted in unknown state: strconv.Atoi: parsing "nowhere": invalid syntax'
        )
        assert await stage.events("Unhealthy") == [message] * 5

    cluster(main)


def test_a_restart_of_antei_takes_no_ready_pod_out_of_its_service(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(
            SERVICE,
            POD
            % """startupProbe: {httpGet: {port: http}, initialDelaySeconds: 5}
        livenessProbe: {httpGet: {port: http}}
        readinessProbe: {httpGet: {port: http}, successThreshold: 2}
            """,
        )
        await stage.at(60)
        known = stage.readiness("web")
        assert known == [(0, False), (15, True)]  # started at 5 s, ready after two successes
        await stage.cluster.stop_node("node-1")
        await stage.at(75)
        await stage.cluster.start_node("node-1")
        await stage.at(300)
        assert stage.readiness("web") == known
        assert [change for change in stage.served("web") if change[0] >= 0] == [(15, 1)]
        assert stage.times("started", "web") == [0]
        stage.adjust("web", http_otherwise=BROKEN)
        await stage.at(350)
        # Probed as before: liveness ends it, and readiness takes it out.
        assert stage.readiness("web")[-1][1] is False
        assert (await stage.container("web")).restartCount == 1

    cluster(main, IGNORES)


def test_readiness_of_a_hung_pod_moves_its_connections_to_the_other_and_back(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(
            SERVICE,
            """
            apiVersion: apps/v1
            kind: Deployment
            metadata: {name: web}
            spec:
              replicas: 2
              selector: {matchLabels: {app: web}}
              template:
                metadata: {labels: {app: web}}
                spec:
                  containers:
                  - name: app
                    image: app
                    ports: [{name: http, containerPort: 8080}]
                    readinessProbe: {httpGet: {port: http}, periodSeconds: 2, failureThreshold: 2}
                    livenessProbe: {httpGet: {port: http}, periodSeconds: 10, terminationGracePeriodSeconds: 5}
            """,
        )
        await stage.at(5)
        first, second = await stage.names()
        stage.hang(first)
        await stage.at(9)  # asked at 6 and 8 s
        assert await stage.serving("web") == [second]
        await stage.at(36)  # liveness: asked at 10, 20 and 30 s; SIGTERM at 31 s, SIGKILL at 36 s
        assert stage.signals(first) == [(31, "SIGTERM"), (36, "SIGKILL")]
        assert stage.readiness(first) == [(0, False), (0, True), (9, False), (36, True)]
        assert [change for change in stage.served("web") if change[0] > 0] == [(9, 1), (36, 2)]
        assert await stage.names() == [first, second]  # nothing was replaced

    cluster(main)
