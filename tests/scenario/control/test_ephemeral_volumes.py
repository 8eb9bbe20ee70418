"""Generic ephemeral volumes in virtual time: a claim made for its pod, and never somebody else's."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lightkube.resources.core_v1 import Node, PersistentVolumeClaim, Pod
from lightkube.resources.storage_v1 import StorageClass

from antei.api.errors import ApiError
from antei.control.ephemeralvolume import EphemeralVolumeController
from antei.control.garbagecollector import GarbageCollectorController
from antei.control.persistentvolume import (
    PROVISIONER,
    ImaginaryDirectories,
    PersistentVolumeController,
    VolumeProtectionController,
)
from antei.control.scheduler import SchedulerController

CONTROLLERS = [
    partial(PersistentVolumeController, volumes_directory=Path("/data"), directories=ImaginaryDirectories()),
    VolumeProtectionController,
    EphemeralVolumeController,
    GarbageCollectorController,
    SchedulerController,
]
SPEC = {
    "accessModes": ["ReadWriteOnce"],
    "storageClassName": "standard",
    "resources": {"requests": {"storage": "1Gi"}},
}


def pod(name: str) -> Pod:
    template = {"metadata": {"labels": {"of": "scratch"}}, "spec": SPEC}
    return Pod.from_dict(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "containers": [{"name": "main", "image": "main"}],
                "volumes": [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}],
            },
        }
    )


async def prepare(stage: Any) -> None:
    status = {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}}
    fields: dict[str, Any] = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}, "status": status}
    await stage.add(Node.from_dict(fields))
    metadata = {"name": "standard"}
    await stage.client.create(
        StorageClass.from_dict(
            {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "StorageClass",
                "metadata": metadata,
                "provisioner": PROVISIONER,
            }
        )
    )


def test_the_claim_comes_and_goes_with_its_pod(play: Any) -> None:
    async def main(stage: Any) -> None:
        await prepare(stage)
        await stage.client.create(pod("web"))
        await asyncio.sleep(5)
        claim = await stage.get(PersistentVolumeClaim, "web-scratch")
        created = await stage.get(Pod, "web")
        (owner,) = claim.metadata.ownerReferences
        assert (owner.kind, owner.uid, owner.controller) == ("Pod", created.metadata.uid, True)
        assert (claim.metadata.labels, claim.status.phase) == ({"of": "scratch"}, "Bound")
        assert created.spec.nodeName == "a"
        await stage.client.delete(Pod, "web", "default", grace_period_seconds=0)
        await asyncio.sleep(5)
        with pytest.raises(ApiError, match="not found"):
            await stage.get(PersistentVolumeClaim, "web-scratch")

    play(main, CONTROLLERS)


def test_a_claim_of_that_name_that_is_not_the_pods_is_left_alone(play: Any) -> None:
    async def main(stage: Any) -> None:
        await prepare(stage)
        metadata = {"name": "web-scratch", "namespace": "default"}
        await stage.client.create(
            PersistentVolumeClaim.from_dict(
                {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": SPEC}
            )
        )
        await asyncio.sleep(1)
        await stage.client.create(pod("web"))
        await asyncio.sleep(1)
        assert (await stage.get(Pod, "web")).spec.nodeName is None
        misfit = "PVC default/web-scratch was not created for pod default/web (pod is not owner)"
        assert await stage.events("FailedBinding") == [f"ephemeral volume scratch: {misfit}"]
        assert misfit in (await stage.events("FailedScheduling"))[0]
        await stage.client.delete(PersistentVolumeClaim, "web-scratch", "default")
        await asyncio.sleep(30)
        assert (await stage.get(Pod, "web")).spec.nodeName == "a"

    play(main, CONTROLLERS)
