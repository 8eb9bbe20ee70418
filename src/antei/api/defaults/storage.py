"""Defaults of volumes, claims and classes (Kubernetes: pkg/apis/{core,storage}/v1/defaults.go)."""

from __future__ import annotations

from typing import Any

from lightkube.models.core_v1 import PersistentVolumeClaimStatus, PersistentVolumeStatus
from lightkube.resources.core_v1 import PersistentVolume
from lightkube.resources.storage_v1 import StorageClass

from antei.api.defaults.fill import change, fill, inside

__all__ = ["persistent_volume", "persistent_volume_claim", "storage_class"]


def persistent_volume(obj: PersistentVolume) -> PersistentVolume:
    obj = change(obj, status=fill(obj.status or PersistentVolumeStatus(), phase="Pending"))
    return inside(
        obj,
        spec=lambda spec: inside(
            fill(spec, persistentVolumeReclaimPolicy="Retain", volumeMode="Filesystem"),
            hostPath=lambda source: change(source, type=source.type or ""),
        ),
    )


def persistent_volume_claim(obj: Any) -> Any:
    """A PersistentVolumeClaim, whole or as a template of a StatefulSet."""
    obj = change(obj, status=fill(obj.status or PersistentVolumeClaimStatus(), phase="Pending"))
    return inside(obj, spec=lambda spec: fill(spec, volumeMode="Filesystem"))


def storage_class(obj: StorageClass) -> StorageClass:
    return fill(obj, reclaimPolicy="Delete", volumeBindingMode="Immediate")
