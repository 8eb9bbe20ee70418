"""The image of the measurements of containers: busybox, and a program that waits until it is told to end."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests/support"))  # where small images are made, for tests and these

from real_images import busybox_layer, missing, write_layout

__all__ = ["COMMAND", "IMAGE", "image_layout", "why_no_containers", "why_no_podman"]

IMAGE = "localhost/bench/waiter:1"
#: It ends as soon as it is told to.
COMMAND = ("/bin/sh", "-c", "trap 'exit 0' TERM; sleep 1000000 & wait")


def image_layout(directory: Path) -> Path:
    """An OCI layout in the directory, which is made."""
    write_layout(directory, "waiter", [busybox_layer()], {"Env": ["PATH=/bin"], "Cmd": list(COMMAND)})
    return directory


def why_no_containers() -> str:
    """Empty: there can be real ones."""
    return missing()


def why_no_podman() -> str:
    return "" if shutil.which("podman") else "podman is not installed"
