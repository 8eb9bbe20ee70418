"""Makes room when the disk is nearly full (Kubernetes: pkg/kubelet/images/image_gc_manager.go)."""

from __future__ import annotations

import asyncio
import logging
import shutil

from antei.runtime.images.store import ImageStore
from antei.world import World

__all__ = ["keep_room"]

_log = logging.getLogger(__name__)
#: imageGCHighThresholdPercent, imageMinimumGCAge and the interval of the kubelet's collection.
_DISK_FULL_PERCENT = 85
_UNUSED_SECONDS = 120.0
_COLLECT_SECONDS = 300.0


async def keep_room(images: ImageStore, world: World) -> None:
    """Never returns. Removes images that no container runs on and that nobody has used of late."""
    while True:
        await asyncio.sleep(_COLLECT_SECONDS)
        try:
            usage = await asyncio.to_thread(shutil.disk_usage, images.layout.directory)
            if usage.used * 100 < _DISK_FULL_PERCENT * usage.total:
                continue
            before = world.clock.now().timestamp() - _UNUSED_SECONDS
            removed = await images.prune(all_unused=True, unused_since=before)
        except OSError as error:
            _log.warning("images are not cleared away: %s", error)
        else:
            _log.info("the disk is nearly full: %d unused images removed", len(removed))
