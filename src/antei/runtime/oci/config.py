"""From a container's spec and its image to the config.json that runc runs: pure, but for `devices` of the machine.

What is not asked for is as containerd has it: its capabilities, devices, masked paths and mounts.
OCI runtime-spec, config.md and config-linux.md.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antei.runtime import ContainerSpec, Device, LinuxUser, Mount, StartError
from antei.runtime.capability_set import capabilities_of
from antei.runtime.images.config import ImageConfig
from antei.runtime.images.inside import Identity
from antei.runtime.oci.pod_groups import Place
from antei.runtime.oci.users import user_mappings

__all__ = ["Joined", "allowed", "block_device", "container_config", "environment", "host_devices", "program"]

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MASKED = (
    *("/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list"),
    *("/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"),
)
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_PROPAGATION = {"HostToContainer": "rslave", "Bidirectional": "rshared"}
#: Of the host's /dev, what is no device of the machine.
_NOT_DEVICES = ("pts", "shm", "fd", "mqueue", "core", ".udev", ".lxc", ".lxd-mounts")
_MOST_DEVICES = 4096


@dataclass(frozen=True, slots=True)
class Joined:
    """The namespaces and files of a pod that its containers join, by path; None: the host's own.

    `pid` "": the container has a PID namespace of its own. `cgroup`: it gets a view of its own groups (version 2).
    `own_files`: "proc", "sysfs" that the kernel lets it mount; it sees the machine's where it shares processes or a
    network that are not ours.
    """

    directory: Path  # hosts, hostname, resolv.conf
    hostname: str
    network: Path | None
    ipc: Path | None
    uts: Path
    pid: str | None
    shared_memory: Path
    sysctls: Mapping[str, str]
    cgroup: bool
    own_files: frozenset[str] = frozenset(("proc", "sysfs"))
    user: Path | None = None  # the pod's own users


def program(spec: ContainerSpec, image: ImageConfig) -> tuple[str, ...]:
    """`command` replaces the image's entry point and drops its command, `args` replaces its command."""
    command = spec.command if spec.command else image.entrypoint
    args = spec.args if spec.args is not None else (() if spec.command else image.command)
    return (*command, *args)


def user_of(spec: ContainerSpec, identity: Identity) -> LinuxUser:
    groups = dict.fromkeys((identity.gid, *identity.groups, *spec.security.supplemental_groups))
    return LinuxUser(identity.uid, identity.gid, tuple(groups))


def environment(spec: ContainerSpec, image: ImageConfig, hostname: str) -> dict[str, str]:
    own = dict(entry.split("=", 1) for entry in image.env)
    terminal = {"TERM": "xterm"} if spec.tty else {}
    return {"PATH": DEFAULT_PATH, "HOSTNAME": hostname, **terminal, **own, **spec.env}


def container_config(
    spec: ContainerSpec,
    image: ImageConfig,
    joined: Joined,
    identity: Identity,
    *,
    rootfs: Path,
    place: Place,
    held: Sequence[str],
    resources: Mapping[str, Any],
    seccomp: Mapping[str, Any] | None,
    devices: Sequence[Mapping[str, Any]] = (),
    volumes: Sequence[Mount] = (),
    oom_score: int | None = None,
) -> dict[str, Any]:
    """Raises StartError for what no container can be made of."""
    argv = program(spec, image)
    if not argv:
        raise StartError("CreateContainerError", "no command specified: neither the container nor its image has one")
    names = [f"CAP_{name}" for name in capabilities_of(spec, held)]
    user = user_of(spec, identity)
    mounts = [*_file_systems(spec, joined), *_binds(spec, joined, volumes)]
    linux: dict[str, Any] = {
        **place.config,
        "namespaces": _namespaces(joined),
        "resources": resources,
        "devices": list(devices),
    }
    shared = {_PROPAGATION[mount.propagation] for mount in spec.mounts if mount.propagation in _PROPAGATION}
    if shared:
        linux["rootfsPropagation"] = "rshared" if "rshared" in shared else "rslave"
    if not spec.privileged:
        if not spec.security.is_proc_unmasked:
            linux |= {"maskedPaths": list(_MASKED), "readonlyPaths": list(_READ_ONLY)}
        if seccomp is not None:
            linux["seccomp"] = seccomp
    linux |= user_mappings(joined.user)
    if joined.sysctls:
        linux["sysctl"] = dict(joined.sysctls)
    return {
        "ociVersion": "1.0.2",
        "root": {"path": str(rootfs), "readonly": spec.read_only_root},
        "hostname": joined.hostname,
        "mounts": mounts,
        "process": {
            "terminal": spec.tty,
            "user": {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)},
            "args": list(argv),
            "env": [f"{name}={value}" for name, value in environment(spec, image, joined.hostname).items()],
            "cwd": spec.working_dir or image.working_dir or "/",
            "capabilities": {"bounding": names, "effective": names, "permitted": names},
            "noNewPrivileges": spec.security.no_new_privileges and not spec.privileged,
            **({} if oom_score is None else {"oomScoreAdj": oom_score}),
        },
        "linux": linux,
    }


def host_devices(root: Path = Path("/dev")) -> list[dict[str, Any]]:
    """All devices of the machine, for a privileged container."""
    found: list[dict[str, Any]] = []
    for directory, names, files in os.walk(root):
        if Path(directory) == root:
            names[:] = [name for name in names if name not in _NOT_DEVICES]
        for name in files:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            kind = "c" if stat.S_ISCHR(status.st_mode) else "b" if stat.S_ISBLK(status.st_mode) else ""
            if kind and len(found) < _MOST_DEVICES and name != "console":
                found.append(
                    {
                        "path": path,
                        "type": kind,
                        "major": os.major(status.st_rdev),
                        "minor": os.minor(status.st_rdev),
                        "fileMode": stat.S_IMODE(status.st_mode),
                        "uid": status.st_uid,
                        "gid": status.st_gid,
                    }
                )
    return found


def block_device(device: Device) -> dict[str, Any]:
    """Raises OSError where it is gone, StartError where it is none."""
    status = os.stat(device.source)
    if not stat.S_ISBLK(status.st_mode):
        raise StartError("CreateContainerError", f"{device.source} is not a block device")
    return {
        "path": device.target,
        "type": "b",
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
    }


def allowed(devices: Sequence[Device]) -> list[dict[str, Any]]:
    """What of them the container's control group lets it do."""
    return [
        {key: found[key] for key in ("type", "major", "minor")}
        | {"allow": True, "access": "rm" if device.read_only else "rwm"}
        for device, found in ((device, block_device(device)) for device in devices)
    ]


def _namespaces(joined: Joined) -> list[dict[str, str]]:
    found = [{"type": "mount"}, {"type": "uts", "path": str(joined.uts)}]
    if joined.user is not None:
        found.append({"type": "user", "path": str(joined.user)})
    if joined.network is not None:
        found.append({"type": "network", "path": str(joined.network)})
    if joined.ipc is not None:
        found.append({"type": "ipc", "path": str(joined.ipc)})
    if joined.pid is not None:
        found.append({"type": "pid", **({"path": joined.pid} if joined.pid else {})})
    if joined.cgroup:
        found.append({"type": "cgroup"})
    return found


def _file_systems(spec: ContainerSpec, joined: Joined) -> list[dict[str, Any]]:
    read_only = "rw" if spec.privileged else "ro"
    system = ["nosuid", "noexec", "nodev"]

    def mount(target: str, kind: str, *options: str, source: str = "") -> dict[str, Any]:
        return {"destination": target, "type": kind, "source": source or kind, "options": list(options)}

    return [
        mount("/proc", "proc", *system)
        if "proc" in joined.own_files
        else mount("/proc", "bind", "rbind", *system, source="/proc"),
        mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
        mount("/dev/mqueue", "bind", "rbind", *system, source="/dev/mqueue")
        if joined.ipc is None and os.path.isdir("/dev/mqueue")
        else mount("/dev/mqueue", "mqueue", *system),
        mount("/sys", "sysfs", *system, read_only)
        if "sysfs" in joined.own_files
        else mount("/sys", "bind", "rbind", *system, read_only, source="/sys"),
        mount("/sys/fs/cgroup", "cgroup", *system, "relatime", read_only),
        mount("/dev/shm", "bind", "rbind", "rw", source=str(joined.shared_memory)),
    ]


def _binds(spec: ContainerSpec, joined: Joined, volumes: Sequence[Mount]) -> list[dict[str, Any]]:
    """All that is laid over the root, outer before inner; what the pod mounts itself replaces what is made for it."""
    given = {os.path.normpath(mount.target) for mount in spec.mounts}
    files = [Mount(joined.directory / name, f"/etc/{name}") for name in ("hosts", "hostname", "resolv.conf")]
    if spec.termination_log is not None:
        files.append(Mount(spec.termination_log, spec.termination_message_path))
    of_own = [mount for mount in (*volumes, *files) if os.path.normpath(mount.target) not in given]
    ordered = sorted((*of_own, *spec.mounts), key=lambda mount: os.path.normpath(mount.target).count("/"))
    return [
        {
            "destination": mount.target,
            "type": "bind",
            "source": str(mount.source),
            "options": [
                "rbind",
                _PROPAGATION.get(mount.propagation, "rprivate"),
                *(["ro"] if mount.read_only else ["rw"]),
                *(["rro"] if mount.read_only and mount.recursive_read_only else []),
                *([] if mount.executable else ["noexec"]),
            ],
        }
        for mount in ordered
    ]
