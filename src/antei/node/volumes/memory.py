"""emptyDirs of medium Memory: below the machine's shared memory, named so that they can be found again.

Where antei may mount, each is a tmpfs of its own size; elsewhere a directory, which is as large as it gets.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

from lightkube.models.core_v1 import EmptyDirVolumeSource
from lightkube.resources.core_v1 import Pod

from antei.api.quantity import to_bytes
from antei.world.mounts import is_mounted, mount_tmpfs, unmount_below

__all__ = ["DIRECTORY", "is_of_pod", "make_memory_volume", "memory_size", "memory_volume", "remove_memory_volumes"]

_LOG = logging.getLogger(__name__)
_MODE = 0o777

#: Where what is written takes memory in place of disk.
DIRECTORY = Path("/dev/shm")


def memory_volume(directory: Path, pod_uid: str, name: str) -> Path:
    return directory / f"antei-volume-{pod_uid}-{name}"


def is_of_pod(name: str, pod_uid: str) -> bool:
    return name.startswith(f"antei-volume-{pod_uid}-")


def remove_memory_volumes(pod_uid: str) -> None:
    """Those of a pod whose containers are gone, and whose node does not run any more."""
    if not os.access(DIRECTORY, os.R_OK | os.X_OK):
        return  # then none of them is ours
    for path in DIRECTORY.iterdir():
        if is_of_pod(path.name, pod_uid):
            unmount_below(path)
            shutil.rmtree(path, ignore_errors=True)


def memory_size(pod: Pod, source: EmptyDirVolumeSource, node_bytes: int) -> int:
    """The least of what the node has, what the pod's containers may have together, and its own limit.

    Kubernetes: pkg/volume/emptydir/empty_dir.go (calculateEmptyDirMemorySize).
    """
    spec = pod.spec
    containers = [*spec.containers, *(spec.initContainers or ())] if spec else []
    limits = [((each.resources.limits if each.resources else None) or {}).get("memory") for each in containers]
    of_pod = ((spec.resources.limits if spec and spec.resources else None) or {}).get("memory")
    together = sum(to_bytes(limit) for limit in limits) if limits and all(limits) else 0
    sizes = (node_bytes, to_bytes(of_pod) or together, to_bytes(source.sizeLimit))
    return min((size for size in sizes if size > 0), default=0)


def make_memory_volume(path: Path, size_bytes: int) -> None:
    """Blocks. Again for what is there: it stays. Raises OSError."""
    path.mkdir(exist_ok=True)
    if is_mounted(path):
        return
    if size_bytes > 0:
        try:
            mount_tmpfs(path, size_bytes, _MODE)
            return
        except OSError as error:
            _LOG.info("%s is a directory, no file system of its own: %s", path, error)
    path.chmod(_MODE)
