"""Makes and removes what sandboxes and containers are made of: directories, mounts, namespaces, bundles. Blocks."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from antei.runtime import ContainerRecord, ContainerSpec, Limits, Mount, Sandbox, SandboxSpec, StartError
from antei.runtime.capability_set import capabilities_of
from antei.runtime.images import FoundImage
from antei.runtime.images.inside import Identity, UnknownUser, identify_user, resolve_inside
from antei.runtime.oci import cgroups, config
from antei.runtime.oci.conmon import Runc, run_bundle
from antei.runtime.oci.kernel import MAPPED_IDS, make_namespaces
from antei.runtime.oci.machine import Machine
from antei.runtime.oci.pause import PauseFailure, start_pause
from antei.runtime.oci.pod_groups import Place, make_pod_group, place_of, remove_pod_group
from antei.runtime.oci.seccomp import seccomp_of
from antei.runtime.oci.state import StoredContainer, StoredSandbox, write
from antei.runtime.oci.users import MappedView, pod_users, remove_view
from antei.runtime.oom_score import settable_oom_score
from antei.runtime.process import processes
from antei.runtime.process.command import container_hosts
from antei.runtime.trees import remove_tree
from antei.world.mounts import is_mounted, mount_overlay, mount_read_only, mount_tmpfs, unmount
from antei.world.own_namespaces import is_own
from antei.world.user_ids import ping_groups

__all__ = ["joined_by", "leave_sandbox", "make_sandbox", "remove_container", "start_container"]

#: containerd's size of a pod's /dev/shm.
_SHARED_MEMORY_BYTES = 64 * 1024 * 1024
#: As containerd has it: with a network of its own a pod may use low ports and ping, whoever it runs as.
_OWN_NETWORK_SYSCTLS = {"net.ipv4.ip_unprivileged_port_start": "0"}

#: Of a bundle: the images that are mounted as volumes.
_IMAGES = "images"


def make_sandbox(directory: Path, sandbox: Sandbox, spec: SandboxSpec, users: Path | None) -> StoredSandbox:
    """Only files: namespaces and mounts come with the first container. `users`: the pod's user namespace."""
    directory.mkdir(parents=True)
    (directory / "containers").mkdir()
    aliases = [(alias.ip, alias.hostnames) for alias in spec.hosts]
    (directory / "hosts").write_text(container_hosts(spec.hostname, aliases))
    (directory / "hostname").write_text(spec.hostname + "\n")
    (directory / "resolv.conf").write_text(spec.resolv_conf or _host_resolv_conf())
    groups = f"0 {MAPPED_IDS - 1}" if spec.own_users else ping_groups()
    of_network = {**_OWN_NETWORK_SYSCTLS, "net.ipv4.ping_group_range": groups} if spec.network_namespace else {}
    stored = StoredSandbox(
        sandbox=sandbox,
        hostname=spec.hostname,
        network_namespace=spec.network_namespace,
        host_ipc=spec.host_ipc,
        host_pid=spec.host_pid,
        share_process_namespace=spec.share_process_namespace,
        user_namespace=None if users is None else str(users),
        sysctls={**of_network, **spec.sysctls},
        limits=spec.limits,
    )
    write(directory / "sandbox.json", stored)
    return stored


def joined_by(directory: Path, stored: StoredSandbox, machine: Machine, runc: Runc) -> config.Joined:
    """What containers of the pod join; made where it is missing, as after a start of the machine. Raises OSError."""
    if _pod_group(stored) and machine.controllers.names and machine.controllers.path is not None:
        make_pod_group(directory, stored.limits, machine.controllers)
    wanted = [kind for kind in ("ipc", "uts") if kind == "uts" or not stored.host_ipc]
    missing = [kind for kind in wanted if not is_mounted(directory / kind)]
    users = pod_users(Path(stored.user_namespace).parents[1], stored.sandbox.pod_uid) if stored.user_namespace else None
    if missing:
        make_namespaces(directory, stored.hostname, missing, users)
    shared_memory = Path("/dev/shm") if stored.host_ipc else directory / "shm"
    if not stored.host_ipc and not is_mounted(shared_memory):
        shared_memory.mkdir(exist_ok=True)
        mount_tmpfs(shared_memory, _SHARED_MEMORY_BYTES, is_bare=True)
    pid: str | None = ""
    if stored.host_pid:
        pid = None
    elif stored.share_process_namespace:
        pid = start_pause(runc, directory, _place(stored.sandbox.id, stored, machine), users)
    network = stored.network_namespace
    shared = {kind for kind, is_ours in (("proc", pid is not None), ("sysfs", network is not None)) if not is_ours}
    return config.Joined(
        directory=directory,
        hostname=stored.hostname,
        network=None if network is None else Path("/run/netns") / network,
        ipc=None if stored.host_ipc else directory / "ipc",
        uts=directory / "uts",
        pid=pid,
        shared_memory=shared_memory,
        sysctls=stored.sysctls,
        cgroup=machine.controllers.is_unified,
        own_files=frozenset(("proc", "sysfs")) - (shared if is_own() else set()),
        user=users,
    )


def leave_sandbox(directory: Path, stored: StoredSandbox | None, runc: Runc) -> None:
    """Ends and unmounts all that makes the directory more than files, after all containers have ended."""
    for container in (directory / "containers").glob("*"):
        _unmount_container(container)
    if stored is not None and stored.share_process_namespace:
        runc.delete(stored.sandbox.id)
        remove_view(directory.name)
    remove_pod_group(directory)
    for name in ("ipc", "uts", "shm"):
        unmount(directory / name)


def remove_container(bundle: Path) -> None:
    _unmount_container(bundle)
    remove_tree(bundle)


def _unmount_container(bundle: Path) -> None:
    unmount(bundle / "rootfs")
    for volume in (bundle / _IMAGES).glob("*"):
        unmount(volume)
    remove_view(bundle.name)


def _pod_group(stored: StoredSandbox) -> str:
    """The id of a sandbox whose pod has a control group of its own."""
    return stored.sandbox.id if stored.limits != Limits() else ""


def _place(identifier: str, stored: StoredSandbox, machine: Machine) -> Place:
    return place_of(identifier, machine.controllers, _pod_group(stored))


def start_container(
    spec: ContainerSpec,
    record: ContainerRecord,
    image: FoundImage,
    sandbox_directory: Path,
    sandbox: StoredSandbox,
    machine: Machine,
    runc: Runc,
    *,
    bundle: Path,
    volumes: Mapping[str, FoundImage],
    pids_limit: int,
    seccomp_directory: Path,
    target: processes.Process | None = None,
) -> StoredContainer:
    """Lays out the bundle and runs it; raises StartError, and then nothing of it is left.

    `volumes`: the images that its mounts name. `target`: the first process of the container whose processes this one
    is to see.
    """
    identity = _identity(spec, image)
    stored = StoredContainer(
        record=dataclasses.replace(record, user=config.user_of(spec, identity)),
        log_path="" if spec.log_path == Path() else str(spec.log_path.absolute()),
        uid=identity.uid,
        gid=identity.gid,
        tty=spec.tty,
        stdin=spec.stdin,
        has_own_pids=not (sandbox.host_pid or sandbox.share_process_namespace or target),
    )
    place = _place(record.id, sandbox, machine)
    try:
        joined = joined_by(sandbox_directory, sandbox, machine, runc)
        if target is not None:
            joined = dataclasses.replace(joined, pid=f"/proc/{target.pid}/ns/pid")
        for name in ("upper", "work", "rootfs"):
            (bundle / name).mkdir(parents=True)
        shutil.copymode(image.rootfs, bundle / "upper")
        lower, rootfs = image.rootfs, bundle / "rootfs"
        view = None if joined.user is None else MappedView(record.id, joined.user)
        if view is not None:
            view.make()
        spec = _with_images(spec, volumes, bundle, view)
        _make_sources(spec)
        own_volumes: Sequence[Mount] = _anonymous_volumes(spec, image, bundle)
        if view is not None:
            lower, rootfs = view.of(lower), view.directory / "rootfs"
            rootfs.mkdir()
            os.chown(bundle / "upper", view.first_id, view.first_id)
            spec, own_volumes, joined = _as_own_users(spec, own_volumes, joined, view)
        mount_overlay(rootfs, lower, bundle / "upper", bundle / "work")
        if stored.log_path:
            spec.log_path.parent.mkdir(parents=True, exist_ok=True)
        document = config.container_config(
            spec,
            image.image.config,
            joined,
            identity,
            rootfs=rootfs,
            place=place,
            held=machine.capabilities,
            resources=_resources(spec, machine, pids_limit),
            seccomp=seccomp_of(spec.security.seccomp, seccomp_directory, capabilities_of(spec, machine.capabilities)),
            devices=[*(config.host_devices() if spec.privileged else ()), *map(config.block_device, spec.devices)],
            volumes=own_volumes,
            oom_score=settable_oom_score(spec.oom_score_adj, machine.capabilities),
        )
        (bundle / "config.json").write_text(json.dumps(document))
        write(bundle / "container.json", stored)
        started = run_bundle(
            runc,
            record.id,
            bundle,
            stored.log_path,
            place.enter(),
            tty=spec.tty,
            stdin=spec.stdin,
            stdin_once=spec.stdin_once,
        )
    except (OSError, PauseFailure, UnicodeEncodeError, subprocess.SubprocessError) as error:
        remove_container(bundle)
        raise StartError("CreateContainerError", str(error)) from error
    except StartError:
        remove_container(bundle)
        raise
    stored = msgspec.structs.replace(stored, monitor=started.monitor, main=started.main, groups=started.groups)
    write(bundle / "container.json", stored)
    return stored


def _as_own_users(
    spec: ContainerSpec, volumes: Sequence[Mount], joined: config.Joined, view: MappedView
) -> tuple[ContainerSpec, Sequence[Mount], config.Joined]:
    """With all that is laid over the root in place of itself as the pod's users see it. Raises OSError."""

    def seen(mount: Mount) -> Mount:
        is_of_image = mount.source.is_relative_to(view.directory)
        return mount if is_of_image else dataclasses.replace(mount, source=view.of(mount.source))

    return (
        dataclasses.replace(
            spec,
            mounts=tuple(map(seen, spec.mounts)),
            termination_log=None if spec.termination_log is None else view.of(spec.termination_log),
        ),
        [dataclasses.replace(mount, source=view.of(mount.source)) for mount in volumes],
        dataclasses.replace(joined, directory=view.of(joined.directory), shared_memory=view.of(joined.shared_memory)),
    )


def _identity(spec: ContainerSpec, image: FoundImage) -> Identity:
    """The container's security context above the image's USER. Raises StartError for a name the image does not know."""
    wanted = image.image.config.user if spec.run_as_user is None else str(spec.run_as_user)
    try:
        identity = identify_user(image.rootfs, wanted, spec.run_as_group)
    except UnknownUser as error:
        raise StartError("CreateContainerError", str(error)) from error
    return dataclasses.replace(identity, groups=()) if spec.security.strict_groups else identity


def _resources(spec: ContainerSpec, machine: Machine, pids_limit: int) -> dict[str, Any]:
    limits = Limits(spec.memory_limit_bytes, spec.cpu_limit_millis, spec.cpu_request_millis)
    found = cgroups.resources(machine.controllers, limits, pids_limit=pids_limit, privileged=spec.privileged)
    found["devices"] += config.allowed(spec.devices)
    return found


def _with_images(
    spec: ContainerSpec, images: Mapping[str, FoundImage], bundle: Path, view: MappedView | None
) -> ContainerSpec:
    """Its mounts with a directory in place of each image. Like the roots of containers these directories are overlays:
    so it is seen that the image is in use. Raises StartError for a path that the image does not have.
    """
    if not images:
        return spec
    empty = bundle / "empty"
    empty.mkdir()
    roots: dict[str, Path] = {}
    for number, (name, image) in enumerate(images.items()):
        roots[name] = (bundle if view is None else view.directory) / _IMAGES / str(number)
        roots[name].mkdir(parents=True)
        mount_read_only(roots[name], (image.rootfs if view is None else view.of(image.rootfs), empty))

    def resolved(mount: Mount) -> Mount:
        source = resolve_inside(roots[mount.image], str(mount.source))
        if not (source.is_dir() or source.is_file()):
            raise StartError("CreateContainerError", f'image "{mount.image}" has no file or directory {mount.source}')
        return dataclasses.replace(mount, source=source, read_only=True, executable=False, image="")

    return dataclasses.replace(spec, mounts=tuple(resolved(mount) if mount.image else mount for mount in spec.mounts))


def _make_sources(spec: ContainerSpec) -> None:
    """A host path that is not there is made as a directory, as containerd does."""
    for mount in spec.mounts:
        if not mount.source.exists():
            mount.source.mkdir(parents=True)
    if spec.termination_log is not None and not spec.termination_log.exists():
        spec.termination_log.parent.mkdir(parents=True, exist_ok=True)
        spec.termination_log.touch()
        spec.termination_log.chmod(0o666)


def _anonymous_volumes(spec: ContainerSpec, image: FoundImage, bundle: Path) -> Sequence[Mount]:
    """The image's VOLUMEs stay writable over a read-only root, with what the image has there.

    Over a writable root they need nothing: the overlay is the container's own already.
    """
    if not spec.read_only_root:
        return ()
    found = []
    for number, target in enumerate(image.image.config.volumes):
        source = bundle / f"volume-{number}"
        content = resolve_inside(image.rootfs, target)
        if content.is_dir():
            subprocess.run(["cp", "-a", "--", str(content), str(source)], check=True, stdin=subprocess.DEVNULL)
        else:
            source.mkdir()
        found.append(Mount(source, target))
    return found


def _host_resolv_conf() -> str:
    try:
        return Path("/etc/resolv.conf").read_text()
    except OSError:
        return ""
