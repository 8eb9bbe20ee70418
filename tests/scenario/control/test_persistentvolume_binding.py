"""Claims and volumes against a real registry in virtual time."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lightkube.resources.core_v1 import Node, PersistentVolume, PersistentVolumeClaim, Pod
from lightkube.resources.storage_v1 import StorageClass

from antei.api.errors import ApiError
from antei.api.objects import meta
from antei.control.persistentvolume import (
    PROVISIONER,
    ImaginaryDirectories,
    PersistentVolumeController,
    VolumeProtectionController,
)
from antei.control.scheduler import SchedulerController

ROOT = Path("/data/volumes")


def storage_class(name: str = "standard", **more: Any) -> StorageClass:
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"} if name == "standard" else {}
    return StorageClass.from_dict(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": name, "annotations": annotations},
            "provisioner": PROVISIONER,
            "reclaimPolicy": "Delete",
            **more,
        }
    )


def claim(name: str, **spec: Any) -> PersistentVolumeClaim:
    return PersistentVolumeClaim.from_dict(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec},
        }
    )


def volume(name: str, **spec: Any) -> PersistentVolume:
    return PersistentVolume.from_dict(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                "capacity": {"storage": "10Gi"},
                "accessModes": ["ReadWriteMany"],
                "persistentVolumeReclaimPolicy": "Retain",
                "nfs": {"path": "/share", "server": "192.168.99.1"},
                **spec,
            },
        }
    )


@pytest.fixture
def directories() -> ImaginaryDirectories:
    return ImaginaryDirectories()


@pytest.fixture
def controllers(directories: ImaginaryDirectories) -> list[Any]:
    binder = partial(PersistentVolumeController, volumes_directory=ROOT, directories=directories)
    return [binder, VolumeProtectionController]


async def phase_of(stage: Any, kind: Any, name: str) -> str:
    found = await stage.client.get(kind, name, "default" if kind is PersistentVolumeClaim else "")
    return found.status.phase


def test_a_claim_without_a_class_gets_a_directory_of_its_own_which_goes_with_it(
    play: Any, controllers: Any, directories: ImaginaryDirectories
) -> None:
    async def main(stage: Any) -> None:
        await stage.client.create(storage_class())
        await asyncio.sleep(0.01)
        await stage.client.create(claim("data"))
        await asyncio.sleep(0.1)
        bound = await stage.client.get(PersistentVolumeClaim, "data", "default")
        assert (bound.status.phase, bound.status.capacity, bound.spec.storageClassName) == (
            "Bound",
            {"storage": "1Gi"},
            "standard",
        )
        made = await stage.client.get(PersistentVolume, bound.spec.volumeName)
        assert (made.status.phase, made.spec.persistentVolumeReclaimPolicy) == ("Bound", "Delete")
        assert directories.paths == [Path(made.spec.hostPath.path)]
        assert directories.paths[0].parent == ROOT
        text = f"Successfully provisioned volume {made.metadata.name} using antei.dev/local-path"
        assert await stage.events("ProvisioningSucceeded") == [text]
        await stage.client.delete(PersistentVolumeClaim, "data", "default")
        await asyncio.sleep(1)
        assert directories.paths == []
        with pytest.raises(ApiError, match="not found"):
            await stage.client.get(PersistentVolume, made.metadata.name)

    play(main, controllers)


def test_the_nfs_claim_waits_for_the_nfs_volume_and_keeps_it_after_its_end(play: Any, controllers: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.client.create(storage_class())
        wanted = claim(
            "backup-mysql",
            storageClassName="nfs",
            accessModes=["ReadWriteMany"],
            resources={"requests": {"storage": "10Gi"}},
        )
        await stage.client.create(wanted)
        await asyncio.sleep(1)
        assert await phase_of(stage, PersistentVolumeClaim, "backup-mysql") == "Pending"
        text = 'storageclass.storage.k8s.io "nfs" not found'
        assert await stage.events("ProvisioningFailed") == [text]
        await stage.client.create(volume("small", storageClassName="nfs", capacity={"storage": "5Gi"}))
        await stage.client.create(volume("large", storageClassName="nfs", capacity={"storage": "50Gi"}))
        await stage.client.create(volume("backup", storageClassName="nfs"))
        await asyncio.sleep(20)
        bound = await stage.client.get(PersistentVolumeClaim, "backup-mysql", "default")
        assert bound.status.phase == "Bound"
        phases = [await phase_of(stage, PersistentVolume, name) for name in ("small", "large", "backup")]
        assert sorted(phases) == ["Available", "Available", "Bound"]
        assert bound.spec.volumeName in ("large", "backup")
        await stage.client.delete(PersistentVolumeClaim, "backup-mysql", "default")
        await asyncio.sleep(1)
        assert await phase_of(stage, PersistentVolume, bound.spec.volumeName) == "Released"

    play(main, controllers)


def test_a_claim_in_use_stays_until_its_pod_is_gone(play: Any, controllers: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.client.create(storage_class())
        await stage.client.create(claim("data"))
        pod = Pod.from_dict(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "db", "namespace": "default"},
                "spec": {
                    "nodeName": "a",
                    "containers": [{"name": "main", "image": "main"}],
                    "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
                },
            }
        )
        await stage.client.create(pod)
        await asyncio.sleep(1)
        await stage.client.delete(PersistentVolumeClaim, "data", "default")
        await asyncio.sleep(60)
        held = await stage.client.get(PersistentVolumeClaim, "data", "default")
        assert meta(held).finalizers == ["kubernetes.io/pvc-protection"]
        await stage.client.delete(Pod, "db", "default", grace_period_seconds=0)
        await asyncio.sleep(0.1)
        with pytest.raises(ApiError, match="not found"):
            await stage.client.get(PersistentVolumeClaim, "data", "default")

    play(main, controllers)


def test_two_claims_for_one_volume_never_share_it(play: Any, controllers: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.client.create(volume("only", storageClassName="nfs"))
        await asyncio.sleep(0.1)
        for name in ("a", "b"):
            wanted = claim(name, storageClassName="nfs", accessModes=["ReadWriteMany"])
            await stage.client.create(wanted)
        await asyncio.sleep(5)
        phases = [await phase_of(stage, PersistentVolumeClaim, name) for name in ("a", "b")]
        assert sorted(phases) == ["Bound", "Pending"]

    play(main, controllers)


def test_a_bound_claim_without_its_volume_is_lost(play: Any, controllers: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.client.create(volume("only", storageClassName="nfs"))
        await stage.client.create(claim("a", storageClassName="nfs", accessModes=["ReadWriteMany"]))
        await asyncio.sleep(20)
        assert await phase_of(stage, PersistentVolumeClaim, "a") == "Bound"
        await stage.client.delete(PersistentVolume, "only")
        await stage.client.patch(PersistentVolume, "only", "", {"metadata": {"finalizers": None}})
        await asyncio.sleep(1)
        assert await phase_of(stage, PersistentVolumeClaim, "a") == "Lost"

    play(main, controllers)


def test_a_claim_that_waits_for_its_first_consumer_is_made_when_the_pod_has_a_node(
    play: Any, controllers: list[Any], directories: ImaginaryDirectories
) -> None:
    async def main(stage: Any) -> None:
        await stage.client.create(storage_class("late", volumeBindingMode="WaitForFirstConsumer"))
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}}
        await stage.add(Node.from_dict({**node, "status": {"allocatable": {"pods": "10"}}}))
        await asyncio.sleep(0.1)
        await stage.client.create(claim("data", storageClassName="late"))
        await asyncio.sleep(60)
        assert await phase_of(stage, PersistentVolumeClaim, "data") == "Pending"
        assert directories.paths == []
        text = "waiting for first consumer to be created before binding"
        assert await stage.events("WaitForFirstConsumer") == [text]
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "db", "namespace": "default"},
            "spec": {
                "containers": [{"name": "main", "image": "main"}],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
            },
        }
        await stage.client.create(Pod.from_dict(pod))
        await asyncio.sleep(0.1)
        assert await phase_of(stage, PersistentVolumeClaim, "data") == "Bound"
        assert (await stage.get(Pod, "db")).spec.nodeName == "a"
        assert len(directories.paths) == 1

    play(main, [*controllers, SchedulerController])


def test_a_claim_grows_with_its_volume_where_its_class_lets_it(play: Any, controllers: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.client.create(storage_class())
        await stage.client.create(storage_class("grows", allowVolumeExpansion=True))
        await asyncio.sleep(0.01)
        await stage.client.create(claim("fixed"))
        await stage.client.create(claim("data", storageClassName="grows"))
        await asyncio.sleep(0.1)
        more = {"spec": {"resources": {"requests": {"storage": "3Gi"}}}}
        with pytest.raises(ApiError, match="only dynamically provisioned pvc can be resized"):
            await stage.client.patch(PersistentVolumeClaim, "fixed", "default", more)
        await stage.client.patch(PersistentVolumeClaim, "data", "default", more)
        await asyncio.sleep(0.1)
        grown = await stage.client.get(PersistentVolumeClaim, "data", "default")
        assert (grown.status.phase, grown.status.capacity) == ("Bound", {"storage": "3Gi"})
        made = await stage.client.get(PersistentVolume, grown.spec.volumeName)
        assert made.spec.capacity == {"storage": "3Gi"}
        assert await stage.events("VolumeResizeSuccessful") == ["Resize volume succeeded"]

    play(main, controllers)


def test_a_static_volume_does_not_grow_by_itself(play: Any, controllers: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.client.create(storage_class("manual", provisioner="kubernetes.io/nfs", allowVolumeExpansion=True))
        await stage.client.create(volume("share", storageClassName="manual"))
        await asyncio.sleep(0.01)
        await stage.client.create(claim("data", storageClassName="manual", accessModes=["ReadWriteMany"]))
        await asyncio.sleep(0.1)
        more = {"spec": {"resources": {"requests": {"storage": "20Gi"}}}}
        await stage.client.patch(PersistentVolumeClaim, "data", "default", more)
        await asyncio.sleep(0.1)
        same = await stage.client.get(PersistentVolumeClaim, "data", "default")
        assert (same.status.phase, same.status.capacity) == ("Bound", {"storage": "10Gi"})
        assert "waiting for an external controller to expand this PVC" in await stage.events("ExternalExpanding")

    play(main, controllers)
