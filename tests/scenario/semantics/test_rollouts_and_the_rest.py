"""Rollouts and the other controllers on the whole cluster, as far as its nodes, Services and volumes matter to them.

What the controllers decide by themselves is in tests/scenario/test_*.py, with a scripted kubelet.
"""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.resources.apps_v1 import DaemonSet, Deployment, ReplicaSet, StatefulSet
from lightkube.resources.batch_v1 import CronJob, Job
from lightkube.resources.core_v1 import Node, PersistentVolumeClaim, Pod

from antei.api.conditions import find
from antei.api.objects import labels_of, meta, name_of, uid_of
from antei.runtime.simulated import ContainerProfile, ScheduledExit

SERVICE = """
    apiVersion: v1
    kind: Service
    metadata: {name: web}
    spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""
DEPLOYMENT = """
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: web}
    spec:
      replicas: %d
      %s
      selector: {matchLabels: {app: web}}
      template:
        metadata: {labels: {app: web}}
        spec:
          terminationGracePeriodSeconds: 20
          containers:
          - name: app
            image: app
            readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
"""
STATEFUL_SET = """
    apiVersion: apps/v1
    kind: StatefulSet
    metadata: {name: db}
    spec:
      replicas: %d
      serviceName: db
      %s
      selector: {matchLabels: {app: db}}
      template:
        metadata: {labels: {app: db}}
        spec:
          containers: [{name: app, image: app, volumeMounts: [{name: data, mountPath: /data}]}]
      volumeClaimTemplates:
      - metadata: {name: data}
        spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"""
#: Listens after 2 s, so that a pod is ready 2 s after it started; ends 3 s after SIGTERM.
SERVER = ContainerProfile(listens_after_seconds=2, stops_after_seconds=3)


async def images(stage: Any, app: str = "web") -> set[str]:
    return {pod.spec.containers[0].image for pod in await stage.pods(app)}


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "most", "least"),
    [
        (4, "25%", "25%", 5, 3),  # the defaults
        (10, "25%", "25%", 13, 8),  # surge rounds up, unavailable rounds down
        (3, "0", "1", 3, 2),
        (3, "1", "0", 4, 3),
        (3, "1%", "1%", 4, 3),
        (3, "0%", "10%", 3, 2),  # both would be zero: one may be unavailable
        (2, "100%", "0", 4, 2),
    ],
)
def test_a_rolling_update_keeps_within_max_surge_and_max_unavailable(
    cluster: Any, replicas: int, surge: str, unavailable: str, most: int, least: int
) -> None:
    async def main(stage: Any) -> None:
        strategy = f"strategy: {{rollingUpdate: {{maxSurge: {surge}, maxUnavailable: {unavailable}}}}}"
        await stage.apply(SERVICE, DEPLOYMENT % (replicas, strategy))
        await stage.at(10)
        assert await stage.serving("web") == await stage.names("web")
        await stage.set_image("web", "app:2")
        await stage.at(100)
        assert await images(stage) == {"app:2"}
        counts = stage.counts(10)
        assert (max(staying for _, staying, _ in counts), min(ready for *_, ready in counts)) == (most, least)
        assert min(count for second, count in stage.served("web") if second > 5) >= least

    cluster(main, {"app*": SERVER}, nodes=3)


def test_a_pod_counts_as_available_after_min_ready_seconds(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        strategy = "minReadySeconds: 10\n      strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}"
        await stage.apply(DEPLOYMENT % (2, strategy))
        await stage.at(20)
        old = await stage.names()
        await stage.set_image("web", "app:2")
        await stage.at(60)
        # New at 20 s, ready at 22 s, available at 32 s: then the first old one goes and the second new one comes.
        assert sorted(stage.gone_at(name) for name in old) == [35, 47]
        assert sorted(stage.created_at(name) for name in await stage.names()) == [20, 32]
        status = (await stage.get(Deployment, "web")).status
        available = find(status.conditions, "Progressing")
        assert (available.reason, stage.second_of(available.lastUpdateTime)) == ("NewReplicaSetAvailable", 44)

    cluster(main, {"app*": SERVER})


def test_recreate_starts_new_pods_when_the_old_ones_have_gone(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(SERVICE, DEPLOYMENT % (2, "strategy: {type: Recreate}"))
        await stage.at(10)
        old = await stage.names()
        await stage.set_image("web", "app:2")
        await stage.at(12.9)
        assert await stage.serving("web") == old  # nobody else is there: those that terminate serve on
        await stage.at(14.9)
        assert await stage.serving("web") == []
        await stage.at(15)
        assert await stage.serving("web") == await stage.names()
        assert [stage.created_at(name) for name in await stage.names()] == [13, 13]
        assert (sorted(stage.times("exited")), sorted(stage.times("started"))) == ([13, 13], [0, 0, 13, 13])

    cluster(main, {"app*": SERVER})


def test_a_rollout_that_cannot_progress_says_so_at_its_deadline_and_is_undone(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(SERVICE, DEPLOYMENT % (4, "progressDeadlineSeconds: 60"))
        await stage.at(10)
        await stage.set_image("web", "app:broken")
        await stage.at(69.9)
        assert find((await stage.get(Deployment, "web")).status.conditions, "Progressing").status == "True"
        await stage.at(72)
        status = (await stage.get(Deployment, "web")).status
        stuck = find(status.conditions, "Progressing")
        assert (stuck.status, stuck.reason) == ("False", "ProgressDeadlineExceeded")
        assert len(await stage.serving("web")) == 3  # maxUnavailable: one
        await stage.set_image("web", "app")
        await stage.at(80)
        assert await images(stage) == {"app"}
        revisions = {
            rs.spec.template.spec.containers[0].image: meta(rs).annotations["deployment.kubernetes.io/revision"]
            for rs in (await stage.client.list(ReplicaSet, "default")).items
        }
        assert revisions == {"app": "3", "app:broken": "2"}

    cluster(main, {"app:broken": ContainerProfile(ports=()), "app": SERVER})


def test_a_paused_deployment_rolls_only_when_it_is_resumed(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(DEPLOYMENT % (2, "paused: true"))
        await stage.at(1)
        assert await stage.names() == []
        await stage.patch(Deployment, "web", {"spec": {"paused": False}})
        await stage.at(5)
        await stage.patch(Deployment, "web", {"spec": {"paused": True}})
        await stage.set_image("web", "app:2")
        await stage.patch(Deployment, "web", {"spec": {"replicas": 3}})
        await stage.at(20)
        assert (await images(stage), len(await stage.names())) == ({"app"}, 3)  # scaled, not rolled
        await stage.patch(Deployment, "web", {"spec": {"paused": False}})
        await stage.at(60)
        assert await images(stage) == {"app:2"}

    cluster(main, {"app*": SERVER})


def test_a_stateful_set_starts_and_updates_one_at_a_time_and_keeps_its_claims(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(STATEFUL_SET.replace("containers: [{", f"containers: [{{{PROBED}, ") % (3, ""))
        await stage.at(10)
        assert [stage.times("started", f"db-{n}") for n in range(3)] == [[0], [2], [4]]
        claims = {name_of(c): uid_of(c) for c in (await stage.client.list(PersistentVolumeClaim, "default")).items}
        assert list(claims) == ["data-db-0", "data-db-1", "data-db-2"]
        await stage.set_image("db", "app:2", StatefulSet)
        await stage.at(40)
        # Highest first; 3 s to end, then 2 s to be ready.
        assert [stage.times("started", f"db-{n}")[1:] for n in (2, 1, 0)] == [[13], [18], [23]]
        assert min(ready for *_, ready in stage.counts(10)) == 2
        again = {name_of(c): uid_of(c) for c in (await stage.client.list(PersistentVolumeClaim, "default")).items}
        assert again == claims

    cluster(main, {"app*": SERVER})


PROBED = "readinessProbe: {tcpSocket: {port: 3306}, periodSeconds: 1}"


def test_claims_follow_the_retention_policy(cluster: Any) -> None:
    async def claims(stage: Any) -> list[str]:
        return [name_of(c) for c in (await stage.client.list(PersistentVolumeClaim, "default")).items]

    async def main(stage: Any) -> None:
        policy = "persistentVolumeClaimRetentionPolicy: {whenScaled: Delete, whenDeleted: Retain}"
        await stage.apply(STATEFUL_SET % (2, policy))
        await stage.at(5)
        assert await claims(stage) == ["data-db-0", "data-db-1"]
        await stage.patch(StatefulSet, "db", {"spec": {"replicas": 1}})
        await stage.at(10)
        assert await claims(stage) == ["data-db-0"]
        await stage.delete("db", kind=StatefulSet)
        await stage.at(20)
        assert await stage.names() == []
        assert await claims(stage) == ["data-db-0"]

    cluster(main, SERVER)


def test_a_job_runs_its_indexes_and_tries_failures_again_up_to_its_limit(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(
            """
            apiVersion: batch/v1
            kind: Job
            metadata: {name: work}
            spec:
              completions: 3
              parallelism: 2
              completionMode: Indexed
              ttlSecondsAfterFinished: 30
              template:
                metadata: {labels: {app: work}}
                spec: {restartPolicy: Never, containers: [{name: app, image: works}]}
            ---
            apiVersion: batch/v1
            kind: Job
            metadata: {name: fails}
            spec:
              backoffLimit: 2
              template:
                metadata: {labels: {app: fails}}
                spec: {restartPolicy: Never, containers: [{name: app, image: fails}]}
            """
        )
        await stage.at(12)
        job = await stage.get(Job, "work")
        assert (job.status.succeeded, job.status.completedIndexes) == (3, "0-2")
        assert stage.second_of(job.status.completionTime) == 10  # two side by side, then the third, 5 s each
        indexes = [labels_of(pod)["batch.kubernetes.io/job-completion-index"] for pod in await stage.pods("work")]
        assert sorted(indexes) == ["0", "1", "2"]
        await stage.at(41)
        assert await stage.find(Job, "work") is None
        assert await stage.names("work") == []
        await stage.at(60)
        failed = find((await stage.get(Job, "fails")).status.conditions, "Failed")
        assert (failed.reason, failed.message) == (
            "BackoffLimitExceeded",
            "Job has reached the specified backoff limit",
        )
        # Each ends after 1 s; the next comes 10 s, then 20 s after that.
        assert sorted(stage.created_at(name) for name in await stage.names("fails")) == [0, 11, 32]

    cluster(
        main, {"works": ContainerProfile(ends=ScheduledExit(5)), "fails": ContainerProfile(ends=ScheduledExit(1, 1))}
    )


def test_a_cron_job_runs_at_the_full_hour_and_keeps_its_history(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(
            """
            apiVersion: batch/v1
            kind: CronJob
            metadata: {name: backup}
            spec:
              schedule: "0 * * * *"
              successfulJobsHistoryLimit: 2
              jobTemplate:
                spec:
                  template:
                    metadata: {labels: {app: backup}}
                    spec: {restartPolicy: Never, containers: [{name: app, image: works}]}
            """
        )
        hour = 3600 - 10  # the test's second 0 is ten seconds past the hour
        await stage.at(hour - 0.1)
        assert await stage.names("backup") == []
        await stage.at(hour)
        (name,) = await stage.names("backup")
        assert stage.created_at(name) == hour
        await stage.at(hour + 5)
        assert await stage.phase(name) == "Succeeded"
        await stage.at(4 * 3600)
        assert len((await stage.client.list(Job, "default")).items) == 2
        status = (await stage.get(CronJob, "backup")).status
        assert stage.second_of(status.lastScheduleTime) == 4 * 3600 - 10
        assert stage.second_of(status.lastSuccessfulTime) == 4 * 3600 - 5

    cluster(main, {"works": ContainerProfile(ends=ScheduledExit(5))})


def test_a_daemon_set_has_one_pod_on_every_node_and_a_drain_leaves_them(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(
            """
            apiVersion: apps/v1
            kind: DaemonSet
            metadata: {name: agent}
            spec:
              selector: {matchLabels: {app: agent}}
              template:
                metadata: {labels: {app: agent}}
                spec: {containers: [{name: app, image: app}]}
            """
        )
        await stage.at(5)
        assert sorted(p.spec.nodeName for p in await stage.pods("agent")) == ["node-1", "node-2", "node-3"]
        await stage.cordon("node-2")
        await stage.at(10)
        assert sorted(p.spec.nodeName for p in await stage.pods("agent")) == ["node-1", "node-2", "node-3"]
        status = (await stage.get(DaemonSet, "agent")).status
        assert (status.desiredNumberScheduled, status.numberReady) == (3, 3)

    cluster(main, nodes=3)


def test_nothing_is_scheduled_on_a_cordoned_node_and_a_pod_that_fits_nowhere_says_why(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.cordon("node-1")
        await stage.apply(DEPLOYMENT % (4, ""))
        await stage.at(5)
        assert {p.spec.nodeName for p in await stage.pods()} == {"node-2"}
        await stage.cordon("node-2")
        await stage.apply(
            "{apiVersion: v1, kind: Pod, metadata: {name: late}, spec: {containers: [{name: app, image: app}]}}"
        )
        await stage.at(6)
        scheduled = await stage.condition("late", "PodScheduled")
        assert (scheduled.status, scheduled.reason) == ("False", "Unschedulable")
        assert scheduled.message.startswith("0/2 nodes are available: 2 node(s) were unschedulable.")
        assert await stage.phase("late") == "Pending"
        await stage.patch(Node, "node-1", {"spec": {"unschedulable": None}})
        await stage.at(7)
        assert (await stage.get(Pod, "late")).spec.nodeName == "node-1"
        scheduled = await stage.condition("late", "PodScheduled")
        assert (scheduled.status, scheduled.reason, scheduled.message) == ("True", None, None)
        assert stage.second_of(scheduled.lastTransitionTime) == 6

    cluster(main, nodes=2)


def test_what_owns_nothing_any_more_goes_with_its_owner(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(DEPLOYMENT % (2, ""))
        await stage.at(5)
        names = await stage.names()
        await stage.delete("web", kind=Deployment)
        await stage.at(10)
        assert (await stage.client.list(ReplicaSet, "default")).items == ()
        assert [stage.signals(name) for name in names] == [[(5, "SIGTERM")]] * 2
        assert [stage.gone_at(name) for name in names] == [8, 8]

    cluster(main, SERVER)
