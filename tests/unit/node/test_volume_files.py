from __future__ import annotations

import base64
import os
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from lightkube.models.core_v1 import DownwardAPIVolumeFile, KeyToPath
from lightkube.resources.core_v1 import ConfigMap, Pod, Secret

from antei.node.downward import NodeFacts
from antei.node.files import DiskFiles, FileContent
from antei.node.volumes.projection import MissingSource, of_config_map, of_downward_api, of_secret

NODE = NodeFacts("192.168.0.1", "10.244.0.7", {"cpu": "4"})
SETTINGS = msgspec.convert(
    {"data": {"a": "1", "b": "2"}, "binaryData": {"c": base64.b64encode(b"\xff").decode()}}, ConfigMap
)


def items(*found: dict[str, Any]) -> list[KeyToPath]:
    return [msgspec.convert(item, KeyToPath) for item in found]


def test_a_config_map_is_a_file_a_key() -> None:
    payload = of_config_map(SETTINGS, "ns", "settings", None, 0o600, False)
    assert payload == {k: FileContent(v, 0o600) for k, v in {"a": b"1", "b": b"2", "c": b"\xff"}.items()}


def test_items_choose_keys_paths_and_modes() -> None:
    chosen = items({"key": "a", "path": "dir/x", "mode": 0o400}, {"key": "b", "path": "y"})
    payload = of_config_map(SETTINGS, "ns", "settings", chosen, None, False)
    assert payload == {"dir/x": FileContent(b"1", 0o400), "y": FileContent(b"2", 0o644)}


@pytest.mark.parametrize(
    ("config_map", "key", "message"),
    [
        (None, "a", 'configmap "settings" not found'),
        (SETTINGS, "z", "configmap references non-existent config key: z (ns/settings)"),
    ],
)
def test_what_is_missing_is_named_unless_it_is_optional(config_map: ConfigMap | None, key: str, message: str) -> None:
    chosen = items({"key": key, "path": "x"})
    with pytest.raises(MissingSource) as caught:
        of_config_map(config_map, "ns", "settings", chosen, None, False)
    assert str(caught.value) == message
    assert of_config_map(config_map, "ns", "settings", chosen, None, True) == {}


def test_a_secret_is_decoded() -> None:
    secret = msgspec.convert({"data": {"k": base64.b64encode(b"geheim").decode()}}, Secret)
    assert of_secret(secret, "ns", "s", None, 0o400, False) == {"k": FileContent(b"geheim", 0o400)}


def test_the_downward_api_as_files() -> None:
    pod = msgspec.convert(
        {"metadata": {"name": "web", "labels": {"b": '2"', "a": "1"}}, "spec": {"containers": [{"name": "app"}]}}, Pod
    )
    wanted = [
        msgspec.convert(item, DownwardAPIVolumeFile)
        for item in (
            {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
            {"path": "cpu", "resourceFieldRef": {"containerName": "app", "resource": "limits.cpu"}},
        )
    ]
    payload = of_downward_api(pod, wanted, None, NODE)
    assert {path: content.data for path, content in payload.items()} == {"labels": b'a="1"\nb="2\\""', "cpu": b"4"}


def payload(**files: str) -> dict[str, FileContent]:
    return {name.replace("__", "/"): FileContent(text.encode(), 0o640) for name, text in files.items()}


async def test_a_payload_is_swapped_as_a_whole(tmp_path: Path) -> None:
    files, volume = DiskFiles(), tmp_path / "volume"
    assert await files.write_payload(volume, payload(a="1", dir__b="2", old="x"), "one")
    assert (volume / "a").read_text() == "1"
    assert (volume / "dir" / "b").read_text() == "2"
    assert stat.S_IMODE((volume / "a").stat().st_mode) == 0o640
    assert os.readlink(volume / "a") == "..data/a"
    reader = os.open(volume / "a", os.O_RDONLY)
    assert await files.write_payload(volume, payload(a="new", dir__b="2"), "two")
    assert os.readlink(volume / "..data") == "..two"
    assert (volume / "a").read_text() == "new"
    assert os.read(reader, 10) == b"1"
    os.close(reader)
    assert sorted(os.listdir(volume)) == ["..data", "..two", "a", "dir"]


async def test_an_unchanged_payload_is_left_alone(tmp_path: Path) -> None:
    files = DiskFiles()
    assert await files.write_payload(tmp_path, payload(a="1"), "one")
    assert not await files.write_payload(tmp_path, payload(a="1"), "two")
    assert os.readlink(tmp_path / "..data") == "..one"


@pytest.mark.parametrize("path", ["../out", "/etc/passwd", "a/../../out"])
async def test_a_payload_stays_inside_its_volume(tmp_path: Path, path: str) -> None:
    with pytest.raises(PermissionError, match="not a path inside the volume"):
        await DiskFiles().write_payload(tmp_path / "v", {path: FileContent(b"")}, "one")
    assert not (tmp_path / "out").exists()


async def test_kinds_are_named_as_host_path_types_are(tmp_path: Path) -> None:
    files = DiskFiles()
    await files.make_file(tmp_path / "sub" / "file")
    assert await files.kind(tmp_path) == "Directory"
    assert await files.kind(tmp_path / "sub" / "file") == "File"
    assert await files.kind(Path("/dev/null")) == "CharDevice"
    assert await files.kind(tmp_path / "none") is None
    await files.make_directory(tmp_path / "empty", 0o777)
    assert stat.S_IMODE((tmp_path / "empty").stat().st_mode) == 0o777
    await files.remove_tree(tmp_path / "sub")
    await files.remove_tree(tmp_path / "sub")
    assert not (tmp_path / "sub").exists()


async def test_removing_a_link_leaves_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    await DiskFiles().remove_tree(tmp_path / "link")
    assert (tmp_path / "target").exists()


async def test_a_path_in_a_volume_stays_in_it_whatever_a_container_has_linked(tmp_path: Path) -> None:
    volume, outside = tmp_path / "volume", tmp_path / "outside"
    volume.mkdir()
    volume.chmod(0o777)
    outside.mkdir()
    (volume / "out").symlink_to(outside)
    (volume / "up").symlink_to("..")
    (volume / "here").symlink_to("real")
    files = DiskFiles()
    assert await files.inside(volume, "here/deep") == volume / "real/deep"
    assert (volume / "real/deep").stat().st_mode & 0o777 == 0o777
    volume.chmod(0o2775)  # an fsGroup's: what is made in what was made is the group's, too
    assert (await files.inside(volume, "new/deep")).stat().st_mode & 0o7777 == 0o2775
    for below in ("out", "out/new", "up", "up/outside", "up/volume2"):
        with pytest.raises(PermissionError, match="leads out of the volume"):
            await files.inside(volume, below)
    assert list(outside.iterdir()) == []
