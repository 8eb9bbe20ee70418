"""Files that cannot be written are refused before the work that is to fill them begins."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from antei.cli import main
from antei.cli.outputs import check_writable

MANIFEST = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"


def test_what_can_be_made_passes_and_nothing_is_made(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("old")
    check_writable(None, "-", tmp_path / "old.json", tmp_path / "new/deep/report.html", "/dev/null")
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"]
    assert (tmp_path / "old.json").read_text() == "old"


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("directory", IsADirectoryError),
        ("file/report.html", NotADirectoryError),
    ],
)
def test_what_cannot_be_made_is_named(tmp_path: Path, path: str, error: type[OSError]) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(error) as raised:
        check_writable(tmp_path / path)
    assert raised.value.filename == str(tmp_path / path)


def test_what_may_not_be_written_to_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    # A superuser, as who the tests may run, may write anywhere.
    monkeypatch.setattr("antei.cli.outputs.os.access", lambda path, mode: asked.append((path, mode)))
    with pytest.raises(PermissionError) as raised:
        check_writable(tmp_path / "new/report.html")
    assert raised.value.filename == str(tmp_path / "new/report.html")
    assert asked == [(tmp_path, os.W_OK)]


@pytest.mark.parametrize("option", ["--report", "--json", "--junit"])
def test_a_rehearsal_is_refused_that_could_not_be_told_of(tmp_path: Path, option: str) -> None:
    (tmp_path / "app.yaml").write_text(MANIFEST)
    at = str(tmp_path / "app.yaml/report.html")
    done = CliRunner().invoke(main, ["rehearse", str(tmp_path / "app.yaml"), option, at])
    assert (done.exit_code, done.stderr) == (2, f"antei: {at}: Not a directory\n")


@pytest.mark.parametrize("option", ["--report", "--json", "--picture"])
def test_a_simulation_is_refused_that_could_not_be_told_of(tmp_path: Path, option: str) -> None:
    (tmp_path / "app.yaml").write_text(MANIFEST)
    at = str(tmp_path / "app.yaml/report.html")
    done = CliRunner().invoke(main, ["simulate", str(tmp_path / "app.yaml"), "--scenario", "drain", option, at])
    assert (done.exit_code, done.stderr) == (2, f"antei: {at}: Not a directory\n")
