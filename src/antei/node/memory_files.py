"""Files that are remembered only: for simulated clusters, thousands of pods of which may share one of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from antei.node.files import FileContent
from antei.node.volumes.memory import DIRECTORY

__all__ = ["MemoryFiles"]


class MemoryFiles:
    """Implements `Files`; touches no disk. Every host path is a directory."""

    def __init__(self) -> None:
        self.payloads: dict[Path, dict[str, FileContent]] = {}
        self.files: dict[Path, bytes] = {}
        self.directories: set[Path] = set()
        self.groups: dict[Path, int] = {}
        self.used: dict[Path, int] = {}  # bytes by path, for tests to set
        # A directory's names with their paths: what a pod leaves is found without looking at what others have.
        self._entries: dict[Path, dict[str, Path]] = {}

    def _enter(self, path: Path) -> None:
        """Into the directory that it is in, and that one into its own."""
        while path.parent != path:
            names = self._entries.setdefault(path.parent, {})
            if path.name in names:
                return
            names[path.name] = path
            path = path.parent

    async def make_directory(self, path: Path, mode: int = 0o755) -> None:
        if path not in self.directories:
            self.directories.add(path)
            self._enter(path)

    async def make_file(self, path: Path, mode: int = 0o644) -> None:
        if path not in self.files:
            self.files[path] = b""
            self._enter(path)

    async def write_payload(
        self, directory: Path, payload: Mapping[str, FileContent], stamp: str, group: int | None = None
    ) -> bool:
        if group is not None:
            self.groups[directory] = group
        if self.payloads.get(directory) == dict(payload):
            return False
        self.payloads[directory] = dict(payload)
        self._enter(directory)
        return True

    async def give_to_group(self, path: Path, group: int, *, only_on_mismatch: bool) -> bool:
        self.groups[path] = group
        return True

    async def usage(self, path: Path) -> int:
        return sum(used for place, used in self.used.items() if place == path or path in place.parents)

    async def memory_directory(self) -> Path | None:
        return DIRECTORY

    async def make_memory(self, path: Path, size_bytes: int) -> None:
        await self.make_directory(path)

    async def mount_nfs(self, export: str, path: Path, options: Sequence[str]) -> bool:
        return False

    async def remove_tree(self, path: Path) -> None:
        self._entries.get(path.parent, {}).pop(path.name, None)
        found = [path]
        while found:
            gone = found.pop()
            found.extend(self._entries.pop(gone, {}).values())
            self.directories.discard(gone)
            self.files.pop(gone, None)
            self.payloads.pop(gone, None)
            self.groups.pop(gone, None)

    async def kind(self, path: Path) -> str | None:
        return "File" if path in self.files else "Directory"

    async def inside(self, root: Path, below: str) -> Path:
        return root / below

    async def read(self, path: Path, offset: int = 0, limit: int = -1) -> bytes:
        if path in self._entries:
            raise IsADirectoryError(path)
        data = self.files.get(path, b"")[offset:]
        return data if limit < 0 else data[:limit]

    async def size(self, path: Path) -> tuple[int, int] | None:
        data = self.files.get(path)
        return None if data is None else (id(path), len(data))

    async def names(self, path: Path) -> list[str]:
        return sorted(self._entries.get(path, ()))
