"""The simulated and the real agree: what a rehearsal of the example saw, a simulation with its profile sees too.

The reports in `real/` were written by `antei rehearse examples/mattermost --json`. To hold it against runs of this
machine, name theirs: ANTEI_REHEARSAL_REPORTS=one.json:two.json:… pytest tests/scenario/simulate
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from antei.client.manifests import manifest_files, parse_documents
from antei.rehearse.model import ScenarioResult
from antei.rehearse.report.profile import lives
from antei.simulate.behaviour import Behaviour
from antei.simulate.distribution import Distribution
from antei.simulate.learn import learn
from antei.simulate.plan import Plan
from antei.simulate.run import play
from antei.simulate.settings import Settings

EXAMPLE = Path(__file__).parents[3] / "examples/mattermost"
GIVEN = os.environ.get("ANTEI_REHEARSAL_REPORTS", "")
REPORTS = (
    [Path(name) for name in GIVEN.split(":")] if GIVEN else sorted((Path(__file__).parent / "real").glob("*.json"))
)
SEEDS = range(1, 6)
#: Of these the order is Kubernetes' and the workload's; others race, there as here.
ORDERED = ("terminating", "pre-stop", "sigterm", "exited", "gone")
#: Above and below what five real runs spread over: processes, probes and a client take time on a machine, and nobody
#: sees the same second twice. 50 requests a second go to two pods.
SLACK_SECONDS, SLACK_REQUESTS = 2.0, 25
#: kubectl asks again for an eviction that was refused after 5 s: a tenth of a second decides about as many.
RETRY_SECONDS = 5.0


def reports() -> list[dict[str, Any]]:
    return [json.loads(path.read_text("utf-8")) for path in REPORTS]


def played() -> list[str]:
    """The scenarios that all reports have played to their end."""
    names = [
        {s["name"] for s in report["scenarios"] if s["verdict"] in ("met", "missed") and s["requests"]["sent"]}
        for report in reports()
    ]
    return sorted(set.intersection(*names) - {"baseline"}) if names else []


def simulated(name: str) -> list[ScenarioResult]:
    documents = tuple(d for path in manifest_files([EXAMPLE]) for d in parse_documents(path.read_text(), str(path)))
    settings = Settings(
        endpoint_lag=Distribution(0.5, 2.0),
        image_pull=Distribution(0.0, 0.0),
        kubelet_sync=Distribution(0.0, 0.3),
        load=50,
        workloads={"mysql": Behaviour(startup=Distribution(1.0, 4.0))},
    )
    for path in REPORTS:
        settings = settings.with_workloads_below(learn(path))
    # The rehearsal's own steps: some names stand for scenarios of whole clusters, too.
    text = (files("antei.rehearse") / "scenarios" / f"{name}.yaml").read_text("utf-8")
    plan = Plan(documents, settings, text, 3600.0, source=f"{name}.yaml", service="mattermost")
    return [play(plan, seed, with_results=True).results[0] for seed in SEEDS]


@pytest.mark.parametrize("name", played())
def test_order_losses_and_times_agree(name: str) -> None:
    real = [scenario for report in reports() for scenario in report["scenarios"] if scenario["name"] == name]
    here = simulated(name)
    slack = SLACK_SECONDS + (RETRY_SECONDS if name == "drain" else 0.0)
    assert all(result.run is not None and result.run.is_finished for result in here)
    within([s["lost"] for s in real], [result.requests.lost for result in here], SLACK_REQUESTS)
    for field, times in (
        ("detectSeconds", [result.times.detect for result in here]),
        ("recoverSeconds", [result.times.recover for result in here]),
        ("durationSeconds", [result.times.duration for result in here]),
    ):
        within([s["times"][field] for s in real], times, slack)
    always = set.intersection(*(pairs(scenario["lives"]) for scenario in real))
    for result in here:
        assert result.run is not None
        against = {(later, earlier) for earlier, later in always} & pairs(lives(result.run))
        assert not against


def within(real: Sequence[float | None], simulated: Sequence[float | None], slack: float) -> None:
    """The simulated median lies within what real runs spread over. None: it did not happen, there or here."""
    seen, found = [value for value in real if value is not None], [value for value in simulated if value is not None]
    if len(seen) * 2 < len(real) or len(found) * 2 < len(simulated):
        assert len(seen) * 2 < len(real)
        assert len(found) * 2 < len(simulated)
        return
    assert min(seen) - slack <= median(found) <= max(seen) + slack


def pairs(of: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """What came before what, in each life in which both came."""
    found: set[tuple[str, str]] = set()
    broken: set[tuple[str, str]] = set()
    for life in of:
        kinds = list(dict.fromkeys(mark["kind"] for mark in life["marks"] if mark["kind"] in ORDERED))
        for earlier, later in combinations(kinds, 2):
            found.add((earlier, later))
            broken.add((later, earlier))
    return found - broken


def test_there_is_a_real_run_to_compare_with() -> None:
    assert {"rollout", "delete", "kill"} <= set(played())
