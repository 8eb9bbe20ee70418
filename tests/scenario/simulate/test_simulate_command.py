"""`antei simulate` as people call it: exit codes, JSON, pages, pictures, and what it says of bad input."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from antei.cli import main

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: web, readinessProbe: {tcpSocket: {port: 80}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app.yaml").write_text(MANIFEST)
    return tmp_path / "app.yaml"


def simulate(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["simulate", *map(str, arguments)])


def test_one_run_with_its_page_and_json_that_is_the_same_each_time(app: Path, tmp_path: Path) -> None:
    written = []
    for name in ("a.json", "b.json"):
        done = simulate(app, "--scenario", "rollout", "--report", tmp_path / "run.html", "--json", tmp_path / name)
        assert done.exit_code == 0, done.output
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]
    data = json.loads(written[0])
    assert data["schemaVersion"] == 1
    assert data["outcomes"][0]["workloads"][0]["name"] == "deployment/web"
    assert "rollout of a new revision" in (tmp_path / "run.html").read_text()
    assert "default/web" in done.output


def test_two_sets_of_manifests_under_the_same_seeds(app: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(MANIFEST.replace("replicas: 2", "replicas: 3"))
    picture = tmp_path / "both.svg"
    done = simulate(
        "--compare",
        app,
        other,
        "--scenario",
        "drain",
        "--seeds",
        2,
        "--workers",
        1,
        "--picture",
        picture,
        "--json",
        "-",
    )
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert data["runs"] == data["other"]["runs"] == 2
    assert set(data["comparison"]["lost"]) == {"better", "equal", "worse", "meanDifference"}
    assert picture.read_text().startswith("<svg")


def test_a_run_that_does_not_end_is_exit_code_1_and_says_why(app: Path) -> None:
    budget = (
        "---\napiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: web}\n"
        "spec: {maxUnavailable: 0, selector: {matchLabels: {app: web}}}\n"
    )
    app.write_text(MANIFEST + budget)
    done = simulate(app, "--scenario", "drain", "--duration", "5m")
    assert done.exit_code == 1
    assert "budget web allows no disruption" in done.output.replace("\n", " ")


def test_replay_prints_each_step(app: Path) -> None:
    done = simulate(app, "--scenario", "drain", "--replay", 3)
    assert done.exit_code == 0
    assert "drain of node node-" in done.output
    assert "signalled default/web-" in done.output


def test_faults_with_every_rule_watched(app: Path) -> None:
    done = simulate(app, "--scenario", "faults", "--seeds", 1)
    assert done.exit_code == 0, done.output
    assert "every rule held" in done.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scenario", "earthquake"], "there is no scenario 'earthquake'"),
        (["--replicas", "web"], "'web' is not NAME=COUNT"),
        (["--replicas", "nobody=3"], "there is no such workload"),
        (["--endpoint-lag", "3s..1s"], "the upper bound comes second"),
        (["--service", "nobody"], "there is no Service 'nobody'"),
        (["--scenario", "missing.yaml"], "missing.yaml"),
        (["--replicas", "web=²"], "'web=²' is not NAME=COUNT"),
        (["--rate", "nan"], "'nan' is no number"),
        (["--rate", "inf"], "inf is not in the range"),
        (["--workers", "-2"], "-2 is not in the range"),
        (["--replay", "3", "--seeds", "5"], "--seeds has no effect here: --replay prints one run"),
        (["--replay", "3", "--json", "-"], "--json has no effect here"),
        (["--replay", "3", "--report", "run.html"], "--report has no effect here"),
        (["--scenario", "faults", "--nodes", "20"], "--nodes has no effect here: --scenario faults has clusters"),
        (["--scenario", "faults", "--json", "-"], "--json has no effect here"),
        (["--scenario", "faults", "--dask", "local"], "--dask has no effect here"),
        (["--scenario", "faults", "--profile-from", "app.yaml"], "--profile-from has no effect here"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(
    app: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(app.parent)
    done = simulate(app, *arguments)
    assert done.exit_code == 2
    assert said in done.output.replace("\n", " ")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("simulate: {nodes: 0}", "simulate.nodes: must be at least 1"),
        ("simulate: {zone: 3}", "unknown field `zone`"),
        ("simulate: {nodes: 5001}", "simulate.nodes: must be at least 1 and no more than 5000"),
        ("simulate: {load: .nan}", "simulate.load: must be at least 0 and no more than 100000"),
        ("simulate: {services: {web: -3}}", "simulate.services['web']: must be at least 0"),
        ("simulate: {services: {web: .inf}}", "simulate.services['web']: must be at least 0"),
        ("simulate: {capacity: {cpu: x4}}", "simulate.capacity['cpu']: quantities must match"),
        ("simulate: {workloads: {web: {crashesPerDay: .nan}}}", "workloads['web'].crashesPerDay: must be more than 0"),
        ("simulate: {workloads: {web: {requestsPerSecond: 0}}}", "workloads['web'].requestsPerSecond: must be more"),
        ("simulate: {endpointLag: soon}", "simulate.endpointLag: 'soon' is not a duration"),
        ("simulate: {workloads: {web: {onSigterm: dance}}}", "'dance' is none of finish, serve, exit, ignore"),
        ("simulate: {workloads: {web: {startup: {median: 8s}}}}", "a distribution has median and p99"),
    ],
)
def test_settings_that_make_no_sense_are_told_with_their_field(app: Path, settings: str, said: str) -> None:
    (app.parent / "antei.yaml").write_text(settings)
    done = simulate(app, "--scenario", "drain")
    assert done.exit_code == 2
    assert said in done.output.replace("\n", " ")


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ("3", "not a rehearsal's report in JSON: Expected `object`, got `int`"),
        ("{}", "not a rehearsal's report in JSON: Object missing required field `scenarios`"),
        ('{"scenarios": [3]}', "Expected `object`, got `int` - at `$.scenarios[0]`"),
        ('{"scenarios": [], "profile": 3}', "got `int` - at `$.profile`"),
        ('{"scenarios": [], "meta": 3}', "got `int` - at `$.meta`"),
        ('{"scenarios": [{"requests": {"latencySeconds": {"p50": "a"}}}]}', "scenarios[0].requests.latencySeconds.p50"),
        ('{"scenarios": [], "profile": {"startup": "soon"}}', "profile.startup: 'soon' is not a duration"),
    ],
)
def test_a_report_that_nothing_can_be_learnt_from_is_told(app: Path, report: str, said: str) -> None:
    (app.parent / "report.json").write_text(report)
    done = simulate(app, "--scenario", "drain", "--profile-from", app.parent / "report.json")
    assert done.exit_code == 2
    assert said in done.output


def test_names_that_lead_nowhere_are_told(app: Path) -> None:
    settings = app.parent / "antei.yaml"
    settings.write_text("simulate: {workloads: {web: {dependsOn: [statefulset/nobody]}}}")
    done = simulate(app, "--scenario", "drain")
    assert done.exit_code == 2
    assert "deployment/web: dependsOn: there is no workload 'statefulset/nobody' in namespace default" in done.output
    settings.write_text("simulate: {workloads: {wbe: {startup: 5s}, 'default/w*': {startup: 1s}}}")
    done = simulate(app, "--scenario", "drain")
    assert done.exit_code == 0
    assert "antei: simulate.workloads['wbe'] is of nothing here" in done.stderr
    assert "w*" not in done.stderr
    annotated = "{labels: {app: web}, annotations: {antei.dev/simulate-wbe: 'startup: 3s'}}"
    app.write_text(MANIFEST.replace("{labels: {app: web}}", annotated))
    done = simulate(app, "--scenario", "drain")
    assert done.exit_code == 2
    assert "annotation antei.dev/simulate-wbe: there is no container 'wbe': web" in done.output


def test_an_annotation_that_makes_no_sense_is_told(app: Path) -> None:
    app.write_text(
        MANIFEST.replace("{labels: {app: web}}", "{labels: {app: web}, annotations: {antei.dev/simulate: x: 1}}")
    )
    assert simulate(app).exit_code == 2
    annotated = "{labels: {app: web}, annotations: {antei.dev/simulate: 'speed: 3'}}"
    app.write_text(MANIFEST.replace("{labels: {app: web}}", annotated))
    done = simulate(app, "--scenario", "drain")
    assert done.exit_code == 2
    assert "annotation antei.dev/simulate: Object contains unknown field `speed`" in done.output.replace("\n", " ")


def test_a_file_that_cannot_be_written_fails_the_command_after_the_others_were(app: Path, tmp_path: Path) -> None:
    for option in ("--json", "--report", "--picture"):
        more = ["--json", tmp_path / "new" / f"{option}.json"] if option != "--json" else []
        done = simulate(app, "--scenario", "rollout", option, "/dev/full", *more)  # every write to it fails
        assert done.exit_code == 1
        assert "antei: /dev/full: [Errno 28] No space left on device" in done.output
        assert not more or (tmp_path / "new" / f"{option}.json").exists()


def test_a_worker_that_is_killed_is_told_in_a_sentence(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **options: object) -> Iterator[object]:
        raise BrokenProcessPool("A process in the process pool was terminated abruptly")

    monkeypatch.setattr("antei.cli.simulate.sweep", broken)
    done = simulate(app, "--scenario", "drain", "--seeds", 2)
    assert done.exit_code == 3
    assert "a worker was killed" in done.output


def test_tables_are_not_squeezed_into_a_narrow_terminal(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert "workload     requests  lost    p99  lowest ready" in simulate(app, "--scenario", "drain").output


def test_ctrl_c_ends_a_run_at_once_and_without_a_word_too_many(app: Path) -> None:
    command = [sys.executable, "-m", "antei", "simulate", str(app), "--scenario", "diurnal-load", "--replay", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.send_signal(signal.SIGINT)
        running.stdout.read()
        assert running.stderr.read() == b"antei: stopped\n"
        assert running.wait() == 130
    before = signal.getsignal(signal.SIGINT)
    simulate(app, "--scenario", "rollout")
    assert signal.getsignal(signal.SIGINT) is before


#: One that a second Service leads to, a StatefulSet that none can be sent requests for, and agents on every node.
OTHERS = """
---
apiVersion: v1
kind: Service
metadata: {name: web-too}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 3
  serviceName: db
  selector: {matchLabels: {app: db}}
  template: {metadata: {labels: {app: db}}, spec: {containers: [{name: db, image: db}]}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template: {metadata: {labels: {app: agent}}, spec: {containers: [{name: agent, image: agent}]}}
---
apiVersion: v1
kind: Service
metadata: {name: agent}
spec: {selector: {app: agent}, ports: [{port: 9000}]}
"""
BUDGET = """
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: NAME}
spec: {maxUnavailable: 0, selector: {matchLabels: {app: NAME}}}
"""


def drained(app: Path, *arguments: object) -> tuple[str, Any]:
    """A drain that may take five minutes: what is said of it, and its outcome."""
    done = simulate(app, "--scenario", "drain", "--duration", "5m", "--json", "-", *arguments)
    return done.output, json.loads(done.stdout)


def test_an_eviction_is_counted_once_however_many_services_a_workload_has(app: Path) -> None:
    app.write_text(MANIFEST + OTHERS + BUDGET.replace("NAME", "web"))
    said, data = drained(app)
    # Of one pod on each node: refused at once, and every five seconds.
    rows = {row["service"]: row["evictionsRefused"] for row in data["outcomes"][0]["workloads"]}
    assert rows == {"agent": 0, "web": 60, "web-too": 60}
    assert data["distributions"]["evictionsRefused"]["p50"] == 60
    assert "pods that no Service stands for" not in said


def test_evictions_of_pods_that_no_client_asks_for_are_counted_and_those_of_daemons_left_are_not_waited_for(
    app: Path,
) -> None:
    app.write_text(MANIFEST + OTHERS + BUDGET.replace("NAME", "db"))
    said, data = drained(app)
    assert data["outcomes"][0]["otherEvictionsRefused"] == data["distributions"]["evictionsRefused"]["most"] == 60
    assert "evictions refused of pods that no Service stands for: 60" in said
    reason = data["outcomes"][0]["reason"]
    assert re.search(r"was not finished: db-\d left \(budget db allows no disruption", reason)


def test_what_an_upgrade_costs_whom_a_drain_leaves_is_explained(app: Path) -> None:
    app.write_text(MANIFEST + OTHERS)
    done = simulate(app, "--scenario", "upgrade-nodes")
    assert "after node node-" in done.output
    assert "unexplained" not in done.output


def test_a_lost_node_explains_what_other_services_lose(app: Path) -> None:
    app.write_text(MANIFEST + OTHERS)
    done = simulate(app, "--scenario", "node-loss", "--nodes", "2")
    assert re.search(r"of agent-\w+ was lost", done.output)
    assert re.search(r"of web-\w+-\w+ was lost", done.output)
    assert "unexplained" not in done.output


def test_a_workload_that_is_scaled_to_nothing_is_told_so(app: Path) -> None:
    done = simulate(app, "--scenario", "rollout", "--replicas", "web=0")
    assert "it is scaled to nothing" in done.output


def test_capacity_that_is_given_leaves_the_rest_of_a_node_as_it_is(app: Path) -> None:
    (app.parent / "antei.yaml").write_text('simulate: {capacity: {cpu: "4"}}')
    assert simulate(app, "--scenario", "drain").exit_code == 0


WORKER = """
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: worker}
spec:
  selector: {matchLabels: {app: worker}}
  template:
    metadata: {labels: {app: worker}, annotations: {antei.dev/simulate: "startup: 10m"}}
    spec: {containers: [{name: worker, image: worker, readinessProbe: {tcpSocket: {port: 80}, periodSeconds: 1}}]}
"""


def test_a_workload_without_a_service_is_as_declared_too_before_a_scenario_ends(app: Path) -> None:
    app.write_text(MANIFEST + WORKER)
    done = simulate(app, "--scenario", "rollout", "--image-pull", "0s", "--kubelet-sync", "0s")
    assert done.exit_code == 0
    assert "took 10m 0s" in done.output or "took 10m 1s" in done.output
    done = simulate(app, "--scenario", "rollout", "--duration", "5m")
    assert done.exit_code == 1
    assert "deployment/worker: 1 old replicas are pending termination" in done.output


def test_what_never_was_as_declared_is_not_waited_for(app: Path) -> None:
    app.write_text(MANIFEST + WORKER.replace("{containers:", "{nodeSelector: {gpu: many}, containers:"))
    done = simulate(app, "--scenario", "drain")
    assert done.exit_code == 0
    assert re.search(r"took \d+\.\d s", done.output)
