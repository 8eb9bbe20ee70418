"""Makes room when the disk of the images is nearly full (Kubernetes: pkg/kubelet/images/image_gc_manager.go).

    each 5 min: what is in use is noted ─► disk ≥ 85 % ─► blobs of no image, then images, down to 80 %
                                                              └── not enough: FreeDiskSpaceFailed on the nodes,
                                                                  and ImageGCFailed from the second time on

Other than a kubelet, which forgets it when it starts anew, the store remembers when an image was used. One that nobody
has used yet counts as used when it came: it may have been put there for later.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from antei.runtime.images.layout import Layout, StoredImage, mounted_images

__all__ = ["NoRoomError", "Used", "excess_bytes", "keep_room", "make_room", "removable"]

_log = logging.getLogger(__name__)
#: imageGCHighThresholdPercent, imageGCLowThresholdPercent, imageMinimumGCAge, and the interval of the collection.
_HIGH_PERCENT = 85
_LOW_PERCENT = 80
_MINIMUM_AGE_SECONDS = 120.0
_COLLECT_SECONDS = 300.0


class NoRoomError(Exception):
    """`reason` is an event's: FreeDiskSpaceFailed or InvalidDiskCapacity."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Used:
    """`at`: when last, in seconds since the epoch; `is_now`: a container or a volume lies over it."""

    image: StoredImage
    at: float
    is_now: bool = False


class _Images(Protocol):
    async def make_room(self) -> object:
        """Raises NoRoomError and OSError."""
        ...


async def keep_room(images: _Images, tell: Callable[[str, str], None]) -> None:
    """Never returns. tell: a warning about the nodes, by reason and message."""
    has_failed = False
    while True:
        await asyncio.sleep(_COLLECT_SECONDS)
        try:
            await images.make_room()
        except (NoRoomError, OSError) as error:
            _log.warning("images are not cleared away: %s", error)
            if isinstance(error, NoRoomError):
                tell(error.reason, str(error))
            if has_failed:
                tell("ImageGCFailed", str(error))
            has_failed = True
        else:
            has_failed = False


def make_room(layout: Layout, now: datetime) -> list[StoredImage]:
    """What was removed, if the disk was nearly full. Raises NoRoomError where that is not enough. Blocks."""
    with layout.locked(exclusive=True):
        in_use = mounted_images(layout)
        for image in in_use:
            layout.touch(image)
        disk = shutil.disk_usage(layout.directory)
        wanted = excess_bytes(disk.total, disk.free)
        if not wanted:
            return []
        left = wanted - layout.remove_unused_blobs()
        uses = [Used(image, layout.used_at(image.id), image.id in in_use) for image in layout.all()]
        # A pull that is under way may count on any of them.
        blobs = {} if layout.is_staging() else layout.blob_sizes()
        chosen, found = removable(uses, blobs, left, now)
        layout.remove([image.id for image in chosen])
    _log.info("the disk is nearly full: %d unused images removed, %d bytes", len(chosen), found)
    if found < left:
        raise NoRoomError(
            "FreeDiskSpaceFailed",
            f"Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, "
            f"but only found {wanted - left + found} bytes eligible to free.",
        )
    return chosen


def excess_bytes(total: int, free: int) -> int:
    """How much has to go of a disk that is nearly full; 0: it is not. Raises NoRoomError for a disk without size."""
    if total <= 0:
        raise NoRoomError("InvalidDiskCapacity", "invalid capacity 0 on image filesystem")
    if 100 - free * 100 // total < _HIGH_PERCENT:
        return 0
    return max(0, total * (100 - _LOW_PERCENT) // 100 - free)


def removable(
    uses: Sequence[Used], blobs: Mapping[str, int], wanted_bytes: int, now: datetime
) -> tuple[list[StoredImage], int]:
    """Which images to remove so that so much is free, the longest unused first; how much that will be.

    blobs: their sizes, by digest; those that no image needs any more go with the last that did.
    """
    needed = Counter(digest for use in uses for digest in set(use.image.blobs))
    chosen: list[StoredImage] = []
    found = 0
    for use in sorted(uses, key=lambda use: (use.at, use.image.stored_at)):
        if found >= wanted_bytes:
            break
        if use.is_now or (now - use.image.stored_at).total_seconds() < _MINIMUM_AGE_SECONDS:
            continue
        chosen.append(use.image)
        needed.subtract(set(use.image.blobs))
        found += use.image.unpacked_bytes + _size(use.image.blobs, blobs, needed)
    return chosen, found


def _size(digests: Collection[str], blobs: Mapping[str, int], needed: Mapping[str, int]) -> int:
    return sum(blobs.get(digest, 0) for digest in set(digests) if not needed[digest])
