"""Restarts on the whole cluster: back-off, policies, init containers and sidecars, and the loss of a node."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Node, Pod

from antei.api.conditions import find
from antei.api.objects import is_terminating, uid_of
from antei.runtime.simulated import ContainerProfile, Failure, ScheduledExit

CRASHES = ContainerProfile(ends=ScheduledExit(1, 3))
SUCCEEDS = ContainerProfile(ends=ScheduledExit(5, 0))

SERVICE = """
    apiVersion: v1
    kind: Service
    metadata: {name: web}
    spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""
POD = """
    apiVersion: v1
    kind: Pod
    metadata: {name: web, labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 20
      %s
      containers: [{name: app, image: app}]
"""
DEPLOYMENT = """
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: web}
    spec:
      replicas: 2
      selector: {matchLabels: {app: web}}
      template:
        metadata: {labels: {app: web}}
        spec:
          containers: [{name: app, image: app}]
"""


def test_crash_loop_back_off_doubles_from_10_s_to_300_s_and_takes_the_address_out_meanwhile(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(SERVICE, POD % "")
        await stage.at(2000)
        starts = stage.times("started", "web")
        pauses = [after - before - 1 for before, after in itertools.pairwise(starts)]
        assert pauses == [0, 10, 20, 40, 80, 160, 300, 300, 300, 300, 300]
        # In the Service for the second that each run lasts; the first restart comes at once.
        ups = [second for second, count in stage.served("web") if count and second >= 0]
        assert ups == starts
        pod = await stage.get(Pod, "web")
        who = f"web_default({uid_of(pod)})"
        container = pod.status.containerStatuses[0]
        assert (container.restartCount, container.ready, container.started) == (11, False, False)
        assert container.state.waiting.reason == "CrashLoopBackOff"
        assert container.state.waiting.message == f"back-off 5m0s restarting failed container=app pod={who}"
        end = container.lastState.terminated
        assert (end.exitCode, end.reason, end.signal) == (3, "Error", None)
        assert stage.second_of(end.finishedAt) == starts[-1] + 1
        assert set(await stage.events("BackOff")) == {f"Back-off restarting failed container app in pod {who}"}
        assert pod.status.phase == "Running"
        ready = await stage.condition("web", "Ready")
        assert (ready.status, ready.reason) == ("False", "ContainersNotReady")

    cluster(main, CRASHES)


def test_ten_minutes_of_running_forget_the_back_off(cluster: Any) -> None:
    ends = {attempt: ScheduledExit(1, 1) for attempt in range(10)} | {
        3: ScheduledExit(601, 1),
        5: ScheduledExit(599, 1),
    }

    async def main(stage: Any) -> None:
        await stage.apply(POD % "")
        await stage.at(1500)
        starts = stage.times("started", "web")
        # 0, at once, 10 s, 20 s; after 601 s of running at once; 10 s; after 599 s the doubling goes on: 20 s.
        assert starts[:7] == [0, 1, 12, 33, 634, 645, 1264]

    cluster(main, ContainerProfile(ends_at_attempt=ends))


@pytest.mark.parametrize(
    ("policy", "exit_code", "starts", "phase", "reason"),
    [
        ("Always", 0, [0, 5, 20], "Running", "Completed"),
        ("Always", 1, [0, 5, 20], "Running", "Error"),
        ("OnFailure", 0, [0], "Succeeded", "Completed"),
        ("OnFailure", 1, [0, 5, 20], "Running", "Error"),
        ("Never", 0, [0], "Succeeded", "Completed"),
        ("Never", 1, [0], "Failed", "Error"),
    ],
)
def test_the_restart_policy_decides_whether_a_container_runs_again(
    cluster: Any, policy: str, exit_code: int, starts: list[float], phase: str, reason: str
) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(POD % f"restartPolicy: {policy}")
        await stage.at(21)
        assert stage.times("started", "web") == starts
        assert await stage.phase("web") == phase
        container = await stage.container("web")
        end = (container.lastState if len(starts) > 1 else container.state).terminated
        assert (end.exitCode, end.reason) == (exit_code, reason)
        if len(starts) == 1:
            over = "PodCompleted" if exit_code == 0 else "PodFailed"
            assert (await stage.condition("web", "Ready")).reason == over
            assert (await stage.condition("web", "ContainersReady")).reason == over

    cluster(main, ContainerProfile(ends=ScheduledExit(5, exit_code)))


def test_how_a_container_ended_is_reported(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(POD % "")
        await stage.apply((POD % "").replace("name: web", "name: broken").replace("image: app", "image: broken"))
        await stage.at(10)
        stage.runtime.oom_kill(stage.runtime.running("web").id)
        await stage.rest()
        container = await stage.container("web")
        end = container.lastState.terminated
        assert (end.exitCode, end.reason, end.signal, container.restartCount) == (137, "OOMKilled", 9, 1)
        assert (stage.second_of(end.startedAt), stage.second_of(end.finishedAt)) == (0, 10)
        assert end.containerID != container.containerID
        broken = await stage.container("broken")
        end = broken.lastState.terminated
        assert (end.exitCode, end.reason, end.message) == (128, "StartError", "exec: not found")
        assert broken.state.waiting.reason == "CrashLoopBackOff"

    cluster(main, {"broken": ContainerProfile(start_error=Failure("StartError", "exec: not found"))})


def test_init_containers_run_one_after_the_other_and_sidecars_are_waited_for_until_started(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(
            SERVICE,
            POD
            % """initContainers:
      - {name: first, image: succeeds}
      - name: proxy
        image: proxy
        restartPolicy: Always
        startupProbe: {tcpSocket: {port: 9090}, periodSeconds: 1, failureThreshold: 10}
      - {name: second, image: succeeds}
      """,
        )
        await stage.at(4)
        initialized = await stage.condition("web", "Initialized")
        assert (initialized.status, initialized.reason) == ("False", "ContainersNotInitialized")
        assert initialized.message == "containers with incomplete status: [first proxy second]"
        assert await stage.phase("web") == "Pending"
        assert (await stage.container("web")).state.waiting.reason == "PodInitializing"
        await stage.at(6)
        message = (await stage.condition("web", "Initialized")).message
        assert message == "containers with incomplete status: [proxy second]"
        await stage.at(20)
        order = ("first", "proxy", "second", "app")
        assert [stage.times("started", container=name) for name in order] == [[0], [5], [8], [13]]
        assert (await stage.conditions("web"))["Initialized"] == ("True", None, 13)
        assert (await stage.condition("web", "Initialized")).message is None
        assert stage.readiness("web") == [(0, False), (13, True)]
        assert await stage.phase("web") == "Running"

    profiles = {
        "succeeds": SUCCEEDS,
        "proxy": ContainerProfile(listens_after_seconds=3, ports=(9090,)),
        "app": ContainerProfile(ports=(8080,)),
    }
    cluster(main, profiles)


def test_sidecars_end_last_and_in_reverse_within_the_one_grace_period(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(
            POD
            % """initContainers:
      - {name: logs, image: sidecar, restartPolicy: Always}
      - {name: proxy, image: sidecar, restartPolicy: Always}
      """
        )
        await stage.at(10)
        await stage.delete("web")
        await stage.at(40)
        assert stage.signals("web", "app") == [(10, "SIGTERM")]
        assert stage.signals("web", "proxy") == [(15, "SIGTERM")]
        assert stage.signals("web", "logs") == [(18, "SIGTERM")]
        assert stage.gone_at("web") == 21

    cluster(main, {"app": ContainerProfile(stops_after_seconds=5), "sidecar": ContainerProfile(stops_after_seconds=3)})


def test_a_sidecar_that_ends_is_restarted_with_back_off_whatever_the_pods_policy(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(
            POD
            % """restartPolicy: Never
      initContainers: [{name: proxy, image: proxy, restartPolicy: Always}]
      """
        )
        await stage.at(40)
        assert stage.times("started", container="proxy") == [0, 1, 12, 33]
        assert stage.times("started", container="app") == [0]

    cluster(main, {"proxy": CRASHES})


def test_a_job_is_complete_when_its_containers_are_and_its_sidecars_are_ended(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(
            """
            apiVersion: batch/v1
            kind: Job
            metadata: {name: backup}
            spec:
              template:
                metadata: {labels: {app: backup}}
                spec:
                  restartPolicy: Never
                  initContainers: [{name: proxy, image: proxy, restartPolicy: Always}]
                  containers: [{name: app, image: succeeds}]
            """
        )
        await stage.at(6.9)
        assert (await stage.get(Job, "backup")).status.succeeded is None
        await stage.at(7.1)
        (name,) = await stage.names("backup")
        assert stage.signals(name) == [(5, "SIGTERM")]
        assert await stage.phase(name) == "Succeeded"
        job = await stage.get(Job, "backup")
        assert job.status.succeeded == 1
        assert find(job.status.conditions, "Complete").status == "True"

    cluster(main, {"succeeds": SUCCEEDS, "proxy": ContainerProfile(stops_after_seconds=2, stop_exit_code=143)})


def test_what_cannot_be_pulled_or_configured_waits_and_starts_when_it_can(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(
            POD % "",
            """
            apiVersion: v1
            kind: Pod
            metadata: {name: settings}
            spec: {containers: [{name: app, image: fine, envFrom: [{configMapRef: {name: settings}}]}]}
            """,
        )
        await stage.at(3)
        container = await stage.container("web")
        assert container.state.waiting.reason == "ImagePullBackOff"
        container = await stage.container("settings")
        assert container.state.waiting.reason == "CreateContainerConfigError"
        assert container.state.waiting.message == 'configmap "settings" not found'
        stage.runtime.set_profile("app", ContainerProfile())
        await stage.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}}")
        await stage.at(12)
        assert stage.times("started", "web") == [10]
        assert stage.times("started", "settings") == [10]
        assert (await stage.container("web")).restartCount == 0

    cluster(main, ContainerProfile(pull_error=Failure("ErrImagePull", "no such image")))


def test_a_lost_node_leaves_the_service_after_50_s_and_its_pods_are_replaced_300_s_later(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(SERVICE, DEPLOYMENT)
        await stage.at(5)
        lost = next(p for p in await stage.pods("web") if p.spec.nodeName == "node-1")
        name = lost.metadata.name
        await stage.cluster.stop_node("node-1")
        await stage.at(400)
        node = await stage.get(Node, "node-1")
        ready = find(node.status.conditions, "Ready")
        unknown_since = stage.second_of(ready.lastTransitionTime)
        assert (ready.status, ready.reason) == ("Unknown", "NodeStatusUnknown")
        assert unknown_since == 50  # after the last of its heartbeats, which come every 10 s
        assert stage.readiness(name)[-1] == (unknown_since, False)
        assert next(change for change in stage.served("web") if change[0] > 5) == (unknown_since, 1)
        deleted = await stage.get(Pod, name)
        assert is_terminating(deleted)
        assert find(deleted.status.conditions, "DisruptionTarget").reason == "DeletionByTaintManager"
        replacement = max(await stage.names("web"), key=stage.created_at)
        assert stage.created_at(replacement) == 350
        assert (await stage.get(Pod, replacement)).spec.nodeName == "node-2"
        assert stage.served("web")[-1] == (350, 2)
        # Nobody is there to end it: it stays until its node is back, or is deleted.
        await stage.at(1000)
        assert await stage.find(Pod, name) is not None
        await stage.cluster.start_node("node-1")
        await stage.at(1060)
        assert stage.gone_at(name) == 1000
        assert stage.signals(name)[0][0] == 1000

    cluster(main, nodes=2)


def test_a_stateful_set_replaces_no_pod_of_a_lost_node_until_somebody_says_that_it_is_gone(cluster: Any) -> None:
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
                spec: {containers: [{name: app, image: app}]}
            """
        )
        await stage.at(5)
        old = await stage.get(Pod, "db-0")
        await stage.cluster.stop_node(old.spec.nodeName)
        await stage.at(1000)
        assert uid_of(await stage.get(Pod, "db-0")) == uid_of(old)  # at most one of a name, so it waits
        await stage.delete("db-0", grace_seconds=0)
        await stage.rest()
        new = await stage.get(Pod, "db-0")
        assert uid_of(new) != uid_of(old)
        assert new.spec.nodeName != old.spec.nodeName

    cluster(main, nodes=2)


def test_pods_of_a_node_that_rebooted_run_again_under_their_names(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(SERVICE, DEPLOYMENT)
        await stage.at(5)
        before = await stage.names()
        await stage.cluster.stop_node("node-1")
        for sandbox in await stage.runtime.sandboxes():
            await stage.runtime.remove_sandbox(sandbox.id)
        await stage.at(10)
        await stage.cluster.start_node("node-1")
        await stage.at(11)
        assert await stage.names() == before
        for name in before:
            container = await stage.container(name)
            assert container.restartCount == 1
            assert container.lastState.terminated.reason == "ContainerStatusUnknown"
        assert await stage.serving("web") == before

    cluster(main)


def test_a_pod_past_its_active_deadline_fails_and_its_processes_get_their_grace(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(POD % "activeDeadlineSeconds: 30")
        await stage.at(49)
        assert stage.signals("web") == [(30, "SIGTERM")]
        assert await stage.phase("web") == "Running"
        await stage.at(50)
        pod = await stage.get(Pod, "web")
        assert (pod.status.phase, pod.status.reason) == ("Failed", "DeadlineExceeded")
        assert stage.signals("web")[-1] == (50, "SIGKILL")

    cluster(main, ContainerProfile(stops_after_seconds=None))


IMAGE = "/spec/containers/0/image"


@pytest.mark.parametrize("policy", ["Always", "Never"])
def test_another_image_ends_the_run_gracefully_and_is_run_at_once_whatever_the_policy(
    cluster: Any, policy: str
) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(POD % f"restartPolicy: {policy}")
        await stage.at(5)
        await stage.patch_json(Pod, "web", [{"op": "replace", "path": IMAGE, "value": "app:2"}])
        await stage.at(9)
        assert stage.signals("web") == [(5, "SIGTERM")]
        assert stage.times("started", "web") == [0, 8]
        assert await stage.events("Killing") == ["Container app definition changed, will be restarted"]
        container = await stage.container("web")
        assert (container.image, container.imageID, container.restartCount) == ("app:2", "simulated://app:2", 1)
        assert await stage.phase("web") == "Running"

    cluster(main, {"app*": ContainerProfile(stops_after_seconds=3)})


def test_another_image_while_nodes_are_down_is_run_when_they_are_up(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(POD % "")
        await stage.at(5)
        await stage.cluster.stop_node("node-1")
        await stage.patch_json(Pod, "web", [{"op": "replace", "path": IMAGE, "value": "app:2"}])
        await stage.at(10)
        await stage.cluster.start_node("node-1")
        await stage.at(11)
        assert stage.times("started", "web") == [0, 10]
        assert (await stage.container("web")).image == "app:2"

    cluster(main)


@pytest.mark.parametrize(
    ("broken", "second"),
    [
        (ContainerProfile(pull_error=Failure("ErrImagePull", "no such image")), 50),
        (CRASHES, 20),
        (ContainerProfile(start_error=Failure("StartError", "exec: not found")), 50),
    ],
    ids=["ImagePullBackOff", "CrashLoopBackOff", "StartError"],
)
def test_another_image_ends_a_back_off(cluster: Any, broken: ContainerProfile, second: float) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(POD % "")
        await stage.at(second)
        assert (await stage.container("web")).state.waiting.reason.endswith("BackOff")
        await stage.patch_json(Pod, "web", [{"op": "replace", "path": IMAGE, "value": "app:2"}])
        await stage.at(second + 1)
        assert stage.times("started", "web")[-1] == second
        assert stage.readiness("web")[-1] == (second, True)

    cluster(main, broken)
