"""kubectl 1.20, Debian's, six years older than the server: OpenAPI v2 as protobuf, tables, patches by the client.

Its streams (SPDY) are tested with those of today's in tests/live/test_exec_kubectl.py.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from antei_process import Kubectl, config_map, deployment, old_kubectl_binary, pod


@pytest.fixture(autouse=True)
def _old(monkeypatch: pytest.MonkeyPatch) -> None:
    old = old_kubectl_binary()
    monkeypatch.setattr("antei_process.kubectl_binary", lambda: old)


def test_it_knows_its_server(kubectl: Kubectl) -> None:
    version = json.loads(kubectl("version", "-o", "json").out)
    assert (version["clientVersion"]["minor"], version["serverVersion"]["minor"]) == ("20", "37")
    assert {"v1", "apps/v1", "policy/v1"} <= set(kubectl("api-versions").out.split())
    assert "poddisruptionbudgets" in {row["NAME"] for row in kubectl("api-resources", "--namespaced=true").rows}
    assert "is running at" in kubectl("cluster-info").out


def test_it_applies_validates_and_explains(kubectl: Kubectl) -> None:
    assert kubectl.apply(deployment("web", 2), config_map("a", x="1")).out.splitlines() == [
        "deployment.apps/web created",
        "configmap/a created",
    ]
    kubectl.rolled_out("deployment/web")
    assert kubectl.apply(config_map("a", x="1")).out == "configmap/a unchanged\n"
    assert kubectl.apply(config_map("a", x="2")).out == "configmap/a configured\n"
    wrong = deployment("other")
    wrong["spec"]["replcas"] = 3
    refused = kubectl("apply", "-f", "-", stdin=yaml.safe_dump(wrong), check=False)
    assert refused.code == 1
    assert 'unknown field "replcas" in io.k8s.api.apps.v1.DeploymentSpec' in refused.err
    explained = kubectl("explain", "deployment.spec.replicas").out
    assert "FIELD:    replicas <integer>" in explained
    assert "Number of desired pods" in explained
    server_side = kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump(config_map("b", x="1")))
    assert server_side.out == "configmap/b serverside-applied\n"
    same = kubectl("diff", "-f", "-", stdin=yaml.safe_dump(config_map("a", x="2")), check=False)
    assert (same.code, same.out) == (0, "")
    differs = kubectl("diff", "-f", "-", stdin=yaml.safe_dump(config_map("a", x="3")), check=False)
    assert differs.code == 1
    assert '+  x: "3"' in differs.out


def test_it_gets_describes_and_watches(kubectl: Kubectl) -> None:
    kubectl.apply(deployment("web", 2))
    kubectl.rolled_out("deployment/web")
    rows = kubectl("get", "pods", "-o", "wide").rows
    assert {(row["READY"], row["STATUS"]) for row in rows} == {("1/1", "Running")}
    assert kubectl("get", "deployment", "web").rows[0]["AVAILABLE"] == "2"
    described = kubectl("describe", "deployment", "web").out
    assert "2 desired | 2 updated | 2 total | 2 available | 0 unavailable" in described
    assert "ScalingReplicaSet" in described
    assert re.search(r"^  Ready +True", kubectl("describe", "pods", "-l", "app=web").out, re.MULTILINE)
    assert "KubeletReady" in kubectl("describe", "node", "node-1").out
    watching = kubectl.start("get", "deployment", "web", "-w")
    try:
        assert watching.stdout is not None
        assert watching.stdout.readline().split()[:2] == ["NAME", "READY"]
        assert watching.stdout.readline().split()[:2] == ["web", "2/2"]
        kubectl("scale", "deployment", "web", "--replicas=3")
        assert watching.stdout.readline().split()[:2] == ["web", "2/3"]
    finally:
        watching.kill()
        watching.communicate()


def test_it_changes_things(kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl("create", "deployment", "web", "--image=web", "--replicas=1")
    kubectl("set", "image", "deployment/web", "web=other")
    kubectl("set", "env", "deployment/web", "COLOR=red")
    kubectl("annotate", "deployment", "web", "why=because")
    kubectl("label", "deployment", "web", "tier=front")
    kubectl("patch", "deployment", "web", "-p", '{"spec": {"minReadySeconds": 0, "revisionHistoryLimit": 3}}')
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nexec sed -i "s/replicas: 1/replicas: 2/" "$1"\n')
    editor.chmod(0o755)
    kubectl("edit", "deployment", "web", EDITOR=str(editor))
    kubectl.rolled_out("deployment/web")
    web = kubectl.get("deployment", "web")
    [container] = web["spec"]["template"]["spec"]["containers"]
    assert (container["image"], container["env"]) == ("other", [{"name": "COLOR", "value": "red"}])
    assert (web["spec"]["replicas"], web["spec"]["revisionHistoryLimit"]) == (2, 3)
    assert (web["metadata"]["labels"]["tier"], web["metadata"]["annotations"]["why"]) == ("front", "because")
    assert "REVISION" in kubectl("rollout", "history", "deployment/web").out
    kubectl("rollout", "undo", "deployment/web", "--to-revision=1")
    assert kubectl.get("deployment", "web")["spec"]["template"]["spec"]["containers"][0]["image"] == "web"
    kubectl("expose", "deployment", "web", "--port=80", "--target-port=8080")
    kubectl("autoscale", "deployment", "web", "--max=3")
    assert kubectl.get("hpa", "web")["spec"]["maxReplicas"] == 3
    kubectl("delete", "deployment,service,hpa", "--all")
    assert kubectl("get", "deployments,services,hpa", "-o", "name").out == ""


def test_it_drains_a_node_by_a_version_that_is_gone(kubectl: Kubectl) -> None:
    """It asks for policy/v1beta1, which 1.25 took away, where discovery offers it, and does without elsewhere."""
    kubectl.apply(pod("lonely", nodeName="node-2"), deployment("web", 2))
    kubectl.wait("condition=Ready", "pod/lonely")
    kubectl("drain", "node-2", "--force", "--ignore-daemonsets", "--delete-emptydir-data")
    try:
        assert kubectl("get", "node", "node-2").rows[0]["STATUS"] == "Ready,SchedulingDisabled"
        assert kubectl("get", "pod", "lonely", "--ignore-not-found").out == ""
    finally:
        kubectl("uncordon", "node-2")
    assert kubectl("auth", "can-i", "delete", "nodes").out == "yes\n"
    kubectl("taint", "nodes", "node-2", "key=value:NoSchedule")
    kubectl("taint", "nodes", "node-2", "key-")
    kubectl("run", "one", "--image=web", "--restart=Never")
    kubectl.wait("condition=Ready", "pod/one")
    assert kubectl("logs", "one").code == 0
