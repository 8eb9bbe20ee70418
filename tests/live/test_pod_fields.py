"""Fields of the Pod as a whole, each looked at from inside of its containers where there is something to see.

hostname, subdomain, setHostnameAsFQDN, hostAliases, dnsPolicy, dnsConfig      below
hostNetwork, hostPID, hostIPC                                                   below
enableServiceLinks, automountServiceAccountToken, nodeName                      below
activeDeadlineSeconds                     below; lowered: scenario/node/test_termination.py
terminationGracePeriodSeconds             scenario/node/test_termination.py
readinessGates                            below; scenario/node/test_readiness.py
runtimeClassName (handler, overhead)      below; scenario/node/test_runtime_class.py
resources                                 below; unit/api/test_pod_level_resources.py
restartPolicyRules: RestartAllContainers  below; scenario/node/test_restart_all.py
static and mirror pods                    below; scenario/node/test_static_pods.py
logs                                      below; unit/node/test_node_logs.py, test_oci_runtime.py (rotation)
priority, preemption                      scenario/control/test_preemption.py, scenario/node/test_critical_pods.py
affinity, anti-affinity, tolerations,
topologySpreadConstraints                 scenario/control/test_scheduler.py, unit/control/test_scheduler_decision.py
tolerationSeconds                         scenario/control/test_node_loss.py
schedulingGates                           scenario/control/test_scheduler.py
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from antei_process import IMAGES, Antei, Kubectl, following, needs_namespaces, until, write_map
from field_pods import LIMIT, ended_all
from real_images import busybox_layer, missing, write_layout

pytestmark = [
    pytest.mark.live,
    needs_namespaces(),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]
FOREVER = "trap 'exit 0' TERM; while :; do sleep 3600 & wait; done"
NAMESPACES = "for kind in net ipc uts; do readlink /proc/self/ns/$kind; done; ls /proc | grep -c '^[0-9]'"
RESOLVER = "cat /etc/resolv.conf"
HUNGRY = "x=a; while :; do x=$x$x; done"
RULE = {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}
#: Ends with 42 the first time.
SOURCE = (
    f"until grep run /data/runs; do sleep 0.1; done; test -e /data/seen || {{ touch /data/seen; exit 42; }}; {FOREVER}"
)
AGAIN = f"test -e /data/seen && echo second && {{ {FOREVER}; }}; echo first; touch /data/seen; exit 1"
NODE_NAME = {"fieldRef": {"fieldPath": "spec.nodeName"}}
EMPTY = {"name": "data", "emptyDir": {}}
DATA = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}


def container(name: str, script: str, image: str = "box:1", **own: Any) -> dict[str, Any]:
    return {"name": name, "image": image, "command": ["/bin/sh", "-c", script], **own}


def pod(name: str, *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": list(containers), **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec}


def box(name: str, script: str, **spec: Any) -> dict[str, Any]:
    return pod(name, container("main", script), **spec)


def runtime_class(name: str, handler: str, **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": name},
        "handler": handler,
        **more,
    }


OBJECTS = [
    runtime_class("real", "runc", overhead={"podFixed": {"cpu": "10m"}}),
    runtime_class("mapped", "process"),
    runtime_class("odd", "gvisor"),
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "linked"},
        "spec": {"selector": {"app": "linked"}, "ports": [{"port": 80}]},
    },
]
ENDING = [
    box("names", "hostname; cat /etc/hosts", hostname="given", subdomain="sub"),
    box("qualified", "hostname", hostname="given", subdomain="sub", setHostnameAsFQDN=True),
    box(
        "more-hosts", "grep alias /etc/hosts", hostAliases=[{"ip": "10.9.8.7", "hostnames": ["alias.one", "alias.two"]}]
    ),
    box("dns-first", RESOLVER),
    box("dns-default", RESOLVER, dnsPolicy="Default"),
    box(
        "dns-none",
        RESOLVER,
        dnsPolicy="None",
        dnsConfig={
            "nameservers": ["10.1.2.3"],
            "searches": ["s.example"],
            "options": [{"name": "ndots", "value": "3"}],
        },
    ),
    box("dns-added", RESOLVER, dnsConfig={"nameservers": ["10.1.2.3"], "options": [{"name": "timeout", "value": "4"}]}),
    box("dns-host", RESOLVER, hostNetwork=True),
    box("dns-host-first", RESOLVER, hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet"),
    box("host-name", "hostname; grep -c host-name /etc/hosts", hostNetwork=True, nodeName="node-2"),
    box("own-namespaces", NAMESPACES),
    box("host-namespaces", NAMESPACES, hostNetwork=True, hostPID=True, hostIPC=True),
    box("links", "env"),
    box("no-links", "env", enableServiceLinks=False),
    box("token", "ls /var/run/secrets/kubernetes.io/serviceaccount"),
    box("no-token", "ls /var/run/secrets 2>&1", automountServiceAccountToken=False),
    pod(
        "assigned",
        container(
            "main", "echo $WHERE", env=[{"name": "WHERE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]
        ),
        nodeName="node-2",
    ),
    box("late", "sleep 3600", activeDeadlineSeconds=1),
    pod("class-real", container("main", "cat /marker", "both:1"), runtimeClassName="real"),
    pod("class-mapped", container("main", "cat /marker; echo $HOME", "both:1"), runtimeClassName="mapped"),
    pod("class-none", container("main", "cat /marker", "both:1")),
    pod(
        "hungry",
        container("hog", HUNGRY),
        container("small", f"sleep 2; {LIMIT}; echo alive"),
        resources={"limits": {"memory": "32Mi", "cpu": "500m"}},
    ),
]
STAYING = [
    box("class-odd", "true", runtimeClassName="odd"),
    box("gated", FOREVER, readinessGates=[{"conditionType": "example.com/open"}]),
    pod(
        "anew",
        container("source", SOURCE, restartPolicy="Never", restartPolicyRules=[RULE], **DATA),
        container("other", f"echo run >>/data/runs; {FOREVER}", **DATA),
        volumes=[EMPTY],
        initContainers=[container("first", "echo init >>/data/runs", **DATA)],
    ),
    pod("held", container("main", FOREVER), resources={"limits": {"memory": "64Mi", "cpu": "500m"}}),
    pod(
        "again",
        container("main", AGAIN, **DATA),
        volumes=[EMPTY],
        restartPolicy="OnFailure",
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("manifests")


@pytest.fixture(scope="module")
def antei(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Antei]:
    directory = tmp_path_factory.mktemp("pod-fields")
    cluster = Antei(directory / "data", environment={"ANTEI_IMAGES": str(directory / "images")})
    layer = busybox_layer({"marker": "real\n"})
    (directory / "marker").write_text("mapped\n")
    mapped = {"command": ["/bin/sh"], "files": {"/marker": {"content": "mapped\n"}}}
    image_map = write_map(directory, {**IMAGES, "both:1": mapped})
    static = pod("fixed", container("main", f"hostname; {FOREVER}"))
    (folder / "node-2").mkdir()
    (folder / "node-2" / "fixed.json").write_text(json.dumps(static))
    try:
        for name in ("box", "both"):
            write_layout(directory / name, "x", [layer], {"Env": ["PATH=/bin"]})
            cluster.cli("image", "load", "--name", f"{name}:1", str(directory / name))
        cluster.up("--nodes", "2", "--map", str(image_map), "--pod-manifest-path", str(folder))
        kubectl = cluster.in_namespace("default")
        kubectl.apply(*OBJECTS)
        kubectl.apply(*ENDING, *STAYING)
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def printed(antei: Antei) -> dict[str, str]:
    """What the pods that end have printed, by name."""
    kubectl = antei.in_namespace("default")
    # The one with the deadline may not have begun by then.
    return {
        name: kubectl("logs", name, "--all-containers").out for name in ended_all(kubectl, ENDING) if name != "late"
    }


def resolver(printed: str) -> dict[str, list[str]]:
    """The words of a resolv.conf by their keyword."""
    found: dict[str, list[str]] = {}
    for line in printed.splitlines():
        keyword, *words = line.split()
        found.setdefault(keyword, []).extend(words)
    return found


def test_host_names(printed: dict[str, str]) -> None:
    name, *hosts = printed["names"].splitlines()
    assert name == "given"
    assert any(re.fullmatch(r"[0-9.]+\s+given\.sub\.default\.svc\.cluster\.local\s+given", line) for line in hosts)
    assert printed["qualified"] == "given.sub.default.svc.cluster.local\n"
    assert printed["host-name"] == "node-2\n0\n"
    assert printed["more-hosts"].split() == ["10.9.8.7", "alias.one", "alias.two"]


def test_resolvers(printed: dict[str, str]) -> None:
    cluster = resolver(printed["dns-first"])
    searches = ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"]
    assert cluster["search"][:3] == searches
    assert "ndots:5" in cluster["options"]
    assert len(cluster["nameserver"]) == 1
    assert not set(searches) & set(resolver(printed["dns-default"]).get("search", []))
    assert resolver(printed["dns-none"]) == {
        "nameserver": ["10.1.2.3"],
        "search": ["s.example"],
        "options": ["ndots:3"],
    }
    added = resolver(printed["dns-added"])
    assert added["nameserver"] == [*cluster["nameserver"], "10.1.2.3"]
    assert {"ndots:5", "timeout:4"} <= set(added["options"])
    # On the host's network ClusterFirst is Default, unless it is asked for by its long name.
    assert resolver(printed["dns-host"]) == resolver(printed["dns-default"])
    assert resolver(printed["dns-host-first"])["search"][:3] == searches


def test_namespaces(printed: dict[str, str]) -> None:
    host = [os.readlink(f"/proc/self/ns/{kind}") for kind in ("net", "ipc")]
    *own, processes = printed["own-namespaces"].splitlines()
    assert not set(host) & set(own)
    assert int(processes) < 10
    *shared, processes = printed["host-namespaces"].splitlines()
    assert shared[:2] == host
    assert int(processes) > 10


def test_links_tokens_and_nodes(printed: dict[str, str]) -> None:
    assert "LINKED_SERVICE_HOST=" in printed["links"]
    assert "LINKED_SERVICE_HOST=" not in printed["no-links"]
    assert "KUBERNETES_SERVICE_HOST=" in printed["no-links"]
    assert printed["token"].split() == ["ca.crt", "namespace", "token"]
    assert "No such file" in printed["no-token"]
    assert printed["assigned"] == "node-2\n"


def test_a_deadline(printed: dict[str, str], kubectl: Kubectl) -> None:
    status = kubectl.get("pod", "late")["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")


def test_a_runtime_class_chooses_the_runtime(printed: dict[str, str], kubectl: Kubectl) -> None:
    assert printed["class-real"] == "real\n"
    assert printed["class-mapped"].startswith("mapped\n")
    assert printed["class-none"] == "mapped\n"
    ids = [
        kubectl.get("pod", name)["status"]["containerStatuses"][0]["containerID"].partition(":")[0]
        for name in ("class-real", "class-mapped", "class-none")
    ]
    assert ids == ["oci", "process", "process"]
    assert kubectl.get("pod", "class-real")["spec"]["overhead"] == {"cpu": "10m"}
    events = kubectl("get", "events", "--field-selector", "involvedObject.name=class-odd", "-o", "json").out
    messages = [
        event["message"] for event in json.loads(events)["items"] if event["reason"] == "FailedCreatePodSandBox"
    ]
    [message] = messages
    assert 'failed to get sandbox runtime: no runtime for "gvisor" is configured' in message


def test_readiness_waits_for_its_gate(kubectl: Kubectl) -> None:
    kubectl.wait("condition=ContainersReady", "pod/gated")
    conditions = {c["type"]: c for c in kubectl.get("pod", "gated")["status"]["conditions"]}
    assert (conditions["Ready"]["status"], conditions["Ready"]["reason"]) == ("False", "ReadinessGatesNotReady")
    patch = {"status": {"conditions": [{"type": "example.com/open", "status": "True"}]}}
    kubectl("patch", "pod", "gated", "--subresource", "status", "-p", json.dumps(patch))
    kubectl.wait("condition=Ready", "pod/gated")


def test_a_pod_s_resources_hold_its_containers_together(printed: dict[str, str], kubectl: Kubectl) -> None:
    statuses = {
        s["name"]: s["state"]["terminated"] for s in kubectl.get("pod", "hungry")["status"]["containerStatuses"]
    }
    assert (statuses["hog"]["reason"], statuses["hog"]["exitCode"]) == ("OOMKilled", 137)
    assert (statuses["small"]["reason"], printed["hungry"].split()) == ("Completed", [str(32 * 1024 * 1024), "alive"])
    held = kubectl.get("pod", "held")
    assert held["spec"]["resources"]["requests"] == {"memory": "64Mi", "cpu": "500m"}
    assert held["status"]["qosClass"] == "Guaranteed"
    limits = [
        path.read_text().split()[0]
        for name in ("*/antei/pod-*/memory.limit_in_bytes", "antei/pod-*/memory.max")
        for path in Path("/sys/fs/cgroup").glob(name)
    ]
    assert str(64 * 1024 * 1024) in limits


def test_all_containers_begin_anew_in_the_same_volumes(kubectl: Kubectl) -> None:
    def restarted() -> list[int]:
        status = kubectl.get("pod", "anew")["status"]
        statuses = [*status["initContainerStatuses"], *status["containerStatuses"]]
        counts = [one["restartCount"] for one in statuses]
        assert all(counts)
        assert all("running" in one["state"] for one in status["containerStatuses"])
        return counts

    assert until("all began anew", restarted) == [1, 1, 1]
    assert kubectl("exec", "anew", "-c", "other", "--", "cat", "/data/runs").out.split() == ["init", "run"] * 2


def test_a_static_pod(antei: Antei, kubectl: Kubectl, folder: Path) -> None:
    kubectl.wait("condition=Ready", "pod/fixed-node-2")
    assert kubectl("logs", "fixed-node-2").out == "fixed-node-2\n"
    assert kubectl("exec", "fixed-node-2", "--", "hostname").out == "fixed-node-2\n"
    before = kubectl.get("pod", "fixed-node-2")
    assert before["metadata"]["ownerReferences"][0]["kind"] == "Node"
    described = kubectl("describe", "pod", "fixed-node-2").out
    assert "Container started" in described
    drained = kubectl("drain", "node-2", "--ignore-daemonsets", "--force", "--delete-emptydir-data", "--dry-run=client")
    assert "fixed-node-2" not in drained.out
    kubectl("delete", "pod", "fixed-node-2", "--wait=false")

    def is_back() -> dict[str, Any]:
        found = kubectl.get("pod", "fixed-node-2")
        assert found["metadata"]["uid"] != before["metadata"]["uid"]
        assert found["status"]["phase"] == "Running"
        return found

    after = until("the mirror is back", is_back)
    assert after["status"]["containerStatuses"] == before["status"]["containerStatuses"]
    (folder / "node-2" / "fixed.json").unlink()
    until("it has ended", lambda: not kubectl("get", "pod", "fixed-node-2", "--ignore-not-found").out)


def test_logs_of_runs_and_of_their_time(kubectl: Kubectl) -> None:
    def begins_again() -> bool:
        status = kubectl.get("pod", "again")["status"]["containerStatuses"][0]
        return status["restartCount"] == 1 and "running" in status["state"]

    until("it runs for the second time", begins_again)
    assert kubectl("logs", "again", "--previous").out == "first\n"
    until("it has spoken", lambda: kubectl("logs", "again").out == "second\n")
    lines = kubectl("logs", "names", "--timestamps").out.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z ", line) for line in lines)
    assert kubectl("logs", "names", "--tail=1").out.splitlines() == [lines[-1].partition(" ")[2]]
    assert kubectl("logs", "names", "--since=1h").out == kubectl("logs", "names").out
    assert kubectl("logs", "names", "--since-time=2100-01-01T00:00:00Z").out == ""


def test_logs_are_followed_across_rotation(antei: Antei, kubectl: Kubectl) -> None:
    count, width = 130_000, 100
    script = f"until test -e /data/go; do sleep 0.1; done; seq -f '%0{width - 1}.0f' 1 {count}"
    mounted = container("main", script, "sh", **DATA)
    kubectl.apply(pod("flood", mounted, volumes=[EMPTY]))
    kubectl.wait("condition=Ready", "pod/flood")
    with following(kubectl.start("logs", "-f", "flood")) as follower:
        kubectl("exec", "flood", "--", "touch", "/data/go")
        assert follower.stdout is not None
        numbers = [int(line) for line in follower.stdout]
    assert numbers == list(range(1, count + 1))
    [directory] = (antei.data / "nodes").glob("*/logs/default_flood_*/main")
    sizes = {path.name: path.stat().st_size for path in directory.iterdir()}
    assert len(sizes) == 2
    assert all(re.fullmatch(r"0\.log(\.\d{8}-\d{6})?", name) for name in sizes)
    assert max(sizes.values()) <= 10 * 1024 * 1024
    line = (directory / "0.log").read_bytes().splitlines()[0]
    assert re.match(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z stdout F 0+\d+$", line)
    # Without following, only the newest file is read, as the kubelet does.
    assert int(kubectl("logs", "flood", "--tail=1").out) == count
    assert 0 < len(kubectl("logs", "flood").out.splitlines()) < count
