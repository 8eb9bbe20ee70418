"""Makes a pod's volumes and keeps those that follow an object up to date.

    volume ─► emptyDir                               a directory of the pod's own, on disk or in memory
           ─► configMap, secret, downwardAPI, projected   files, swapped atomically when the object changes
           ─► hostPath                               the path, checked or made by its type
           ─► persistentVolumeClaim ─► PersistentVolume: hostPath, local, or by the volume map nfs and csi
           ─► nfs                                    by the volume map
           ─► image                                  the runtime's to pull (node/image_pull.py) and to mount

What cannot be mounted is a VolumeError, whose message is the event's; the pod worker tries again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from lightkube.models.core_v1 import (
    HostPathVolumeSource,
    ImageVolumeSource,
    PersistentVolumeSpec,
    ProjectedVolumeSource,
    Volume,
    VolumeMount,
    VolumeProjection,
)
from lightkube.resources.core_v1 import ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Secret

from antei.api.errors import ApiError
from antei.api.objects import name_of, namespace_of, uid_of
from antei.api.pods import ephemeral_misfit
from antei.node.context import NodeContext
from antei.node.downward import NodeFacts
from antei.node.environment import expand
from antei.node.files import FileContent
from antei.node.volumes.memory import memory_volume
from antei.node.volumes.projection import MissingSource, Payload, of_config_map, of_downward_api, of_secret
from antei.runtime import Mount

__all__ = ["VolumeError", "VolumeMounter", "follows_objects", "image_volumes"]

T = TypeVar("T", ConfigMap, Secret, PersistentVolumeClaim)
_TOKEN_SECONDS = 3600
#: The part of its life after which a token is replaced (kubelet: pkg/kubelet/token/token_manager.go).
_TOKEN_RENEWAL = 0.8
#: What fsGroup adds to files that only the node writes.
_GROUP_READS = 0o440


class VolumeError(Exception):
    """FailedMount: the message names the volume and, where the machine cannot mount it, the remedy."""


def follows_objects(volume: Volume) -> bool:
    return any((volume.configMap, volume.secret, volume.downwardAPI, volume.projected))


def image_volumes(pod: Pod) -> dict[str, ImageVolumeSource]:
    """By the volume's name."""
    volumes = (pod.spec.volumes if pod.spec else None) or ()
    return {volume.name: volume.image for volume in volumes if volume.image is not None}


def _relative(below: str, name: str) -> Path:
    if below.startswith("/") or ".." in Path(below).parts:
        raise VolumeError(f'subPath "{below}" of volume "{name}" must be a relative path inside the volume')
    return Path(below)


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    renew_at: float  # on the loop's clock


class VolumeMounter:
    """The volumes of one pod. `mount_all` may be called again and again; it finishes what is missing."""

    def __init__(self, context: NodeContext) -> None:
        self._context = context
        self._paths: dict[str, Path] = {}
        self._tokens: dict[tuple[str, str], _Token] = {}  # by audience and path

    async def mount_all(self, pod: Pod, node: NodeFacts) -> None:
        """Raises VolumeError for the first volume that cannot be mounted."""
        for volume in (pod.spec.volumes if pod.spec else None) or ():
            try:
                self._paths[volume.name] = await self._mount(pod, volume, node)
            except MissingSource as error:
                raise VolumeError(f'MountVolume.SetUp failed for volume "{volume.name}" : {error}') from error
            except OSError as error:
                raise VolumeError(f'MountVolume.SetUp failed for volume "{volume.name}" : {error}') from error

    async def refresh(self, pod: Pod, node: NodeFacts) -> None:
        """Rewrites volumes whose objects have changed, under running containers. Raises VolumeError."""
        for volume in (pod.spec.volumes if pod.spec else None) or ():
            if follows_objects(volume):
                try:
                    await self._mount(pod, volume, node)
                except (MissingSource, OSError) as error:
                    raise VolumeError(f'MountVolume.SetUp failed for volume "{volume.name}" : {error}') from error

    async def mounts(
        self, pod: Pod, mounts: list[VolumeMount] | None, environment: Mapping[str, str]
    ) -> tuple[Mount, ...]:
        """A container's volumeMounts as the runtime takes them, subPaths made where they are missing."""
        result = []
        images = {name: source.reference or "" for name, source in image_volumes(pod).items()}
        following = {v.name for v in (pod.spec.volumes if pod.spec else None) or () if follows_objects(v)}
        for mount in mounts or ():
            if mount.name not in self._paths:
                raise VolumeError(f'volume "{mount.name}" is not mounted')
            source = self._paths[mount.name]
            below = expand(mount.subPathExpr, environment.get) if mount.subPathExpr else mount.subPath or ""
            if mount.name in images:
                source = _relative(below, mount.name)
            elif below:
                source = await self._sub_path(source, below, mount.name)
            # What follows an object is the node's to write, whatever the mount asks for.
            read_only = bool(mount.readOnly) or mount.name in following or mount.name in images
            result.append(
                Mount(
                    source=source,
                    target=mount.mountPath,
                    read_only=read_only,
                    recursive_read_only=(mount.recursiveReadOnly or "Disabled") != "Disabled",
                    propagation=mount.mountPropagation or "None",
                    image=images.get(mount.name, ""),
                )
            )
        return tuple(result)

    async def empty_directories(self, pod: Pod) -> Mapping[str, Path]:
        """Where the pod's emptyDirs are, by the volume's name, whether or not they have been made."""
        volumes = (pod.spec.volumes if pod.spec else None) or ()
        return {
            volume.name: await self._empty_directory(pod, volume.name, volume.emptyDir.medium or "")
            for volume in volumes
            if volume.emptyDir is not None
        }

    async def _empty_directory(self, pod: Pod, name: str, medium: str) -> Path:
        memory = await self._context.files.memory_directory() if medium == "Memory" else None
        if memory is not None:
            return memory_volume(memory, uid_of(pod), name)
        return self._context.pod_directory(uid_of(pod)) / "volumes" / name

    async def _give_to_group(self, pod: Pod, path: Path) -> None:
        group = fs_group(pod)
        context = pod.spec.securityContext if pod.spec else None
        if group is None or context is None:
            return
        is_enough = context.fsGroupChangePolicy == "OnRootMismatch"
        await self._context.files.give_to_group(path, group, only_on_mismatch=is_enough)

    async def unmount_all(self, pod: Pod) -> None:
        """Removes what is the pod's own; claims, host paths and mapped directories stay."""
        for directory in (await self.empty_directories(pod)).values():
            await self._context.files.remove_tree(directory)
        await self._context.files.remove_tree(self._context.pod_directory(uid_of(pod)))
        self._paths.clear()

    async def _sub_path(self, source: Path, below: str, name: str) -> Path:
        path = _relative(below, name)
        try:
            return await self._context.files.inside(source, str(path))
        except OSError as error:
            raise VolumeError(f'failed to prepare subPath "{below}" of volume "{name}": {error}') from error

    async def _mount(self, pod: Pod, volume: Volume, node: NodeFacts) -> Path:
        own = self._context.pod_directory(uid_of(pod)) / "volumes" / volume.name
        if follows_objects(volume):
            payload = await self._payload(pod, volume, node)
            await self._context.files.make_directory(own)
            stamp = self._context.world.clock.now().strftime("%Y_%m_%d_%H_%M_%S.%f")
            group = fs_group(pod)
            if group is not None:
                payload = {path: replace(each, mode=each.mode | _GROUP_READS) for path, each in payload.items()}
            await self._context.files.write_payload(own, payload, stamp, group)
            return own
        if volume.emptyDir is not None:
            own = await self._empty_directory(pod, volume.name, volume.emptyDir.medium or "")
            await self._context.files.make_directory(own, 0o777)
            await self._give_to_group(pod, own)
            return own
        mapped = self._context.volume_map.local_directory(_source_of(volume))
        if mapped is not None:
            return await self._stand_in(mapped)
        if volume.hostPath is not None:
            return await self._host_path(volume.hostPath)
        if volume.persistentVolumeClaim is not None:
            return await self._claim(pod, volume.persistentVolumeClaim.claimName)
        if volume.ephemeral is not None:
            return await self._claim(pod, f"{name_of(pod)}-{volume.name}", is_own=True)
        if volume.image is not None:
            if self._context.runtime.volume_images is None:
                failed = f'MountVolume.SetUp failed for volume "{volume.name}" : only real images can be mounted'
                raise VolumeError(f"{failed}: antei up --runtime auto or oci, as root")
            return Path()
        raise self._unmountable(_source_of(volume), volume.name)

    async def _stand_in(self, directory: Path) -> Path:
        """A mapped directory is made where it is missing: an export that nobody has written to yet is empty."""
        if await self._context.files.kind(directory) is None:
            await self._context.files.make_directory(directory, 0o777)
        return directory

    def _unmountable(self, source: object, name: str) -> VolumeError:
        failed = f'MountVolume.SetUp failed for volume "{name}" : this machine cannot mount it'
        line = self._context.volume_map.line_for(source)
        return VolumeError(f"{failed}; add to antei.yaml, under volumes: {line}" if line else failed)

    async def _host_path(self, source: HostPathVolumeSource) -> Path:
        """The path of a hostPath volume under its type's rule (Kubernetes: pkg/volume/hostpath/host_path.go)."""
        path = Path(source.path)
        wanted = source.type or ""
        if not wanted:
            return path
        files = self._context.files
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

    async def _claim(self, pod: Pod, name: str, *, is_own: bool = False) -> Path:
        """`is_own`: a generic ephemeral volume's, which must be this pod's."""
        claim = await self._get(PersistentVolumeClaim, name, namespace_of(pod))
        if claim is None:
            raise VolumeError(f'persistentvolumeclaim "{name}" not found')
        if is_own and (misfit := ephemeral_misfit(pod, claim)):
            raise VolumeError(misfit)
        volume_name = claim.spec.volumeName if claim.spec else None
        if not volume_name or claim.status is None or claim.status.phase != "Bound":
            raise VolumeError(f'persistentvolumeclaim "{name}" is not bound')
        try:
            volume = await self._context.client.get(PersistentVolume, volume_name)
        except ApiError as error:
            raise VolumeError(f'failed to get PersistentVolume "{volume_name}": {error}') from error
        if volume.spec is None:
            raise VolumeError(f'PersistentVolume "{volume_name}" has no spec')
        path = await self._persistent_volume(volume.spec, volume_name)
        if volume.spec.local is not None:
            await self._give_to_group(pod, path)
        return path

    async def _persistent_volume(self, spec: PersistentVolumeSpec, name: str) -> Path:
        mapped = self._context.volume_map.local_directory(_source_of(spec))
        if mapped is not None:
            return await self._stand_in(mapped)
        if spec.hostPath is not None:
            path = await self._host_path(spec.hostPath)
        elif spec.local is not None:
            path = Path(spec.local.path)
        else:
            raise self._unmountable(_source_of(spec), name)
        if await self._context.files.kind(path) is None:
            raise VolumeError(
                f'MountVolume.NewMounter initialization failed for volume "{name}" : path "{path}" does not exist'
            )
        return path

    async def _payload(self, pod: Pod, volume: Volume, node: NodeFacts) -> Payload:
        namespace = namespace_of(pod)
        if volume.configMap is not None:
            source = volume.configMap
            found = await self._get(ConfigMap, source.name or "", namespace)
            mode, optional = source.defaultMode, bool(source.optional)
            return of_config_map(found, namespace, source.name or "", source.items, mode, optional)
        if volume.secret is not None:
            name = volume.secret.secretName or ""
            secret = await self._get(Secret, name, namespace)
            mode, optional = volume.secret.defaultMode, bool(volume.secret.optional)
            return of_secret(secret, namespace, name, volume.secret.items, mode, optional)
        if volume.downwardAPI is not None:
            return of_downward_api(pod, volume.downwardAPI.items, volume.downwardAPI.defaultMode, node)
        assert volume.projected is not None
        return await self._projected(pod, volume.projected, node)

    async def _projected(self, pod: Pod, projected: ProjectedVolumeSource, node: NodeFacts) -> Payload:
        payload: Payload = {}
        for source in projected.sources or ():
            payload.update(await self._projection(pod, source, projected.defaultMode, node))
        return payload

    async def _projection(self, pod: Pod, source: VolumeProjection, mode: int | None, node: NodeFacts) -> Payload:
        namespace = namespace_of(pod)
        if source.configMap is not None:
            name = source.configMap.name or ""
            found = await self._get(ConfigMap, name, namespace)
            return of_config_map(found, namespace, name, source.configMap.items, mode, bool(source.configMap.optional))
        if source.secret is not None:
            name = source.secret.name or ""
            secret = await self._get(Secret, name, namespace)
            return of_secret(secret, namespace, name, source.secret.items, mode, bool(source.secret.optional))
        if source.downwardAPI is not None:
            return of_downward_api(pod, source.downwardAPI.items, mode, node)
        if source.serviceAccountToken is not None:
            return await self._token(pod, source, mode)
        raise MissingSource("this kind of projected source is not supported")

    async def _token(self, pod: Pod, source: VolumeProjection, mode: int | None) -> Payload:
        """The token's file; none where the cluster signs no tokens, as with automountServiceAccountToken: false."""
        wanted = source.serviceAccountToken
        assert wanted is not None
        if self._context.tokens is None:
            return {}
        seconds = wanted.expirationSeconds or _TOKEN_SECONDS
        known = self._tokens.get((wanted.audience or "", wanted.path))
        now = asyncio.get_running_loop().time()
        if known is None or now >= known.renew_at:
            try:
                text = await self._context.tokens.token(pod, wanted.audience or "", seconds)
            except ApiError as error:
                raise MissingSource(f"failed to fetch token: {error}") from error
            known = _Token(text, now + _TOKEN_RENEWAL * seconds)
            self._tokens[wanted.audience or "", wanted.path] = known
        return {wanted.path: FileContent(known.text.encode(), 0o644 if mode is None else mode)}

    async def _get(self, kind: type[T], name: str, namespace: str) -> T | None:
        """The object, or None where there is none."""
        try:
            return await self._context.client.get(kind, name, namespace)
        except ApiError as error:
            if error.code == 404:
                return None
            raise MissingSource(str(error)) from error


def fs_group(pod: Pod) -> int | None:
    """The group whose the pod's volumes are; a hostPath's owner is the host's business and stays."""
    context = pod.spec.securityContext if pod.spec else None
    return context.fsGroup if context is not None else None


def _source_of(volume: Volume | PersistentVolumeSpec) -> object:
    """The one field of a volume that says where it comes from; None where there is none."""
    for name in volume.__struct_fields__:
        value = getattr(volume, name)
        if type(value).__name__.endswith("VolumeSource"):
            return value
    return None
