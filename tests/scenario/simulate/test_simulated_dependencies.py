"""Workloads that cannot do without another: what readiness says, what clients get, and whom liveness restarts."""

from __future__ import annotations

import pytest

from antei.client.manifests import parse_documents
from antei.rehearse.report.profile import profile
from antei.simulate.plan import BadPlan, Plan
from antei.simulate.run import Played, play
from antei.simulate.settings import Settings

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}, annotations: {antei.dev/simulate: "{startup: 1s, DEPENDS}"}}
    spec:
      containers:
      - name: web
        image: web:1
        readinessProbe: {PROBE, periodSeconds: 2, failureThreshold: 2}
        LIVENESS
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      containers: [{name: db, image: db:1}]
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 3306}]}
"""
HTTP = 'httpGet: {path: "/health?deep=1", port: 8080}'


def played(depends: str = "dependsOn: statefulset/db", probe: str = HTTP, liveness: str = "") -> Played:
    text = MANIFEST.replace("DEPENDS", depends).replace("PROBE", probe)
    text = text.replace("LIVENESS", f"livenessProbe: {{{liveness}, periodSeconds: 2}}" if liveness else "")
    documents = tuple(parse_documents(text, "web.yaml"))
    return play(Plan(documents, Settings(), "dependency-down", 600.0, service="web"), 1, with_results=True)


@pytest.mark.parametrize(
    "probe",
    [HTTP, "exec: {command: [ask, database]}", "grpc: {port: 8080}"],
    ids=["http", "exec", "grpc"],
)
def test_readiness_takes_it_out_while_what_it_depends_on_is_away(probe: str) -> None:
    result = played(probe=probe).results[0]
    assert result.restarts == 0
    assert result.lowest_ready == 0
    # Errors until the second failed probe took it out of the Service, then nobody is there.
    assert set(result.requests.by_outcome) == {"ok", "server-error", "refused"}
    assert result.times.detect is not None
    assert 2 <= result.times.detect <= 4
    # Down for 12 s; ready with the first probe after that.
    assert result.times.recover is not None
    assert 12 <= result.times.recover <= 14
    assert profile([result])["dependsOn"] == ["statefulset/db"]


def test_a_workload_that_depends_on_nothing_does_not_notice() -> None:
    result = played(depends="dependsOn: []").results[0]
    assert dict(result.requests.by_outcome) == {"ok": result.requests.sent}
    assert result.lowest_ready == 2


def test_who_does_not_say_what_it_depends_on_is_asked_to() -> None:
    with pytest.raises(BadPlan, match=r"nothing says what deployment/web depends on; .*`dependsOn: \[db\]`, or \[\]"):
        played(depends="")


def test_liveness_that_asks_for_the_database_restarts_what_is_healthy() -> None:
    assert played(liveness=HTTP).results[0].restarts > 0
    assert played(liveness="httpGet: {path: /health, port: 8080}").results[0].restarts == 0
