"""--data: which paths can be a cluster's directory."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from antei.cli import main


def test_a_path_that_kubeconfig_cannot_name_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["status", "--data", str(tmp_path / "a:b")])
    assert result.exit_code == 2
    assert "a:b: ':' separates files in $KUBECONFIG, so kubectl would not find the cluster" in result.output
    by_environment = CliRunner().invoke(main, ["status"], env={"ANTEI_DATA": str(tmp_path / "c:d")})
    assert by_environment.exit_code == 2
    assert "c:d: ':' separates" in by_environment.output
