"""Manifests that a command line names, on standard input too."""

from __future__ import annotations

from click.testing import CliRunner

from antei.cli import main


def test_standard_input_that_is_no_utf_8_is_said_in_a_line() -> None:
    result = CliRunner().invoke(main, ["simulate", "-"], input=b"apiVersion: v1\nkind: caf\xe9\n")
    assert result.exit_code == 2
    assert result.stderr == "antei: standard input: not text in UTF-8 (byte 24)\n"


def test_a_kind_that_nobody_has_is_said_with_its_version() -> None:
    text = "apiVersion: apps/v1\nkind: Deploymnt\nmetadata: {name: web}\n"
    result = CliRunner().invoke(main, ["simulate", "--scenario", "rollout", "-"], input=text)
    assert result.exit_code == 2
    assert 'standard input:1: Deploymnt/web: no matches for kind "Deploymnt" in version "apps/v1"' in result.stderr
