"""Looks through an image's layers before they are unpacked: how many files and bytes they come to. Blocks.

Paths need no look here: umoci follows no link out of the root it unpacks into. What it does not do is stop: a layer
of a few kilobytes may unpack to the size of the disk.
"""

from __future__ import annotations

import contextlib
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from antei.runtime import ImageError
from antei.runtime.images.config import Layer
from antei.runtime.images.zstd import is_zstd, opened

__all__ = ["Limits", "Unpacked", "measure"]

#: tarfile copies what is left of it with each header.
_BUFFER_BYTES = 32 * 1024
_NAME_LIMIT_BYTES = 4096
#: What one file or directory takes on disk besides its content.
_ENTRY_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one image, unpacked."""

    size_bytes: int = 64 * 1024**3
    entries: int = 2_000_000


@dataclass(frozen=True, slots=True)
class Unpacked:
    size_bytes: int
    entries: int


def measure(layers: Sequence[Layer], blobs: Path, limits: Limits, free_bytes: int) -> Unpacked:
    """Raises ImageError when that is too much, for the limits or for the disk, or when a layer cannot be read."""
    size = entries = needed = 0
    for layer in layers:
        path = blobs / layer.digest.partition(":")[2]
        # One of zstd is on the disk twice while it is unpacked, as a plain tar and as files.
        times = 2 if is_zstd(layer) else 1
        try:
            with _opened(path, layer) as archive:
                for member in archive:
                    entries += 1
                    size += member.size + _ENTRY_BYTES
                    needed += times * (member.size + _ENTRY_BYTES)
                    if len(member.name) > _NAME_LIMIT_BYTES or len(member.linkname) > _NAME_LIMIT_BYTES:
                        raise _refused(f"layer {layer.digest} has a path of more than {_NAME_LIMIT_BYTES} bytes")
                    if entries > limits.entries:
                        raise _refused(f"it unpacks to more than {limits.entries} files")
                    if size > limits.size_bytes:
                        raise _refused(f"it unpacks to more than {limits.size_bytes} bytes")
                    if needed > free_bytes:
                        raise _refused(f"no space left on device: it unpacks to more than the {free_bytes} bytes free")
                    archive.members = []  # type: ignore[attr-defined]  # it would remember each of them
        except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError) as error:
            why = str(error).partition("\n")[0].rstrip(":")  # of tarfile, not all that it has tried
            raise _refused(f"layer {layer.digest} cannot be read: {why}") from error
    return Unpacked(size, entries)


@contextlib.contextmanager
def _opened(path: Path, layer: Layer) -> Iterator[tarfile.TarFile]:
    """One member after the other, as a stream."""
    with contextlib.ExitStack() as stack:
        if is_zstd(layer):
            stream = stack.enter_context(opened(path))
            yield stack.enter_context(tarfile.open(fileobj=stream, mode="r|", bufsize=_BUFFER_BYTES))
        else:
            yield stack.enter_context(tarfile.open(path, mode="r|*", bufsize=_BUFFER_BYTES))


def _refused(why: str) -> ImageError:
    return ImageError("ErrImagePull", f"the image is not unpacked: {why}")
