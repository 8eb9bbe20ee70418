"""Helm 4: a chart with one of each common kind, from its installation to its end, by server-side apply and kstatus."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from antei_process import Kubectl, Output
from helm import helm_binary

from antei.runtime.simulated import ContainerProfile, ScheduledExit
from antei.testing import AnteiCluster

pytestmark = pytest.mark.lasts(25)

CHART = Path(__file__).parent / "charts" / "shop"
PROFILES = {
    "shop/job": ContainerProfile(ends=ScheduledExit(after_seconds=0.05)),
    "shop/broken": ContainerProfile(ends=ScheduledExit(after_seconds=0.05, exit_code=3)),
    "shop/slow": ContainerProfile(listens_after_seconds=3600),
}
#: kind to names of what the chart makes for a release `shop`, hooks and tests aside.
MADE = {
    "configmap": ["shop"],
    "secret": ["shop"],
    "persistentvolumeclaim": ["shop"],
    "serviceaccount": ["shop"],
    "role": ["shop"],
    "rolebinding": ["shop"],
    "deployment": ["shop-web"],
    "statefulset": ["shop-store"],
    "daemonset": ["shop-agent"],
    "cronjob": ["shop-nightly"],
    "job": ["shop-once"],
    "poddisruptionbudget": ["shop-web"],
    "horizontalpodautoscaler": ["shop-store"],
    "service": ["shop-store", "shop-web"],
    "ingress": ["shop"],
    "networkpolicy": ["shop"],
}


class Helm:
    def __init__(self, kubectl: Kubectl, home: Path) -> None:
        self._kubectl = kubectl
        self._environment = {
            **os.environ,
            "KUBECONFIG": str(kubectl.antei.kubeconfig),
            "HELM_NAMESPACE": kubectl.namespace,
            "HELM_NO_PLUGINS": "1",
            **{f"HELM_{kind}_HOME": str(home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")},
        }

    def __call__(self, *arguments: str, check: bool = True) -> Output:
        command = [str(helm_binary()), *arguments]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=180, check=False)
        if check:
            assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.stdout}\n{done.stderr}"
        return Output(done.returncode, done.stdout, done.stderr)

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "-o", "json").out)

    def revisions(self) -> list[tuple[int, str]]:
        return [(each["revision"], each["status"]) for each in self.json("history", "shop")]


@pytest.fixture(scope="module")
def simulated(antei_cluster_factory: Callable[..., AbstractContextManager[AnteiCluster]]) -> Iterator[AnteiCluster]:
    with antei_cluster_factory(nodes=2, runtime="simulated", profiles=PROFILES) as cluster:
        yield cluster


@pytest.fixture
def helm(kubectl: Kubectl, tmp_path: Path) -> Helm:
    return Helm(kubectl, tmp_path)


@pytest.fixture
def installed(helm: Helm) -> Helm:
    helm("install", "shop", str(CHART), "--wait", "--wait-for-jobs", "--timeout", "90s")
    return helm


def found(kubectl: Kubectl) -> dict[str, list[str]]:
    """What of the release is there, as MADE writes it."""
    listed = kubectl.items(",".join(MADE))
    made: dict[str, list[str]] = {}
    for each in listed:
        annotations = each["metadata"].get("annotations", {})
        if annotations.get("meta.helm.sh/release-name") == "shop":
            made.setdefault(each["kind"].lower(), []).append(each["metadata"]["name"])
    return {kind: sorted(names) for kind, names in made.items()}


def test_install_waits_until_everything_is_ready(helm: Helm, kubectl: Kubectl) -> None:
    said = helm("install", "shop", str(CHART), "--wait", "--wait-for-jobs", "--timeout", "90s").out
    assert "STATUS: deployed" in said
    assert "shop is red on Kubernetes 1.37." in said
    assert found(kubectl) == MADE
    ready = {each["kind"]: each["status"] for each in kubectl.items("deployments,statefulsets,daemonsets")}
    assert ready["Deployment"]["readyReplicas"] == 2
    assert ready["StatefulSet"]["readyReplicas"] == 1
    assert ready["DaemonSet"]["numberReady"] == 2
    jobs = {each["metadata"]["name"]: each["status"].get("succeeded") for each in kubectl.items("jobs")}
    assert jobs == {"shop-once": 1, "shop-pre-install-pre-upgrade": 1, "shop-post-install": 1}
    managers = {
        entry["manager"]
        for entry in kubectl.get("configmap", "shop", "--show-managed-fields")["metadata"]["managedFields"]
    }
    assert managers == {"helm"}
    [listed] = helm.json("list")
    assert (listed["name"], listed["revision"], listed["status"], listed["chart"]) == (
        "shop",
        "1",
        "deployed",
        "shop-1.2.3",
    )
    assert helm.json("get", "values", "shop", "--all")["color"] == "red"
    assert "kind: StatefulSet" in helm("get", "manifest", "shop").out
    again = helm("install", "shop", str(CHART), check=False)
    assert (again.code, "cannot reuse a name that is still in use" in again.err) == (1, True)


def test_upgrade_rolls_and_rollback_returns(installed: Helm, kubectl: Kubectl) -> None:
    password = kubectl.get("secret", "shop")["data"]["password"]
    installed(
        "upgrade", "shop", str(CHART), "--set", "replicas=3,color=blue,image=shop/web:2", "--wait", "--timeout", "90s"
    )
    web = kubectl.get("deployment", "shop-web")
    assert (web["spec"]["replicas"], web["status"]["updatedReplicas"]) == (3, 3)
    assert web["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
    assert kubectl.get("configmap", "shop")["data"]["color"] == "blue"
    # `lookup` found it; Secrets and claims are as they were.
    assert kubectl.get("secret", "shop")["data"]["password"] == password
    installed("rollback", "shop", "1", "--wait", "--timeout", "90s")
    web = kubectl.get("deployment", "shop-web")
    assert web["spec"]["replicas"] == web["status"]["readyReplicas"] == 2
    assert web["spec"]["template"]["spec"]["containers"][0]["image"] == "shop/web"
    assert kubectl.get("configmap", "shop")["data"]["color"] == "red"
    assert installed.revisions() == [(1, "superseded"), (2, "superseded"), (3, "deployed")]


def test_fields_of_others_stay_and_conflicts_are_said(installed: Helm, kubectl: Kubectl) -> None:
    kubectl("annotate", "deployment", "shop-web", "note=kept")
    kubectl("patch", "configmap", "shop", "--type=merge", "-p", '{"data": {"extra": "kept", "color": "green"}}')
    refused = installed("upgrade", "shop", str(CHART), "--set", "color=blue", check=False)
    assert refused.code == 1
    assert 'conflict with "kubectl-patch"' in refused.err
    installed("upgrade", "shop", str(CHART), "--set", "color=blue", "--force-conflicts")
    assert kubectl.get("configmap", "shop")["data"] == {"color": "blue", "extra": "kept", "minor": "37"}
    assert kubectl.get("deployment", "shop-web")["metadata"]["annotations"]["note"] == "kept"


def test_a_release_that_does_not_get_ready_fails_and_is_rolled_back(installed: Helm, kubectl: Kubectl) -> None:
    late = ("--set", "image=shop/slow", "--rollback-on-failure", "--timeout", "2s")
    undone = installed("upgrade", "shop", str(CHART), *late, check=False)
    assert undone.code == 1
    assert installed.revisions()[1] == (2, "failed")
    assert len(installed.revisions()) == 3  # which goes back, and has as little time for it
    [container] = kubectl.get("deployment", "shop-web")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "shop/web"


def test_a_hook_that_fails_stops_the_installation(helm: Helm, kubectl: Kubectl) -> None:
    failed = helm("install", "shop", str(CHART), "--set", "hookFails=true", "--timeout", "60s", check=False)
    assert failed.code == 1
    assert "pre-install" in failed.err
    assert found(kubectl) == {}
    assert kubectl.get("job", "shop-pre-install-pre-upgrade")["status"]["failed"] == 1


def test_the_charts_tests_run(installed: Helm, kubectl: Kubectl) -> None:
    said = installed("test", "shop", "--timeout", "60s").out
    assert "TEST SUITE:     shop-reachable" in said
    assert "Phase:          Succeeded" in said
    assert kubectl.get("pod", "shop-reachable")["status"]["phase"] == "Succeeded"


def test_uninstall_leaves_nothing_but_what_stateful_sets_keep(installed: Helm, kubectl: Kubectl) -> None:
    assert installed("uninstall", "shop", "--wait", "--timeout", "90s").out == 'release "shop" uninstalled\n'
    assert found(kubectl) == {}
    assert kubectl.items("pods", "-l", "app.kubernetes.io/instance=shop") == []
    assert [claim["metadata"]["name"] for claim in kubectl.items("pvc")] == ["data-shop-store-0"]
    assert kubectl.get("job", "shop-pre-delete")["status"]["succeeded"] == 1
    assert helm_secrets(kubectl) == []
    assert installed.json("list") == []


def helm_secrets(kubectl: Kubectl) -> list[str]:
    return [each["metadata"]["name"] for each in kubectl.items("secrets", "-l", "owner=helm")]


def test_what_others_made_is_not_taken_over_and_dry_runs_change_nothing(helm: Helm, kubectl: Kubectl) -> None:
    rendered = helm("install", "shop", str(CHART), "--dry-run=server").out
    assert "kind: StatefulSet" in rendered
    assert found(kubectl) == {}
    kubectl("create", "configmap", "shop", "--from-literal=color=mine")
    refused = helm("install", "shop", str(CHART), check=False)
    assert refused.code == 1
    assert 'ConfigMap "shop" in namespace' in refused.err
    assert "invalid ownership metadata" in refused.err
    helm("install", "shop", str(CHART), "--take-ownership", "--force-conflicts")
    assert kubectl.get("configmap", "shop")["data"]["color"] == "red"
