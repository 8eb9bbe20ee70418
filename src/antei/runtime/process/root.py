"""A container's view of the host's files, as bwrap arguments. Pure, but for `host_root` that looks at the host."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from antei.world.own_namespaces import is_own

__all__ = ["HostRoot", "RootArguments", "RootMode", "Storage", "host_root", "parse_mountinfo", "root_arguments"]

RootMode: TypeAlias = Literal["overlay", "directories", "read-only"]
Storage: TypeAlias = Literal["disk", "memory"]

#: How blanks and line ends are written in mountinfo.
_MOUNTINFO = Path("/proc/self/mountinfo")
_OVERFLOW_UID = Path("/proc/sys/fs/overflowuid")
_OCTAL = re.compile(r"\\([0-7]{3})")
#: Replaced in every container by something of its own.
_OWN = ("/proc", "/dev", "/sys", "/run")
#: What runtimes call the overlay that is a container's root (runc's bundles, Docker's overlay2), and a pod's memory.
_OF_CONTAINERS = (("overlay", "rootfs"), ("overlay", "merged"), ("tmpfs", "shm"))
#: An image that a container has as a volume.
_IMAGE_VOLUME = re.compile(r"/containers/[^/]+/images/\d+$")
#: File systems that serve as the lower layer of an overlay; others that hold files are shown read-only.
_LOWER_LAYERS = {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "overlay", "squashfs", "erofs"}
_SHOWN_READ_ONLY = {"virtiofs", "9p", "nfs", "nfs4", "cifs", "vfat", "exfat", "iso9660", "ntfs3"}


@dataclass(frozen=True, slots=True)
class HostRoot:
    """directories and links (name -> target) directly under /; mounts: mount point -> file system type, / excluded.

    entries: what lies in each directory that has mounts somewhere below it: (path, "directory", "file" or the target
    of a link), parents first. hidden: mount points that we may not read; no overlay of a user's spans them either.
    mountinfo: what the kernel said when all this was read.
    """

    directories: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    mounts: tuple[tuple[str, str], ...]
    entries: tuple[tuple[str, str], ...] = ()
    hidden: tuple[str, ...] = ()
    mountinfo: str = field(default="", repr=False)

    def current(self) -> HostRoot:
        """The same while nothing was mounted or unmounted since; else read anew."""
        return self if _MOUNTINFO.read_text() == self.mountinfo else host_root()


@dataclass(frozen=True, slots=True)
class RootArguments:
    arguments: tuple[str, ...]
    directories: tuple[Path, ...]  # must exist, empty, before bwrap starts
    uppers: tuple[tuple[str, Path], ...] = ()  # overlay -> where its writes go

    def ancestors(self, target: str) -> list[tuple[Path, str]]:
        """The directories above a mount's target: (where to make it in the upper layer, the host's directory).

        In a user namespace nobody may add to a directory of the host's root, but in the upper layer it is the
        user's own; what the host has there shows through.
        """
        for point, upper in sorted(self.uppers, key=lambda entry: -len(entry[0])):
            if target.startswith(f"{point}/"):
                between = [parent for parent in reversed(Path(target).parents) if str(parent).startswith(f"{point}/")]
                return [(upper / parent.relative_to(point), str(parent)) for parent in between]
        return []


def host_root() -> HostRoot:
    mountinfo = _MOUNTINFO.read_text()
    directories, links = [], []
    for entry in sorted(os.scandir("/"), key=lambda entry: entry.name):
        if entry.is_symlink():
            links.append((entry.name, os.readlink(entry.path)))
        elif entry.is_dir():
            directories.append(entry.name)
    mounts, hidden = [], []
    is_ours = is_own()
    for point, kind in parse_mountinfo(mountinfo):
        # In namespaces of the user's own what the user's containers have is not locked: an overlay may span it. What
        # came with the machine is: containers of root's, Docker's or another antei's.
        if is_ours and (kind == "nsfs" or _is_of_container(point, kind)) and _is_users(os.path.dirname(point)):
            continue
        if os.path.isdir(point) and os.access(point, os.R_OK | os.X_OK):
            mounts.append((point, kind))
        else:
            hidden.append(point)
    entries = _entries_above([*(point for point, _ in mounts), *hidden])
    return HostRoot(tuple(directories), tuple(links), tuple(mounts), tuple(entries), tuple(hidden), mountinfo)


def _is_users(directory: str) -> bool:
    """Whether it is somebody's whom this user namespace knows: others look like nobody (user_namespaces(7))."""
    try:
        return os.stat(directory).st_uid != int(_OVERFLOW_UID.read_text())
    except FileNotFoundError:  # gone meanwhile: nothing that could be locked
        return True
    except OSError:
        return False


def _entries_above(points: Sequence[str]) -> list[tuple[str, str]]:
    above = {str(parent) for point in points for parent in Path(point).parents} - {"/"}
    found = []
    for directory in sorted(above):
        if _within(directory, _OWN) or not os.access(directory, os.R_OK | os.X_OK):
            continue
        for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
            kind = "directory" if entry.is_dir(follow_symlinks=False) else "file"
            found.append((entry.path, os.readlink(entry.path) if entry.is_symlink() else kind))
    return found


def parse_mountinfo(text: str) -> list[tuple[str, str]]:
    """(mount point, file system type), parents first, what containers get of their own left out (proc(5))."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        fields, _, tail = line.partition(" - ")
        point = _OCTAL.sub(lambda escaped: chr(int(escaped[1], 8)), fields.split(" ")[4])
        if point != "/" and not _within(point, _OWN):
            found[point] = tail.split(" ")[0]
    return sorted(found.items())


def root_arguments(host: HostRoot, mode: RootMode, storage: Storage, writable: Path) -> RootArguments:
    """The host's root for one container; its writes go to directories under `writable`, or to memory."""
    layers = _Layers(storage, writable)
    if mode == "overlay":
        layers.overlay("/")
        for point, kind in host.mounts:
            # What other containers have comes and goes: what goes as this one starts would fail it.
            if _is_of_container(point, kind):
                continue
            if kind in _LOWER_LAYERS:
                layers.overlay(point)
            elif kind in _SHOWN_READ_ONLY or kind.startswith("fuse"):
                layers.add("--ro-bind", point, point)
        return layers.result()
    layers.add("--tmpfs", "/")
    for name in host.directories:
        path = f"/{name}"
        if path in _OWN or path == "/lost+found":
            continue
        if mode == "directories":
            _layer(path, host, layers)
        else:
            layers.add("--ro-bind", path, path)
    for name, target in host.links:
        layers.add("--symlink", target, f"/{name}")
    if mode == "read-only":
        layers.add("--tmpfs", "/tmp", "--tmpfs", "/var/tmp")
    return layers.result()


def _is_of_container(point: str, kind: str) -> bool:
    return (kind, point.rsplit("/", 1)[-1]) in _OF_CONTAINERS or _IMAGE_VOLUME.search(point) is not None


def _layer(path: str, host: HostRoot, layers: _Layers) -> None:
    """An overlay in a user namespace is refused over a directory that has mounts below it: then one over each of its
    directories, and so on down to the mounts, which are shown read-only."""
    if path in host.hidden:
        return
    if path in dict(host.mounts):
        layers.add("--ro-bind", path, path)
        return
    if not any(point.startswith(f"{path}/") for point in (*dict(host.mounts), *host.hidden)):
        layers.overlay(path)
        return
    inside = [(entry, kind) for entry, kind in host.entries if os.path.dirname(entry) == path]
    if not inside:  # it cannot be listed
        layers.add("--ro-bind", path, path)
        return
    layers.add("--tmpfs", path)
    for entry, kind in inside:
        if kind == "directory":
            _layer(entry, host, layers)
        elif kind == "file":
            layers.add("--ro-bind-try", entry, entry)
        else:
            layers.add("--symlink", kind, entry)


class _Layers:
    def __init__(self, storage: Storage, writable: Path) -> None:
        self._storage = storage
        self._writable = writable
        self._arguments: list[str] = []
        self._directories: list[Path] = []
        self._uppers: list[tuple[str, Path]] = []

    def add(self, *arguments: str) -> None:
        self._arguments += arguments

    def overlay(self, path: str) -> None:
        if self._storage == "memory":
            self.add("--overlay-src", path, "--tmp-overlay", path)
            return
        number = len(self._directories) // 2
        upper, work = self._writable / f"upper-{number}", self._writable / f"work-{number}"
        self.add("--overlay-src", path, "--overlay", str(upper), str(work), path)
        self._directories += [upper, work]
        self._uppers.append((path, upper))

    def result(self) -> RootArguments:
        return RootArguments(tuple(self._arguments), tuple(self._directories), tuple(self._uppers))


def _within(path: str, parents: Sequence[str]) -> bool:
    return any(path == parent or path.startswith(f"{parent}/") for parent in parents)
