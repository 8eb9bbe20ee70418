"""The image store on disk, shared by all clusters of a user. Blocks on files.

    DIRECTORY/
        lock                     shared: an image is being taken or used; exclusive: something is being removed
        names.json               name (docker.io/library/nginx:1.27, …@sha256:…) → image, and the digest it had
        blobs/sha256/HEX         as registries have them; shared by all images
        images/HEX/              HEX: the digest of the image's configuration, which is its id
            image.json           what is known of it
            rootfs/              all layers, unpacked; overlays lie over it, nobody writes to it
        staging/TOKEN/           a pull or an unpacking under way; its maker holds the lock on staging/TOKEN/lock

An image is unpacked in staging and then renamed: what is in images/ is whole. What a process that was killed left in
staging is cleared away by the next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from antei.runtime import ImageError
from antei.runtime.images.config import ImageConfig
from antei.runtime.trees import remove_tree

__all__ = ["Known", "Layout", "StoredImage", "mounted_images"]

_BOUND_ROOT = re.compile(r"/images/([0-9a-f]{64})/rootfs$")


class StoredImage(msgspec.Struct, frozen=True):
    """`id` is "sha256:HEX". `blobs` are the digests of its manifest, configuration and layers."""

    id: str
    config: ImageConfig
    blobs: tuple[str, ...]
    size_bytes: int  # compressed, as `docker images` of a registry
    unpacked_bytes: int
    stored_at: datetime


class Known(msgspec.Struct, frozen=True):
    """What a name stands for. `digest` is the manifest's in its registry, empty for an image that was loaded."""

    image: str
    digest: str = ""


class Layout:
    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.blobs = self.directory / "blobs" / "sha256"
        self._images = self.directory / "images"
        self._staging = self.directory / "staging"

    def open(self) -> None:
        """Makes what is missing and clears away what others left half-done."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for directory in (self.blobs, self._images, self._staging):
            directory.mkdir(parents=True, exist_ok=True)
        with self.locked(exclusive=True):
            for left in self._staging.iterdir():
                if not _is_held(left / "lock"):
                    remove_tree(left)

    @contextlib.contextmanager
    def locked(self, *, exclusive: bool = False) -> Iterator[None]:
        descriptor = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
            yield
        finally:
            os.close(descriptor)

    # --- staging ---

    def stage(self, token: str) -> tuple[Path, int]:
        """A directory for one pull, and the descriptor that says it is in use; give both to `unstage`."""
        with self.locked():
            path = self._staging / token
            path.mkdir()
            descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            (path / "blobs").symlink_to(self.directory / "blobs")
        return path, descriptor

    def unstage(self, path: Path, descriptor: int) -> None:
        remove_tree(path)
        os.close(descriptor)

    def is_staging(self) -> bool:
        return any(self._staging.iterdir())

    # --- images ---

    def rootfs(self, image: str) -> Path:
        return self._image_directory(image) / "rootfs"

    def get(self, image: str) -> StoredImage | None:
        try:
            return msgspec.json.decode((self._image_directory(image) / "image.json").read_bytes(), type=StoredImage)
        except (OSError, msgspec.MsgspecError):
            return None

    def all(self) -> list[StoredImage]:
        found = (self.get(f"sha256:{entry.name}") for entry in sorted(self._images.iterdir()))
        return [image for image in found if image is not None]

    def commit(self, staged_rootfs: Path, image: StoredImage) -> None:
        """Moves an unpacked image in, whole or not at all. Another's, unpacked at the same time, is as good."""
        whole = staged_rootfs.parent / "image"
        whole.mkdir()
        staged_rootfs.rename(whole / "rootfs")
        (whole / "image.json").write_bytes(msgspec.json.encode(image))
        with self.locked():
            target = self._image_directory(image.id)
            if self.get(image.id) is None:
                remove_tree(target)
                whole.rename(target)

    def touch(self, image: str) -> None:
        """Notes that it is used now."""
        with contextlib.suppress(OSError):
            os.utime(self._image_directory(image) / "image.json")

    def used_at(self, image: str) -> float:
        try:
            return (self._image_directory(image) / "image.json").stat().st_mtime
        except OSError:
            return 0.0

    def remove(self, images: Collection[str]) -> None:
        """With all their names, and the blobs that no other image has. To be called under the exclusive lock."""
        for image in images:
            remove_tree(self._image_directory(image))
        self.write_names({name: known for name, known in self.names().items() if known.image not in images})
        self.remove_unused_blobs()

    def blob_sizes(self) -> dict[str, int]:
        """In bytes, by digest."""
        return {f"sha256:{blob.name}": blob.lstat().st_size for blob in self.blobs.iterdir()}

    def remove_unused_blobs(self) -> int:
        """Those of no image, when no pull is under way; how many bytes. To be called under the exclusive lock."""
        if self.is_staging():
            return 0
        needed = {digest.partition(":")[2] for image in self.all() for digest in image.blobs}
        freed = 0
        for blob in self.blobs.iterdir():
            if blob.name not in needed:
                freed += blob.lstat().st_size
                blob.unlink()
        return freed

    def forget_blobs(self, digests: Sequence[str]) -> None:
        for digest in digests:
            (self.blobs / digest.partition(":")[2]).unlink(missing_ok=True)

    def _image_directory(self, image: str) -> Path:
        hexadecimal = image.partition(":")[2]
        if not hexadecimal.isalnum():
            raise ImageError("ErrImagePull", f"{image!r} is not the id of an image")
        return self._images / hexadecimal

    # --- names ---

    def names(self) -> dict[str, Known]:
        try:
            return msgspec.json.decode((self.directory / "names.json").read_bytes(), type=dict[str, Known])
        except FileNotFoundError:
            return {}

    def write_names(self, names: Mapping[str, Known]) -> None:
        """To be called under the exclusive lock."""
        temporary = self.directory / "names.json.new"
        temporary.write_text(json.dumps(msgspec.to_builtins(names), indent=1, sort_keys=True))
        os.replace(temporary, self.directory / "names.json")


def mounted_images(layout: Layout) -> set[str]:
    """The images that containers run on or have as volumes, as this process sees the machine's mounts."""
    prefix = f"lowerdir={layout.directory}/images/"
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return set()
    found = (part for line in lines for part in line.rpartition(" - ")[2].replace(" ", ",").split(","))
    of_overlays = {f"sha256:{part[len(prefix) :].partition('/')[0]}" for part in found if part.startswith(prefix)}
    # What is bound elsewhere is told by its path on its file system, whose beginning depends on where that is mounted.
    bound = (_BOUND_ROOT.search(line.split(" ", 5)[3]) for line in lines)
    return of_overlays | {f"sha256:{match[1]}" for match in bound if match}


def _is_held(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
