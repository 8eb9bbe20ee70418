"""Makes a pod's volumes and keeps those that follow an object up to date.

    volume ─► emptyDir                               a directory of the pod's own, on disk or in memory
           ─► configMap, secret, downwardAPI, projected   files, swapped atomically as the object changes (payloads.py)
           ─► hostPath                               the path, checked or made by its type
           ─► image                                  the runtime's to pull (node/image_pull.py) and to mount
           ─► persistentVolumeClaim, ephemeral       what is behind the claim (claims.py): a directory, or a device
           ─► nfs                                    mounted, or by the volume map

What cannot be mounted is a VolumeError, whose message is the event's; the pod worker tries again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lightkube.models.core_v1 import Container, ImageVolumeSource, Volume
from lightkube.resources.core_v1 import Pod

from antei.api.objects import uid_of
from antei.api.quantity import to_bytes
from antei.node.context import NodeContext
from antei.node.downward import NodeFacts
from antei.node.environment import ConfigError, expand
from antei.node.volumes.claims import VolumeError, claimed, host_path, nfs, source_of, stand_in, unmountable
from antei.node.volumes.memory import memory_size, memory_volume
from antei.node.volumes.payloads import Payloads, follows_objects
from antei.node.volumes.projection import MissingSource
from antei.runtime import Device, Mount

__all__ = ["VolumeError", "VolumeMounter", "follows_objects", "image_volumes"]

#: What fsGroup adds to files that only the node writes.
_GROUP_READS = 0o440


def image_volumes(pod: Pod) -> dict[str, ImageVolumeSource]:
    """By the volume's name."""
    volumes = (pod.spec.volumes if pod.spec else None) or ()
    return {volume.name: volume.image for volume in volumes if volume.image is not None}


@dataclass(frozen=True, slots=True)
class _Mounted:
    path: Path
    is_block: bool = False


class VolumeMounter:
    """The volumes of one pod. `mount_all` may be called again and again; it finishes what is missing."""

    def __init__(self, context: NodeContext) -> None:
        self._context = context
        self._mounted: dict[str, _Mounted] = {}
        self._payloads = Payloads(context)

    async def mount_all(self, pod: Pod, node: NodeFacts) -> None:
        """Raises VolumeError for the first volume that cannot be mounted."""
        for volume in (pod.spec.volumes if pod.spec else None) or ():
            try:
                self._mounted[volume.name] = await self._mount(pod, volume, node)
            except (MissingSource, OSError) as error:
                raise VolumeError(f'MountVolume.SetUp failed for volume "{volume.name}" : {error}') from error

    async def refresh(self, pod: Pod, node: NodeFacts) -> None:
        """Rewrites volumes whose objects have changed, under running containers. Raises VolumeError."""
        for volume in (pod.spec.volumes if pod.spec else None) or ():
            if follows_objects(volume):
                try:
                    await self._mount(pod, volume, node)
                except (MissingSource, OSError) as error:
                    raise VolumeError(f'MountVolume.SetUp failed for volume "{volume.name}" : {error}') from error

    async def mounts(self, pod: Pod, container: Container, environment: Mapping[str, str]) -> tuple[Mount, ...]:
        """A container's volumeMounts as the runtime takes them, subPaths made where they are missing.

        Raises VolumeError, ConfigError.
        """
        result = []
        volumes = {volume.name: volume for volume in (pod.spec.volumes if pod.spec else None) or ()}
        for mount in container.volumeMounts or ():
            source = self._found(mount.name, is_block=False)
            below = _expanded(mount.subPathExpr, environment) if mount.subPathExpr else mount.subPath or ""
            volume = volumes[mount.name]
            if volume.image is not None:
                source = _relative(below)
            elif below:
                source = await self._sub_path(source, below, mount.name)
            result.append(
                Mount(
                    source=source,
                    target=mount.mountPath,
                    read_only=bool(mount.readOnly) or _is_read_only(volume),
                    recursive_read_only=(mount.recursiveReadOnly or "Disabled") != "Disabled",
                    propagation=mount.mountPropagation or "None",
                    image=(volume.image.reference or "") if volume.image is not None else "",
                )
            )
        return tuple(result)

    def devices(self, pod: Pod, container: Container) -> tuple[Device, ...]:
        """A container's volumeDevices. Raises VolumeError."""
        volumes = {volume.name: volume for volume in (pod.spec.volumes if pod.spec else None) or ()}
        return tuple(
            Device(self._found(device.name, is_block=True), device.devicePath, _is_read_only(volumes[device.name]))
            for device in container.volumeDevices or ()
        )

    def _found(self, name: str, *, is_block: bool) -> Path:
        found = self._mounted.get(name)
        if found is None:
            raise VolumeError(f'volume "{name}" is not mounted')
        if found.is_block != is_block:
            mode, field = ("Block", "volumeMounts") if found.is_block else ("Filesystem", "volumeDevices")
            raise VolumeError(f"volume {name} has volumeMode {mode}, but is specified in {field}")
        return found.path

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
        return self._directory(pod, name)

    def _directory(self, pod: Pod, name: str) -> Path:
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
        self._mounted.clear()

    async def _sub_path(self, source: Path, below: str, name: str) -> Path:
        path = _relative(below)
        try:
            return await self._context.files.inside(source, str(path))
        except OSError as error:
            raise VolumeError(f'failed to prepare subPath "{below}" of volume "{name}": {error}') from error

    async def _mount(self, pod: Pod, volume: Volume, node: NodeFacts) -> _Mounted:
        own = self._directory(pod, volume.name)
        if follows_objects(volume):
            return _Mounted(await self._write(pod, volume, node, own))
        if volume.emptyDir is not None:
            return _Mounted(await self._make_empty(pod, volume))
        if volume.image is not None:
            if self._context.runtime.volume_images is None:
                failed = f'MountVolume.SetUp failed for volume "{volume.name}" : only real images can be mounted'
                raise VolumeError(f"{failed}: antei up --runtime auto or oci, as root")
            return _Mounted(Path())
        mapped = self._context.volume_map.local_directory(source_of(volume))
        if mapped is not None:
            return _Mounted(await stand_in(self._context, mapped))
        if volume.hostPath is not None:
            return _Mounted(await host_path(self._context, volume.hostPath))
        if volume.persistentVolumeClaim is not None or volume.ephemeral is not None:
            found = await claimed(self._context, pod, volume, own)
            if found.is_managed and not _is_read_only(volume):
                await self._give_to_group(pod, found.path)
            return _Mounted(found.path, found.is_block)
        if volume.nfs is not None:
            path = await nfs(self._context, volume.nfs, own, ())
            if path is not None:
                return _Mounted(path)
        raise unmountable(self._context, source_of(volume), volume.name)

    async def _write(self, pod: Pod, volume: Volume, node: NodeFacts, directory: Path) -> Path:
        payload = await self._payloads.of(pod, volume, node)
        await self._context.files.make_directory(directory)
        stamp = self._context.world.clock.now().strftime("%Y_%m_%d_%H_%M_%S.%f")
        group = fs_group(pod)
        if group is not None:
            payload = {path: replace(each, mode=each.mode | _GROUP_READS) for path, each in payload.items()}
        await self._context.files.write_payload(directory, payload, stamp, group)
        return directory

    async def _make_empty(self, pod: Pod, volume: Volume) -> Path:
        source = volume.emptyDir
        assert source is not None
        if (source.medium or "").startswith("HugePages"):
            failed = f'MountVolume.SetUp failed for volume "{volume.name}"'
            raise VolumeError(f"{failed} : emptyDir.medium {source.medium}: there are no huge pages here")
        path = await self._empty_directory(pod, volume.name, source.medium or "")
        if path == self._directory(pod, volume.name):
            await self._context.files.make_directory(path, 0o777)
        else:
            size = memory_size(pod, source, to_bytes(self._context.allocatable.get("memory")))
            await self._context.files.make_memory(path, size)
        await self._give_to_group(pod, path)
        return path


def _expanded(expression: str, environment: Mapping[str, str]) -> str:
    """Kubernetes: pkg/kubelet/container/helpers.go, ExpandContainerVolumeMounts. Raises ConfigError."""
    missing: set[str] = set()

    def value_of(name: str) -> str | None:
        value = environment.get(name)
        if not value:
            missing.add(name)
        return value

    expanded = expand(expression, value_of)
    if missing:
        raise ConfigError(f"missing value for {', '.join(sorted(missing))}")
    return expanded


def _relative(below: str) -> Path:
    """Raises ConfigError for a path that is not one below the volume (Kubernetes: kubelet_pods.go, makeMounts)."""
    if below.startswith("/"):
        raise ConfigError(f"error SubPath `{below}` must not be an absolute path")
    if ".." in below.split("/"):
        raise ConfigError(f"unable to provision SubPath `{below}`: must not contain '..'")
    return Path(below)


def _is_read_only(volume: Volume) -> bool:
    """What follows an object or is an image's is nobody's to write, whatever the mount asks for."""
    claim = volume.persistentVolumeClaim
    is_asked = bool((claim and claim.readOnly) or (volume.nfs and volume.nfs.readOnly))
    return is_asked or follows_objects(volume) or volume.image is not None


def fs_group(pod: Pod) -> int | None:
    """The group whose the pod's volumes are; a hostPath's owner is the host's business and stays."""
    context = pod.spec.securityContext if pod.spec else None
    return context.fsGroup if context is not None else None
