"""kubectl debug: containers added to a running pod, copies of a pod, and a pod that looks at a node."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from antei_process import IMAGES, Antei, Kubectl, needs_namespaces, pod, until
from terminal import Terminal

from antei.testing import AnteiCluster

pytestmark = [pytest.mark.live, needs_namespaces()]

IMAGE_MAP = {
    **{name: image for name, image in IMAGES.items() if name != "web"},
    "shell": {"command": ["/bin/sh"]},
    # Says one line each 50 ms and names itself.
    "named": {"command": ["/bin/sh", "-c", "n=0; while :; do n=$((n+1)); echo $NAME $n; sleep 0.05; done"]},
}


@pytest.fixture(scope="module")
def processes(antei_cluster_factory: Callable[..., AbstractContextManager[AnteiCluster]]) -> Iterator[AnteiCluster]:
    with antei_cluster_factory(nodes=2, images=[IMAGE_MAP]) as cluster:
        yield cluster


@pytest.fixture
def antei(processes: AnteiCluster) -> Antei:
    return Antei(processes.directory)


@pytest.fixture
def kubectl(antei: Antei, request: pytest.FixtureRequest) -> Kubectl:
    namespace = request.node.name.replace("_", "-").removeprefix("test-")[:60].rstrip("-")
    antei.kubectl("create", "namespace", namespace)
    return antei.in_namespace(namespace)


def added(kubectl: Kubectl, name: str) -> dict[str, Any]:
    """The state of a container that was added to the pod `box`."""
    statuses = kubectl.get("pod", "box")["status"].get("ephemeralContainerStatuses", [])
    [status] = [each for each in statuses if each["name"] == name]
    return status


def test_a_container_is_added_to_a_running_pod(kubectl: Kubectl) -> None:
    kubectl.apply(pod("box"))
    kubectl.wait("condition=Ready", "pod/box")
    before = kubectl.get("pod", "box")
    looking = ("--image=sh", "-c", "look", "--profile=general")
    kubectl("debug", "box", *looking, "--", "/bin/sh", "-c", "hostname; exit 3")
    until("it has ended", lambda: added(kubectl, "look")["state"].get("terminated"))
    status = added(kubectl, "look")
    assert status["state"]["terminated"]["exitCode"] == 3
    assert (status["restartCount"], status["ready"]) == (0, False)
    # It is in the pod: its hostname, and its network.
    assert kubectl("logs", "box", "-c", "look").out == "box\n"
    after = kubectl.get("pod", "box")
    assert [each["name"] for each in after["spec"]["ephemeralContainers"]] == ["look"]
    assert after["status"]["phase"] == "Running"
    assert after["status"]["containerStatuses"] == before["status"]["containerStatuses"]
    assert kubectl("get", "pod", "box").rows[0]["READY"] == "1/1"
    described = kubectl("describe", "pod", "box").out
    assert "Ephemeral Containers:\n  look:\n" in described
    events = [each["involvedObject"].get("fieldPath") for each in kubectl.items("events")]
    assert "spec.ephemeralContainers{look}" in events


def test_a_shell_in_it_is_a_terminal(kubectl: Kubectl) -> None:
    kubectl.apply(pod("box"))
    kubectl.wait("condition=Ready", "pod/box")
    namespace = f"--namespace={kubectl.namespace}"
    terminal = Terminal(kubectl, "debug", namespace, "-it", "box", "--image=shell", "-c", "shell")
    terminal.expect("try pressing enter")
    terminal.type("\n")
    terminal.expect("#")
    terminal.type("hostname; tty; exit 7\n")
    terminal.expect("box")
    terminal.expect("/dev/")
    terminal.close()
    status = until("it has ended", lambda: added(kubectl, "shell")["state"].get("terminated"))
    assert status["exitCode"] == 7


def test_what_was_added_stays_and_ends_with_its_pod(kubectl: Kubectl) -> None:
    kubectl.apply(pod("box"))
    kubectl.wait("condition=Ready", "pod/box")
    kubectl("debug", "box", "--image=pause", "-c", "one")
    kubectl("debug", "box", "--image=pause", "-c", "two", "--target=main")
    until("both run", lambda: all("running" in added(kubectl, name)["state"] for name in ("one", "two")))
    assert kubectl("exec", "box", "-c", "two", "--", "hostname").out == "box\n"
    # Bubblewrap makes PID namespaces and joins none.
    said = [each["message"] for each in kubectl.items("events") if each["reason"] == "NotHonoured"]
    assert said == ["targetContainerName: the processes of main are seen by kubectl exec in it only"]
    change = '{"spec": {"ephemeralContainers": [{"name": "one", "image": "sh"}]}}'
    refused = kubectl("patch", "pod", "box", "--subresource=ephemeralcontainers", "-p", change, check=False)
    assert refused.code == 1
    taken = kubectl("debug", "box", "--image=pause", "-c", "main", check=False)
    assert 'spec.ephemeralContainers[2].name: Duplicate value: "main"' in taken.err
    nobody = kubectl("debug", "box", "--image=pause", "-c", "three", "--target=nobody", check=False)
    assert 'ephemeralContainers[2].targetContainerName: Not found: "nobody"' in nobody.err
    created = pod("new")
    created["spec"]["ephemeralContainers"] = [{"name": "a", "image": "pause"}]
    refused = kubectl("create", "-f", "-", stdin=json.dumps(created), check=False)
    assert "spec.ephemeralContainers: Forbidden: cannot be set on create" in refused.err
    kubectl("delete", "pod", "box")


def test_a_copy_of_a_pod_with_other_containers(kubectl: Kubectl) -> None:
    kubectl.apply(pod("box", labels={"app": "web"}))
    kubectl.wait("condition=Ready", "pod/box")
    other = ("--set-image=main=ticker", "--image=pause", "-c", "look", "--share-processes=false")
    kubectl("debug", "box", "--copy-to=copy", *other)
    kubectl.wait("condition=Ready", "pod/copy")
    copy = kubectl.get("pod", "copy")
    assert {c["name"]: c["image"] for c in copy["spec"]["containers"]} == {"main": "ticker", "look": "pause"}
    assert "labels" not in copy["metadata"]  # so that no Service or ReplicaSet takes it for one of its own
    until("it ticks", lambda: "line 1" in kubectl("logs", "copy", "-c", "main").out)
    command = ("--", "/bin/sh", "-c", "echo hello; sleep 3600")
    kubectl("debug", "box", "--copy-to=other", "--replace", "--container=main", *command)
    until("the old one is gone", lambda: kubectl("get", "pod", "box", "--ignore-not-found").out == "")
    until("the new one speaks", lambda: kubectl("logs", "other", check=False).out == "hello\n")


def test_a_node_is_looked_at_from_a_pod_on_it(kubectl: Kubectl) -> None:
    command = ("--", "/bin/sh", "-c", "ls -d /host/etc; hostname")
    said = kubectl("debug", "node/node-2", "--image=sh", "--profile=sysadmin", *command)
    name = said.out.split()[3]
    assert said.out.startswith(f"Creating debugging pod {name} with container debugger on node node-2.")
    kubectl.wait("jsonpath={.status.phase}=Succeeded", f"pod/{name}")
    made = kubectl.get("pod", name)["spec"]
    assert (made["nodeName"], made["hostNetwork"], made["hostPID"]) == ("node-2", True, True)
    assert kubectl("logs", name).out.splitlines()[0] == "/host/etc"


def test_logs_of_many_pods_are_followed_at_once(kubectl: Kubectl) -> None:
    names = ("one", "two", "three")
    env = lambda name: [{"name": "NAME", "value": name}]  # noqa: E731
    kubectl.apply(*(pod(name, "named", labels={"app": "many"}, env=env(name)) for name in names))
    kubectl.wait("condition=Ready", "pod", "-l", "app=many")
    following = kubectl.start("logs", "-f", "-l", "app=many", "--prefix", "--since=1h", "--max-log-requests=3")
    try:
        assert following.stdout is not None
        last = dict.fromkeys(names, 0)
        while min(last.values()) < 20:
            prefix, name, number = following.stdout.readline().split()
            assert prefix == f"[pod/{name}/main]"
            assert int(number) == last[name] + 1 or last[name] == 0
            last[name] = int(number)
    finally:
        following.kill()
        following.communicate()
    few = kubectl("logs", "-f", "-l", "app=many", "--max-log-requests=2", check=False)
    assert "you are attempting to follow 3 log streams, but maximum allowed concurrency is 2" in few.err


def test_a_pod_for_one_command(kubectl: Kubectl) -> None:
    options = ("--image=sh", "--restart=Never", "--rm", "-i", "--command")
    said = kubectl("run", "once", *options, "--", "/bin/sh", "-c", "cat; echo done", stdin="in\n")
    assert said.out.splitlines()[-2:] == ["done", f'pod "once" deleted from {kubectl.namespace} namespace']
    assert kubectl("get", "pod", "once", "--ignore-not-found").out == ""
