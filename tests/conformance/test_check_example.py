"""The example is what `antei check` preaches."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from antei.cli import main

_EXAMPLE = Path(__file__).resolve().parents[2] / "examples/mattermost"


def test_nothing_is_found_in_the_example() -> None:
    result = CliRunner().invoke(main, ["check", "--fail-on", "info", str(_EXAMPLE)])
    assert result.exit_code == 0, result.stdout
