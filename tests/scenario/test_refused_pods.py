"""Pods that the API server refuses, and the older ReplicationController."""

from __future__ import annotations

import asyncio
from typing import Any

from lightkube.models.apps_v1 import DeploymentSpec
from lightkube.models.batch_v1 import JobSpec
from lightkube.models.core_v1 import Container, PodSpec, PodTemplateSpec, ReplicationControllerSpec
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.resources.apps_v1 import Deployment, ReplicaSet
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod, ReplicationController

from antei.api import conditions
from antei.api.errors import forbidden
from antei.api.objects import labels_of, meta
from antei.control.deployment import DeploymentController
from antei.control.job import JobController
from antei.control.replicaset import ReplicaSetController, ReplicationControllerController

TEMPLATE = PodTemplateSpec(
    metadata=ObjectMeta(labels={"app": "web"}), spec=PodSpec(containers=[Container(name="web", image="web:1")])
)


def named() -> ObjectMeta:
    return ObjectMeta(name="web", namespace="default")


def test_refused_pods_are_told_on_set_and_deployment_and_tried_again_ever_more_slowly(simulate: Any) -> None:
    async def main(w: Any) -> None:
        create = w.client.create
        refused: list[float] = []

        async def refusing(obj: Any) -> Any:
            if isinstance(obj, Pod):
                refused.append(w.seconds)
                raise forbidden("pods", meta(obj).name or "", "exceeded quota: small")
            return await create(obj)

        w.client.create = refusing
        spec = DeploymentSpec(replicas=10, selector=LabelSelector(matchLabels={"app": "web"}), template=TEMPLATE)
        await create(Deployment(apiVersion="apps/v1", kind="Deployment", metadata=named(), spec=spec))
        await asyncio.sleep(60)
        # One attempt a round, for the first batch is of one; rounds are apart by a backoff that doubles from 5 ms.
        assert 12 <= len(refused) <= 30
        (replica_set,) = (await w.client.list(ReplicaSet, "default")).items
        failure = conditions.find(replica_set.status.conditions, "ReplicaFailure")
        assert (failure.status, failure.reason) == ("True", "FailedCreate")
        assert "exceeded quota: small" in failure.message
        deployment = await w.client.get(Deployment, "web", "default")
        assert conditions.find(deployment.status.conditions, "ReplicaFailure").reason == "FailedCreate"
        assert conditions.find(deployment.status.conditions, "Available").status == "False"
        assert any("exceeded quota" in message for _, message in await w.events("FailedCreate"))
        w.client.create = create
        await asyncio.sleep(120)
        assert len(w.created) == 10
        deployment = await w.client.get(Deployment, "web", "default")
        assert conditions.find(deployment.status.conditions, "ReplicaFailure") is None
        assert deployment.status.availableReplicas == 10

    simulate(main, [DeploymentController, ReplicaSetController])


def test_a_replication_controller_is_a_replica_set_by_another_selector(simulate: Any) -> None:
    async def main(w: Any) -> None:
        spec = ReplicationControllerSpec(replicas=3, selector={"app": "web"}, template=TEMPLATE)
        await w.client.create(
            ReplicationController(apiVersion="v1", kind="ReplicationController", metadata=named(), spec=spec)
        )
        await asyncio.sleep(5)
        status = (await w.client.get(ReplicationController, "web", "default")).status
        assert (status.replicas, status.readyReplicas, status.fullyLabeledReplicas) == (3, 3, 3)
        pod = (await w.pods())[0]
        await w.client.delete(Pod, meta(pod).name, "default")
        await asyncio.sleep(0.1)
        # Replaced at once, while the old one is still stopping.
        assert len(await w.pods()) == 4

    simulate(main, [ReplicationControllerController])


def test_a_deleted_job_does_not_hold_its_pods(simulate: Any, script: Any) -> None:
    async def main(w: Any) -> None:
        template = PodTemplateSpec(
            spec=PodSpec(restartPolicy="Never", containers=[Container(name="web", image="web:1")])
        )
        job = Job(apiVersion="batch/v1", kind="Job", metadata=named(), spec=JobSpec(template=template))
        await w.client.create(job)
        await asyncio.sleep(3)
        await w.client.delete(Job, "web", "default", propagation_policy="Background")
        await asyncio.sleep(3)
        (pod,) = await w.pods()
        assert labels_of(pod)["job-name"] == "web"
        assert not meta(pod).finalizers

    simulate(main, [JobController])
