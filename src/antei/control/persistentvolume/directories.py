"""Where the data of provisioned volumes is, as the outside world: made and removed through a Protocol."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Protocol

__all__ = ["Directories", "HostDirectories", "ImaginaryDirectories"]


class Directories(Protocol):
    async def create(self, path: Path) -> None:
        """Makes the directory and its parents; no error when it is there. Raises OSError."""
        ...

    async def remove(self, path: Path) -> None:
        """Removes the directory with all that is in it; no error when it is gone. Raises OSError."""
        ...


class HostDirectories:
    """Directories of this machine, open to every user, as containers run as any."""

    async def create(self, path: Path) -> None:
        await asyncio.to_thread(self._create, path)

    def _create(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o777)

    async def remove(self, path: Path) -> None:
        await asyncio.to_thread(self._remove, path)

    def _remove(self, path: Path) -> None:
        if path.exists():
            shutil.rmtree(path)


class ImaginaryDirectories:
    """For virtual time: remembers the paths and touches nothing."""

    def __init__(self) -> None:
        self.paths: list[Path] = []

    async def create(self, path: Path) -> None:
        if path not in self.paths:
            self.paths.append(path)

    async def remove(self, path: Path) -> None:
        if path in self.paths:
            self.paths.remove(path)
