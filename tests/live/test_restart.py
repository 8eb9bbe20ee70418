"""kill -9 of antei, then `antei up` on the same data: nothing acknowledged is lost, nothing that runs is restarted."""

from __future__ import annotations

import json
import random
import re
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from antei_process import (
    PATIENCE_SECONDS,
    Antei,
    Kubectl,
    config_map,
    containers_of,
    deployment,
    following,
    needs_namespaces,
    pod,
    until,
    write_map,
)

from antei.cluster import Settings

pytestmark = [pytest.mark.lasts(110), pytest.mark.live, needs_namespaces()]


@pytest.fixture
def antei(tmp_path: Path) -> Iterator[Antei]:
    cluster = Antei(tmp_path / "data", (write_map(tmp_path / "map"),))
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.close()


PODS = "/api/v1/namespaces/default/pods"
READINESS = {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1}


def identities(kubectl: Kubectl, selector: str) -> dict[str, Any]:
    """What a restart must leave as it is: container ids, start times, restarts, addresses, nodes."""
    return {
        found["metadata"]["uid"]: (
            found["spec"]["nodeName"],
            found["status"]["podIP"],
            [
                (status["containerID"], status["restartCount"], status["state"]["running"]["startedAt"])
                for status in found["status"]["containerStatuses"]
            ],
        )
        for found in kubectl.items("pods", "-l", selector)
    }


def pids_of(antei: Antei) -> dict[int, float]:
    """The containers' supervisors and what runs under them, each with its start time."""
    found: dict[int, float] = {}
    for process in containers_of(antei.data):
        with suppress(psutil.NoSuchProcess):
            if "bwrap" in process.name():
                for each in (process, *process.children(recursive=True)):
                    found[each.pid] = each.create_time()
    return found


def test_running_containers_are_adopted_and_ready_pods_stay_ready(antei: Antei, kubectl: Kubectl) -> None:
    kubectl.apply(deployment("web", 3, "web", readinessProbe=READINESS, ports=[{"containerPort": 8080}]))
    kubectl("expose", "deployment", "web", "--type=NodePort", "--port=80", "--target-port=8080")
    kubectl.rolled_out("deployment/web")
    before, pids = identities(kubectl, "app=web"), pids_of(antei)
    assert len(before) == 3
    assert len(pids) >= 3
    revision = json.loads(antei.kubectl("get", "--raw", PODS).out)["metadata"]["resourceVersion"]
    failures = unhealthy(kubectl)  # of the time before the servers listened
    killed = antei.pid
    antei.kill()
    assert {pid: psutil.Process(pid).create_time() for pid in pids} == pids, "containers outlive antei"
    said = antei.up().out
    assert antei.pid != killed
    assert "export KUBECONFIG=" in said
    kubectl.rolled_out("deployment/web")
    port = kubectl.get("service", "web")["spec"]["ports"][0]["nodePort"]
    until("the Service answers", lambda: answers(port))
    # A probe of each has run since: its failure would be an event, its success changes nothing.
    until("every pod answers", lambda: len({answers(port) for _ in range(12)}) == 3)
    assert identities(kubectl, "app=web") == before
    assert pids_of(antei) == pids
    # Every change since the kill, from the store's own history: none says not ready.
    path = f"{PODS}?watch=1&resourceVersion={revision}&timeoutSeconds=1"
    changes = [json.loads(line) for line in antei.kubectl("get", "--raw", path).out.splitlines()]
    for change in changes:
        conditions = {entry["type"]: entry["status"] for entry in change["object"]["status"]["conditions"]}
        assert (change["type"], conditions["Ready"]) == ("MODIFIED", "True")
    assert unhealthy(kubectl) == failures
    # And they are looked after: what ends is started again.
    victim = kubectl.items("pods")[0]["metadata"]["name"]
    ip = kubectl.get("pod", victim)["status"]["podIP"]
    asked = f"import urllib.request as u; u.urlopen(u.Request('http://{ip}:8080/exit', method='POST'), timeout=5)"
    kubectl.apply(pod("asking", "sh", args=[f'python3 -c "{asked}"; true'], restartPolicy="Never"))
    kubectl.wait("jsonpath={.status.containerStatuses[0].restartCount}=1", f"pod/{victim}")
    kubectl.wait("condition=Ready", f"pod/{victim}")
    last = kubectl.get("pod", victim)["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert last["exitCode"] == 3


def unhealthy(kubectl: Kubectl) -> dict[str, int]:
    """How often the probes of each pod are told to have failed."""
    found = kubectl.items("events", "--field-selector=reason=Unhealthy")
    return {event["involvedObject"]["uid"] + event["message"]: event["count"] for event in found}


def answers(port: int) -> str:
    """The name of the pod that answered, "" when none did."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as response:
            return response.read().decode().strip()
    except OSError:
        return ""


def test_logs_go_on_where_they_were(antei: Antei, kubectl: Kubectl) -> None:
    kubectl.apply(pod("ticker", "ticker"))
    kubectl.wait("condition=Ready", "pod/ticker")
    until("some lines", lambda: len(kubectl("logs", "ticker").out.splitlines()) > 5)
    antei.kill()
    antei.up()  # meanwhile the container went on writing
    before = len(kubectl("logs", "ticker").out.splitlines())
    with following(kubectl.start("logs", "-f", "ticker")) as log:
        assert log.stdout is not None
        lines = [log.stdout.readline().strip() for _ in range(before + 20)]
    assert lines == [f"line {n}" for n in range(1, before + 21)], "no line is lost, none is there twice"


def test_what_ended_meanwhile_is_noticed(antei: Antei, kubectl: Kubectl) -> None:
    def waiting_for(file: str, code: int) -> list[str]:
        return [f"trap 'exit 1' TERM; while [ ! -e /share/{file} ]; do sleep 0.05; done; echo ended; exit {code}"]

    share = antei.data.parent / "share"
    share.mkdir()
    shared = {
        "volumes": [{"name": "share", "hostPath": {"path": str(share)}}],
        "volumeMounts": [{"name": "share", "mountPath": "/share"}],
    }
    kubectl.apply(
        pod("job", "sh", args=waiting_for("stop", 0), restartPolicy="Never", **shared),
        pod("failing", "sh", args=waiting_for("stop", 7), restartPolicy="Never", **shared),
        pod("again", "sh", args=waiting_for("stop-again", 5), **shared),
    )
    kubectl.wait("condition=Ready", "pod/job", "pod/failing", "pod/again")
    ours = pids_of(antei)
    antei.kill()
    (share / "stop").touch()
    (share / "stop-again").touch()
    until("all three have ended", lambda: not alive(ours))
    (share / "stop-again").unlink()
    antei.up()
    kubectl.wait("jsonpath={.status.phase}=Succeeded", "pod/job")
    kubectl.wait("jsonpath={.status.phase}=Failed", "pod/failing")
    kubectl.wait("jsonpath={.status.containerStatuses[0].restartCount}=1", "pod/again")
    kubectl.wait("condition=Ready", "pod/again")
    codes = {
        name: kubectl.get("pod", name)["status"]["containerStatuses"][0][state]["terminated"]["exitCode"]
        for name, state in (("job", "state"), ("failing", "state"), ("again", "lastState"))
    }
    assert codes == {"job": 0, "failing": 7, "again": 5}
    assert kubectl("logs", "job").out == "ended\n"


def alive(pids: dict[int, float]) -> list[int]:
    found = []
    for pid, created in pids.items():
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if process.create_time() == created and process.status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found


def test_what_was_asked_for_while_it_was_dead_or_dying_is_done(antei: Antei, kubectl: Kubectl) -> None:
    """A deletion that antei had acknowledged and not yet carried out goes on after the restart."""
    deaf = pod("deaf", "sh", args=["trap '' TERM; while :; do sleep 0.05; done"], terminationGracePeriodSeconds=3)
    kubectl.apply(deaf, deployment("web", 2))
    kubectl.rolled_out("deployment/web")
    kubectl.wait("condition=Ready", "pod/deaf")
    kubectl("delete", "pod", "deaf", "--wait=false")
    kubectl("scale", "deployment/web", "--replicas=4")
    antei.kill()
    antei.up()
    kubectl("wait", "--for=delete", "pod/deaf", f"--timeout={PATIENCE_SECONDS:.0f}s")
    kubectl.rolled_out("deployment/web")
    assert len(kubectl.items("pods")) == 4


class Writer(threading.Thread):
    """kubectl that creates ConfigMaps, many with one command, and scales a Deployment; notes what was acknowledged."""

    def __init__(self, kubectl: Kubectl, name: str) -> None:
        super().__init__(name=name)
        self._kubectl = kubectl
        self._stop_asked = threading.Event()
        self.acknowledged: set[str] = set()
        self.last_scale: int | None = None  # None as well where nobody knows whether it was done

    def run(self) -> None:
        round_number = 0
        while not self._stop_asked.is_set():
            round_number += 1
            names = [f"{self.name}-{round_number}-{n}" for n in range(40)]
            with suppress(subprocess.TimeoutExpired):
                text = yaml.safe_dump_all(config_map(name, value=name) for name in names)
                created = self._kubectl("create", "-f", "-", stdin=text, check=False)
                self.acknowledged.update(re.findall(r"^configmap/(\S+) created$", created.out, re.MULTILINE))
                replicas = round_number % 4 + 1
                self.last_scale = None
                if self._kubectl("scale", f"deployment/{self.name}", f"--replicas={replicas}", check=False).code == 0:
                    self.last_scale = replicas

    def finish(self) -> None:
        self._stop_asked.set()
        self.join(PATIENCE_SECONDS)
        assert not self.is_alive()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_acknowledged_write_is_lost_by_kills_at_random_moments(antei: Antei, kubectl: Kubectl, seed: int) -> None:
    chance = random.Random(seed)
    names = ("first", "second")
    kubectl.apply(*(deployment(name) for name in names))
    writers = [Writer(kubectl, name) for name in names]
    for writer in writers:
        writer.start()
    try:
        for _ in range(3):
            known = sum(len(writer.acknowledged) for writer in writers)
            until("some more writes", lambda known=known: sum(len(w.acknowledged) for w in writers) > known)
            threading.Event().wait(chance.uniform(0, 0.6))
            antei.kill()
            antei.up()
    finally:
        for writer in writers:
            writer.finish()
    stored = {found["metadata"]["name"]: found.get("data", {}).get("value") for found in kubectl.items("configmaps")}
    for writer in writers:
        assert writer.acknowledged <= stored.keys()
        assert all(stored[name] == name for name in writer.acknowledged)
        if writer.last_scale is not None:
            assert kubectl.get("deployment", writer.name)["spec"]["replicas"] == writer.last_scale
        kubectl("scale", f"deployment/{writer.name}", "--replicas=2")
    for name in names:
        kubectl.rolled_out(f"deployment/{name}")
    until("two pods of each are left", lambda: len(kubectl.items("pods")) == 4)
    # Nothing that the kills left behind runs beside what the API knows.
    known = {found["metadata"]["uid"] for found in kubectl.items("pods")}
    until("every container belongs to a pod", lambda: running_pods(antei) <= known)


def running_pods(antei: Antei) -> set[str]:
    """Uids of the pods that containers run for, by the directories mounted into them."""
    marker = "/pods/"
    found = set()
    for process in containers_of(antei.data):
        with suppress(psutil.NoSuchProcess):
            found |= {word.split(marker)[1].split("/")[0] for word in process.cmdline() if marker in word}
    return found


def test_fewer_nodes_than_before_take_their_pods_along(antei: Antei, kubectl: Kubectl) -> None:
    kubectl.apply(deployment("web", 3))
    kubectl.rolled_out("deployment/web")
    kept = next(p["metadata"]["uid"] for p in kubectl.items("pods") if p["spec"]["nodeName"] == "node-1")
    antei.kill()
    said = antei.up("--nodes", "1").out
    assert "note: node-2, node-3 of an earlier start are no more, and 2 pods on them" in said
    assert kubectl("get", "nodes", "-o", "name").out == "node/node-1\n"
    kubectl.rolled_out("deployment/web")
    pods = kubectl.items("pods")
    assert len(pods) == 3
    assert {found["spec"]["nodeName"] for found in pods} == {"node-1"}
    known = {found["metadata"]["uid"] for found in pods}
    assert kept in known
    until("what ran on the nodes that are no more is ended", lambda: running_pods(antei) == known)


def test_down_and_up_keeps_objects_volumes_and_addresses(antei: Antei, kubectl: Kubectl) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    keeping = deployment(
        "keeping",
        1,
        "sh",
        args=["echo run >>/data/runs; cat /data/runs; trap 'exit 0' TERM; while :; do sleep 0.1; done"],
        volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        volumeMounts=[{"name": "data", "mountPath": "/data"}],
    )
    kubectl.apply(claim, keeping, config_map("a", x="1"))
    kubectl("expose", "deployment", "keeping", "--port=80")
    kubectl.rolled_out("deployment/keeping")
    address = kubectl.get("service", "keeping")["spec"]["clusterIP"]
    server = kubectl("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}").out
    assert antei.down().out == f"stopped; {antei.data} keeps its data\n"
    assert containers_of(antei.data) == []
    assert kubectl("get", "pods", check=False).code == 1
    antei.up()
    assert kubectl("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}").out == server
    kubectl.rolled_out("deployment/keeping")
    assert kubectl.get("configmap", "a")["data"] == {"x": "1"}
    assert kubectl.get("service", "keeping")["spec"]["clusterIP"] == address
    until("it has run twice on the same volume", lambda: runs(kubectl) == 2)


def runs(kubectl: Kubectl) -> int:
    [found] = kubectl.items("pods", "-l", "app=keeping")
    return kubectl("logs", found["metadata"]["name"]).out.splitlines().count("run")


def test_down_after_a_kill_ends_everything(antei: Antei, kubectl: Kubectl) -> None:
    kubectl.apply(deployment("web", 2), pod("deaf", "sh", args=["trap '' TERM; while :; do sleep 0.05; done"]))
    kubectl.rolled_out("deployment/web")
    kubectl.wait("condition=Ready", "pod/deaf")
    assert network_namespaces(antei)
    antei.kill()
    assert antei.cli("status", "--data", str(antei.data), check=False).code == 3
    assert (
        antei.down().out == f"ended 3 containers that a killed antei had left\nstopped; {antei.data} keeps its data\n"
    )
    assert containers_of(antei.data) == []
    assert network_namespaces(antei) == []
    antei.up()
    kubectl.rolled_out("deployment/web")
    kubectl.wait("condition=Ready", "pod/deaf")
    kubectl("delete", "pod", "deaf", "--grace-period=1")


def network_namespaces(antei: Antei) -> list[str]:
    return sorted(entry.name for entry in Path("/run/netns").glob(f"antei-{Settings(antei.data).cluster_id}*"))
