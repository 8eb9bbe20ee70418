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


def progressing(w: Any, reason: str) -> Any:
    async def met() -> bool:
        status = (await fetch(w)).status
        condition = conditions.find(status.conditions if status else None, "Progressing")
        return condition is not None and condition.reason == reason

    return met


async def sizes(w: Any) -> dict[str, int]:
    """By image."""
    sets = (await w.client.list(ReplicaSet, "default")).items
    return {rs.spec.template.spec.containers[0].image: rs.spec.replicas for rs in sets}


def test_a_rollout_that_makes_no_progress_is_reported_at_its_deadline(simulate: Any, script: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(deployment(progressDeadlineSeconds=60))
        await w.until(complete(w, "web:1", 4))
        await asyncio.sleep(10 - w.seconds)
        await set_image(w, "broken")
        assert await w.until(progressing(w, "ProgressDeadlineExceeded")) == 70.0
        d = await fetch(w)
        condition = conditions.find(d.status.conditions, "Progressing")
        (broken,) = [
            rs
            for rs in (await w.client.list(ReplicaSet, "default")).items
            if rs.spec.template.spec.containers[0].image == "broken"
        ]
        assert condition.status == "False"
        assert condition.message == f'ReplicaSet "{name_of(broken)}" has timed out progressing.'
        # One new pod of the surge, one in the place of the one that may be unavailable.
        assert await sizes(w) == {"web:1": 3, "broken": 2}
        assert d.status.availableReplicas == 3
        assert conditions.find(d.status.conditions, "Available").status == "True"
        # Rolling back ends it, and the broken version's pods go first.
        await set_image(w, "web:1")
        assert await w.until(complete(w, "web:1", 4), 10) <= 72.1

    def of(pod: Any) -> Any:
        is_broken = pod.spec.containers[0].image == "broken"
        return script(ready_seconds=None if is_broken else 1.0)

    simulate(main, CONTROLLERS, of)


def test_rolling_back_reuses_the_old_replica_set_and_numbers_it_anew(simulate: Any) -> None:
    async def main(w: Any) -> None:
        cause = {"kubernetes.io/change-cause": "first"}
        await w.client.create(deployment())
        await w.client.patch(Deployment, "web", "default", {"metadata": {"annotations": cause}})
        await w.until(complete(w, "web:1", 4))
        cause = {"kubernetes.io/change-cause": "second"}
        await w.client.patch(Deployment, "web", "default", {"metadata": {"annotations": cause}})
        await set_image(w, "web:2")
        await w.until(complete(w, "web:2", 4))
        await set_image(w, "web:1")
        await w.until(complete(w, "web:1", 4))
        sets = (await w.client.list(ReplicaSet, "default")).items
        assert len(sets) == 2
        by_image = {rs.spec.template.spec.containers[0].image: meta(rs).annotations for rs in sets}
        assert by_image["web:1"]["deployment.kubernetes.io/revision"] == "3"
        assert by_image["web:1"]["deployment.kubernetes.io/revision-history"] == "1"
        assert by_image["web:2"]["deployment.kubernetes.io/revision"] == "2"
        assert by_image["web:2"]["kubernetes.io/change-cause"] == "second"
        assert meta(await fetch(w)).annotations["deployment.kubernetes.io/revision"] == "3"

    simulate(main, CONTROLLERS)


def test_a_paused_deployment_does_not_roll_but_scales(simulate: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(deployment())
        await w.until(complete(w, "web:1", 4))
        await w.client.patch(Deployment, "web", "default", {"spec": {"paused": True}})
        await set_image(w, "web:2")
        await asyncio.sleep(30)
        assert await sizes(w) == {"web:1": 4}
        condition = conditions.find((await fetch(w)).status.conditions, "Progressing")
        assert (condition.status, condition.reason) == ("Unknown", "DeploymentPaused")
        await w.client.patch(Deployment, "web", "default", {"spec": {"replicas": 6}})
        await asyncio.sleep(30)
        assert await sizes(w) == {"web:1": 6}
        await w.client.patch(Deployment, "web", "default", {"spec": {"paused": False}})
        await w.until(complete(w, "web:2", 6))
        assert await sizes(w) == {"web:1": 0, "web:2": 6}

    simulate(main, CONTROLLERS)


def test_recreate_starts_nothing_new_while_an_old_pod_runs(simulate: Any, script: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(deployment(strategy=DeploymentStrategy(type="Recreate")))
        await w.until(complete(w, "web:1", 4))
        await asyncio.sleep(10 - w.seconds)
        w.created.clear()
        await set_image(w, "web:2")
        assert await w.until(complete(w, "web:2", 4)) == 16.01
        # Five seconds to stop, one to get ready.
        assert [seconds for seconds, _ in w.created] == [15.0] * 4

    simulate(main, CONTROLLERS, lambda _: script(stop_seconds=5))


def test_scaling_amid_a_rollout_is_shared_in_proportion(simulate: Any, script: Any) -> None:
    async def main(w: Any) -> None:
        margins = RollingUpdateDeployment(maxSurge=3, maxUnavailable=2)
        strategy = DeploymentStrategy(type="RollingUpdate", rollingUpdate=margins)
        await w.client.create(deployment(10, strategy=strategy))
        await w.until(complete(w, "web:1", 10))
        await set_image(w, "broken")
        await asyncio.sleep(30)
        assert await sizes(w) == {"web:1": 8, "broken": 5}
        await w.client.patch(Deployment, "web", "default", {"spec": {"replicas": 15}})
        await asyncio.sleep(30)
        # The example of Kubernetes' documentation: five more, three to the old, two to the new.
        assert await sizes(w) == {"web:1": 11, "broken": 7}

    simulate(main, CONTROLLERS, lambda pod: script(None if pod.spec.containers[0].image == "broken" else 1.0))


def test_only_so_many_old_replica_sets_are_kept(simulate: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(deployment(2, revisionHistoryLimit=1))
        for version in range(1, 5):
            await set_image(w, f"web:{version}")
            await w.until(complete(w, f"web:{version}", 2))
        await asyncio.sleep(5)
        assert await sizes(w) == {"web:3": 0, "web:4": 2}

    simulate(main, CONTROLLERS)


def test_min_ready_seconds_slows_the_rollout(simulate: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(deployment(minReadySeconds=10))
        assert await w.until(complete(w, "web:1", 4)) == 11.01
        await asyncio.sleep(20 - w.seconds)
        await set_image(w, "web:2")
        assert await w.until(complete(w, "web:2", 4)) == 42.01

    simulate(main, CONTROLLERS)


def test_an_orphan_is_adopted_and_a_pod_that_lost_its_label_is_let_go_and_replaced(simulate: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(deployment(2))
        await w.until(complete(w, "web:1", 2))
        (pod, _) = await w.pods()
        await w.client.patch(type(pod), name_of(pod), "default", {"metadata": {"labels": {"app": "debug"}}})
        await asyncio.sleep(5)
        pods = {name_of(p): p for p in await w.pods()}
        assert len(pods) == 3
        assert not meta(pods[name_of(pod)]).ownerReferences
        await w.client.patch(type(pod), name_of(pod), "default", {"metadata": {"labels": {"app": "web"}}})
        await asyncio.sleep(5)
        # Adopted, and then one of three was one too many.
        pods = {name_of(p): p for p in await w.pods()}
        assert len(pods) == 2
        assert all(meta(p).ownerReferences for p in pods.values())

    simulate(main, CONTROLLERS)
