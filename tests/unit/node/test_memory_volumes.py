"""How large an emptyDir in memory is, and what is left of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from lightkube.models.core_v1 import EmptyDirVolumeSource
from lightkube.resources.core_v1 import Pod

from antei.node.files import DiskFiles
from antei.node.volumes.memory import memory_size

MIB = 2**20


@pytest.mark.parametrize(
    ("limits", "of_pod", "size_limit", "size"),
    [
        ([None], None, None, 64 * MIB),
        ([None], None, "4Mi", 4 * MIB),
        (["8Mi", "8Mi"], None, None, 16 * MIB),
        (["8Mi", None], None, None, 64 * MIB),
        (["8Mi"], None, "4Mi", 4 * MIB),
        (["8Mi"], None, "40Mi", 8 * MIB),
        (["8Mi"], "12Mi", None, 12 * MIB),
        ([None], None, "0", 64 * MIB),
    ],
)
def test_the_least_of_all_limits_counts(
    limits: list[str | None], of_pod: str | None, size_limit: str | None, size: int
) -> None:
    containers: list[dict[str, Any]] = [
        {"name": f"c{number}", "image": "i", "resources": {"limits": {"memory": limit} if limit else {}}}
        for number, limit in enumerate(limits)
    ]
    resources = {"resources": {"limits": {"memory": of_pod}}} if of_pod else {}
    pod = msgspec.convert({"metadata": {"name": "p"}, "spec": {"containers": containers, **resources}}, Pod)
    assert memory_size(pod, EmptyDirVolumeSource(medium="Memory", sizeLimit=size_limit), 64 * MIB) == size


async def test_where_nothing_may_be_mounted_it_is_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_arguments: object) -> None:
        raise PermissionError("not here")

    monkeypatch.setattr("antei.node.volumes.memory.mount_tmpfs", refused)
    files, path = DiskFiles(), tmp_path / "volume"
    await files.make_memory(path, MIB)
    await files.make_memory(path, MIB)
    assert path.stat().st_mode & 0o777 == 0o777
    (path / "x").touch()
    await files.remove_tree(path)
    assert not path.exists()


async def test_an_export_is_mounted_where_the_machine_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, target = DiskFiles(), tmp_path / "target"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not await files.mount_nfs("server:/share", target, ["ro"])
    mount = f'echo "$@" >{tmp_path}/said; echo no route >&2; exit 32'
    for name, script in {"mount.nfs": "exit 0", "mount": mount}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(OSError, match=r"^mount -t nfs server:/share: no route$"):
        await files.mount_nfs("server:/share", target, ["ro", "vers=4"])
    assert (tmp_path / "said").read_text() == f"-t nfs -o ro,vers=4 -- server:/share {target}\n"
