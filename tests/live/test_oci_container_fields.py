"""Real containers: a test a field of a container, each looking from inside at what was set.

All pods are made at once; a test reads what its pod has printed, or how it ended.
"""

from __future__ import annotations

import json
import re
import socket
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from antei_process import Antei, Kubectl, needs_namespaces, until
from field_pods import EMPTY, FOREVER, LIMIT, QUOTA, box, event_of, field_cluster, printed_by, state
from real_images import missing

pytestmark = [
    pytest.mark.live,
    needs_namespaces(),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]
HALF = {"cpu": "10m", "memory": "24Mi"}
SHARED = [{"name": "data", "mountPath": "/data"}]
ENDING = [
    box("score-burstable", "cat /proc/1/oom_score_adj", resources={"requests": {"memory": "1Mi"}}),
    box("score-best-effort", "cat /proc/1/oom_score_adj"),
    box("score-guaranteed", "cat /proc/1/oom_score_adj", resources={"limits": HALF}),
    box("given-again", "test -e /data/once && exit 0; touch /data/once; exit 42", spec={
        "volumes": [EMPTY], "restartPolicy": "Never",
    }, volumeMounts=SHARED, restartPolicy="Never", restartPolicyRules=[
        {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}},
    ]),
    box("beside", "cat /data/said", spec={"volumes": [EMPTY], "initContainers": [{
        "name": "helper",
        "image": "box:1",
        "restartPolicy": "Always",
        "command": ["/bin/sh", "-c", f"echo ready >/data/said; {FOREVER}"],
        "startupProbe": {"exec": {"command": ["cat", "/data/said"]}, "periodSeconds": 1},
        "volumeMounts": SHARED,
    }]}, volumeMounts=SHARED),
    box("args", 'pwd; echo "$0 $@"', args=["zero", "one two"], workingDir="/var/new"),
    {**box("image", ""), "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "speaking:1"}]}},
    box("limits", f"{LIMIT}; {QUOTA}", resources={"limits": {"memory": "48Mi", "cpu": "250m"}}),
    box("pids", "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null"),
    box("hog", "x=a; while :; do x=$x$x; done", resources={"limits": {"memory": "24Mi"}}),
    box("message", "echo -n why >/tmp/reason; exit 3", terminationMessagePath="/tmp/reason"),
    box("message-of-log", "echo last words; exit 3", terminationMessagePolicy="FallbackToLogsOnError"),
    box("terminal", "tty; echo $TERM", tty=True, stdin=True),
    box("no-token", "ls /var/run/secrets 2>&1", spec={"automountServiceAccountToken": False}),
    box("environment", "env", env=[{"name": "A", "value": "b $(C)"}, {"name": "PATH", "value": "/bin:/own"}]),
    box("init", "cat /data/made", spec={"volumes": [EMPTY], "initContainers": [
        {
            "name": "first",
            "image": "app:1",
            "command": ["/bin/sh", "-c", "id -u >/data/made"],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        }
    ]}, volumeMounts=[{"name": "data", "mountPath": "/data"}]),
]  # fmt: skip
STAYING = [
    box("hooked", FOREVER, spec={"volumes": [{"name": "data", "hostPath": {"path": "/tmp"}}]}, lifecycle={
        "postStart": {"exec": {"command": ["/bin/sh", "-c", "echo after >/tmp/started"]}},
    }),
    box("signalled", "trap 'echo USR1 >/dev/termination-log; exit' USR1; trap '' TERM; while :; do sleep 9& wait; done",
        spec={"os": {"name": "linux"}, "terminationGracePeriodSeconds": 30, "restartPolicy": "Always"},
        lifecycle={"stopSignal": "SIGUSR1"}, livenessProbe={
            "exec": {"command": ["test", "!", "-e", "/tmp/fail"]}, "periodSeconds": 1, "failureThreshold": 1,
        }),
    box("asked", "read -r line; echo \"got $line\"", stdin=True, stdinOnce=True),
    {**box("no-program", ""), "spec": {"restartPolicy": "Never", "containers": [
        {"name": "main", "image": "box:1", "command": ["/no/such/program"]}
    ]}},
    box("neighbour", FOREVER, resources={"limits": {"memory": "24Mi"}}),
    box("resized", FOREVER, resources={"limits": {"memory": "24Mi", "cpu": "200m"}}),
]  # fmt: skip


def published(free: int, taken: int) -> dict[str, Any]:
    ports = [{"containerPort": 8000, "hostPort": free}, {"containerPort": 8001, "hostPort": taken}]
    return box("published", f"echo over the wall >/tmp/said; httpd -p 8000 -h /tmp; {FOREVER}", ports=ports)


@pytest.fixture(scope="module")
def host_ports() -> Iterator[tuple[int, int]]:
    """Of this machine: one that is free, and one that is taken."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with socket.create_server(("127.0.0.1", 0)) as found:
            free = found.getsockname()[1]
        yield free, taken.getsockname()[1]


@pytest.fixture(scope="module")
def antei(tmp_path_factory: pytest.TempPathFactory, host_ports: tuple[int, int]) -> Iterator[Antei]:
    objects = [*ENDING, *STAYING, published(*host_ports)]
    with field_cluster(tmp_path_factory.mktemp("container"), objects) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def printed(antei: Antei) -> dict[str, str]:
    return printed_by(antei.in_namespace("default"), ENDING)


def test_command_args_and_a_new_working_directory(printed: dict[str, str]) -> None:
    assert printed["args"].splitlines() == ["/var/new", "zero one two"]
    assert printed["image"] == "entry command\n"


def test_limits_are_set(printed: dict[str, str]) -> None:
    limit, quota = printed["limits"].splitlines()[:2]
    assert int(limit) == 48 * 1024 * 1024
    assert quota.split()[0] == "25000"
    assert printed["pids"].split() == ["4096"]


def test_limits_are_changed_under_a_container_that_runs(printed: dict[str, str], kubectl: Kubectl) -> None:
    limits = {"memory": "48Mi", "cpu": "400m"}
    patch = {"spec": {"containers": [{"name": "main", "resources": {"limits": limits, "requests": limits}}]}}
    kubectl("patch", "pod", "resized", "--subresource", "resize", "--patch", json.dumps(patch))

    def changed() -> bool:
        status = kubectl.get("pod", "resized")["status"]["containerStatuses"][0]
        return bool(status["resources"]["limits"] == limits and status["restartCount"] == 0)

    until("resized", changed)
    found = kubectl("exec", "resized", "--", "/bin/sh", "-c", f"{LIMIT}; {QUOTA}; true").out.splitlines()
    assert (int(found[0]), found[1].split()[0]) == (48 * 1024 * 1024, "40000")


def test_a_memory_hog_is_killed_and_its_neighbour_is_not(printed: dict[str, str], kubectl: Kubectl) -> None:
    end = state(kubectl, "hog", "terminated")
    assert (end["reason"], end["exitCode"]) == ("OOMKilled", 137)
    status = kubectl.get("pod", "neighbour")["status"]["containerStatuses"][0]
    assert (status["restartCount"], "running" in status["state"]) == (0, True)


def test_termination_messages(printed: dict[str, str], kubectl: Kubectl) -> None:
    assert state(kubectl, "message", "terminated")["message"] == "why"
    assert state(kubectl, "message-of-log", "terminated")["message"].strip() == "last words"


def test_terminal_token_environment_and_init_containers(printed: dict[str, str]) -> None:
    assert printed["terminal"].replace("\r", "").splitlines() == ["/dev/pts/0", "xterm"]
    assert "No such file" in printed["no-token"]
    variables = dict(line.split("=", 1) for line in printed["environment"].splitlines())
    assert (variables["A"], variables["PATH"], variables["HOSTNAME"]) == ("b $(C)", "/bin:/own", "environment")
    assert "KUBERNETES_SERVICE_HOST" in variables
    assert printed["init"] == "1000\n"


def test_a_container_to_debug_another_sees_its_processes(kubectl: Kubectl) -> None:
    kubectl.wait("condition=Ready", "pod/neighbour")
    command = ("--", "ps")
    kubectl("debug", "neighbour", "--image=app:1", "-c", "look", "--target=main", "--profile=sysadmin", *command)
    ended = "jsonpath={.status.ephemeralContainerStatuses[0].state.terminated.exitCode}=0"
    kubectl.wait(ended, "pod/neighbour")
    seen = kubectl("logs", "neighbour", "-c", "look").out
    assert re.search(r"^\s+1 .*sleep", seen, re.MULTILINE)
    assert kubectl.get("pod", "neighbour")["status"]["containerStatuses"][0]["restartCount"] == 0


def test_a_program_that_is_not_there_says_so(kubectl: Kubectl) -> None:
    found = state(kubectl, "no-program", "terminated")
    assert found["reason"] == "StartError"
    assert "no such file or directory" in found["message"]


def test_who_is_ended_first_for_want_of_memory(printed: dict[str, str]) -> None:
    assert printed["score-best-effort"] == "1000\n"
    assert printed["score-burstable"] == "999\n"
    assert int(printed["score-guaranteed"]) <= 0  # -997 where antei may lower it, its own elsewhere


def test_restart_rules_of_a_container(printed: dict[str, str], kubectl: Kubectl) -> None:
    status = kubectl.get("pod", "given-again")["status"]
    assert (status["phase"], status["containerStatuses"][0]["restartCount"]) == ("Succeeded", 1)


def test_a_sidecar_has_started_before_the_container_does(printed: dict[str, str], kubectl: Kubectl) -> None:
    assert printed["beside"] == "ready\n"
    assert kubectl.get("pod", "beside")["status"]["phase"] == "Succeeded"  # though the sidecar would run for ever


def test_the_hook_after_the_start_runs_inside(kubectl: Kubectl) -> None:
    kubectl.wait("condition=Ready", "pod/hooked")
    assert kubectl("exec", "hooked", "--", "cat", "/tmp/started").out == "after\n"


def test_the_stop_signal_is_the_one_that_is_asked_for(kubectl: Kubectl) -> None:
    kubectl.wait("condition=Ready", "pod/signalled")
    kubectl("exec", "signalled", "--", "touch", "/tmp/fail")  # its liveness probe has it stopped

    def ended() -> str:
        last = kubectl.get("pod", "signalled")["status"]["containerStatuses"][0].get("lastState") or {}
        return str((last.get("terminated") or {}).get("message") or "").strip()

    assert until("stopped", ended) == "USR1"


def test_who_attaches_is_heard(antei: Antei, kubectl: Kubectl) -> None:
    kubectl.wait("condition=Ready", "pod/asked")
    kubectl("attach", "-i", "asked", stdin="me\n", check=False)
    until("heard", lambda: kubectl("logs", "asked").out == "got me\n")


def test_a_host_port_is_on_this_machine_and_on_the_node(kubectl: Kubectl, host_ports: tuple[int, int]) -> None:
    free, taken = host_ports
    kubectl.wait("condition=Ready", "pod/published", "pod/neighbour")

    def answer() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{free}/said", timeout=20) as said:
            return str(said.read().decode())

    assert until("published", answer) == "over the wall\n"
    node = kubectl.get("pod", "published")["status"]["hostIP"]
    request = f"printf 'GET /said HTTP/1.0\\r\\n\\r\\n' | nc {node} {free}"
    assert kubectl("exec", "neighbour", "--", "/bin/sh", "-c", request).out.endswith("over the wall\n")
    said = event_of(kubectl, "published", "HostPortNotPublished")
    assert said.endswith(f"is not published at 127.0.0.1:{taken}: Address already in use")
