"""Deployments in virtual time, through ReplicaSets and a scripted kubelet."""

from __future__ import annotations

import asyncio
from typing import Any

from lightkube.models.apps_v1 import DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment
from lightkube.models.core_v1 import Container, PodSpec, PodTemplateSpec
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.resources.apps_v1 import Deployment, ReplicaSet

from antei.api import conditions
from antei.api.objects import meta, name_of
from antei.api.pods import is_active, is_available
from antei.control.deployment import DeploymentController
from antei.control.replicaset import ReplicaSetController

CONTROLLERS = [DeploymentController, ReplicaSetController]


def deployment(replicas: int = 4, image: str = "web:1", **spec: Any) -> Deployment:
    fields: dict[str, Any] = {
        "strategy": DeploymentStrategy(
            type="RollingUpdate", rollingUpdate=RollingUpdateDeployment(maxSurge=1, maxUnavailable=1)
        ),
        "progressDeadlineSeconds": 600,
        "revisionHistoryLimit": 10,
        **spec,
    }
    return Deployment(
        apiVersion="apps/v1",
        kind="Deployment",
        metadata=ObjectMeta(name="web", namespace="default"),
        spec=DeploymentSpec(
            replicas=replicas,
            selector=LabelSelector(matchLabels={"app": "web"}),
            template=PodTemplateSpec(
                metadata=ObjectMeta(labels={"app": "web"}),
                spec=PodSpec(containers=[Container(name="web", image=image)]),
            ),
            **fields,
        ),
    )


async def fetch(w: Any) -> Deployment:
    return await w.client.get(Deployment, "web", "default")


async def set_image(w: Any, image: str) -> None:
    await w.client.patch(
        Deployment,
        "web",
        "default",
        {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}},
    )


def complete(w: Any, image: str, replicas: int) -> Any:
    async def met() -> bool:
        d = await fetch(w)
        status = d.status
        progressing = conditions.find(status.conditions if status else None, "Progressing")
        sets = (await w.client.list(ReplicaSet, "default")).items
        full = [rs for rs in sets if rs.spec.replicas == replicas]
        return (
            progressing is not None
            and progressing.reason == "NewReplicaSetAvailable"
            and len(full) == 1
            and full[0].spec.template.spec.containers[0].image == image
            and (status.availableReplicas or 0) == replicas
            and (status.replicas or 0) == replicas
        )

    return met


def test_a_new_deployment_is_complete_when_its_pods_are_ready(simulate: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(deployment())
        assert await w.until(complete(w, "web:1", 4)) == 1.01
        d = await fetch(w)
        assert meta(d).annotations["deployment.kubernetes.io/revision"] == "1"
        (replica_set,) = (await w.client.list(ReplicaSet, "default")).items
        name = name_of(replica_set)
        assert await w.events("ScalingReplicaSet") == [
            ("ScalingReplicaSet", f"Scaled up replica set {name} from 0 to 4")
        ]
        assert len(await w.events("SuccessfulCreate")) == 4
        progressing = conditions.find(d.status.conditions, "Progressing")
        assert progressing.message == f'ReplicaSet "{name}" has successfully progressed.'
        assert meta(replica_set).annotations == {
            "deployment.kubernetes.io/revision": "1",
            "deployment.kubernetes.io/desired-replicas": "4",
            "deployment.kubernetes.io/max-replicas": "5",
        }

    simulate(main, CONTROLLERS)


def test_a_rolling_update_never_has_too_many_or_too_few_pods(simulate: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(deployment())
        await w.until(complete(w, "web:1", 4))
        await asyncio.sleep(10 - w.seconds)

        bounds: list[tuple[int, int]] = []

        async def observe() -> None:
            while True:
                pods = await w.pods()
                active = [p for p in pods if is_active(p)]
                bounds.append((len(active), sum(is_available(p, 0, w.world.clock.now()) for p in active)))
                await asyncio.sleep(0.001)

        watcher = asyncio.create_task(observe())
        await set_image(w, "web:2")
        ended = await w.until(complete(w, "web:2", 4))
        watcher.cancel()
        assert max(total for total, _ in bounds) <= 5
        assert min(available for _, available in bounds) >= 3
        # Two new pods a second (one of the surge, one of the unavailable), then the next two.
        assert ended == 12.01, bounds

    simulate(main, CONTROLLERS)
