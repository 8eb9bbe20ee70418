"""`antei image` as somebody types it, mistakes included."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from real_images import busybox_layer, missing, write_layout
from registry import HTPASSWD, needs_registry, push, registry

from antei.cli.image import image

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(bool(missing()), reason=missing()),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: images have other users' files"),
]


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("layout")
    write_layout(directory, "box", [busybox_layer()], {"Cmd": ["/bin/sh"]})
    return directory


def run(directory: Path, *arguments: object, stdin: str = "") -> Result:
    return CliRunner().invoke(image, ["--images", str(directory / "images"), *map(str, arguments)], input=stdin)


def names(directory: Path) -> list[str]:
    listed = run(directory, "ls")
    assert listed.exit_code == 0
    return [line.split()[0] for line in listed.stdout.splitlines()[1:]]


def test_an_image_is_loaded_listed_and_removed(layout: Path, tmp_path: Path) -> None:
    assert names(tmp_path) == []
    assert run(tmp_path, "load", layout, "--name", "team/box:1").stdout.startswith("team/box:1 (")
    assert run(tmp_path, "load", layout, "--name", "box").exit_code == 0
    assert names(tmp_path) == ["docker.io/library/box:latest", "docker.io/team/box:1"]
    assert run(tmp_path, "rm", "box", "docker.io/team/box:1").stdout.count(" removed") == 2
    assert names(tmp_path) == []
    assert list((tmp_path / "images/blobs/sha256").iterdir()) == []


def test_an_image_without_a_name_has_its_id(tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", "", [busybox_layer()], {"Cmd": ["/bin/sh"]})
    loaded = run(tmp_path, "load", tmp_path / "layout").stdout
    (name,) = names(tmp_path)
    assert loaded.startswith(f"{name} (")
    assert name.startswith("sha256:")
    assert run(tmp_path, "prune", "--unused-for", "1h").stdout.startswith("0 images removed")
    assert run(tmp_path, "prune").stdout.startswith("1 images removed")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rm", "box:1"], "there is no image box:1"),
        (["rm", "sha256:" + "0" * 64], "there is no image sha256:"),
        (["rm", "../../etc"], "invalid reference format"),
        (["pull", "Box"], "must be lowercase"),
        (["pull", "127.0.0.1:1/box"], "connection refused"),
        (["load", "LAYOUT", "--name", "Box"], "must be lowercase"),
        (["load", "LAYOUT", "--name", "box@sha256:" + "0" * 64], "a tag, not a digest"),
        (["load", "/dev/null"], "/dev/null cannot be read"),
        (["load", "/etc"], "/etc cannot be read"),
    ],
    ids=lambda value: " ".join(value)[:24] if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_one_line(layout: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    failed = run(tmp_path, *[str(layout) if word == "LAYOUT" else word for word in arguments])
    assert failed.exit_code == 1
    assert said in failed.stderr
    assert failed.stderr.startswith("antei: ")
    assert failed.stderr.count("\n") == 1
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "arguments", [["pull"], ["load"], ["rm"], ["pull", "--password-stdin", "box"], ["load", "no-such-file"]]
)
def test_a_wrong_command_line_is_two(tmp_path: Path, arguments: list[str]) -> None:
    assert run(tmp_path, *arguments).exit_code == 2


def test_one_name_is_not_given_to_several_images(tmp_path: Path) -> None:
    both = tmp_path / "both"
    for name in ("a", "b"):
        write_layout(tmp_path / name, "x", [busybox_layer({"etc/motd": name})])
        copy = ["skopeo", "--insecure-policy", "copy", "--quiet", f"oci:{tmp_path / name}:x", f"oci:{both}:{name}"]
        subprocess.run(copy, check=True)
    failed = run(tmp_path, "load", both, "--name", "box:1")
    assert failed.exit_code == 1
    assert "has 2 images" in failed.stderr
    assert names(tmp_path) == []


@needs_registry()
def test_a_password_comes_by_standard_input(layout: Path, tmp_path: Path) -> None:
    with registry(tmp_path / "registry", HTPASSWD) as host:
        push(layout, "box", f"{host}/box:1", "antei:geheim")
        asked = ["pull", "--user", "antei", "--password-stdin", f"{host}/box:1"]
        refused = run(tmp_path, *asked, stdin="falsch\n")
        assert refused.exit_code == 1
        assert "falsch" not in refused.output
        assert run(tmp_path, *asked, stdin="geheim\n").exit_code == 0
    assert names(tmp_path) == [f"{host}/box:1"]
