"""Readiness and Services: from a probe's answer to where new connections go, on the whole cluster."""

from __future__ import annotations

from typing import Any

import dns.message
import dns.rdatatype
import pytest
from lightkube.resources.core_v1 import Pod, Service

from antei.client import PatchType
from antei.network.addresses import ClusterAddresses
from antei.network.dns import InformerView
from antei.network.dns_zone import answer
from antei.runtime.simulated import ContainerProfile, HttpAnswer

WEB = """
    apiVersion: v1
    kind: Service
    metadata: {name: web}
    spec:
      selector: {app: web}
      ports: [{port: 80, targetPort: 8080}]
    ---
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: web}
    spec:
      replicas: %d
      selector: {matchLabels: {app: web}}
      template:
        metadata: {labels: {app: web}}
        spec:
          terminationGracePeriodSeconds: 20
          containers:
          - name: app
            image: app
            readinessProbe: {httpGet: {port: 8080}, periodSeconds: 5, failureThreshold: 2}
"""
LONE = """
    apiVersion: v1
    kind: Service
    metadata: {name: web}
    spec:
      selector: {app: web}
      publishNotReadyAddresses: %s
      ports: [{port: 80, targetPort: 8080}]
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: web, labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 20
      containers:
      - name: app
        image: app
        readinessProbe: {httpGet: {port: 8080}, periodSeconds: 5, failureThreshold: 2}
"""
IGNORES = ContainerProfile(stops_after_seconds=None)
BROKEN = HttpAnswer(500)


def answers_after(seconds: float) -> ContainerProfile:
    return ContainerProfile(http_otherwise=lambda now: HttpAnswer(200 if now >= seconds else 503))


def test_a_probe_result_reaches_the_service_table_at_the_second_of_its_verdict(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(LONE % "false")
        await stage.at(4)
        not_ready = ("False", "ContainersNotReady", 0)
        true = ("True", None, 0)
        assert await stage.conditions("web") == {
            "PodScheduled": true,
            "PodReadyToStartContainers": true,
            "Initialized": true,
            "ContainersReady": not_ready,
            "Ready": not_ready,
        }
        assert (await stage.condition("web", "Ready")).message == "containers with unready status: [app]"
        assert await stage.serving("web") == []  # refused
        await stage.at(5)
        true_since_5 = ("True", None, 5)
        assert await stage.conditions("web") == {
            "PodScheduled": true,
            "PodReadyToStartContainers": true,
            "Initialized": true,
            "ContainersReady": true_since_5,
            "Ready": true_since_5,
        }
        assert (await stage.condition("web", "Ready")).message is None
        assert await stage.serving("web") == ["web"]
        await stage.at(12)
        stage.adjust("web", http_otherwise=BROKEN)
        await stage.at(19.9)  # failed once, at 15 s
        assert await stage.serving("web") == ["web"]
        await stage.at(40)
        assert stage.readiness("web") == [(0, False), (5, True), (20, False)]
        assert [change for change in stage.served("web") if change[0] >= 0] == [(5, 1), (20, 0)]
        assert (await stage.container("web")).restartCount == 0
        assert stage.times("exited") == []
        assert len(await stage.events("Unhealthy")) == 2 + 6  # at 0 s and 0.1 s, and from 15 s to 40 s

    cluster(main, answers_after(3))


def test_a_readiness_gate_keeps_the_address_out_of_the_service_until_its_condition_is_true(cluster: Any) -> None:
    async def gate(stage: Any, status: str) -> None:
        condition = {"type": "example.com/lb", "status": status}
        patch = {"status": {"conditions": [condition]}}
        await stage.client.patch(Pod, "web", "default", patch, patch_type=PatchType.STRATEGIC, subresource="status")

    async def main(stage: Any) -> None:
        await stage.apply(
            """
            apiVersion: v1
            kind: Service
            metadata: {name: web}
            spec: {selector: {app: web}, ports: [{port: 80}]}
            ---
            apiVersion: v1
            kind: Pod
            metadata: {name: web, labels: {app: web}}
            spec:
              readinessGates: [{conditionType: example.com/lb}]
              containers: [{name: app, image: app}]
            """
        )
        await stage.at(5)
        ready = await stage.condition("web", "Ready")
        assert (ready.status, ready.reason, ready.message) == (
            "False",
            "ReadinessGatesNotReady",
            'corresponding condition of pod readiness gate "example.com/lb" does not exist.',
        )
        assert (await stage.condition("web", "ContainersReady")).status == "True"
        await gate(stage, "True")
        await stage.at(6)
        ready = await stage.condition("web", "Ready")
        assert (ready.status, ready.reason, ready.message) == ("True", None, None)
        await stage.at(7)
        await gate(stage, "False")
        await stage.at(8)
        ready = await stage.condition("web", "Ready")
        message = 'the status of pod readiness gate "example.com/lb" is not "True", but False'
        assert (ready.reason, ready.message) == ("ReadinessGatesNotReady", message)
        assert [change for change in stage.served("web") if change[0] > 0] == [(5, 1), (7, 0)]
        assert stage.readiness("web") == [(0, False), (5, True), (7, False)]

    cluster(main)


@pytest.mark.parametrize("publishes", [False, True])
def test_an_endpoint_is_ready_where_it_serves_and_does_not_terminate_or_its_service_publishes_all(
    cluster: Any, publishes: bool
) -> None:
    """(ready, serving, terminating) of a pod that is not ready, ready, deleted, and not ready while it terminates."""

    async def main(stage: Any) -> None:
        await stage.apply(LONE % str(publishes).lower())
        seen = []
        for second in (4, 6, 7, 16):
            await stage.at(second)
            if second == 7:
                await stage.delete("web")
                stage.adjust("web", http_otherwise=BROKEN)
                await stage.rest()
            seen.append((await stage.endpoints("web"))["web"])
        assert seen == [
            (publishes, False, False),
            (True, True, False),
            (publishes, True, True),
            (publishes, False, True),  # since 15 s: two failures, at 10 s and 15 s
        ]
        await stage.at(28)
        assert stage.gone_at("web") == 27
        assert await stage.endpoints("web") == {}

    cluster(main, ContainerProfile(http_otherwise=answers_after(3).http_otherwise, stops_after_seconds=None))


def test_new_connections_go_to_ready_pods_else_to_those_that_serve_while_they_terminate_else_nowhere(
    cluster: Any,
) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(WEB % 2)
        await stage.at(5)
        first, second = await stage.names()
        assert await stage.serving("web") == [first, second]
        await stage.apply(WEB.partition("---")[0].replace("name: web", "name: lone").replace("app: web", "only: this"))
        for name in (first, second):
            await stage.patch(Pod, name, {"metadata": {"labels": {"only": "this"}}})
        await stage.at(6)
        await stage.delete(first)
        await stage.rest()
        assert await stage.serving("lone") == [second]  # a ready one is left: none that terminates
        await stage.at(7)
        await stage.delete(second)
        await stage.rest()
        assert await stage.serving("lone") == [first, second]  # no ready one: those that still serve
        await stage.at(8)
        stage.adjust(first, http_otherwise=BROKEN)
        await stage.at(15)  # two failures, at 10 s and 15 s
        assert await stage.serving("lone") == [second]
        await stage.at(27)
        assert await stage.serving("lone") == []  # refused
        assert (stage.gone_at(first), stage.gone_at(second)) == (26, 27)

    cluster(main, IGNORES)


@pytest.mark.parametrize("lag", [0.0, 3.0])
def test_endpoint_lag_delays_what_the_table_says_and_nothing_else(cluster: Any, lag: float) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(WEB % 1)
        await stage.at(20)
        (name,) = await stage.names()
        assert stage.readiness(name) == [(0, False), (5, True)]
        assert [change for change in stage.served("web") if change[0] > 0] == [(5 + lag, 1)]
        stage.adjust(name, http_otherwise=BROKEN)
        await stage.at(40)
        assert stage.readiness(name)[-1] == (30, False)
        assert stage.served("web")[-1] == (30 + lag, 0)

    cluster(main, answers_after(4), endpoint_lag=lag)


def test_headless_services_answer_with_ready_pods_and_each_has_its_name(cluster: Any) -> None:
    def ask(view: InformerView, name: str) -> list[str]:
        response, _ = answer(dns.message.make_query(f"{name}.default.svc.cluster.local", dns.rdatatype.A), view)
        return sorted(record.address for records in response.answer for record in records)

    async def main(stage: Any) -> None:
        view = InformerView(stage.cluster.informers, ClusterAddresses("test", ("node-1",)))
        await stage.apply(
            """
            apiVersion: v1
            kind: Service
            metadata: {name: mysql}
            spec: {clusterIP: None, selector: {app: mysql}, ports: [{port: 3306}]}
            ---
            apiVersion: apps/v1
            kind: StatefulSet
            metadata: {name: mysql}
            spec:
              replicas: 2
              serviceName: mysql
              selector: {matchLabels: {app: mysql}}
              template:
                metadata: {labels: {app: mysql}}
                spec:
                  containers:
                  - name: app
                    image: app
                    readinessProbe: {tcpSocket: {port: 3306}, periodSeconds: 2}
            """
        )
        await stage.at(1)
        assert ask(view, "mysql") == []
        assert ask(view, "mysql-0.mysql") == []
        await stage.at(5)  # mysql-0 listens at 3 s and is seen to at 4 s; only then is mysql-1 made
        ips = {name: (await stage.get(Pod, name)).status.podIP for name in ("mysql-0", "mysql-1")}
        assert ask(view, "mysql") == ask(view, "mysql-0.mysql") == [ips["mysql-0"]]
        assert ask(view, "mysql-1.mysql") == []
        await stage.at(9)
        assert ask(view, "mysql") == sorted(ips.values())
        assert ask(view, "mysql-1.mysql") == [ips["mysql-1"]]
        await stage.delete("mysql-1")
        await stage.rest()
        assert ask(view, "mysql-1.mysql") == []

    cluster(main, ContainerProfile(listens_after_seconds=3, stops_after_seconds=5))


def test_a_pod_that_loses_its_label_leaves_at_once_is_replaced_and_runs_on(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(WEB % 1)
        await stage.at(5)
        (old,) = await stage.names()
        await stage.patch(Pod, old, {"metadata": {"labels": {"app": "debug"}}})
        await stage.at(12)
        assert stage.served("web")[-2:] == [(5, 0), (5, 1)]
        assert old in await stage.names("debug")
        assert stage.signals(old) == []
        assert await stage.serving("web") == await stage.names("web") != [old]

    cluster(main)


def test_a_service_that_selects_nobody_any_more_refuses_at_once(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(WEB % 1)
        await stage.at(5)
        assert len(await stage.serving("web")) == 1
        await stage.patch(Service, "web", {"spec": {"selector": {"app": "nobody"}}})
        await stage.rest()
        assert await stage.serving("web") == []

    cluster(main)
