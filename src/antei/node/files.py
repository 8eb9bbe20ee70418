"""The node's files behind a small Protocol, and real ones, off the loop. Those of simulated clusters: memory_files.py.

Volumes that follow an object (ConfigMap, Secret, downward API, projected) are written so that a reader sees
either the old or the new content of all files, never a mixture (Kubernetes: pkg/volume/util/atomic_writer.go):

    volume/
      ..2026_01_01_00_00_00.123456/   the content
      ..data -> ..2026_01_01_00_00_00.123456     swapped by rename
      key -> ..data/key                          what containers open
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from antei.node.volumes.memory import DIRECTORY, make_memory_volume
from antei.node.volumes.ownership import give_to_group, usage
from antei.world.mounts import is_mounted, mount_by_program, unmount_below

__all__ = ["DiskFiles", "FileContent", "Files"]


@dataclass(frozen=True, slots=True)
class FileContent:
    data: bytes
    mode: int = 0o644


class Files(Protocol):
    """All raise OSError. None may be called with a path that a container chose."""

    async def make_directory(self, path: Path, mode: int = 0o755) -> None: ...

    async def make_file(self, path: Path, mode: int = 0o644) -> None:
        """An empty file, its directory included; no error when it exists."""
        ...

    async def write_payload(
        self, directory: Path, payload: Mapping[str, FileContent], stamp: str, group: int | None = None
    ) -> bool:
        """Makes the relative paths of `payload` the content of the directory, atomically; False if they are already.

        With `group` they are that group's.
        """
        ...

    async def give_to_group(self, path: Path, group: int, *, only_on_mismatch: bool) -> bool:
        """The tree's files to a group that may read and write them (`only_on_mismatch`: unless the top is so already).

        False where this machine does not let us.
        """
        ...

    async def usage(self, path: Path) -> int:
        """Bytes on the disk of all that is in a tree; 0 where there is none."""
        ...

    async def memory_directory(self) -> Path | None:
        """Where what is written takes memory in place of disk; None where there is no such place."""
        ...

    async def make_memory(self, path: Path, size_bytes: int) -> None:
        """A directory there with so much room, or, where this machine does not let us mount, with all that there is."""
        ...

    async def mount_nfs(self, export: str, path: Path, options: Sequence[str]) -> bool:
        """SERVER:PATH at `path`, which is made; again: it stays. False where this machine has no NFS."""
        ...

    async def remove_tree(self, path: Path) -> None:
        """No error when it is gone; does not follow links. What is mounted there is unmounted, and stays as it is."""
        ...

    async def kind(self, path: Path) -> str | None:
        """Directory, File, Socket, CharDevice or BlockDevice, as hostPath types call them; None: nothing is there."""
        ...

    async def inside(self, root: Path, below: str) -> Path:
        """Where a relative path in a volume really is; a directory is made where nothing is.

        PermissionError when a link in the volume, which any of its containers may have made, leads out of it.
        """
        ...

    async def read(self, path: Path, offset: int = 0, limit: int = -1) -> bytes:
        """Bytes from an offset (a negative one: that many before the end); empty when nothing is there."""
        ...

    async def size(self, path: Path) -> tuple[int, int] | None:
        """(identity, size in bytes) of a file; another identity is another file. None: nothing is there."""
        ...

    async def names(self, path: Path) -> list[str]:
        """What is in a directory, sorted; empty when it does not exist."""
        ...


class DiskFiles:
    """Files of this machine, each call in a thread."""

    async def make_directory(self, path: Path, mode: int = 0o755) -> None:
        await asyncio.to_thread(_make_directory, path, mode)

    async def make_file(self, path: Path, mode: int = 0o644) -> None:
        await asyncio.to_thread(_make_file, path, mode)

    async def write_payload(
        self, directory: Path, payload: Mapping[str, FileContent], stamp: str, group: int | None = None
    ) -> bool:
        return await asyncio.to_thread(_write_payload, directory, payload, stamp, group)

    async def give_to_group(self, path: Path, group: int, *, only_on_mismatch: bool) -> bool:
        return await asyncio.to_thread(give_to_group, path, group, only_on_mismatch=only_on_mismatch)

    async def usage(self, path: Path) -> int:
        return await asyncio.to_thread(usage, path)

    async def memory_directory(self) -> Path | None:
        return DIRECTORY if await asyncio.to_thread(os.access, DIRECTORY, os.W_OK) else None

    async def make_memory(self, path: Path, size_bytes: int) -> None:
        await asyncio.to_thread(make_memory_volume, path, size_bytes)

    async def mount_nfs(self, export: str, path: Path, options: Sequence[str]) -> bool:
        return await asyncio.to_thread(_mount_nfs, export, path, options)

    async def remove_tree(self, path: Path) -> None:
        await asyncio.to_thread(_remove_tree, path)

    async def kind(self, path: Path) -> str | None:
        return await asyncio.to_thread(_kind, path)

    async def inside(self, root: Path, below: str) -> Path:
        return await asyncio.to_thread(_inside, root, below)

    async def read(self, path: Path, offset: int = 0, limit: int = -1) -> bytes:
        return await asyncio.to_thread(_read, path, offset, limit)

    async def size(self, path: Path) -> tuple[int, int] | None:
        return await asyncio.to_thread(_size, path)

    async def names(self, path: Path) -> list[str]:
        return await asyncio.to_thread(_names, path)


def _make_directory(path: Path, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir()
    except FileExistsError:
        return
    path.chmod(mode)  # not at mkdir, where the umask would have its say


def _make_file(path: Path, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.touch()
        path.chmod(mode)


def _write_payload(directory: Path, payload: Mapping[str, FileContent], stamp: str, group: int | None) -> bool:
    directory.mkdir(parents=True, exist_ok=True)
    current = directory / "..data"
    if _holds(current, payload):
        return False
    fresh = directory / f"..{stamp}"
    fresh.mkdir()
    for relative, content in payload.items():
        target = fresh / _contained(relative)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.data)
        target.chmod(content.mode)
    if group is not None:
        give_to_group(fresh, group, writable=False, only_on_mismatch=False)  # before anybody can see it
    old = os.readlink(current) if current.is_symlink() else None
    link = directory / "..data_tmp"
    link.unlink(missing_ok=True)
    link.symlink_to(fresh.name)
    link.rename(current)
    tops = {PurePosixPath(relative).parts[0] for relative in payload}
    for top in sorted(tops):
        visible = directory / top
        if not visible.is_symlink():
            visible.symlink_to(Path("..data") / top)
    for entry in directory.iterdir():
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in tops:
            entry.unlink()
    if old is not None:
        shutil.rmtree(directory / old, ignore_errors=True)
    return True


def _contained(relative: str) -> PurePosixPath:
    """Refuses a path that would leave the volume; the API refuses it before, a volume must not depend on that."""
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise PermissionError(f"{relative!r} is not a path inside the volume")
    return path


def _holds(current: Path, payload: Mapping[str, FileContent]) -> bool:
    if not current.is_symlink():
        return False
    present = {str(p.relative_to(current)): p for p in current.rglob("*") if p.is_file()}
    return present.keys() == payload.keys() and all(
        path.read_bytes() == payload[name].data and stat.S_IMODE(path.stat().st_mode) == payload[name].mode
        for name, path in present.items()
    )


def _mount_nfs(export: str, path: Path, options: Sequence[str]) -> bool:
    if shutil.which("mount.nfs") is None:
        return False
    path.mkdir(parents=True, exist_ok=True)
    if not is_mounted(path):
        mount_by_program(export, path, "nfs", options)
    return True


def _remove_tree(path: Path) -> None:
    unmount_below(path)
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def _inside(root: Path, below: str) -> Path:
    base = os.path.realpath(root)
    path = os.path.realpath(os.path.join(base, below))
    if path != base and not path.startswith(f"{base}/"):
        raise PermissionError(errno.EPERM, "leads out of the volume", below)
    # Of what is made, too, for it may be another user's to write, and an fsGroup's (S_ISGID).
    mode = stat.S_IMODE(os.stat(base).st_mode)
    missing = [each for each in (Path(path), *Path(path).parents) if not each.exists()]
    for directory in reversed(missing):
        directory.mkdir()
        directory.chmod(mode)
    return Path(path)


def _kind(path: Path) -> str | None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    for test, name in (
        (stat.S_ISDIR, "Directory"),
        (stat.S_ISREG, "File"),
        (stat.S_ISSOCK, "Socket"),
        (stat.S_ISCHR, "CharDevice"),
        (stat.S_ISBLK, "BlockDevice"),
    ):
        if test(mode):
            return name
    return "File"


def _read(path: Path, offset: int, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            if offset < 0:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() + offset))
            else:
                file.seek(offset)
            return file.read(limit)
    except FileNotFoundError:
        return b""


def _size(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size


def _names(path: Path) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []
