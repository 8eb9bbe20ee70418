"""Real kubectl against the API server; what needs controllers or nodes is tested where those are."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Kubectl

BOOK = Path(__file__).resolve().parents[3] / "shared/manifests/book/ch6.1.2"
POD = """
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {app: p}}
spec: {nodeName: n1, containers: [{name: a, image: one}, {name: b, image: two}]}
"""
DEPLOYMENT = """
apiVersion: extensions/v1beta1
kind: Deployment
metadata: {name: old}
spec: {template: {metadata: {labels: {app: old}}, spec: {containers: [{name: c, image: i}]}}}
"""


@pytest.fixture(scope="module", autouse=True)
def _needs_kubectl() -> None:
    if shutil.which("kubectl") is None and not (Path(sys.executable).parent / "kubectl").exists():
        pytest.skip("there is no kubectl")


async def test_version_and_resources(kubectl: Kubectl) -> None:
    _, out, _ = await kubectl("version", "-o", "json")
    assert json.loads(out)["serverVersion"]["minor"] == "37"
    _, out, _ = await kubectl("api-resources", "--no-headers")
    assert any(line.split()[:3] == ["deployments", "deploy", "apps/v1"] for line in out.splitlines())
    _, out, _ = await kubectl("api-versions")
    assert {"apps/v1", "extensions/v1beta1", "policy/v1beta1"} <= set(out.split())


async def test_typed_clients_write_protobuf(kubectl: Kubectl) -> None:
    await kubectl("create", "deployment", "d", "--image=i", "--replicas=3", "--port=80")
    _, out, _ = await kubectl("get", "deployment", "d", "-o", "json")
    spec = json.loads(out)["spec"]
    assert (spec["replicas"], spec["selector"]) == (3, {"matchLabels": {"app": "d"}})
    assert spec["template"]["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    await kubectl("create", "cronjob", "c", "--image=i", "--schedule=0 * * * *", "--", "true")
    await kubectl("create", "job", "j", "--from=cronjob/c")
    await kubectl("create", "secret", "generic", "s", "--from-literal=a=b")
    _, out, _ = await kubectl("get", "secret", "s", "-o", "jsonpath={.data.a}")
    assert out == "Yg=="
    await kubectl("create", "configmap", "m", "--from-literal=a=b")
    await kubectl("create", "service", "nodeport", "s", "--tcp=80:8080")
    _, out, _ = await kubectl("get", "service", "s", "-o", "jsonpath={.spec.ports[0].targetPort}")
    assert out == "8080"
    await kubectl("create", "pdb", "b", "--selector=app=d", "--min-available=50%")
    await kubectl("create", "ingress", "i", "--rule=host/path*=s:80")
    await kubectl("create", "role", "r", "--verb=get", "--resource=pods")
    await kubectl("create", "rolebinding", "r", "--role=r", "--user=u")
    await kubectl("autoscale", "deployment", "d", "--max=5", "--cpu=50%")
    _, out, _ = await kubectl("get", "pdb,hpa,rolebinding", "--no-headers")
    assert "50%" in out
    assert "cpu: <unknown>/50%" in out
    assert "Role/r" in out


async def test_apply_patches_what_changed_and_leaves_alone_what_did_not(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=POD)
    _, out, _ = await kubectl("apply", "-f", "-", stdin=POD)
    assert out == "pod/p unchanged\n"
    _, out, _ = await kubectl("apply", "-f", "-", stdin=POD.replace("image: two", "image: three"))
    assert out == "pod/p configured\n"
    _, out, _ = await kubectl("get", "pod", "p", "-o", "jsonpath={.spec.containers[*].image}")
    assert out == "one three"


async def test_a_list_is_created(kubectl: Kubectl) -> None:
    items = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}} for name in ("a", "b")]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    _, out, _ = await kubectl("create", "-f", "-", stdin=text)
    assert out == "configmap/a created\nconfigmap/b created\n"


async def test_the_three_patches_label_annotate_scale_and_edit(kubectl: Kubectl) -> None:
    await kubectl("create", "deployment", "d", "--image=i")
    await kubectl("patch", "deployment", "d", "-p", '{"spec":{"replicas":2}}')
    await kubectl("patch", "deployment", "d", "--type=merge", "-p", '{"spec":{"replicas":3}}')
    operation = '[{"op":"replace","path":"/spec/replicas","value":4}]'
    await kubectl("patch", "deployment", "d", "--type=json", "-p", operation)
    await kubectl("label", "deployment", "d", "a=b")
    await kubectl("annotate", "deployment", "d", "x=y")
    await kubectl("set", "image", "deployment/d", "i=other")
    await kubectl("rollout", "restart", "deployment/d")
    _, out, _ = await kubectl("get", "deployment", "d", "-L", "a", "--no-headers", "-o", "wide")
    assert out.split()[1] == "0/4"
    assert "other" in out
    await kubectl("scale", "deployment", "d", "--replicas=7", "--current-replicas=4")
    code, _, err = await kubectl("scale", "deployment", "d", "--replicas=1", "--current-replicas=4", check=False)
    assert code != 0
    assert "Expected replicas to be 4, was 7" in err
    _, out, err = await kubectl("edit", "deployment", "d")
    assert "no changes made" in out + err


async def test_explain_reads_the_schema(kubectl: Kubectl) -> None:
    _, out, _ = await kubectl("explain", "pod.spec.containers.livenessProbe")
    assert "failureThreshold\t<integer>" in out
    _, out, _ = await kubectl("explain", "pdb.spec.maxUnavailable")
    assert "KIND:       PodDisruptionBudget" in out


async def test_describe_get_and_sort(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=POD)
    _, out, _ = await kubectl("describe", "pod", "p")
    assert "Image:" in out
    _, out, _ = await kubectl("get", "pods", "-o", "wide", "--sort-by=.metadata.name", "--show-labels")
    assert out.split()[:5] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert "app=p" in out
    _, out, _ = await kubectl("get", "all", "-A")
    assert "service/kubernetes" in out


async def test_logs_name_their_containers(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=POD)
    _, out, _ = await kubectl("logs", "p", "-c", "b", "--tail=3")
    assert out == "b 0\nb 1\nb 2\n"
    code, _, err = await kubectl("logs", "p", "-c", "a", "--previous", check=False)
    assert code == 1
    assert "previous terminated container" in err


async def test_a_watch_prints_changes_and_wait_sees_them(kubectl: Kubectl) -> None:
    process = await kubectl.start("get", "configmaps", "-w", "--output-watch-events", "--no-headers")
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            await asyncio.sleep(0.5)
            await kubectl("create", "configmap", "m")
            waiting = asyncio.create_task(kubectl("wait", "--for=delete", "configmap/m", "--timeout=10s"))
            assert (await process.stdout.readline()).split()[:2] == [b"ADDED", b"m"]
            await kubectl("delete", "configmap", "m", "--wait=false")
            assert (await process.stdout.readline()).split()[:2] == [b"DELETED", b"m"]
            await waiting
    finally:
        process.terminate()
        await process.communicate()


async def test_drain_evicts_and_respects_the_budget(kubectl: Kubectl) -> None:
    node = "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n"
    budget = "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: b}\n"
    budget += "spec: {minAvailable: 1, selector: {matchLabels: {app: p}}}\n"
    await kubectl("apply", "-f", "-", stdin=f"{node}---\n{budget}---{POD}")
    status: dict[str, Any] = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    await kubectl("patch", "pod", "p", "--subresource=status", "--type=merge", "-p", json.dumps(status))
    # What the disruption controller would say; a budget that it has not seen yet is a 429 that clients wait for.
    counts = {"observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1}
    status = {"status": {**counts, "expectedPods": 1}}
    await kubectl("patch", "pdb", "b", "--subresource=status", "--type=merge", "-p", json.dumps(status))
    code, _, err = await kubectl("drain", "n1", "--force", "--timeout=2s", check=False)
    assert code != 0
    assert "Cannot evict pod as it would violate the pod's disruption budget" in err
    _, out, _ = await kubectl("get", "node", "n1", "--no-headers")
    assert "SchedulingDisabled" in out
    _, out, _ = await kubectl("uncordon", "n1")
    assert out == "node/n1 uncordoned\n"


async def test_retired_versions_are_applied_again_and_warned_of(kubectl: Kubectl) -> None:
    _, out, err = await kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    assert out == "deployment.extensions/old created\n"
    assert "extensions/v1beta1 Deployment is deprecated in v1.8+, unavailable in v1.16+; use apps/v1 Deployment" in err
    _, out, _ = await kubectl("apply", "-f", "-", stdin=DEPLOYMENT.replace("image: i", "image: j"))
    assert out == "deployment.extensions/old configured\n"
    _, out, _ = await kubectl("get", "deployments", "old", "-o", "json")
    found = json.loads(out)
    assert found["apiVersion"] == "apps/v1"
    assert found["spec"]["selector"] == {"matchLabels": {"app": "old"}}
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "j"


async def test_what_the_server_refuses_is_what_kubectl_says(kubectl: Kubectl) -> None:
    code, _, err = await kubectl("apply", "-f", "-", stdin=POD.replace("image: two", "image: {}"), check=False)
    assert code != 0
    assert "cannot unmarshal object into Go struct field Container.spec.containers.image of type string" in err
    code, _, err = await kubectl("apply", "-f", "-", stdin=POD.replace("nodeName", "nodename"), check=False)
    assert code != 0
    assert 'unknown field "spec.nodename"' in err
    _, out, _ = await kubectl("auth", "can-i", "create", "pods")
    assert out == "yes\n"


@pytest.mark.skipif(not BOOK.is_dir(), reason="the book's manifests are not here")
async def test_the_books_directory_is_applied_whole(kubectl: Kubectl) -> None:
    _, out, err = await kubectl("apply", "-f", str(BOOK))
    assert out.count(" created\n") == 16
    assert err.count("Warning:") == 3
    # kubectl takes the last of two equal keys in YAML and says nothing, and so it reaches the server once.
    _, out, _ = await kubectl("get", "cronjob", "cron-mysql-backup", "-o", "json")
    assert json.loads(out)["spec"]["jobTemplate"]["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    _, out, _ = await kubectl("get", "ingress", "mattermost", "-o", "json")
    backend = json.loads(out)["spec"]["rules"][0]["http"]["paths"][0]["backend"]
    assert backend == {"service": {"name": "mattermost", "port": {"number": 8065}}}
