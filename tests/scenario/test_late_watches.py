"""Informers that lag behind their own controller's writes must not make it write twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from lightkube.models.apps_v1 import (
    DeploymentSpec,
    DeploymentStrategy,
    ReplicaSetSpec,
    RollingUpdateDeployment,
    StatefulSetSpec,
)
from lightkube.models.batch_v1 import CronJobSpec, JobSpec, JobTemplateSpec
from lightkube.models.core_v1 import Container, PodSpec, PodTemplateSpec
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.resources.apps_v1 import ControllerRevision, Deployment, ReplicaSet, StatefulSet
from lightkube.resources.batch_v1 import CronJob, Job
from lightkube.resources.core_v1 import Pod

from antei.api.objects import meta, name_of
from antei.control.cronjob import CronJobController
from antei.control.deployment import DeploymentController
from antei.control.job import JobController
from antei.control.replicaset import ReplicaSetController
from antei.control.statefulset import StatefulSetController

CONTROLLERS = [
    DeploymentController,
    ReplicaSetController,
    StatefulSetController,
    JobController,
    CronJobController,
]
SELECTOR = LabelSelector(matchLabels={"app": "web"})


def template(image: str = "web:1", restart_policy: str | None = None) -> PodTemplateSpec:
    return PodTemplateSpec(
        metadata=ObjectMeta(labels={"app": "web"}),
        spec=PodSpec(containers=[Container(name="web", image=image)], restartPolicy=restart_policy),
    )


def named() -> ObjectMeta:
    return ObjectMeta(name="web", namespace="default")


@pytest.mark.parametrize("late_seconds", [0.05, 0.7, 3.0])
def test_a_replica_set_creates_and_deletes_as_many_as_it_must(simulate: Any, late_seconds: float) -> None:
    async def main(w: Any) -> None:
        spec = ReplicaSetSpec(replicas=7, selector=SELECTOR, template=template())
        await w.client.create(ReplicaSet(apiVersion="apps/v1", kind="ReplicaSet", metadata=named(), spec=spec))
        await asyncio.sleep(30)
        assert len(w.created) == 7
        for pod in (await w.pods())[:2]:
            await w.client.delete(Pod, name_of(pod), "default")
        await asyncio.sleep(30)
        assert len(w.created) == 9
        await w.client.patch(ReplicaSet, "web", "default", {"spec": {"replicas": 3}})
        await asyncio.sleep(30)
        assert (len(w.created), len(await w.pods())) == (9, 3)
        assert len(await w.events("SuccessfulDelete")) == 4
        status = (await w.client.get(ReplicaSet, "web", "default")).status
        assert (status.replicas, status.readyReplicas, status.availableReplicas) == (3, 3, 3)
        assert status.terminatingReplicas == 0

    simulate(main, CONTROLLERS, late_seconds=late_seconds)


@pytest.mark.parametrize("late_seconds", [0.05, 0.7, 3.0])
def test_a_rollout_stays_within_its_surge(simulate: Any, late_seconds: float) -> None:
    async def main(w: Any) -> None:
        rolling = RollingUpdateDeployment(maxSurge=1, maxUnavailable=0)
        spec = DeploymentSpec(
            replicas=4,
            selector=SELECTOR,
            template=template(),
            strategy=DeploymentStrategy(type="RollingUpdate", rollingUpdate=rolling),
        )
        await w.client.create(Deployment(apiVersion="apps/v1", kind="Deployment", metadata=named(), spec=spec))
        await asyncio.sleep(60)
        containers = [{"name": "web", "image": "web:2"}]
        await w.client.patch(Deployment, "web", "default", {"spec": {"template": {"spec": {"containers": containers}}}})
        await asyncio.sleep(120)
        assert w.most_active == 5
        assert len(w.created) == 8
        assert {p.spec.containers[0].image for p in await w.pods()} == {"web:2"}
        sets = (await w.client.list(ReplicaSet, "default")).items
        revisions = {rs.spec.replicas: meta(rs).annotations["deployment.kubernetes.io/revision"] for rs in sets}
        assert revisions == {0: "1", 4: "2"}

    simulate(main, CONTROLLERS, late_seconds=late_seconds)


@pytest.mark.parametrize("late_seconds", [0.05, 0.7, 3.0])
def test_a_stateful_set_has_one_pod_a_name(simulate: Any, late_seconds: float) -> None:
    async def main(w: Any) -> None:
        spec = StatefulSetSpec(replicas=3, selector=SELECTOR, template=template(), serviceName="web")
        await w.client.create(StatefulSet(apiVersion="apps/v1", kind="StatefulSet", metadata=named(), spec=spec))
        await asyncio.sleep(60)
        containers = [{"name": "web", "image": "web:2"}]
        await w.client.patch(
            StatefulSet, "web", "default", {"spec": {"template": {"spec": {"containers": containers}}}}
        )
        await asyncio.sleep(120)
        assert [name for _, name in w.created] == ["web-0", "web-1", "web-2", "web-2", "web-1", "web-0"]
        assert len((await w.client.list(ControllerRevision, "default")).items) == 2
        assert not await w.events("FailedCreate")

    simulate(main, CONTROLLERS, late_seconds=late_seconds)


@pytest.mark.parametrize("late_seconds", [0.05, 0.7, 3.0])
def test_a_job_counts_each_pod_once(simulate: Any, script: Any, late_seconds: float) -> None:
    async def main(w: Any) -> None:
        spec = JobSpec(completions=6, parallelism=2, template=template(restart_policy="Never"))
        await w.client.create(Job(apiVersion="batch/v1", kind="Job", metadata=named(), spec=spec))
        await asyncio.sleep(120)
        job = await w.client.get(Job, "web", "default")
        assert (job.status.succeeded, len(w.created)) == (6, 6)
        assert [c.type for c in job.status.conditions] == ["SuccessCriteriaMet", "Complete"]

    simulate(main, CONTROLLERS, lambda _: script(exit_seconds=2), late_seconds=late_seconds)


@pytest.mark.parametrize("late_seconds", [0.05, 0.7, 3.0])
def test_a_cron_job_starts_one_job_a_time(simulate: Any, script: Any, late_seconds: float) -> None:
    async def main(w: Any) -> None:
        job_spec = JobSpec(template=template(restart_policy="Never"))
        spec = CronJobSpec(schedule="* * * * *", jobTemplate=JobTemplateSpec(spec=job_spec))
        await w.client.create(CronJob(apiVersion="batch/v1", kind="CronJob", metadata=named(), spec=spec))
        await asyncio.sleep(330)
        assert len([m for _, m in await w.events("SuccessfulCreate") if m.startswith("Created job")]) == 5
        assert len(w.created) == 5
        assert not (await w.client.get(CronJob, "web", "default")).status.active

    simulate(main, CONTROLLERS, lambda _: script(exit_seconds=2), late_seconds=late_seconds)
