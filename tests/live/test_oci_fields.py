"""Real containers: names and namespaces of a pod, and what is left when it has gone."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from antei_process import Antei, Kubectl, containers_of, deployment, needs_namespaces, until
from field_pods import FOREVER, box, field_cluster, printed_by
from real_images import missing

from antei.cluster import Settings

pytestmark = [
    pytest.mark.live,
    needs_namespaces(),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]
ENDING = [
    box(
        "names",
        "hostname; cat /etc/hosts /etc/hostname; cat /etc/resolv.conf",
        spec={
            "hostname": "given",
            "subdomain": "sub",
            "setHostnameAsFQDN": True,
            "hostAliases": [{"ip": "10.9.8.7", "hostnames": ["alias.example"]}],
            "dnsPolicy": "None",
            "dnsConfig": {"nameservers": ["10.1.2.3"], "searches": ["s.example"]},
        },
    ),
    box("own-namespaces", "ls -l /proc/self/ns; ps"),
    box(
        "host-namespaces",
        "ls -l /proc/self/ns",
        spec={"hostNetwork": True, "hostPID": True, "hostIPC": True},
    ),
]  # fmt: skip
STAYING = [
    box("neighbour", FOREVER, resources={"limits": {"memory": "24Mi"}}),
    box("shared", FOREVER, spec={
        "shareProcessNamespace": True,
        "containers": [
            {"name": "main", "image": "box:1", "command": ["/bin/sh", "-c", FOREVER]},
            {"name": "other", "image": "app:1", "command": ["/bin/sh", "-c", "sleep 98765"]},
        ],
    }),
]  # fmt: skip


@pytest.fixture(scope="module")
def antei(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Antei]:
    with field_cluster(tmp_path_factory.mktemp("fields"), [*ENDING, *STAYING]) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def printed(antei: Antei) -> dict[str, str]:
    return printed_by(antei.in_namespace("default"), ENDING)


def test_names_and_resolver(printed: dict[str, str]) -> None:
    lines = printed["names"].splitlines()
    assert lines[0] == "given.sub.default.svc.cluster.local"
    assert "10.9.8.7\talias.example" in lines
    assert "nameserver 10.1.2.3" in lines
    assert "search s.example" in lines


def test_namespaces_are_the_pod_s_own_or_the_host_s(printed: dict[str, str]) -> None:
    def namespaces(text: str) -> dict[str, str]:
        return dict(re.findall(r"(\w+) -> \w+:\[(\d+)\]", text))

    own, of_host = namespaces(printed["own-namespaces"]), namespaces(printed["host-namespaces"])
    for kind in ("net", "pid", "ipc", "mnt", "uts"):
        here = os.readlink(f"/proc/self/ns/{kind}")
        assert own[kind] not in here
        assert (of_host[kind] in here) == (kind in ("net", "pid", "ipc"))
    assert re.search(r"^\s+1 \S+\s+\S+ /bin/sh", printed["own-namespaces"], re.MULTILINE)


def test_a_shared_process_namespace(kubectl: Kubectl) -> None:
    kubectl.wait("condition=Ready", "pod/shared")
    seen = kubectl("exec", "shared", "-c", "main", "--", "ps").out
    assert "sleep 98765" in seen
    assert not re.search(r"^\s+1 .*98765", seen, re.MULTILINE)
    root = kubectl("exec", "shared", "-c", "main", "--", "ls", "/proc/1/root/root", check=False)
    assert root.code != 0  # nothing of the host is to be had through the pod's first process


def test_containers_outlive_antei_and_leave_nothing_when_they_go(antei: Antei, kubectl: Kubectl) -> None:
    kubectl.wait("condition=Ready", "pod/neighbour")
    before = kubectl.get("pod", "neighbour")["status"]["containerStatuses"][0]
    assert before["containerID"].startswith("oci://")
    antei.kill()
    antei.up("--nodes", "1")
    until("adopted", lambda: kubectl("exec", "neighbour", "--", "true", check=False).code == 0)
    after = kubectl.get("pod", "neighbour")["status"]["containerStatuses"][0]
    assert (after["containerID"], after["restartCount"]) == (before["containerID"], 0)
    kubectl("delete", "pods", "--all", "--wait=true")
    until("no process is left", lambda: not _containers(antei))
    mounts = Path("/proc/self/mountinfo").read_text()
    assert str(antei.data) not in mounts
    assert list((antei.data / "oci/sandboxes").iterdir()) == []
    assert not (antei.data / "oci/runc").exists() or list((antei.data / "oci/runc").iterdir()) == []


def test_many_pods_come_and_go_and_leave_nothing(antei: Antei, kubectl: Kubectl) -> None:
    until("no pod is left", lambda: not kubectl.items("pods"))
    replicas = int(os.environ.get("ANTEI_MANY_PODS", "12"))
    before = _left(antei)
    kubectl.apply(deployment("many", replicas, "box:1", command=["/bin/sh", "-c", FOREVER]))
    kubectl.rolled_out("deployment/many")
    assert len(_containers(antei)) == replicas
    kubectl("delete", "deployment", "many")
    until("no pod is left", lambda: not kubectl.items("pods"))
    until("nothing is left", lambda: _left(antei) == before)


def _left(antei: Antei) -> dict[str, list[str]]:
    """Whatever a pod has on the machine, by kind."""
    cluster = f"antei-{Settings(antei.data).cluster_id}"
    in_network = ["nsenter", f"--net=/run/netns/{cluster}"]

    def lines(*command: str) -> list[str]:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    directories = ("oci/runc", "oci/sandboxes", "runtime/sandboxes", "nodes/node-1/pods", "nodes/node-1/logs")
    return {
        "processes": _containers(antei),
        "mounts": [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(antei.data) in line],
        "files": [str(path) for name in directories for path in (antei.data / name).glob("*")],
        "namespaces": [path.name for path in Path("/run/netns").glob(f"{cluster}*")],
        "links": [line.split()[0] for line in lines(*in_network, "ip", "-brief", "link")],
        "rules": sorted(lines(*in_network, "nft", "-s", "list", "ruleset")),
    }


def _containers(antei: Antei) -> list[str]:
    return [" ".join(found.cmdline()) for found in containers_of(antei.data) if found.name() in ("conmon", "runc")]
