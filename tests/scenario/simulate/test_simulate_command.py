"""`antei simulate` as people call it: exit codes, JSON, pages, pictures, and what it says of bad input."""

from __future__ import annotations

import json
from pathlib import Path

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
    ],
)
def test_a_wrong_command_line_is_exit_code_2(app: Path, arguments: list[str], said: str) -> None:
    done = simulate(app, *arguments)
    assert done.exit_code == 2
    assert said in done.output.replace("\n", " ")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("simulate: {nodes: 0}", "simulate.nodes: must be at least 1"),
        ("simulate: {zone: 3}", "unknown field `zone`"),
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
