"""The shell around the decisions about claims and volumes.

Binding writes two objects, the volume first: whoever comes first there has it, and a crash in between is mended by
the next look at either of them. (Kubernetes: pkg/controller/volume/persistentvolume.)
"""

from __future__ import annotations

import logging
from pathlib import Path

from lightkube.models.core_v1 import ObjectReference, PersistentVolumeClaimStatus, PersistentVolumeStatus
from lightkube.resources.core_v1 import Node, PersistentVolume, PersistentVolumeClaim
from lightkube.resources.storage_v1 import StorageClass

from antei.api.errors import ApiError
from antei.api.objects import (
    is_terminating,
    key_of,
    meta,
    name_of,
    namespace_of,
    replace,
    replace_meta,
    to_time,
    uid_of,
)
from antei.client import Client
from antei.client.events import EventRecorder
from antei.client.informer import Informer, Informers
from antei.control.assume import AssumeCache
from antei.control.controller import Key, Requeue, WorkQueue, enqueue_key
from antei.control.persistentvolume.decision import (
    BIND_COMPLETED,
    BOUND_BY_CONTROLLER,
    PROVISIONED_BY,
    SELECTED_NODE,
    AssignClass,
    Bind,
    ClaimSnapshot,
    Expand,
    Lost,
    Provision,
    Reclaim,
    Release,
    SetPhase,
    Wait,
    claim_key,
    decide_claim,
    decide_volume,
)
from antei.control.persistentvolume.directories import Directories
from antei.control.persistentvolume.provision import PROVISIONER, provisioned_volume, volume_directory, volume_name
from antei.control.removal import remove
from antei.world import World

__all__ = ["PersistentVolumeController"]

_LOG = logging.getLogger(__name__)
STORAGE_PROVISIONER = "volume.kubernetes.io/storage-provisioner"
#: How often a claim that waits is looked at again, and its event counted on (Kubernetes: --pvclaimbinder-sync-period).
_RESYNC_SECONDS = 15.0


class PersistentVolumeController:
    """Keys are claims, and volumes, whose namespace is empty."""

    name = "persistentvolume-controller"

    def __init__(
        self,
        client: Client,
        informers: Informers,
        recorder: EventRecorder,
        world: World,
        volumes_directory: Path,
        directories: Directories,
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._world = world
        self._root = volumes_directory
        self._directories = directories
        self._claims: Informer[PersistentVolumeClaim] = informers.of(PersistentVolumeClaim)
        self._volumes: Informer[PersistentVolume] = informers.of(PersistentVolume)
        self._classes: Informer[StorageClass] = informers.of(StorageClass)
        self._nodes: Informer[Node] = informers.of(Node)
        self._known_claims = AssumeCache(self._claims)
        self._known_volumes = AssumeCache(self._volumes)

    def setup(self, informers: Informers, queue: WorkQueue) -> None:
        self._claims.add_handler(enqueue_key(queue))
        self._volumes.add_handler(enqueue_key(queue))

        def volume_changed(old: PersistentVolume | None, new: PersistentVolume | None) -> None:
            for volume in (old, new):
                key = claim_key(volume) if volume is not None else None
                if key is not None:
                    queue.add(key)
            if new is not None and claim_key(new) is None:
                self._queue_pending(queue)

        def claim_changed(old: PersistentVolumeClaim | None, new: PersistentVolumeClaim | None) -> None:
            for claim in (old, new):
                if claim is not None and claim.spec is not None and claim.spec.volumeName:
                    queue.add(("", claim.spec.volumeName))

        self._volumes.add_handler(volume_changed)
        self._claims.add_handler(claim_changed)
        self._classes.add_handler(lambda old, new: self._queue_pending(queue))

    def _queue_pending(self, queue: WorkQueue) -> None:
        for claim in self._claims.items():
            if BIND_COMPLETED not in (meta(claim).annotations or {}):
                queue.add(key_of(claim))

    async def reconcile(self, key: Key) -> Requeue | None:
        if key[0]:
            claim = self._known_claims.get(*key)
            return await self._reconcile_claim(claim) if claim is not None else None
        volume = self._known_volumes.get("", key[1])
        if volume is not None and not is_terminating(volume):
            await self._reconcile_volume(volume)
        return None

    # Claims.

    async def _reconcile_claim(self, claim: PersistentVolumeClaim) -> Requeue | None:
        if is_terminating(claim) and BIND_COMPLETED not in (meta(claim).annotations or {}):
            return None
        selected = (meta(claim).annotations or {}).get(SELECTED_NODE)
        snapshot = ClaimSnapshot(
            claim=claim,
            volumes=tuple(self._known_volumes.overlay(self._volumes.items(), lambda _: True)),
            classes=tuple(self._classes.items()),
            selected_node=self._nodes.get("", selected) if selected else None,
        )
        match decide_claim(snapshot):
            case Bind(volume):
                await self._bind(claim, volume)
            case Expand(volume, is_ours):
                await self._bind(claim, await self._expand(claim, volume, is_ours))
            case Provision(storage_class):
                return await self._provision(claim, storage_class)
            case AssignClass(storage_class):
                spec = replace(claim.spec, storageClassName=name_of(storage_class))
                self._known_claims.assume(await self._client.update(replace(claim, spec=spec)))
            case Lost(reason, message):
                if (claim.status.phase if claim.status else None) != "Lost":
                    await self._set_claim_status(claim, PersistentVolumeClaimStatus(phase="Lost"))
                    self._recorder.event(claim, "Warning", reason, message)
            case Wait() as wait:
                return await self._wait(claim, wait)
        return None

    async def _wait(self, claim: PersistentVolumeClaim, wait: Wait) -> Requeue | None:
        annotations = meta(claim).annotations or {}
        if wait.provisioner and annotations.get(STORAGE_PROVISIONER) != wait.provisioner:
            changed = replace_meta(claim, annotations={**annotations, STORAGE_PROVISIONER: wait.provisioner})
            claim = await self._client.update(changed)
            self._known_claims.assume(claim)
        if (claim.status.phase if claim.status else None) != "Pending":
            await self._set_claim_status(claim, PersistentVolumeClaimStatus(phase="Pending"))
        if not wait.reason:
            return None
        self._recorder.event(claim, wait.event_type, wait.reason, wait.message)
        return Requeue(_RESYNC_SECONDS)

    async def _bind(self, claim: PersistentVolumeClaim, volume: PersistentVolume) -> None:
        """Makes the two name each other. Raises 409 when somebody else has changed one of them meanwhile."""
        volume = await self._claim_volume(claim, volume)
        await self._set_volume_phase(volume, "Bound")
        spec, annotations = claim.spec, meta(claim).annotations or {}
        if spec is None or volume.spec is None:
            return
        if spec.volumeName != name_of(volume) or BIND_COMPLETED not in annotations:
            added = {BIND_COMPLETED: "yes"}
            if spec.volumeName != name_of(volume):
                added[BOUND_BY_CONTROLLER] = "yes"
            changed = replace_meta(claim, annotations={**annotations, **added})
            claim = await self._client.update(replace(changed, spec=replace(spec, volumeName=name_of(volume))))
            self._known_claims.assume(claim)
        status = replace(
            claim.status or PersistentVolumeClaimStatus(),
            phase="Bound",
            accessModes=volume.spec.accessModes,
            capacity={"storage": (volume.spec.capacity or {}).get("storage", "0")},
        )
        await self._set_claim_status(claim, status)

    async def _expand(self, claim: PersistentVolumeClaim, volume: PersistentVolume, is_ours: bool) -> PersistentVolume:
        """The volume as large as the claim asks. A directory has no size of its own: it is the numbers that grow.

        (Kubernetes: pkg/controller/volume/expand; kubernetes-csi/external-resizer.)
        """
        if not is_ours or claim.spec is None or claim.spec.resources is None or volume.spec is None:
            text = "waiting for an external controller to expand this PVC"
            self._recorder.event(claim, "Normal", "ExternalExpanding", text)
            return volume
        asked = (claim.spec.resources.requests or {})["storage"]
        capacity = {**(volume.spec.capacity or {}), "storage": asked}
        volume = await self._client.update(replace(volume, spec=replace(volume.spec, capacity=capacity)))
        self._known_volumes.assume(volume)
        self._recorder.event(claim, "Normal", "VolumeResizeSuccessful", "Resize volume succeeded")
        return volume

    async def _claim_volume(self, claim: PersistentVolumeClaim, volume: PersistentVolume) -> PersistentVolume:
        reference = volume.spec.claimRef if volume.spec else None
        if reference is not None and reference.uid == uid_of(claim):
            return volume
        annotations = dict(meta(volume).annotations or {})
        if reference is None:
            annotations[BOUND_BY_CONTROLLER] = "yes"
        claim_ref = ObjectReference(
            apiVersion="v1",
            kind="PersistentVolumeClaim",
            namespace=namespace_of(claim),
            name=name_of(claim),
            uid=uid_of(claim),
            resourceVersion=meta(claim).resourceVersion,
        )
        changed = replace_meta(volume, annotations=annotations or None)
        volume = await self._client.update(replace(changed, spec=replace(volume.spec, claimRef=claim_ref)))
        self._known_volumes.assume(volume)
        return volume

    async def _provision(self, claim: PersistentVolumeClaim, storage_class: StorageClass) -> Requeue | None:
        if (claim.status.phase if claim.status else None) != "Pending":
            claim = await self._set_claim_status(claim, PersistentVolumeClaimStatus(phase="Pending"))
        if claim.spec is not None and claim.spec.volumeMode == "Block":
            text = f'failed to provision volume with StorageClass "{name_of(storage_class)}": it has no block devices'
            self._recorder.event(claim, "Warning", "ProvisioningFailed", text)
            return Requeue(_RESYNC_SECONDS)
        directory = volume_directory(claim, self._root)
        try:
            await self._directories.create(directory)
        except OSError as error:
            text = f"Failed to provision volume with StorageClass {name_of(storage_class)!r}: {error}"
            self._recorder.event(claim, "Warning", "ProvisioningFailed", text)
            return Requeue(_RESYNC_SECONDS)
        try:
            volume = await self._client.create(provisioned_volume(claim, storage_class, self._root))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            volume = await self._client.get(PersistentVolume, volume_name(claim))
        else:
            text = f"Successfully provisioned volume {name_of(volume)} using {PROVISIONER}"
            self._recorder.event(claim, "Normal", "ProvisioningSucceeded", text)
        self._known_volumes.assume(volume)
        await self._bind(claim, volume)
        return None

    async def _set_claim_status(
        self, claim: PersistentVolumeClaim, status: PersistentVolumeClaimStatus
    ) -> PersistentVolumeClaim:
        if claim.status == status:
            return claim
        written = await self._client.update(replace(claim, status=status), "status")
        self._known_claims.assume(written)
        return written

    # Volumes.

    async def _reconcile_volume(self, volume: PersistentVolume) -> None:
        key = claim_key(volume)
        claim = self._known_claims.get(*key) if key is not None else None
        match decide_volume(volume, claim):
            case SetPhase(phase):
                await self._set_volume_phase(volume, phase)
            case Release(policy):
                await self._release(volume, policy)
            case Reclaim(remove=True):
                await self._remove(volume)
            case Reclaim(is_reserved=is_reserved) if volume.spec is not None:
                reference = volume.spec.claimRef
                kept = replace(reference, uid=None, resourceVersion=None) if is_reserved else None
                annotations = {k: v for k, v in (meta(volume).annotations or {}).items() if k != BOUND_BY_CONTROLLER}
                freed = replace(
                    replace_meta(volume, annotations=annotations or None), spec=replace(volume.spec, claimRef=kept)
                )
                volume = await self._client.update(freed)
                self._known_volumes.assume(volume)
                await self._set_volume_phase(volume, "Available")

    async def _release(self, volume: PersistentVolume, policy: str) -> None:
        """The claim is gone; asked of the API first, since a claim may just not have been seen yet."""
        key = claim_key(volume)
        reference = volume.spec.claimRef if volume.spec else None
        if key is None or reference is None:
            return
        try:
            current = await self._client.get(PersistentVolumeClaim, key[1], key[0])
        except ApiError as error:
            if error.code != 404:
                raise
        else:
            if uid_of(current) == reference.uid:
                self._known_claims.assume(current)
                return
        phase = volume.status.phase if volume.status else None
        if phase not in ("Released", "Failed"):
            volume = await self._set_volume_phase(volume, "Released")
        if policy == "Delete":
            await self._remove(volume)
        elif policy == "Recycle":
            text = "the Recycle policy is not supported; delete the volume's data and its claimRef by hand"
            self._recorder.event(volume, "Warning", "VolumeFailedRecycle", text)
            await self._set_volume_phase(volume, "Failed", "VolumeFailedRecycle", text)

    async def _remove(self, volume: PersistentVolume) -> None:
        """Data and volume: only what this provisioner made; another's volume is another's to delete."""
        made_by = (meta(volume).annotations or {}).get(PROVISIONED_BY)
        source = volume.spec.hostPath if volume.spec else None
        if made_by is not None and made_by != PROVISIONER:
            return
        if made_by is None or source is None or not self._is_ours(Path(source.path)):
            text = "error getting deleter volume plugin for volume: no deletable volume plugin matched"
            if (volume.status.phase if volume.status else None) != "Failed":
                self._recorder.event(volume, "Warning", "VolumeFailedDelete", text)
                await self._set_volume_phase(volume, "Failed", "VolumeFailedDelete", text)
            return
        try:
            await self._directories.remove(Path(source.path))
        except OSError as error:
            self._recorder.event(volume, "Warning", "VolumeFailedDelete", str(error))
            await self._set_volume_phase(volume, "Failed", "VolumeFailedDelete", str(error))
            raise
        await remove(self._client, volume)

    def _is_ours(self, path: Path) -> bool:
        """Never remove what is not below the own directory, whatever an object says."""
        return ".." not in path.parts and self._root in path.parents

    async def _set_volume_phase(
        self, volume: PersistentVolume, phase: str, reason: str = "", message: str = ""
    ) -> PersistentVolume:
        known = volume.status
        if known is not None and (known.phase, known.message or "") == (phase, message):
            return volume
        moved = to_time(self._world.clock.now()) if known is None or known.phase != phase else None
        status = PersistentVolumeStatus(
            phase=phase,
            reason=reason or None,
            message=message or None,
            lastPhaseTransitionTime=moved or (known.lastPhaseTransitionTime if known is not None else None),
        )
        written = await self._client.update(replace(volume, status=status), "status")
        self._known_volumes.assume(written)
        _LOG.debug("volume %s of %s is %s", name_of(volume), claim_key(volume), phase)
        return written
