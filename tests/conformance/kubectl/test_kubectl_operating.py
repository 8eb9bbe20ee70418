"""kubectl rollout, scale, autoscale, cordon, drain, uncordon and taint."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import IO, Any

import pytest
from antei_process import PATIENCE_SECONDS, Antei, Kubectl, deployment, following, needs_namespaces, pod, until

pytestmark = [pytest.mark.lasts(20), pytest.mark.live, needs_namespaces()]


@pytest.fixture
def node(antei: Antei) -> Iterator[str]:
    """node-3, which is schedulable and untainted again afterwards."""
    yield "node-3"
    antei.kubectl("uncordon", "node-3")
    taints = json.dumps({"spec": {"taints": None}})
    antei.kubectl("patch", "node", "node-3", "--type=merge", "-p", taints)


def image_of(kubectl: Kubectl) -> str:
    return kubectl.get("deployment", "web")["spec"]["template"]["spec"]["containers"][0]["image"]


def pods_on(kubectl: Kubectl, node: str) -> list[str]:
    pods = kubectl.items("pods", f"--field-selector=spec.nodeName={node}")
    return [found["metadata"]["name"] for found in pods if "deletionTimestamp" not in found["metadata"]]


# rollout


def test_rollout_status_history_undo_restart(kubectl: Kubectl) -> None:
    kubectl.apply(deployment("web", 2))
    assert kubectl.rolled_out("deployment/web").out.endswith('deployment "web" successfully rolled out\n')
    kubectl("annotate", "deployment", "web", "kubernetes.io/change-cause=first")
    kubectl("set", "image", "deployment/web", "main=ticker")
    with following(kubectl.start("rollout", "status", "deployment/web")) as process:
        out, _ = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0
        assert out.endswith('deployment "web" successfully rolled out\n')
    kubectl("annotate", "deployment", "web", "kubernetes.io/change-cause=second", "--overwrite")
    history = until(
        "both causes in the history",
        lambda: _with("second", kubectl("rollout", "history", "deployment/web").out),
    )
    assert [line.split() for line in history.splitlines()[2:] if line] == [["1", "first"], ["2", "second"]]
    assert "Image:\tpause" in kubectl("rollout", "history", "deployment/web", "--revision=1").out
    assert kubectl("rollout", "undo", "deployment/web").out == "deployment.apps/web rolled back\n"
    assert image_of(kubectl) == "pause"
    kubectl.rolled_out("deployment/web")
    numbers = [line.split()[0] for line in kubectl("rollout", "history", "deployment/web").out.splitlines()[2:] if line]
    assert numbers == ["2", "3"]
    kubectl("rollout", "undo", "deployment/web", "--to-revision=2")
    assert image_of(kubectl) == "ticker"
    kubectl.rolled_out("deployment/web")
    before = {found["metadata"]["uid"] for found in kubectl.items("pods", "-l", "app=web")}
    kubectl("rollout", "restart", "deployment/web")
    kubectl.rolled_out("deployment/web")
    until("the old ones are gone", lambda: len(kubectl.items("pods", "-l", "app=web")) == 2)
    assert not before & {found["metadata"]["uid"] for found in kubectl.items("pods", "-l", "app=web")}
    unknown = kubectl("rollout", "undo", "deployment/web", "--to-revision=77", check=False)
    assert unknown.code == 1
    assert unknown.err.endswith("error: unable to find specified revision 77 in history\n")


def _with(part: str, text: str) -> str | None:
    return text if part in text else None


def test_rollout_pause_collects_changes_until_resume(kubectl: Kubectl) -> None:
    kubectl.apply(deployment("web"))
    kubectl.rolled_out("deployment/web")
    assert kubectl("rollout", "pause", "deployment/web").out == "deployment.apps/web paused\n"
    kubectl("set", "image", "deployment/web", "main=ticker")
    generation = kubectl.get("deployment", "web")["metadata"]["generation"]
    kubectl.wait(f"jsonpath={{.status.observedGeneration}}={generation}", "deployment/web")
    assert len(kubectl.items("replicasets")) == 1
    twice = kubectl("rollout", "pause", "deployment/web", check=False)
    assert (twice.code, twice.err) == (1, 'error: deployments.apps "web" is already paused\n')
    kubectl("rollout", "resume", "deployment/web")
    kubectl.rolled_out("deployment/web")
    assert len(kubectl.items("replicasets")) == 2
    [left] = kubectl.items("pods", "--field-selector=status.phase=Running", "-l", "app=web")[-1:]
    assert left["spec"]["containers"][0]["image"] in ("ticker", "pause")


def test_rollout_status_fails_for_one_that_makes_no_progress(kubectl: Kubectl) -> None:
    stuck = deployment("web", image="nobody/knows")
    stuck["spec"]["progressDeadlineSeconds"] = 1
    kubectl.apply(stuck)
    status = kubectl("rollout", "status", "deployment/web", "--timeout=60s", check=False)
    assert status.code == 1
    assert 'error: deployment "web" exceeded its progress deadline' in status.err


def test_rollouts_of_a_statefulset(kubectl: Kubectl) -> None:
    stateful = deployment("db", 2)
    stateful["kind"] = "StatefulSet"
    stateful["spec"]["serviceName"] = "db"
    kubectl.apply(stateful)
    kubectl.rolled_out("statefulset/db")
    assert [row["NAME"] for row in kubectl("get", "pods").rows] == ["db-0", "db-1"]
    kubectl("set", "image", "statefulset/db", "main=ticker")
    assert "2 new pods have been updated" in kubectl.rolled_out("statefulset/db").out
    assert {found["spec"]["containers"][0]["image"] for found in kubectl.items("pods")} == {"ticker"}
    numbers = [line.split()[0] for line in kubectl("rollout", "history", "statefulset/db").out.splitlines()[2:] if line]
    assert numbers == ["1", "2"]
    kubectl("rollout", "undo", "statefulset/db")
    kubectl.rolled_out("statefulset/db")
    assert {found["spec"]["containers"][0]["image"] for found in kubectl.items("pods")} == {"pause"}
    kubectl("rollout", "restart", "statefulset/db")
    kubectl.rolled_out("statefulset/db")


# scale and autoscale


def test_scale(kubectl: Kubectl) -> None:
    kubectl.apply(deployment("web"))
    assert kubectl("scale", "deployment/web", "--replicas=3").out == "deployment.apps/web scaled\n"
    kubectl.rolled_out("deployment/web")
    assert len(kubectl.items("pods")) == 3
    nodes = {found["spec"]["nodeName"] for found in kubectl.items("pods")}
    assert len(nodes) == 3, "three replicas spread over three nodes"
    unmet = kubectl("scale", "deployment/web", "--current-replicas=9", "--replicas=1", check=False)
    assert (unmet.code, unmet.err) == (1, "error: Expected replicas to be 9, was 3\n")
    kubectl("scale", "deployment/web", "--replicas=0")
    until("none is left", lambda: kubectl.items("pods") == [])
    assert kubectl("get", "deployment", "web").rows[0]["READY"] == "0/0"


def test_autoscale_makes_an_autoscaler(kubectl: Kubectl) -> None:
    kubectl.apply(deployment("web", 0))
    said = kubectl("autoscale", "deployment", "web", "--min=1", "--max=5", "--cpu=80%").out
    assert said == "horizontalpodautoscaler.autoscaling/web autoscaled\n"
    spec = kubectl.get("hpa", "web")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, 5)
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    [metric] = spec["metrics"]
    assert metric["resource"] == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
    [row] = kubectl("get", "hpa", "web").rows
    assert (row["REFERENCE"], row["MINPODS"], row["MAXPODS"]) == ("Deployment/web", "1", "5")
    refused = kubectl("autoscale", "deployment", "web", "--name=other", "--min=5", "--max=2", check=False)
    assert refused.code == 1


# Nodes


def test_a_cordoned_node_gets_no_new_pods(antei: Antei, kubectl: Kubectl, node: str) -> None:
    assert antei.kubectl("cordon", node).out == f"node/{node} cordoned\n"
    assert antei.kubectl("cordon", node).out == f"node/{node} already cordoned\n"
    assert antei.kubectl("get", "node", node).rows[0]["STATUS"] == "Ready,SchedulingDisabled"
    kubectl.apply(deployment("web", 4))
    kubectl.rolled_out("deployment/web")
    assert pods_on(kubectl, node) == []
    only_there = pod("only-there", nodeSelector={"kubernetes.io/hostname": node})
    kubectl.apply(only_there)
    kubectl.wait("jsonpath={.status.conditions[?(@.type=='PodScheduled')].reason}=Unschedulable", "pod/only-there")
    [condition] = kubectl.get("pod", "only-there")["status"]["conditions"]
    assert "1 node(s) were unschedulable" in condition["message"]
    assert antei.kubectl("uncordon", node).out == f"node/{node} uncordoned\n"
    kubectl.wait("condition=Ready", "pod/only-there")


def test_a_tainted_node_is_for_those_that_tolerate_it(antei: Antei, kubectl: Kubectl, node: str) -> None:
    kubectl.apply(pod("first", nodeName=node))
    kubectl.wait("condition=Ready", "pod/first")
    assert antei.kubectl("taint", "node", node, "for=db:NoSchedule").out == f"node/{node} tainted\n"
    kubectl.apply(deployment("web", 4))
    kubectl.rolled_out("deployment/web")
    assert pods_on(kubectl, node) == ["first"]
    toleration = {"key": "for", "operator": "Equal", "value": "db", "effect": "NoSchedule"}
    kubectl.apply(pod("db", nodeSelector={"kubernetes.io/hostname": node}, tolerations=[toleration]))
    kubectl.wait("condition=Ready", "pod/db")
    antei.kubectl("taint", "node", node, "for=db:NoExecute")
    until("NoExecute has evicted both", lambda: pods_on(kubectl, node) == [])
    antei.kubectl("taint", "node", node, "for:NoExecute-", "for:NoSchedule-")
    assert "taints" not in kubectl.get("node", node)["spec"]


def budget(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, **spec},
    }


def test_a_drain_empties_a_node(antei: Antei, kubectl: Kubectl, node: str) -> None:
    kubectl.apply(deployment("web", 3), pod("bare", nodeName=node))
    kubectl.rolled_out("deployment/web")
    kubectl.wait("condition=Ready", "pod/bare")
    refused = antei.kubectl("drain", node, check=False)
    assert refused.code == 1
    assert "cannot delete Pods that declare no controller (use --force to override)" in refused.err
    drained = antei.kubectl("drain", node, "--force")
    assert f"evicting pod {kubectl.namespace}/bare" in drained.err + drained.out
    assert drained.out.endswith(f"node/{node} drained\n")
    assert pods_on(kubectl, node) == []
    kubectl.rolled_out("deployment/web")
    assert kubectl("get", "pod", "bare", "--ignore-not-found").out == ""


def test_a_drain_waits_for_the_budget(antei: Antei, kubectl: Kubectl, node: str) -> None:
    kubectl.apply(deployment("web", 1, nodeSelector={"kubernetes.io/hostname": node}), budget(minAvailable=1))
    kubectl.rolled_out("deployment/web")
    kubectl.wait("jsonpath={.status.currentHealthy}=1", "pdb/web")
    [row] = kubectl("get", "pdb", "web").rows
    assert (row["MIN AVAILABLE"], row["ALLOWED DISRUPTIONS"]) == ("1", "0")
    [before] = pods_on(kubectl, node)
    blocked = antei.kubectl("drain", node, "--timeout=2s", check=False)
    assert blocked.code == 1
    assert "Cannot evict pod as it would violate the pod's disruption budget." in blocked.err
    assert pods_on(kubectl, node) == [before]
    with following(antei.kubectl_started("drain", node)) as drain:
        assert drain.stderr is not None
        told = drain.stderr
        until("the drain is refused", lambda: "disruption budget" in told.readline())
        # Another replica elsewhere makes room: the same drain then goes through.
        kubectl("patch", "deployment", "web", "-p", '{"spec": {"template": {"spec": {"nodeSelector": null}}}}')
        out, err = drain.communicate(timeout=PATIENCE_SECONDS)
        assert drain.returncode == 0, err
    assert out.endswith(f"node/{node} drained\n")
    assert pods_on(kubectl, node) == []
    kubectl.rolled_out("deployment/web")


def test_a_budget_is_respected_while_a_drain_moves_pods_one_after_the_other(
    antei: Antei, kubectl: Kubectl, node: str
) -> None:
    everything_there = deployment("web", 3, nodeSelector={"kubernetes.io/hostname": node})
    kubectl.apply(everything_there, budget(maxUnavailable=1))
    kubectl.rolled_out("deployment/web")
    kubectl.wait("jsonpath={.status.disruptionsAllowed}=1", "pdb/web")
    del everything_there["spec"]["template"]["spec"]["nodeSelector"]
    everything_there["spec"]["paused"] = True
    kubectl.apply(everything_there)
    watch = kubectl.start("get", "pdb", "web", "-w", "-o", "jsonpath={.status.currentHealthy} ")
    patience = threading.Timer(PATIENCE_SECONDS, watch.kill)
    patience.daemon = True
    patience.start()
    with following(watch):
        blocked = antei.kubectl("drain", node, "--timeout=3s", check=False)
        # The paused Deployment puts its replacements on the cordoned node only, so the budget of one is used up.
        assert blocked.code == 1
        assert watch.stdout is not None
        told = read_up_to("2 ", watch.stdout)
        watch.terminate()
        told += watch.stdout.read()
    patience.cancel()
    assert min(int(number) for number in told.split()) == 2, (told, kubectl.get("pdb", "web"))
    kubectl("rollout", "resume", "deployment/web")
    antei.kubectl("drain", node)
    assert pods_on(kubectl, node) == []
    kubectl.rolled_out("deployment/web")


def read_up_to(words: str, output: IO[str]) -> str:
    """Or to the end, if they are never said."""
    said = ""
    while not said.endswith(words) and (more := output.read(1)):
        said += more
    return said


def test_an_eviction_without_room_answers_429_and_says_why(antei: Antei, kubectl: Kubectl) -> None:
    kubectl.apply(deployment("web"), budget(minAvailable=1))
    kubectl.rolled_out("deployment/web")
    kubectl.wait("jsonpath={.status.currentHealthy}=1", "pdb/web")
    [name] = [found["metadata"]["name"] for found in kubectl.items("pods")]
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": kubectl.namespace},
    }
    path = f"/api/v1/namespaces/{kubectl.namespace}/pods/{name}/eviction"
    refused = antei.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction), check=False)
    assert refused.code == 1
    assert "Cannot evict pod as it would violate the pod's disruption budget." in refused.err
    kubectl("patch", "pdb", "web", "-p", '{"spec": {"minAvailable": 0}}')
    kubectl.wait("jsonpath={.status.disruptionsAllowed}=1", "pdb/web")
    antei.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
    until("it is replaced", lambda: name not in [found["metadata"]["name"] for found in kubectl.items("pods")])
