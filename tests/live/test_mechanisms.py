"""The example without one of its mechanisms: rehearse must miss an objective, say why, and pass the example as it is.

All is measured once, by the script that also writes the table of docs/mechanisms.md.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from antei_process import needs_namespaces
from mechanisms.catalogue import Mechanism, mechanisms

ROOT = Path(__file__).parents[2]
MARIADB = all(shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") for program in ("mariadbd", "mysqldump"))
#: Far more than it takes: only a rehearsal that hangs reaches it.
LIMIT_SECONDS = 900

pytestmark = [
    pytest.mark.lasts(150),
    pytest.mark.live,
    needs_namespaces(),
    pytest.mark.skipif(not MARIADB, reason="needs MariaDB's server and client"),
]

EACH = pytest.mark.parametrize("mechanism", mechanisms(), ids=lambda mechanism: mechanism.mechanism)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """By mechanism: `without` it and as `example`, each as in the JSON report."""
    directory = tmp_path_factory.mktemp("mechanisms")
    file, told = directory / "measured.json", directory / "told"
    script = ROOT / "tests" / "support" / "mechanisms" / "measure.py"
    with told.open("wb") as stderr:
        measuring = subprocess.Popen([sys.executable, script, "--json", file], stderr=stderr)
    try:
        assert measuring.wait(LIMIT_SECONDS) == 0, told.read_text()
        yield {row["mechanism"]: row for row in json.loads(file.read_text())}
    finally:
        if measuring.poll() is None:  # it takes its cluster down
            measuring.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                measuring.wait(60)
            measuring.kill()


@EACH
def test_the_example_passes_as_it_is(measured: dict[str, Any], mechanism: Mechanism) -> None:
    example = measured[mechanism.mechanism]["example"]
    assert example["verdict"] == "met", example["reason"]
    if example["objectives"]["lost"] == 0:
        assert example["lost"] == 0


@EACH
def test_without_the_mechanism_an_objective_is_missed_and_the_cause_is_named(
    measured: dict[str, Any], mechanism: Mechanism
) -> None:
    without, expected = measured[mechanism.mechanism]["without"], mechanism.expect
    assert without["verdict"] == "missed", without["reason"]
    found = [cause for cause in without["causes"] if cause["id"] == expected.cause]  # one for each pod
    assert found, without["reason"]
    assert all(expected.remedy in cause["remedy"] for cause in found)
    if expected.lost:
        lost = sum(cause["lost"] for cause in found)
        assert lost > without["lost"] / 2, without["causes"]
    if expected.restarts:
        assert without["restarts"] > 0
    if not expected.recovers:
        assert without["times"]["recoverSeconds"] is None
    if expected.budget:
        assert not without["budget"]["kept"]
