from __future__ import annotations

import sys
from pathlib import Path

import pytest
from lightkube.models.core_v1 import CSIPersistentVolumeSource, EmptyDirVolumeSource, NFSVolumeSource

from antei.runtime import ImageError
from antei.runtime.image_map import FileOverRoot, ImageMapError, load_maps, parse_map


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A map's directory with an entry point and a shared directory beside it."""
    (tmp_path / "entry.sh").write_text("#!/bin/sh\n")
    (tmp_path / "share").mkdir()
    return tmp_path


def test_an_entry_has_all_its_parts_with_paths_relative_to_the_file(beside: Path) -> None:
    text = """
images:
  mysql:5.7:
    command: [./entry.sh, --x]
    args: [mysqld]
    env: {LANG: C}
    workdir: ./share
    files:
      /usr/local/bin/mysql: entry.sh
      /etc/motd: {content: hi, mode: 0o600}
volumes:
  nfs: {"192.168.99.1:/share": ./share}
""".replace("0o600", "384")
    found = parse_map(text, beside / "antei.yaml")
    entry = found.resolve("mysql:5.7")
    assert entry.command == (str(beside / "entry.sh"), "--x")
    assert (entry.args, dict(entry.env), entry.workdir) == (("mysqld",), {"LANG": "C"}, str(beside / "share"))
    assert entry.files == (
        FileOverRoot("/usr/local/bin/mysql", beside / "entry.sh"),
        FileOverRoot("/etc/motd", None, "hi", 0o600),
    )
    assert found.volumes.local_directory(NFSVolumeSource("/share", "192.168.99.1")) == beside / "share"
    image = found.image("mysql:5.7", "IfNotPresent")
    assert (image.command, image.args) == (entry.command, ("mysqld",))


def test_the_interpreter_of_antei_and_paths_beside_the_map_are_found_without_following_links(beside: Path) -> None:
    (beside / "venv-python").symlink_to("/usr/bin/env")
    text = 'images: {a: {command: ["${python}", ./entry.sh, ./gone, entry.sh], args: [./venv-python, ../x]}}'
    entry = parse_map(text, beside / "antei.yaml").resolve("a")
    assert entry.command == (sys.executable, str(beside / "entry.sh"), "./gone", "entry.sh")
    assert entry.args == (str(beside / "venv-python"), "../x")


@pytest.mark.parametrize(
    ("image", "pattern"),
    [
        ("mysql:5.7", "mysql:5.7"),
        ("mysql:8", "mysql"),
        ("mysql", "mysql"),
        ("docker.io/library/mysql:5.7", "mysql:5.7"),
        ("docker.io/mysql:5.7", "mysql:5.7"),
        ("mysql:5.7@sha256:00", "mysql:5.7"),
        ("registry:5000/team/app:1", "registry:5000/team/app"),
        ("registry:5000/team/other:1", "registry:5000/*"),
        ("bitnami/mysql:5.7", None),
    ],
)
def test_an_exact_name_with_tag_comes_before_one_without_and_that_before_a_glob(
    image: str, pattern: str | None
) -> None:
    names = ["registry:5000/*", "registry:5000/team/app", "mysql", "mysql:5.7"]
    found = parse_map(str({"images": {name: {"command": ["x"]} for name in names}}), Path("/antei.yaml"))
    entry = found.lookup(image)
    assert (entry.pattern if entry else None) == pattern


@pytest.mark.parametrize(
    ("image", "policy", "reason", "words"),
    [
        ("redis:7", "IfNotPresent", "ErrImagePull", '"redis:7": {command:'),
        ("redis:7", "Never", "ErrImageNeverPull", "pull policy of Never"),
        ("a b", "Always", "InvalidImageName", "invalid reference format"),
        ("", "Always", "InvalidImageName", "invalid reference format"),
    ],
)
def test_an_image_that_is_not_mapped_is_an_error_with_the_line_to_add(
    image: str, policy: str, reason: str, words: str
) -> None:
    with pytest.raises(ImageError) as raised:
        parse_map("", Path("/antei.yaml")).resolve(image, policy)
    assert raised.value.reason == reason
    assert words in raised.value.message
    assert image in raised.value.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]", "the file: must be a mapping, not list"),
        ("images: [1]", "images: must be a mapping, not list"),
        ("image: {}", "image: unknown field"),
        ("images: {a: {}}", 'images["a"]: Object missing required field `command`'),
        ("images: {a: {command: sh}}", 'images["a"].command: Expected `array`, got `str`'),
        ("images: {a: {command: [1]}}", 'images["a"].command[0]: Expected `str`, got `int`'),
        ("images: {a: {command: []}}", 'images["a"].command: must name a program'),
        ("images: {a: {command: [x], env: {A: 1}}}", 'images["a"].env[...]: Expected `str`, got `int`'),
        ("images: {a: {command: [x], env: {'A=': b}}}", 'images["a"].env["A="]'),
        ("images: {a: {command: [x], cmd: []}}", "unknown field `cmd`"),
        ("images: {a: {command: [x], files: {etc: y}}}", 'images["a"].files["etc"]: must be an absolute path'),
        ("images: {a: {command: [x], files: {/etc/x: gone}}}", "gone does not exist"),
        ("images: {a: {command: [x], files: {/x: {mode: 1}}}}", 'images["a"].files["/x"]: Object missing'),
        ("images: {a: {command: [x], files: {/x: {content: '', mode: -1}}}}", ".mode: must be between"),
        ("volumes: {floppy: {a: b}}", 'volumes["floppy"]: unknown kind of volume'),
        ("volumes: {nfs: {'h:/p': 1}}", 'volumes["nfs"]["h:/p"]: Expected `str`, got `int`'),
        ("a: [", "not YAML"),
    ],
)
def test_a_wrong_map_names_its_file_and_field(text: str, words: str) -> None:
    with pytest.raises(ImageMapError) as raised:
        parse_map(text, Path("/nowhere/antei.yaml"))
    assert str(raised.value).startswith("/nowhere/antei.yaml: ")
    assert words in str(raised.value)


def test_later_maps_win_and_an_unreadable_one_is_named(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("images: {a: {command: [one]}, b: {command: [two]}}\nvolumes: {'nfs: h:/p': x}")
    second.write_text("images: {a: {command: [three]}}\nvolumes: {nfs: {'h:/q*': y}}")
    merged = load_maps([first, second])
    assert [merged.resolve(name).command for name in ("a", "b")] == [("three",), ("two",)]
    assert merged.volumes.local_directory(NFSVolumeSource("/p", "h")) == tmp_path / "x"
    assert merged.volumes.local_directory(NFSVolumeSource("/q/r", "h")) == tmp_path / "y"
    assert merged.volumes.local_directory(NFSVolumeSource("/p", "other")) is None
    with pytest.raises(ImageMapError, match=r"missing\.yaml"):
        load_maps([tmp_path / "missing.yaml"])


def test_a_volume_source_tells_the_line_that_would_map_it() -> None:
    volumes = parse_map("", Path("/antei.yaml")).volumes
    assert volumes.line_for(NFSVolumeSource("/p", "h")) == "nfs: {'h:/p': ./directory}"
    assert volumes.line_for(CSIPersistentVolumeSource("d", "v")) == "csi: {'d/v': ./directory}"
    assert volumes.line_for(EmptyDirVolumeSource()) is None
    assert volumes.local_directory(EmptyDirVolumeSource()) is None
