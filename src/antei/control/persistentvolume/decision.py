"""What is to be done about one claim or one volume: pure.

    claim   Pending ──volume found or made──► Bound ──volume gone──► Lost
    volume  Available ──claim──► Bound ──claim gone──► Released ──Delete──► removed, or Failed when that fails
                                                               └──Retain──► stays, for a person to decide

Source: pkg/controller/volume/persistentvolume/pv_controller.go (syncClaim, syncVolume).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lightkube.resources.core_v1 import Node, PersistentVolume, PersistentVolumeClaim
from lightkube.resources.storage_v1 import StorageClass

from antei.api.objects import meta, name_of, uid_of
from antei.control.persistentvolume.matching import (
    best_match,
    capacity_bytes,
    class_of,
    is_claimed_by,
    mismatch,
    requested_bytes,
)
from antei.control.persistentvolume.provision import PROVISIONER

__all__ = [
    "AssignClass",
    "Bind",
    "ClaimDecision",
    "ClaimSnapshot",
    "Expand",
    "Lost",
    "Provision",
    "Reclaim",
    "Release",
    "SetPhase",
    "VolumeDecision",
    "Wait",
    "decide_claim",
    "decide_volume",
]

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
IS_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


@dataclass(frozen=True, slots=True)
class ClaimSnapshot:
    claim: PersistentVolumeClaim
    volumes: tuple[PersistentVolume, ...]
    classes: tuple[StorageClass, ...]
    selected_node: Node | None = None


@dataclass(frozen=True, slots=True)
class Bind:
    """Both objects are made to name each other; a no-op where they do."""

    volume: PersistentVolume


@dataclass(frozen=True, slots=True)
class Provision:
    storage_class: StorageClass


@dataclass(frozen=True, slots=True)
class AssignClass:
    """The claim names no class, and there is a default."""

    storage_class: StorageClass


@dataclass(frozen=True, slots=True)
class Wait:
    """The claim stays Pending, and an event says why."""

    event_type: str = "Normal"
    reason: str = ""
    message: str = ""
    provisioner: str = ""  # the one whose turn it is


@dataclass(frozen=True, slots=True)
class Lost:
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Expand:
    """The claim asks for more than its volume has; `is_ours`: this provisioner can let it grow."""

    volume: PersistentVolume
    is_ours: bool


ClaimDecision = Bind | Expand | Provision | AssignClass | Wait | Lost


def decide_claim(snapshot: ClaimSnapshot) -> ClaimDecision:
    claim = snapshot.claim
    if BIND_COMPLETED in (meta(claim).annotations or {}):
        return _bound_claim(snapshot)
    volume_name = claim.spec.volumeName if claim.spec else None
    if volume_name:
        return _claim_by_name(snapshot, volume_name)
    storage_class = next((c for c in snapshot.classes if name_of(c) == class_of(claim)), None)
    if claim.spec is not None and claim.spec.storageClassName is None and not class_of(claim):
        default = default_class(snapshot.classes)
        if default is not None:
            return AssignClass(default)
    is_delayed = storage_class is not None and storage_class.volumeBindingMode == "WaitForFirstConsumer"
    if is_delayed and SELECTED_NODE not in (meta(claim).annotations or {}):
        reserved = best_match(claim, [v for v in snapshot.volumes if v.spec and v.spec.claimRef])
        if reserved is not None:
            return Bind(reserved)
        text = "waiting for first consumer to be created before binding"
        return Wait("Normal", "WaitForFirstConsumer", text)
    found = best_match(claim, snapshot.volumes, snapshot.selected_node)
    if found is not None:
        return Bind(found)
    if not class_of(claim):
        text = "no persistent volumes available for this claim and no storage class is set"
        return Wait("Normal", "FailedBinding", text)
    if storage_class is None:
        text = f'storageclass.storage.k8s.io "{class_of(claim)}" not found'
        return Wait("Warning", "ProvisioningFailed", text)
    return _provision(claim, storage_class)


def _provision(claim: PersistentVolumeClaim, storage_class: StorageClass) -> ClaimDecision:
    if claim.spec is not None and claim.spec.selector is not None and storage_class.provisioner == PROVISIONER:
        text = "claim.Spec.Selector is not supported for dynamic provisioning"
        return Wait("Warning", "ProvisioningFailed", text)
    if storage_class.provisioner == PROVISIONER:
        return Provision(storage_class)
    text = (
        f"Waiting for a volume to be created either by the external provisioner '{storage_class.provisioner}' or "
        "manually by the system administrator. If volume creation is delayed, please verify that the provisioner is "
        "running and correctly registered."
    )
    return Wait("Normal", "ExternalProvisioning", text, storage_class.provisioner)


def default_class(classes: Iterable[StorageClass]) -> StorageClass | None:
    """The default class; of several the newest."""
    marked = [c for c in classes if (meta(c).annotations or {}).get(IS_DEFAULT_CLASS) == "true"]
    marked.sort(key=lambda c: name_of(c))
    marked.sort(key=lambda c: str(meta(c).creationTimestamp), reverse=True)
    return marked[0] if marked else None


def _claim_by_name(snapshot: ClaimSnapshot, volume_name: str) -> ClaimDecision:
    claim = snapshot.claim
    volume = _named(snapshot, volume_name)
    if volume is None or volume.spec is None:
        return Wait()
    if volume.spec.claimRef is not None:
        if is_claimed_by(volume.spec.claimRef, claim):
            return Bind(volume)
        return Wait("Warning", "FailedBinding", f'volume "{volume_name}" already bound to a different claim.')
    problem = mismatch(volume, claim)
    if problem:
        text = f'Cannot bind to requested volume "{volume_name}": {problem}'
        return Wait("Warning", "VolumeMismatch", text)
    return Bind(volume)


def _bound_claim(snapshot: ClaimSnapshot) -> ClaimDecision:
    claim = snapshot.claim
    volume_name = (claim.spec.volumeName if claim.spec else None) or ""
    if not volume_name:
        text = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
        return Lost("ClaimLost", text)
    volume = _named(snapshot, volume_name)
    if volume is None or volume.spec is None:
        return Lost("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
    if volume.spec.claimRef is None or is_claimed_by(volume.spec.claimRef, claim):
        # Only a class that lets volumes grow gets here: admission refuses all others.
        if requested_bytes(claim) > capacity_bytes(volume) and volume.spec.claimRef is not None:
            return Expand(volume, (meta(volume).annotations or {}).get(PROVISIONED_BY) == PROVISIONER)
        return Bind(volume)
    text = "Two claims are bound to the same volume, this one is bound incorrectly"
    return Lost("ClaimMisbound", text)


def _named(snapshot: ClaimSnapshot, name: str) -> PersistentVolume | None:
    return next((volume for volume in snapshot.volumes if name_of(volume) == name), None)


@dataclass(frozen=True, slots=True)
class SetPhase:
    phase: str


@dataclass(frozen=True, slots=True)
class Release:
    """The volume is Released; what follows is its reclaim policy's."""

    policy: str


@dataclass(frozen=True, slots=True)
class Reclaim:
    """The claim has another volume: this one is made free (`is_reserved`: for the claim of that name) or removed."""

    remove: bool
    is_reserved: bool = False


VolumeDecision = SetPhase | Release | Reclaim | None


def decide_volume(volume: PersistentVolume, claim: PersistentVolumeClaim | None) -> VolumeDecision:
    """`claim` is what has the name in the volume's claimRef now. None: its claim's turn."""
    spec = volume.spec
    if spec is None:
        return None
    reference = spec.claimRef
    if reference is None or not reference.uid:
        return SetPhase("Available")
    policy = spec.persistentVolumeReclaimPolicy or "Retain"
    if claim is None or uid_of(claim) != reference.uid:
        return Release(policy)
    bound_to = claim.spec.volumeName if claim.spec else None
    if not bound_to:
        return None
    if bound_to == name_of(volume):
        return SetPhase("Bound")
    annotations = meta(volume).annotations or {}
    is_made_for_it = PROVISIONED_BY in annotations and policy == "Delete"
    return Reclaim(remove=is_made_for_it, is_reserved=BOUND_BY_CONTROLLER not in annotations)


def claim_key(volume: PersistentVolume) -> tuple[str, str] | None:
    """(namespace, name) of the claim that the volume names."""
    reference = volume.spec.claimRef if volume.spec else None
    return (reference.namespace or "", reference.name or "") if reference is not None else None
