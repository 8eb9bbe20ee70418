"""Whole simulations: what comes of them, and that a run is a pure function of its seed wherever it is made."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
import pytest

from antei.client.manifests import Document, parse_documents
from antei.simulate.behaviour import Behaviour
from antei.simulate.distribution import Distribution
from antei.simulate.plan import BadPlan, Plan, with_replicas
from antei.simulate.run import play, run_seed
from antei.simulate.settings import Settings
from antei.simulate.soak import Soak, soak, soak_seed
from antei.simulate.sweep import sweep

pytestmark = pytest.mark.lasts(25)

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  template:
    metadata:
      labels: {app: web}
      annotations: {antei.dev/simulate: "{startup: 2s..6s, latency: 20ms..100ms}"}
    spec:
      topologySpreadConstraints:
      - maxSkew: 1
        topologyKey: kubernetes.io/hostname
        whenUnsatisfiable: ScheduleAnyway
        labelSelector: {matchLabels: {app: web}}
      containers:
      - name: web
        image: web:1
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 2}
        livenessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 5, initialDelaySeconds: 10}
        PRESTOP
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {BUDGET, selector: {matchLabels: {app: web}}}
"""


def documents(pre_stop_seconds: int = 3, budget: str = "maxUnavailable: 1") -> tuple[Document, ...]:
    hook = f"lifecycle: {{preStop: {{sleep: {{seconds: {pre_stop_seconds}}}}}}}" if pre_stop_seconds else ""
    return tuple(parse_documents(MANIFEST.replace("PRESTOP", hook).replace("BUDGET", budget), "web.yaml"))


def plan(scenario: str, *, settings: Settings | None = None, hours: float = 4, **of: Any) -> Plan:
    return Plan(documents(**of), settings or Settings(nodes=4, zones=2), scenario, hours * 3600)


@pytest.mark.parametrize("scenario", ["upgrade-nodes", "drain", "rollout"])
def test_what_is_planned_loses_nothing_where_the_hook_outlasts_the_lag(scenario: str) -> None:
    outcome = run_seed(plan(scenario), 1)
    assert outcome.is_finished, outcome.reason
    assert outcome.sent > 100
    assert outcome.lost == 0
    assert outcome.workloads[0].lowest_ready >= 2


def test_without_a_hook_the_lag_costs_requests() -> None:
    slow = Settings(nodes=4, endpoint_lag=Distribution(8, 12), load=50)
    outcome = run_seed(plan("rollout", settings=slow, pre_stop_seconds=0), 1)
    assert set(outcome.workloads[0].by_outcome) >= {"ok", "refused"}
    assert outcome.lost > 500
    assert run_seed(plan("rollout", settings=slow, pre_stop_seconds=14), 1).lost == 0


def test_a_budget_that_allows_nothing_holds_an_upgrade_up_and_is_named() -> None:
    outcome = run_seed(plan("upgrade-nodes", budget="minAvailable: 100%", hours=0.5), 1)
    assert not outcome.is_finished
    assert outcome.seconds == 1800
    assert "was not finished" in outcome.reason
    assert "budget web allows no disruption: it wants 3 of 3 healthy, 3 are" in outcome.reason
    assert outcome.evictions_refused > 100


def test_a_zone_that_is_lost_costs_until_its_nodes_are_given_up() -> None:
    outcome = run_seed(plan("zone-loss"), 1)
    assert outcome.is_finished, outcome.reason
    assert outcome.workloads[0].by_outcome["timed-out"] > 50
    assert outcome.workloads[0].lowest_ready < 3


def test_crashes_restart_and_slow_starts_last() -> None:
    storm = run_seed(plan("crash-storm"), 1)
    assert storm.workloads[0].restarts > 3
    assert storm.is_finished, storm.reason
    assert run_seed(plan("slow-start"), 1).seconds > run_seed(plan("rollout"), 1).seconds


def test_a_day_of_load_costs_no_time_and_overload_costs_requests() -> None:
    calm = run_seed(plan("diurnal-load", hours=12), 1)
    assert calm.sent == pytest.approx(20 * 43200, rel=0.01)
    assert calm.lost == 0
    narrow = Settings(nodes=4, load=5, workloads={"web": Behaviour(requests_per_second=1.2)})
    crowded = run_seed(plan("diurnal-load", settings=narrow, hours=6), 1)
    assert crowded.workloads[0].by_outcome["timed-out"] > 100


def test_memory_that_grows_is_killed_at_its_limit() -> None:
    text = MANIFEST.replace("PRESTOP", "resources: {limits: {memory: 200Mi}}").replace("BUDGET", "maxUnavailable: 1")
    text = text.replace("{startup: 2s..6s,", "{memory: {start: 100Mi, growthPerHour: 100Mi},")
    outcome = run_seed(Plan(tuple(parse_documents(text, "web.yaml")), Settings(), "diurnal-load", 2.5 * 3600), 1)
    assert outcome.workloads[0].restarts == 6  # three pods, after one hour and after two


def test_a_rehearsals_scenario_and_results_for_its_report() -> None:
    played = play(plan("hang"), 1, with_results=True)
    (result,) = played.results
    assert result.name == "hang"
    assert {cause.id for cause in result.causes} == {"hang"}
    assert result.times.detect is not None


@pytest.mark.parametrize("scenario", ["hang", "unready", "crash-storm"])
def test_probes_that_are_skipped_change_nothing(scenario: str) -> None:
    assert play(plan(scenario), 1).outcome == play(plan(scenario), 1, skips_calm=False).outcome


def test_what_cannot_be_simulated_is_said() -> None:
    with pytest.raises(BadPlan, match="there is no scenario 'earthquake'"):
        run_seed(plan("earthquake"), 1)
    with pytest.raises(BadPlan, match="there is no such workload"):
        with_replicas(plan("drain"), {"nobody": 3})
    data = msgspec.json.decode(msgspec.json.encode(documents()[0].data))
    del data["spec"]["template"]["spec"]["containers"][0]["image"]
    wrong = replace(plan("drain"), documents=(replace(documents()[0], data=data), *documents()[1:]))
    with pytest.raises(BadPlan, match=r"web.yaml:2: Deployment/web: .*spec.template.spec.containers\[0\].image"):
        run_seed(wrong, 1)
    with pytest.raises(BadPlan, match="there is no Service with a"):
        run_seed(replace(plan("drain"), documents=documents()[:1]), 1)


def test_replicas_can_be_given() -> None:
    outcome = run_seed(with_replicas(plan("drain"), {"deployment/web": 5}), 1)
    assert outcome.workloads[0].replicas == 5


# --- a run is a pure function of its seed ---


SEEDS = (1, 2)


def encoded(outcomes: Any) -> list[bytes]:
    return [msgspec.json.encode(outcome) for outcome in outcomes]


def fault_digests(workers: int = 1) -> list[str]:
    """Of runs under faults, with every rule watched: over all writes, and all that happened to containers."""
    return [held.digest for held in soak(Soak(), SEEDS, workers=workers)]


def test_the_same_seed_gives_the_same_run_in_this_process_in_others_and_on_a_pool() -> None:
    here = encoded(sweep(plan("rollout"), SEEDS, workers=1))
    assert here == encoded(sweep(plan("rollout"), SEEDS, workers=2))
    assert len({msgspec.json.decode(one)["digest"] for one in here}) == len(SEEDS)
    script = textwrap.dedent(
        """
        import importlib.util, msgspec, sys
        spec = importlib.util.spec_from_file_location("runs", sys.argv[1])
        runs = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(runs)
        for one in runs.encoded(runs.sweep(runs.plan("rollout"), runs.SEEDS, workers=1)):
            print(one.decode())
        for digest in runs.fault_digests():
            print(digest)
        """
    )
    here += [digest.encode() for digest in fault_digests()]
    for hash_seed in ("1", "4242"):
        found = subprocess.run(
            [sys.executable, "-c", script, __file__],
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        )
        assert found.stdout.split() == here


def test_faults_too_are_a_pure_function_of_their_seed() -> None:
    here = fault_digests()
    assert len(set(here)) == len(SEEDS)
    assert here == fault_digests(workers=2)


@pytest.mark.filterwarnings("ignore")
def test_dask_gives_what_a_pool_gives() -> None:
    distributed = pytest.importorskip("distributed")
    here = encoded(sweep(plan("drain"), SEEDS, workers=1))
    # A worker in a thread: one in a process of its own may take longer to come up than Dask waits on a busy machine.
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        assert here == encoded(sweep(plan("drain"), SEEDS, dask=cluster.scheduler_address))
        with distributed.Client(cluster.scheduler_address) as client:
            held = client.gather(client.map(partial(soak_seed, Soak()), SEEDS, pure=False))
        assert [one.digest for one in held] == fault_digests()
