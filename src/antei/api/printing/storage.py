"""Volumes, claims, storage classes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from lightkube.resources.core_v1 import PersistentVolume, PersistentVolumeClaim
from lightkube.resources.storage_v1 import CSINode, StorageClass, VolumeAttachment, VolumeAttributesClass

from antei.api.objects import is_terminating, meta, name_of
from antei.api.printing.cells import AGE, NAME, UNSET, Column, Printer, Row, access_modes, age_of

__all__ = ["STORAGE_PRINTERS"]

_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
_DEFAULT_ANNOTATIONS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)


def _class_of(obj: Any) -> str:
    annotated = (meta(obj).annotations or {}).get(_CLASS_ANNOTATION)
    return annotated or (obj.spec.storageClassName if obj.spec else None) or ""


def _volume(obj: PersistentVolume, now: datetime) -> Row:
    spec, status = obj.spec, obj.status
    claim = spec.claimRef if spec else None
    return Row(
        [
            name_of(obj),
            ((spec.capacity if spec else None) or {}).get("storage", ""),
            access_modes(spec.accessModes if spec else None),
            (spec.persistentVolumeReclaimPolicy if spec else None) or "",
            "Terminating" if is_terminating(obj) else (status.phase if status else None) or "",
            f"{claim.namespace}/{claim.name}" if claim else "",
            _class_of(obj),
            (spec.volumeAttributesClassName if spec else None) or UNSET,
            (status.reason if status else None) or "",
            age_of(obj, now),
            (spec.volumeMode if spec else None) or UNSET,
        ]
    )


def _claim(obj: PersistentVolumeClaim, now: datetime) -> Row:
    spec, status = obj.spec, obj.status
    is_bound = bool(spec and spec.volumeName)
    return Row(
        [
            name_of(obj),
            "Terminating" if is_terminating(obj) else (status.phase if status else None) or "",
            (spec.volumeName if spec else None) or "",
            ((status.capacity if status else None) or {}).get("storage", "") if is_bound else "",
            access_modes(status.accessModes if status else None) if is_bound else "",
            _class_of(obj),
            (spec.volumeAttributesClassName if spec else None) or UNSET,
            age_of(obj, now),
            (spec.volumeMode if spec else None) or UNSET,
        ]
    )


def _storage_class(obj: StorageClass, now: datetime) -> Row:
    annotations = meta(obj).annotations or {}
    is_default = any(annotations.get(name) == "true" for name in _DEFAULT_ANNOTATIONS)
    return Row(
        [
            f"{name_of(obj)} (default)" if is_default else name_of(obj),
            obj.provisioner,
            obj.reclaimPolicy or "Delete",
            obj.volumeBindingMode or UNSET,
            bool(obj.allowVolumeExpansion),
            age_of(obj, now),
        ]
    )


def _attributes_class(obj: VolumeAttributesClass, now: datetime) -> Row:
    return Row([name_of(obj), obj.driverName, age_of(obj, now)])


def _attachment(obj: VolumeAttachment, now: datetime) -> Row:
    spec = obj.spec
    volume = (spec.source.persistentVolumeName if spec else None) or ""
    attached = bool(obj.status and obj.status.attached)
    return Row(
        [
            name_of(obj),
            spec.attacher if spec else "",
            volume,
            spec.nodeName if spec else "",
            attached,
            age_of(obj, now),
        ]
    )


def _csi_node(obj: CSINode, now: datetime) -> Row:
    return Row([name_of(obj), len(obj.spec.drivers if obj.spec else ()), age_of(obj, now)])


STORAGE_PRINTERS: Mapping[str, Printer] = {
    "/persistentvolumes": Printer(
        (
            NAME,
            Column("Capacity", description="The capacity of the volume."),
            Column("Access Modes", description="The ways in which the volume can be mounted."),
            Column("Reclaim Policy", description="What happens to the volume when its claim is released."),
            Column("Status", description="Whether the volume is available, bound or released."),
            Column("Claim", description="The claim that it is bound to."),
            Column("StorageClass", description="Name of the StorageClass that the volume belongs to."),
            Column("VolumeAttributesClass", description="Name of the VolumeAttributesClass of the volume."),
            Column("Reason", description="Why the volume is in its state."),
            AGE,
            Column("VolumeMode", description="Whether it holds a filesystem or is a block device.", priority=1),
        ),
        _volume,
    ),
    "/persistentvolumeclaims": Printer(
        (
            NAME,
            Column("Status", description="The phase of the claim."),
            Column("Volume", description="The volume that backs the claim."),
            Column("Capacity", description="The capacity of the volume."),
            Column("Access Modes", description="The ways in which the volume can be mounted."),
            Column("StorageClass", description="Name of the StorageClass required by the claim."),
            Column("VolumeAttributesClass", description="Name of the VolumeAttributesClass of the claim."),
            AGE,
            Column("VolumeMode", description="Whether it holds a filesystem or is a block device.", priority=1),
        ),
        _claim,
    ),
    "storage.k8s.io/storageclasses": Printer(
        (
            NAME,
            Column("Provisioner", description="The type of the provisioner."),
            Column("ReclaimPolicy", description="The reclaim policy of the volumes that it makes."),
            Column("VolumeBindingMode", description="When claims are bound and volumes made."),
            Column("AllowVolumeExpansion", description="Whether volumes can grow."),
            AGE,
        ),
        _storage_class,
    ),
    "storage.k8s.io/volumeattributesclasses": Printer(
        (NAME, Column("DriverName", description="The name of the CSI driver."), AGE), _attributes_class
    ),
    "storage.k8s.io/volumeattachments": Printer(
        (
            NAME,
            Column("Attacher", format="name", description="The volume driver that must attach the volume."),
            Column("PV", description="The volume."),
            Column("Node", description="The node that it is attached to."),
            Column("Attached", "boolean", description="Whether it is attached."),
            AGE,
        ),
        _attachment,
    ),
    "storage.k8s.io/csinodes": Printer(
        (NAME, Column("Drivers", "integer", description="The number of CSI drivers on the node."), AGE), _csi_node
    ),
}
