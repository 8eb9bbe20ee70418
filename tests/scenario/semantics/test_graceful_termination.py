"""Graceful termination on the whole cluster: what races with what, and the one deadline over all of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Namespace, PersistentVolumeClaim, Pod

from antei.api.objects import is_terminating, meta, name_of, uid_of
from antei.runtime.simulated import ContainerProfile, ExecAnswer, HttpAnswer

IGNORES = ContainerProfile(stops_after_seconds=None)

SERVICE = """
    apiVersion: v1
    kind: Service
    metadata: {name: web}
    spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
    ---
"""
DEPLOYMENT = (
    SERVICE
    + """
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: web}
    spec:
      replicas: 2
      selector: {matchLabels: {app: web}}
      template:
        metadata: {labels: {app: web}}
        spec:
          terminationGracePeriodSeconds: 20
          containers:
          - name: app
            image: app
            readinessProbe: {httpGet: {port: 8080}, periodSeconds: 5}
            lifecycle: {preStop: {sleep: {seconds: %d}}}
"""
)
POD = """
    apiVersion: v1
    kind: Pod
    metadata: {name: web, labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 20
      containers:
      - {name: app, image: app%s}
"""


@pytest.mark.parametrize(("of_spec", "of_request", "expected"), [(None, None, 30), (20, None, 20), (20, 5, 5)])
def test_a_deletion_says_by_when_the_pod_will_be_gone(
    cluster: Any, of_spec: int | None, of_request: int | None, expected: int
) -> None:
    async def main(stage: Any) -> None:
        grace = "" if of_spec is None else f"terminationGracePeriodSeconds: {of_spec}"
        await stage.apply(POD.replace("terminationGracePeriodSeconds: 20", grace) % "")
        await stage.at(1)
        await stage.delete("web", grace_seconds=of_request)
        await stage.rest()
        pod = await stage.get(Pod, "web")
        assert meta(pod).deletionGracePeriodSeconds == expected
        assert stage.second_of(meta(pod).deletionTimestamp) == 1 + expected
        await stage.at(1 + expected)
        assert stage.signals("web") == [(1, "SIGTERM"), (1 + expected, "SIGKILL")]
        assert stage.gone_at("web") == 1 + expected

    cluster(main, IGNORES)


def test_a_second_delete_shortens_the_grace_period_and_a_third_does_not_lengthen_it(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(POD % "")
        await stage.at(1)
        await stage.delete("web")
        await stage.at(4)
        await stage.delete("web", grace_seconds=6)
        await stage.at(5)
        await stage.delete("web", grace_seconds=20)
        await stage.rest()
        pod = await stage.get(Pod, "web")
        assert meta(pod).deletionGracePeriodSeconds == 6
        await stage.at(30)
        assert stage.signals("web") == [(1, "SIGTERM"), (10, "SIGKILL")]
        assert stage.gone_at("web") == 10

    cluster(main, IGNORES)


def test_a_forced_delete_removes_the_object_and_its_address_at_once_and_still_ends_the_processes(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(DEPLOYMENT % 0)
        await stage.at(8)
        first, second = await stage.names()
        await stage.delete(first, grace_seconds=0)
        await stage.rest()
        assert stage.gone_at(first) == 8
        assert first not in await stage.endpoints("web")
        replacement = next(name for name in await stage.names() if name not in (first, second))
        assert stage.created_at(replacement) == 8
        assert await stage.serving("web") == sorted([second, replacement])
        await stage.at(20)
        # The kubelet gives what vanished a second, and the window for the stop signal is never under two.
        assert stage.signals(first) == [(8, "SIGTERM"), (10, "SIGKILL")]
        assert stage.times("exited", first) == [10]
        assert stage.times("sandbox-removed", first) == [10]

    cluster(main, IGNORES)


def test_with_the_deletion_the_endpoint_terminates_the_replacement_is_made_and_the_stop_begins(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(DEPLOYMENT % 0)
        await stage.at(12)
        first, second = await stage.names()
        await stage.delete(first)
        await stage.rest()
        (replacement,) = set(await stage.names()) - {first, second}
        assert (await stage.endpoints("web"))[first] == (False, True, True)
        assert await stage.serving("web") == [second]
        assert stage.created_at(replacement) == 12
        assert stage.signals(first) == [(12, "SIGTERM")]
        await stage.at(40)
        assert stage.gone_at(first) == 32
        assert stage.readiness(replacement) == [(12, False), (17, True)]  # probed at 12 s and, listening, at 17 s
        assert [change for change in stage.served("web") if change[0] > 5] == [(12, 1), (17, 2)]

    cluster(main, ContainerProfile(listens_after_seconds=3, stops_after_seconds=None))


def test_a_stateful_set_makes_the_replacement_only_when_the_old_pod_is_gone(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(
            """
            apiVersion: apps/v1
            kind: StatefulSet
            metadata: {name: db}
            spec:
              replicas: 2
              serviceName: db
              selector: {matchLabels: {app: db}}
              template:
                metadata: {labels: {app: db}}
                spec:
                  terminationGracePeriodSeconds: 20
                  containers: [{name: app, image: app}]
            """
        )
        await stage.at(5)
        old = await stage.get(Pod, "db-0")
        await stage.delete("db-0")
        await stage.at(24.9)
        assert uid_of(await stage.get(Pod, "db-0")) == uid_of(old)
        await stage.at(25)
        new = await stage.get(Pod, "db-0")
        assert uid_of(new) != uid_of(old)
        assert stage.gone_at("db-0") == 25
        assert stage.second_of(meta(new).creationTimestamp) == 25
        # Never two of one name at once.
        assert stage.times("exited", "db-0") == [25]
        assert stage.times("started", "db-0") == [0, 25]

    cluster(main, IGNORES)


@pytest.mark.parametrize(
    ("lag", "pre_stop", "refused_seconds"), [(0, 0, 0), (5, 0, 5), (5, 3, 2), (5, 5, 0), (5, 8, 0)]
)
def test_endpoint_lag_sends_clients_to_a_pod_that_has_stopped_unless_its_pre_stop_hook_outlasts_it(
    cluster: Any, lag: float, pre_stop: int, refused_seconds: float
) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(DEPLOYMENT % pre_stop)
        await stage.at(12)
        first, _ = await stage.names()
        await stage.delete(first)
        refused = 0
        for tenth in range(120, 260):
            await stage.at(tenth / 10)
            is_listening = not stage.signals(first)
            refused += first in await stage.serving("web") and not is_listening
        assert refused / 10 == pytest.approx(refused_seconds)

    # It closes its socket when it gets SIGTERM, and needs a while until it ends.
    profile = ContainerProfile(stops_after_seconds=10, serves_while_stopping=False)
    cluster(main, profile, endpoint_lag=lag)


@pytest.mark.parametrize(
    ("hook", "grace", "sigterm", "sigkill"),
    [
        pytest.param("sleep: {seconds: 5}", 20, 5, 20, id="the hook's time is the stop's"),
        pytest.param('exec: {command: ["sleep", "5s"]}', 20, 5, 20, id="of every kind of hook"),
        pytest.param("httpGet: {port: 8080, path: /drain}", 20, 4, 20, id="an HTTP hook takes as long as its answer"),
        pytest.param("sleep: {seconds: 19}", 20, 19, 21, id="never less than 2 s after the hook"),
        pytest.param('exec: {command: ["sleep", "60"]}', 20, 20, 22, id="a hook that outlives the grace is abandoned"),
        pytest.param('exec: {command: ["fails"]}', 20, 0, 20, id="a hook that fails does not hold the stop up"),
    ],
)
def test_one_deadline_covers_pre_stop_hook_and_sigterm(
    cluster: Any, hook: str, grace: int, sigterm: float, sigkill: float
) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(POD % f", lifecycle: {{preStop: {{{hook}}}}}")
        await stage.at(10)
        await stage.delete("web", grace_seconds=grace)
        await stage.at(40)
        assert stage.signals("web") == [(10 + sigterm, "SIGTERM"), (10 + sigkill, "SIGKILL")]
        assert stage.gone_at("web") == 10 + sigkill
        assert await stage.events("Killing") == ["Stopping container app"]
        assert await stage.events("FailedPreStopHook") == (["PreStopHook failed"] if "fails" in hook else [])

    profile = ContainerProfile(
        stops_after_seconds=None,
        http={"/drain": HttpAnswer(500, delay_seconds=4)},
        exec={("fails",): ExecAnswer(1)},
    )
    cluster(main, profile)


def test_containers_stop_in_parallel_each_with_its_hook_and_its_signal(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(
            """
            apiVersion: v1
            kind: Pod
            metadata: {name: web}
            spec:
              os: {name: linux}
              terminationGracePeriodSeconds: 20
              containers:
              - {name: app, image: app, lifecycle: {preStop: {sleep: {seconds: 4}}}}
              - {name: proxy, image: proxy, lifecycle: {stopSignal: SIGQUIT}}
              - {name: stubborn, image: stubborn}
            """
        )
        await stage.at(10)
        await stage.delete("web")
        await stage.at(40)
        assert stage.signals("web", "app") == [(14, "SIGTERM")]
        assert stage.signals("web", "proxy") == [(10, "SIGQUIT")]
        assert stage.signals("web", "stubborn") == [(10, "SIGTERM"), (30, "SIGKILL")]
        assert [stage.times("exited", container=c) for c in ("app", "proxy", "stubborn")] == [[15], [13], [30]]
        assert stage.gone_at("web") == 30

    profiles = {
        "app": ContainerProfile(stops_after_seconds=1),
        "proxy": ContainerProfile(stops_after_seconds=3),
        "stubborn": IGNORES,
    }
    cluster(main, profiles)


def test_what_a_client_sees_last_of_a_pod_is_how_its_containers_ended(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(POD % "")
        await stage.at(10)
        await stage.delete("web")
        await stage.at(40)
        killed = stage.seen("web")[-1][1]
        end = killed.status.containerStatuses[0].state.terminated
        assert (killed.status.phase, end.exitCode, end.reason) == ("Failed", 137, "Error")
        assert end.finishedAt - end.startedAt == timedelta(seconds=30)

    cluster(main, IGNORES)


def test_liveness_and_startup_stop_with_the_deletion_and_readiness_goes_on(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(
            SERVICE
            + POD
            % """,
         readinessProbe: {httpGet: {port: 8080, path: /ready}, periodSeconds: 2, failureThreshold: 1},
         livenessProbe: {httpGet: {port: 8080, path: /alive}, periodSeconds: 2, failureThreshold: 1}"""
        )
        await stage.at(9)
        await stage.delete("web")
        stage.adjust("web", http_otherwise=HttpAnswer(500))
        await stage.rest()
        assert (await stage.endpoints("web"))["web"] == (False, True, True)
        assert await stage.serving("web") == ["web"]  # nobody else is left: it terminates, but serves
        await stage.at(10)
        assert (await stage.endpoints("web"))["web"] == (False, False, True)
        assert await stage.serving("web") == []
        assert (await stage.condition("web", "Ready")).reason == "ContainersNotReady"
        await stage.at(40)
        assert set(await stage.events("Unhealthy")) == {
            "Readiness probe failed: HTTP probe failed with statuscode: 500"
        }
        assert (stage.times("started", "web"), stage.gone_at("web")) == ([0], 29)

    cluster(main, IGNORES)


def test_a_pod_is_not_running_before_its_post_start_hook_has_ended(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(SERVICE, POD % ", lifecycle: {postStart: {exec: {command: [sleep, '7']}}}")
        await stage.at(6.9)
        assert (await stage.container("web")).state.waiting.reason == "ContainerCreating"
        assert await stage.phase("web") == "Pending"
        await stage.at(7)
        assert stage.second_of((await stage.container("web")).state.running.startedAt) == 0
        assert stage.readiness("web") == [(0, False), (7, True)]
        assert [change for change in stage.served("web") if change[0] > 0] == [(7, 1)]

    cluster(main)


def test_a_post_start_hook_that_fails_kills_the_container_which_is_restarted_with_back_off(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(POD % ", lifecycle: {postStart: {exec: {command: [fails]}}}")
        await stage.at(25)
        assert stage.readiness("web") == [(0, False)]
        # Each run: the hook fails after 1 s, SIGTERM, and the container ends 2 s later; then 0 s, then 10 s.
        assert stage.times("started", "web") == [0, 3, 16]
        assert [second for second, _ in stage.signals("web")] == [1, 4, 17]
        assert await stage.events("FailedPostStartHook") == ["PostStartHook failed"] * 3
        assert await stage.events("Killing") == ["FailedPostStartHook"] * 3
        assert (await stage.container("web")).restartCount == 2

    profile = ContainerProfile(exec={("fails",): ExecAnswer(1, duration_seconds=1)}, stops_after_seconds=2)
    cluster(main, profile)


def test_the_object_outlasts_its_processes_only_for_its_finalizers(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply((POD % "").replace("labels:", "finalizers: [example.com/audit], labels:"))
        await stage.at(1)
        await stage.delete("web")
        await stage.at(10)
        pod = await stage.get(Pod, "web")
        assert is_terminating(pod)
        assert stage.times("sandbox-removed", "web") == [4]
        assert pod.status.phase == "Succeeded"
        await stage.patch(Pod, "web", {"metadata": {"finalizers": None}})
        await stage.rest()
        assert stage.gone_at("web") == 10

    cluster(main, ContainerProfile(stops_after_seconds=3))


def test_a_scale_down_takes_what_is_not_ready_first_and_stops_it_gracefully(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(DEPLOYMENT % 0)
        await stage.at(12)
        first, second = await stage.names()
        stage.adjust(second, http_otherwise=HttpAnswer(500))
        await stage.at(30)
        await stage.patch(Deployment, "web", {"spec": {"replicas": 1}})
        await stage.rest()
        assert stage.signals(second) == [(30, "SIGTERM")]
        assert stage.signals(first) == []
        await stage.at(60)
        assert stage.gone_at(second) == 50

    cluster(main, IGNORES)


def test_a_pod_that_no_node_has_yet_is_gone_at_once(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply((POD % "").replace("spec:", "spec:\n      nodeSelector: {no: where}"))
        await stage.at(5)
        assert await stage.phase("web") == "Pending"
        await stage.delete("web")
        await stage.rest()
        assert stage.gone_at("web") == 5

    cluster(main)


@pytest.mark.parametrize(("grace", "gone_at"), [(0, 5), (-5, 7), (1, 7)])
def test_the_least_window_is_two_seconds_and_a_grace_period_of_zero_waits_for_nothing(
    cluster: Any, grace: int, gone_at: float
) -> None:
    """A negative grace period counts as one second; zero, in the spec too, is a forced deletion."""

    async def main(stage: Any) -> None:
        await stage.apply((POD % "").replace("Seconds: 20", f"Seconds: {grace}"))
        await stage.at(5)
        await stage.delete("web")
        await stage.at(20)
        told = [meta(state).deletionGracePeriodSeconds for _, state in stage.seen("web") if is_terminating(state)]
        assert set(told) <= {1, 0}
        assert stage.gone_at("web") == gone_at
        assert stage.signals("web") == [(5, "SIGTERM"), (7, "SIGKILL")]

    cluster(main, IGNORES)


def test_a_namespace_goes_when_its_pods_have_had_their_grace(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}")
        await stage.at(1)
        await stage.apply((POD % "").replace("name: web,", "name: web, namespace: shop,"))
        await stage.at(5)
        await stage.client.delete(Namespace, "shop")
        await stage.at(24)
        assert (await stage.client.get(Namespace, "shop")).status.phase == "Terminating"
        await stage.at(26)
        assert stage.signals("web") == [(5, "SIGTERM"), (25, "SIGKILL")]
        assert "shop" not in [name_of(found) for found in (await stage.client.list(Namespace)).items]

    cluster(main, IGNORES)


def test_a_drained_stateful_pod_comes_back_elsewhere_with_its_volume(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(
            """
            apiVersion: apps/v1
            kind: StatefulSet
            metadata: {name: db}
            spec:
              replicas: 1
              serviceName: db
              selector: {matchLabels: {app: db}}
              template:
                metadata: {labels: {app: db}}
                spec:
                  containers: [{name: app, image: app, volumeMounts: [{name: data, mountPath: /data}]}]
              volumeClaimTemplates:
              - metadata: {name: data}
                spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
            """
        )
        await stage.at(5)
        old = await stage.get(Pod, "db-0")
        volume = (await stage.get(PersistentVolumeClaim, "data-db-0")).spec.volumeName
        assert await stage.drain(old.spec.nodeName) == {"db-0": 5}
        await stage.at(10)
        new = await stage.get(Pod, "db-0")
        assert new.spec.nodeName != old.spec.nodeName
        assert stage.readiness("db-0")[-1] == (8, True)
        assert (await stage.get(PersistentVolumeClaim, "data-db-0")).spec.volumeName == volume

    cluster(main, ContainerProfile(stops_after_seconds=3), nodes=2)
