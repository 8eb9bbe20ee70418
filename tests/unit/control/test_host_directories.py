"""Directories of provisioned volumes on a real disk."""

from __future__ import annotations

from pathlib import Path

from antei.control.persistentvolume import HostDirectories


async def test_a_directory_is_made_open_to_all_and_removed_with_its_content(tmp_path: Path) -> None:
    path = tmp_path / "volumes" / "pvc-1"
    directories = HostDirectories()
    await directories.create(path)
    await directories.create(path)
    assert path.stat().st_mode & 0o777 == 0o777
    (path / "data").write_text("kept")
    await directories.remove(path)
    await directories.remove(path)
    assert not path.exists()
