"""Benchmarks that start no cluster, once at their smallest size, so that they cannot rot; the others are in tests/live.

How fast anything is, no test says.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.lasts(6)

RUN = Path(__file__).parents[3] / "bench/run.py"
NAMES = ("probes", "simulated", "fleet")


def test_a_benchmark_finds_all_its_figures(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    chosen = [option for name in NAMES for option in ("--only", name)]
    command = [sys.executable, str(RUN), "--smallest", "--runs", "1", *chosen, "--json", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads(report.read_text())
    assert written["machine"] in done.stdout.replace("\n", " ")
    assert {figure["measurement"] for figure in written["figures"].values()} == set(NAMES)
    for name, figure in written["figures"].items():
        assert name in done.stdout
        assert len(figure["runs"]) == 1
        assert figure["min"] == figure["median"] == figure["max"] >= 0


def test_an_unknown_benchmark_is_refused_with_the_names_there_are() -> None:
    done = subprocess.run([sys.executable, str(RUN), "--only", "luck"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "http_api" in done.stderr
