"""From a pod's claim to what is behind it on this machine: the directory or block device of a PersistentVolume.

    claim, bound ─► PersistentVolume ─► mapped (antei.yaml) │ hostPath │ local │ nfs, where this machine has it

Kubernetes: pkg/volume/{hostpath,local,nfs}, pkg/kubelet/volumemanager (whose words the errors are).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightkube.models.core_v1 import HostPathVolumeSource, NFSVolumeSource, PersistentVolumeSpec, Volume
from lightkube.resources.core_v1 import PersistentVolume, PersistentVolumeClaim, Pod

from antei.api.errors import ApiError
from antei.api.objects import meta, name_of, namespace_of
from antei.api.pods import ephemeral_misfit
from antei.node.context import NodeContext
from antei.node.volumes.payloads import existing
from antei.node.volumes.projection import MissingSource

__all__ = ["Claimed", "VolumeError", "claimed", "host_path", "nfs", "source_of", "stand_in", "unmountable"]

_PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
_OWN_PROVISIONER = "antei.dev/local-path"


class VolumeError(Exception):
    """FailedMount: the message names the volume and, where the machine cannot mount it, the remedy."""

    def __init__(self, message: str, reason: str = "FailedMount") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Claimed:
    """`is_managed`: its files may be given to fsGroup. `is_block`: the path is a device's."""

    path: Path
    is_managed: bool
    is_block: bool


async def claimed(context: NodeContext, pod: Pod, volume: Volume, directory: Path) -> Claimed:
    """What is behind the volume's claim; `directory` is for what has to be mounted. Raises VolumeError."""
    of_claim = volume.persistentVolumeClaim
    name = of_claim.claimName if of_claim is not None else f"{name_of(pod)}-{volume.name}"
    claim = await existing(context, PersistentVolumeClaim, name, namespace_of(pod))
    if claim is None:
        raise VolumeError(f'persistentvolumeclaim "{name}" not found')
    if volume.ephemeral is not None and (misfit := ephemeral_misfit(pod, claim)):
        raise VolumeError(misfit)
    volume_name = claim.spec.volumeName if claim.spec else None
    if not volume_name or claim.status is None or claim.status.phase != "Bound":
        raise VolumeError(f'persistentvolumeclaim "{name}" is not bound')
    try:
        found = await context.client.get(PersistentVolume, volume_name)
    except ApiError as error:
        raise VolumeError(f'failed to get PersistentVolume "{volume_name}": {error}') from error
    if found.spec is None:
        raise VolumeError(f'PersistentVolume "{volume_name}" has no spec')
    is_block = found.spec.volumeMode == "Block"
    if is_block:
        return Claimed(await _device(context, found.spec, volume_name), is_managed=False, is_block=True)
    path = await _directory(context, found.spec, volume_name, directory)
    is_ours = (meta(found).annotations or {}).get(_PROVISIONED_BY) == _OWN_PROVISIONER
    return Claimed(path, is_managed=found.spec.local is not None or is_ours, is_block=False)


async def _directory(context: NodeContext, spec: PersistentVolumeSpec, name: str, directory: Path) -> Path:
    mapped = context.volume_map.local_directory(source_of(spec))
    if mapped is not None:
        return await stand_in(context, mapped)
    if spec.nfs is not None:
        found = await nfs(context, spec.nfs, directory, spec.mountOptions or ())
        if found is not None:
            return found
    if spec.hostPath is not None:
        path = await host_path(context, spec.hostPath)
    elif spec.local is not None:
        path = Path(spec.local.path)
    else:
        raise unmountable(context, source_of(spec), name)
    if await context.files.kind(path) is None:
        raise VolumeError(
            f'MountVolume.NewMounter initialization failed for volume "{name}" : path "{path}" does not exist'
        )
    return path


async def _device(context: NodeContext, spec: PersistentVolumeSpec, name: str) -> Path:
    """Of the volumes that there are here `local` ones alone can be devices, as in Kubernetes."""
    if spec.local is None:
        raise VolumeError(
            f'MapVolume.SetUp failed for volume "{name}" : volumeMode Block: only a local volume, whose path is that '
            "of a block device, can be one",
            "FailedMapVolume",
        )
    path = Path(spec.local.path)
    if await context.files.kind(path) != "BlockDevice":
        raise VolumeError(
            f'MapVolume.SetUp failed for volume "{name}" : {path} is not a block device', "FailedMapVolume"
        )
    return path


async def nfs(context: NodeContext, source: NFSVolumeSource, directory: Path, options: Sequence[str]) -> Path | None:
    """The export, mounted at `directory`; None where this machine cannot mount any. Raises OSError."""
    chosen = [*options, *(["ro"] if source.readOnly else [])]
    is_mounted = await context.files.mount_nfs(f"{source.server}:{source.path}", directory, chosen)
    return directory if is_mounted else None


async def stand_in(context: NodeContext, directory: Path) -> Path:
    """A mapped directory is made where it is missing: an export that nobody has written to yet is empty."""
    if await context.files.kind(directory) is None:
        await context.files.make_directory(directory, 0o777)
    return directory


def unmountable(context: NodeContext, source: object, name: str) -> VolumeError:
    failed = f'MountVolume.SetUp failed for volume "{name}" : this machine cannot mount it'
    line = context.volume_map.line_for(source)
    return VolumeError(f"{failed}; add to antei.yaml, under volumes: {line}" if line else failed)


async def host_path(context: NodeContext, source: HostPathVolumeSource) -> Path:
    """The path of a hostPath volume under its type's rule (Kubernetes: pkg/volume/hostpath/host_path.go)."""
    path = Path(source.path)
    wanted = source.type or ""
    if not wanted:
        return path
    files = context.files
    kind = await files.kind(path)
    if kind is None and wanted == "DirectoryOrCreate":
        await files.make_directory(path)
        return path
    if kind is None and wanted == "FileOrCreate":
        await files.make_file(path)
        return path
    if kind is None:
        raise MissingSource(f"hostPath type check failed: {path} does not exist")
    if kind != wanted.removesuffix("OrCreate"):
        names = {"CharDevice": "character device", "BlockDevice": "block device"}
        what = names.get(wanted, wanted.removesuffix("OrCreate").lower())
        raise MissingSource(f"hostPath type check failed: {path} is not a {what}")
    return path


def source_of(volume: Volume | PersistentVolumeSpec) -> object:
    """The one field of a volume that says where it comes from; None where there is none."""
    for name in volume.__struct_fields__:
        value = getattr(volume, name)
        if type(value).__name__.endswith("VolumeSource"):
            return value
    return None
