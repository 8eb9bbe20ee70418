"""The benchmarks that start a cluster, once at their smallest size, so that they cannot rot."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helm import helm_binary
from real_images import missing

pytestmark = [
    pytest.mark.lasts(25),
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("nft") is None, reason="needs root and nft on Linux"),
]

RUN = Path(__file__).parents[2] / "bench/run.py"
NAMES = ("boot", "memory", "deployment", "readiness", "http_api", "watches", "stored_pods", "containers", "many_pods")


def _find_helm() -> Path | None:
    try:
        return helm_binary()
    except pytest.skip.Exception:
        return None


def test_benchmarks_on_a_cluster_find_all_their_figures(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    names = [*NAMES, *(["real_containers"] if not missing() else []), *(["applying"] if _find_helm() else [])]
    chosen = [option for name in names for option in ("--only", name)]
    command = [sys.executable, str(RUN), "--smallest", "--runs", "1", *chosen, "--json", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads(report.read_text())
    assert {figure["measurement"] for figure in written["figures"].values()} == set(names)
