"""Volumes made on demand: directories of this machine, which every node reaches.

Binding is immediate: all nodes are on one machine and see the same directory, so there is nothing to wait for.
"""

from __future__ import annotations

from pathlib import Path

from lightkube.models.core_v1 import HostPathVolumeSource, ObjectReference, PersistentVolumeSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import PersistentVolume, PersistentVolumeClaim
from lightkube.resources.storage_v1 import StorageClass

from antei.api.objects import meta, name_of, namespace_of, uid_of

__all__ = ["PROVISIONER", "provisioned_volume", "volume_directory", "volume_name"]

PROVISIONER = "antei.dev/local-path"


def volume_name(claim: PersistentVolumeClaim) -> str:
    return f"pvc-{uid_of(claim)}"


def volume_directory(claim: PersistentVolumeClaim, root: Path) -> Path:
    """Readable for people, unique by the claim's uid."""
    return root / f"{volume_name(claim)}_{namespace_of(claim)}_{name_of(claim)}"


def provisioned_volume(claim: PersistentVolumeClaim, storage_class: StorageClass, root: Path) -> PersistentVolume:
    """The volume for this claim, which it names already, so that nobody else gets it."""
    spec = claim.spec
    requests = (spec.resources.requests if spec and spec.resources else None) or {}
    return PersistentVolume(
        apiVersion="v1",
        kind="PersistentVolume",
        metadata=ObjectMeta(
            name=volume_name(claim),
            annotations={"pv.kubernetes.io/provisioned-by": PROVISIONER},
            finalizers=["kubernetes.io/pv-protection"],
        ),
        spec=PersistentVolumeSpec(
            capacity={"storage": requests.get("storage", "0")},
            accessModes=(spec.accessModes if spec else None) or ["ReadWriteOnce"],
            persistentVolumeReclaimPolicy=storage_class.reclaimPolicy or "Delete",
            storageClassName=name_of(storage_class),
            mountOptions=storage_class.mountOptions,
            volumeMode=(spec.volumeMode if spec else None) or "Filesystem",
            hostPath=HostPathVolumeSource(path=str(volume_directory(claim, root)), type="DirectoryOrCreate"),
            claimRef=ObjectReference(
                apiVersion="v1",
                kind="PersistentVolumeClaim",
                namespace=namespace_of(claim),
                name=name_of(claim),
                uid=uid_of(claim),
                resourceVersion=meta(claim).resourceVersion,
            ),
        ),
    )
