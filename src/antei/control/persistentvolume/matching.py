"""Which volume suits a claim: pure.

Source: k8s.io/component-helpers/storage/volume/pv_helpers.go (FindMatchingVolume),
pkg/controller/volume/persistentvolume.
"""

from __future__ import annotations

from collections.abc import Iterable

from lightkube.models.core_v1 import ObjectReference
from lightkube.resources.core_v1 import Node, PersistentVolume, PersistentVolumeClaim

from antei.api.objects import is_terminating, labels_of, meta, name_of, namespace_of, uid_of
from antei.api.quantity import to_bytes
from antei.api.selectors import selector_of
from antei.control.node_match import selects_node

__all__ = ["best_match", "capacity_bytes", "class_of", "is_claimed_by", "mismatch", "requested_bytes"]


def class_of(obj: PersistentVolume | PersistentVolumeClaim) -> str:
    """The storage class; the annotation that was used before the field counts too."""
    legacy = (meta(obj).annotations or {}).get("volume.beta.kubernetes.io/storage-class")
    return legacy or (obj.spec.storageClassName if obj.spec else None) or ""


def requested_bytes(claim: PersistentVolumeClaim) -> int:
    resources = claim.spec.resources if claim.spec else None
    return to_bytes(((resources.requests if resources else None) or {}).get("storage"))


def capacity_bytes(volume: PersistentVolume) -> int:
    return to_bytes(((volume.spec.capacity if volume.spec else None) or {}).get("storage"))


def is_claimed_by(reference: ObjectReference | None, claim: PersistentVolumeClaim) -> bool:
    """Whether a volume's claimRef means this claim; one without uid was written by hand, before the claim was there."""
    return (
        reference is not None
        and (reference.namespace, reference.name) == (namespace_of(claim), name_of(claim))
        and reference.uid in (None, "", uid_of(claim))
    )


def mismatch(volume: PersistentVolume, claim: PersistentVolumeClaim) -> str:
    """Why a volume that is asked for by name cannot be the claim's; empty where it can."""
    spec, wanted = volume.spec, claim.spec
    if spec is None or wanted is None:
        return "incomplete specification"
    if capacity_bytes(volume) < requested_bytes(claim):
        return "requested PV is too small"
    if class_of(volume) != class_of(claim):
        return "storageClassName does not match"
    if (spec.volumeMode or "Filesystem") != (wanted.volumeMode or "Filesystem"):
        return "incompatible volumeMode"
    if not set(wanted.accessModes or ()) <= set(spec.accessModes or ()):
        return "incompatible accessMode"
    return ""


def best_match(
    claim: PersistentVolumeClaim, volumes: Iterable[PersistentVolume], node: Node | None = None
) -> PersistentVolume | None:
    """A volume reserved for the claim, else the smallest of the free ones that suit; `node` must reach it."""
    suitable = []
    for volume in volumes:
        spec = volume.spec
        if spec is None or is_terminating(volume) or not _reaches(volume, node):
            continue
        if spec.claimRef is not None:
            if is_claimed_by(spec.claimRef, claim) and not _misfit_of_reserved(volume, claim):
                return volume
            continue
        if (volume.status.phase if volume.status else None) != "Available" or mismatch(volume, claim):
            continue
        if claim.spec and claim.spec.selector and not selector_of(claim.spec.selector).matches(labels_of(volume)):
            continue
        suitable.append(volume)
    return min(suitable, key=_size_then_name, default=None)


def _misfit_of_reserved(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """A reserved volume may have another class or selector, but it must be large enough."""
    return capacity_bytes(volume) < requested_bytes(claim)


def _reaches(volume: PersistentVolume, node: Node | None) -> bool:
    affinity = volume.spec.nodeAffinity if volume.spec else None
    if node is None or affinity is None or affinity.required is None:
        return True
    return selects_node(affinity.required, node)


def _size_then_name(volume: PersistentVolume) -> tuple[int, int, str]:
    modes = (volume.spec.accessModes if volume.spec else None) or ()
    return capacity_bytes(volume), len(modes), name_of(volume)
