"""A directory that behaves like a mount of version 2 of control groups, as far as antei looks: cgroups(7)."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

__all__ = ["UnifiedGroups"]

_FILES = {"memory": ("memory.max", "memory.swap.max", "memory.oom.group"), "cpu": ("cpu.max", "cpu.weight")}
_MKDIR, _RMDIR, _WRITE = Path.mkdir, Path.rmdir, Path.write_text


class UnifiedGroups:
    """As long as the test runs. New groups have their files, processes are in one place, and a group that hands
    controllers down has none of its own."""

    def __init__(self, root: Path, controllers: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        root.mkdir()
        self._fill(root, controllers)
        monkeypatch.setattr(Path, "mkdir", lambda path, *args, **options: self._mkdir(path, *args, **options))
        monkeypatch.setattr(Path, "rmdir", lambda path: self._rmdir(path))
        monkeypatch.setattr(Path, "write_text", lambda path, text, *args: self._write(path, text, *args))

    def _mkdir(self, path: Path, *arguments: Any, **options: Any) -> None:
        is_new = not path.exists()
        _MKDIR(path, *arguments, **options)
        if is_new and self.root in path.parents:
            self._fill(path, (path.parent / "cgroup.subtree_control").read_text())

    def _fill(self, group: Path, controllers: str) -> None:
        """What is there stays, but for which controllers there are."""
        files = {"cgroup.procs": "", "cgroup.subtree_control": ""}
        for controller in controllers.split():
            files |= dict.fromkeys(_FILES.get(controller, ()), "max\n")
        for name, text in files.items():
            if not (group / name).exists():
                _WRITE(group / name, text)
        _WRITE(group / "cgroup.controllers", controllers)

    def _rmdir(self, path: Path) -> None:
        if self.root in path.parents:
            if (path / "cgroup.procs").read_text() or any(child.is_dir() for child in path.iterdir()):
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(path))
            for file in path.iterdir():
                file.unlink()
        _RMDIR(path)

    def _write(self, path: Path, text: str, *arguments: Any) -> int:
        group, is_ours = path.parent, self.root in path.parents
        if is_ours and path.name == "cgroup.procs":
            if (group / "cgroup.subtree_control").read_text():
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(path))
            for procs in self.root.rglob("cgroup.procs"):
                _WRITE(procs, "".join(f"{pid}\n" for pid in procs.read_text().split() if pid != text))
            text = path.read_text() + f"{text}\n"
        elif is_ours and path.name == "cgroup.subtree_control":
            wanted = [word.removeprefix("+") for word in text.split()]
            if not set(wanted) <= set((group / "cgroup.controllers").read_text().split()):
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            if group != self.root and (group / "cgroup.procs").read_text():
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(path))
            text = " ".join(dict.fromkeys([*path.read_text().split(), *wanted]))
            for child in group.iterdir():
                if child.is_dir():
                    self._fill(child, text)
        return _WRITE(path, text, *arguments)
