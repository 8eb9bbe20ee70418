"""emptyDirs of medium Memory: directories in the machine's shared memory, named so that they can be found again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

__all__ = ["DIRECTORY", "is_of_pod", "memory_volume", "remove_memory_volumes"]

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
            shutil.rmtree(path, ignore_errors=True)
