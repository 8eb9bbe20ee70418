"""Directories that containers and images leave behind. Blocks."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

__all__ = ["remove_tree"]


def remove_tree(directory: Path) -> None:
    """Whatever is in it: not even their owner may list some directories of images, or an overlay's work directory, and
    antei need not be root. What is above it stays alone; no error when it is gone.
    """

    def make_accessible(_function: object, path: str, error: tuple[type[BaseException], BaseException, object]) -> None:
        if isinstance(error[1], FileNotFoundError):
            return  # somebody else was faster
        if not isinstance(error[1], PermissionError):
            raise error[1]
        if path != str(directory):
            os.chmod(os.path.dirname(path), 0o700)
        if os.path.islink(path) or not os.path.isdir(path):
            os.unlink(path)
            return
        os.chmod(path, 0o700)
        shutil.rmtree(path)

    shutil.rmtree(directory, onerror=make_accessible)
