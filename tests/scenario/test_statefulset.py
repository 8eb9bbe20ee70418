"""StatefulSets in virtual time, with a scripted kubelet."""

from __future__ import annotations

import asyncio
from typing import Any

from lightkube.models.apps_v1 import (
    RollingUpdateStatefulSetStrategy,
    StatefulSetSpec,
    StatefulSetUpdateStrategy,
)
from lightkube.models.core_v1 import (
    Container,
    PersistentVolumeClaimSpec,
    PodSpec,
    PodTemplateSpec,
    VolumeResourceRequirements,
)
from lightkube.models.core_v1 import PersistentVolumeClaim as ClaimTemplate
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.resources.apps_v1 import ControllerRevision, StatefulSet
from lightkube.resources.core_v1 import PersistentVolumeClaim, Pod

from antei.api.objects import labels_of, name_of, uid_of
from antei.client import PatchType
from antei.control.statefulset import StatefulSetController

CONTROLLERS = [StatefulSetController]


def stateful_set(replicas: int = 3, **spec: Any) -> StatefulSet:
    fields: dict[str, Any] = {
        "podManagementPolicy": "OrderedReady",
        "updateStrategy": StatefulSetUpdateStrategy(
            type="RollingUpdate", rollingUpdate=RollingUpdateStatefulSetStrategy(partition=0)
        ),
        "revisionHistoryLimit": 10,
        **spec,
    }
    return StatefulSet(
        apiVersion="apps/v1",
        kind="StatefulSet",
        metadata=ObjectMeta(name="mysql", namespace="default"),
        spec=StatefulSetSpec(
            replicas=replicas,
            serviceName="mysql",
            selector=LabelSelector(matchLabels={"app": "mysql"}),
            template=PodTemplateSpec(
                metadata=ObjectMeta(labels={"app": "mysql"}),
                spec=PodSpec(containers=[Container(name="mysql", image="mysql:1")]),
            ),
            volumeClaimTemplates=[
                ClaimTemplate(
                    metadata=ObjectMeta(name="data"),
                    spec=PersistentVolumeClaimSpec(
                        accessModes=["ReadWriteOnce"], resources=VolumeResourceRequirements(requests={"storage": "1Gi"})
                    ),
                )
            ],
            **fields,
        ),
    )


def ready(w: Any, count: int) -> Any:
    async def met() -> bool:
        status = (await w.client.get(StatefulSet, "mysql", "default")).status
        return status is not None and (status.readyReplicas or 0) == count and status.replicas == count

    return met


async def set_image(w: Any, image: str) -> None:
    containers = [{"name": "mysql", "image": image}]
    await w.client.patch(StatefulSet, "mysql", "default", {"spec": {"template": {"spec": {"containers": containers}}}})


async def images(w: Any) -> dict[str, str]:
    return {name_of(p): p.spec.containers[0].image for p in await w.pods()}


def test_pods_start_one_after_the_other_each_with_its_name_and_its_claim(simulate: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(stateful_set())
        assert await w.until(ready(w, 3)) == 3.01
        assert w.created == [(0.0, "mysql-0"), (1.0, "mysql-1"), (2.0, "mysql-2")]
        pod = await w.client.get(Pod, "mysql-1", "default")
        assert (pod.spec.hostname, pod.spec.subdomain) == ("mysql-1", "mysql")
        labels = labels_of(pod)
        assert labels["statefulset.kubernetes.io/pod-name"] == "mysql-1"
        assert labels["apps.kubernetes.io/pod-index"] == "1"
        assert pod.spec.volumes[0].persistentVolumeClaim.claimName == "data-mysql-1"
        claims = (await w.client.list(PersistentVolumeClaim, "default")).items
        assert [name_of(c) for c in claims] == ["data-mysql-0", "data-mysql-1", "data-mysql-2"]
        assert labels_of(claims[0]) == {"app": "mysql"}
        (revision,) = (await w.client.list(ControllerRevision, "default")).items
        status = (await w.client.get(StatefulSet, "mysql", "default")).status
        assert labels["controller-revision-hash"] == name_of(revision) == status.currentRevision
        assert revision.data["spec"]["template"]["$patch"] == "replace"
        assert (status.currentReplicas, status.updatedReplicas, status.availableReplicas) == (3, 3, 3)
        created = await w.events("SuccessfulCreate")
        assert ("SuccessfulCreate", "create Pod mysql-0 in StatefulSet mysql successful") in created
        claim_event = "create Claim data-mysql-0 Pod mysql-0 in StatefulSet mysql success"
        assert ("SuccessfulCreate", claim_event) in created

    simulate(main, CONTROLLERS)


def test_parallel_pods_start_at_once(simulate: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(stateful_set(podManagementPolicy="Parallel"))
        assert await w.until(ready(w, 3)) == 1.01

    simulate(main, CONTROLLERS)


def test_min_ready_seconds_holds_the_next_pod_back(simulate: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(stateful_set(minReadySeconds=5))
        await w.until(ready(w, 3))
        assert w.created == [(0.0, "mysql-0"), (6.0, "mysql-1"), (12.0, "mysql-2")]

    simulate(main, CONTROLLERS)


def test_an_update_goes_from_the_highest_ordinal_down_and_waits_for_each_old_pod_to_be_gone(
    simulate: Any, script: Any
) -> None:
    async def main(w: Any) -> None:
        await w.client.create(stateful_set())
        await w.until(ready(w, 3))
        await asyncio.sleep(10 - w.seconds)
        w.created.clear()
        before = (await w.client.get(StatefulSet, "mysql", "default")).status.currentRevision
        await set_image(w, "mysql:2")

        async def updated() -> bool:
            status = (await w.client.get(StatefulSet, "mysql", "default")).status
            return status.updateRevision == status.currentRevision != before

        # Each pod: 2 s to stop, then a new one, 1 s to get ready.
        ended = await w.until(updated)
        assert w.created == [(12.0, "mysql-2"), (15.0, "mysql-1"), (18.0, "mysql-0")]
        assert 19.0 <= ended <= 19.02
        assert set((await images(w)).values()) == {"mysql:2"}
        assert len((await w.client.list(ControllerRevision, "default")).items) == 2

    simulate(main, CONTROLLERS, lambda _: script(stop_seconds=2.0))


def test_a_partition_keeps_the_pods_below_it_even_when_they_are_lost(simulate: Any) -> None:
    async def main(w: Any) -> None:
        partition = StatefulSetUpdateStrategy(
            type="RollingUpdate", rollingUpdate=RollingUpdateStatefulSetStrategy(partition=2)
        )
        await w.client.create(stateful_set(updateStrategy=partition))
        await w.until(ready(w, 3))
        await set_image(w, "mysql:2")
        await asyncio.sleep(10)
        assert await images(w) == {"mysql-0": "mysql:1", "mysql-1": "mysql:1", "mysql-2": "mysql:2"}
        await w.client.delete(Pod, "mysql-0", "default")
        await asyncio.sleep(10)
        assert await images(w) == {"mysql-0": "mysql:1", "mysql-1": "mysql:1", "mysql-2": "mysql:2"}
        status = (await w.client.get(StatefulSet, "mysql", "default")).status
        assert (status.currentReplicas, status.updatedReplicas) == (2, 1)
        assert status.currentRevision != status.updateRevision

    simulate(main, CONTROLLERS)


def test_on_delete_updates_only_what_is_deleted(simulate: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(stateful_set(updateStrategy=StatefulSetUpdateStrategy(type="OnDelete")))
        await w.until(ready(w, 3))
        await set_image(w, "mysql:2")
        await asyncio.sleep(10)
        assert set((await images(w)).values()) == {"mysql:1"}
        await w.client.delete(Pod, "mysql-1", "default")
        await asyncio.sleep(10)
        assert await images(w) == {"mysql-0": "mysql:1", "mysql-1": "mysql:2", "mysql-2": "mysql:1"}

    simulate(main, CONTROLLERS)


def test_scaling_down_takes_the_highest_first_and_keeps_the_claims(simulate: Any, script: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(stateful_set())
        await w.until(ready(w, 3))
        await asyncio.sleep(10 - w.seconds)
        await w.client.patch(StatefulSet, "mysql", "default", {"spec": {"replicas": 1}})
        assert 14.0 <= await w.until(ready(w, 1)) <= 14.02
        assert [name_of(p) for p in await w.pods()] == ["mysql-0"]
        assert len((await w.client.list(PersistentVolumeClaim, "default")).items) == 3
        claims = {name_of(c): uid_of(c) for c in (await w.client.list(PersistentVolumeClaim, "default")).items}
        await w.client.patch(StatefulSet, "mysql", "default", {"spec": {"replicas": 2}})
        await w.until(ready(w, 2))
        again = {name_of(c): uid_of(c) for c in (await w.client.list(PersistentVolumeClaim, "default")).items}
        assert again == claims

    simulate(main, CONTROLLERS, lambda _: script(stop_seconds=2.0))


def test_a_failed_pod_is_deleted_and_made_again_under_its_name(simulate: Any, script: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(stateful_set(replicas=1))
        await w.until(ready(w, 1))
        pod = await w.client.get(Pod, "mysql-0", "default")
        await w.set_status(pod, "Failed", ready=False, exit_code=1)
        await asyncio.sleep(5)
        again = await w.client.get(Pod, "mysql-0", "default")
        assert uid_of(again) != uid_of(pod)
        assert again.status.phase == "Running"

    simulate(main, CONTROLLERS)


def test_rollout_undo_applies_the_old_revisions_data(simulate: Any) -> None:
    """As `kubectl rollout undo` does: a strategic merge patch of what the ControllerRevision keeps."""

    async def main(w: Any) -> None:
        await w.client.create(stateful_set(1))
        await w.until(ready(w, 1))
        await set_image(w, "mysql:2")
        await asyncio.sleep(30)
        revisions = (await w.client.list(ControllerRevision, "default")).items
        (first,) = [r for r in revisions if r.revision == 1]
        await w.client.patch(StatefulSet, "mysql", "default", first.data, patch_type=PatchType.STRATEGIC)
        await asyncio.sleep(30)
        assert await images(w) == {"mysql-0": "mysql:1"}
        revisions = (await w.client.list(ControllerRevision, "default")).items
        assert {name_of(r): r.revision for r in revisions}[name_of(first)] == 3
        status = (await w.client.get(StatefulSet, "mysql", "default")).status
        assert status.currentRevision == status.updateRevision == name_of(first)

    simulate(main, CONTROLLERS)


def test_a_run_is_a_function_of_its_seed(simulate: Any) -> None:
    runs: list[Any] = []

    async def main(w: Any) -> None:
        await w.client.create(stateful_set())
        await w.until(ready(w, 3))
        await set_image(w, "mysql:2")
        await asyncio.sleep(30)
        runs.append((w.created, [uid_of(p) for p in await w.pods()], await w.events()))

    simulate(main, CONTROLLERS, seed=7)
    simulate(main, CONTROLLERS, seed=7)
    assert runs[0] == runs[1]
