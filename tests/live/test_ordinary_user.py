"""A cluster of root's and one of an ordinary user's, each on a machine of its own: what is promised is the same.

far  198.51.100.1 ── veth ── 198.51.100.2  near: antei, kubectl ── pasta ── the cluster's namespace ── pods
HTTP, DNS                                  127.0.0.1: the API, node ports
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import dns.message
import dns.rrset
import ordinary_user
import psutil
import pytest
from antei_process import Antei, Kubectl, containers_of, deployment, needs_namespaces, pod, until, write_map
from real_images import busybox_layer, missing, write_layout

from antei.world import namespaces

pytestmark = [
    pytest.mark.lasts(35),
    pytest.mark.live,
    needs_namespaces(),
    pytest.mark.skipif(
        any(shutil.which(name) is None for name in ("pasta", "newuidmap")), reason="needs pasta and newuidmap"
    ),
]
FAR = "198.51.100.1"
ANSWER = "HTTP/1.0 200 OK\r\nContent-Length: 8\r\n\r\nfar away"
#: Nothing of it is there before the test.
HELD = ".antei-namespaces"


@dataclass(frozen=True)
class Machine:
    """A network of its own with one neighbour, who answers HTTP and DNS; `home` is its user's."""

    near: str
    home: Path
    is_ordinary: bool

    def antei(self, *laid_over: str) -> Antei:
        """`laid_over`: WHERE=WHAT of the machine, besides."""
        launcher = (sys.executable, ordinary_user.__file__, "--netns", self.near)
        user = ("--user", str(self.home)) if self.is_ordinary else ()
        pairs = (f"/etc/resolv.conf={self.home / 'resolv.conf'}", *laid_over)
        files = tuple(word for pair in pairs for word in ("--file", pair))
        return Antei(
            self.home / "data",
            (self.home / "antei.yaml",),
            {"ANTEI_IMAGES": str(self.home / "images"), "HOME": str(self.home)},
            as_user=(*launcher, *files, *user),
            where=("ip", "netns", "exec", self.near),
        )


@pytest.fixture(params=["root", "ordinary"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    home = Path(tempfile.mkdtemp(prefix="antei-test-", dir="/tmp"))  # what pytest makes is root's alone
    near, far = f"t{os.getpid()}near", f"t{os.getpid()}far"
    found = Machine(near, home, request.param == "ordinary")
    try:
        make_network(near, far)
        (home / "resolv.conf").write_text(f"nameserver {FAR}\n")
        (home / "resolv.conf").chmod(0o644)
        write_map(home)
        if found.is_ordinary:
            give(home, ordinary_user.UID)
        with Neighbour(far):
            yield found
    finally:
        for namespace in (near, far):
            subprocess.run(["ip", "netns", "del", namespace], check=False)
        shutil.rmtree(home)


def make_network(near: str, far: str) -> None:
    for namespace, device, address in ((near, "toward", "198.51.100.2/24"), (far, "back", f"{FAR}/24")):
        run("ip", "netns", "add", namespace)
        run("ip", "-n", namespace, "link", "set", "lo", "up")
        if namespace == far:
            run("ip", "-n", near, "link", "add", "toward", "type", "veth", "peer", "back", "netns", far)
            run("ip", "-n", near, "addr", "add", "198.51.100.2/24", "dev", "toward")
            run("ip", "-n", near, "link", "set", "toward", "up")
            run("ip", "-n", far, "addr", "add", address, "dev", device)
            run("ip", "-n", far, "link", "set", device, "up")
    run("ip", "-n", near, "route", "add", "default", "via", FAR)


class Neighbour:
    """Serves both in threads, until the end of the block; who asked is in `clients`."""

    def __init__(self, namespace: str) -> None:
        self.stream = namespaces.open_socket(namespace, socket.AF_INET, socket.SOCK_STREAM)
        self.datagrams = namespaces.open_socket(namespace, socket.AF_INET, socket.SOCK_DGRAM)
        self.stream.bind((FAR, 80))
        self.stream.listen()
        self.datagrams.bind((FAR, 53))
        self.clients: list[str] = []

    def __enter__(self) -> Neighbour:
        for opened, serve in ((self.stream, self._http), (self.datagrams, self._dns)):
            opened.setblocking(True)
            threading.Thread(target=serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for opened in (self.stream, self.datagrams):
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)  # wakes the thread
            opened.close()

    def _http(self) -> None:
        with suppress(OSError):
            while True:
                connection, client = self.stream.accept()
                with connection, suppress(OSError):
                    self.clients.append(client[0])
                    connection.recv(4096)
                    connection.sendall(ANSWER.encode())

    def _dns(self) -> None:
        with suppress(OSError):
            while True:
                data, client = self.datagrams.recvfrom(4096)
                if not data:
                    return
                query = dns.message.from_wire(data)
                answer = dns.message.make_response(query)
                name = query.question[0].name
                answer.answer = [dns.rrset.from_text(name, 60, "IN", "A", FAR)]
                self.datagrams.sendto(answer.to_wire(), client)


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def reached(*command: str) -> str:
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout


def give(path: Path, uid: int) -> None:
    for each in (path, *path.rglob("*")):
        os.chown(each, uid, uid)


@pytest.fixture
def antei(machine: Machine) -> Iterator[Antei]:
    cluster = machine.antei()
    try:
        yield cluster
    finally:
        cluster.close()
        with suppress(AssertionError):  # what has been told to end may take a moment to be gone
            until("nothing of the user runs", lambda: not users_processes(machine), 20)
        left = users_processes(machine)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
    assert not left


def users_processes(machine: Machine) -> list[psutil.Process]:
    """Those of the user and of their containers' users; of root's only what has to do with this test."""
    found = containers_of(machine.home)
    if machine.is_ordinary:
        ids = {ordinary_user.UID, *range(ordinary_user.SUBORDINATE, ordinary_user.SUBORDINATE + 65536)}
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.uids().effective in ids and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
    return found


FETCH = "wget -qO- http://{host}/ 2>/dev/null || curl -s http://{host}/"


def test_pods_reach_what_the_machine_reaches_by_name_and_address(antei: Antei, machine: Machine) -> None:
    antei.up("--nodes", "1")
    kubectl = antei.in_namespace("default")
    script = "; ".join(FETCH.format(host=host) + "; echo" for host in (FAR, "far.example"))
    kubectl.apply(pod("asks", "sh", args=[script], restartPolicy="Never"))
    kubectl.wait("jsonpath={.status.phase}=Succeeded", "pod/asks")
    assert kubectl("logs", "asks").out.split("\n") == ["far away", "far away", ""]
    # Nothing comes in by that way, and the machine's loopback is not at its end.
    url = antei.kubectl("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}").out
    port = url.rpartition(":")[2]
    gateway = "timeout 1 bash -c '</dev/tcp/169.254.20.1/{}' 2>/dev/null && echo reached || echo not reached"
    kubectl.apply(pod("inside", "sh", args=[gateway.format(port)], restartPolicy="Never"))
    kubectl.wait("jsonpath={.status.phase}=Succeeded", "pod/inside")
    assert kubectl("logs", "inside").out == "not reached\n"


@pytest.mark.parametrize("machine", ["ordinary"], indirect=True)
def test_files_are_laid_over_the_root_beside_containers_of_others(machine: Machine) -> None:
    """What they have mounted is locked in the user's namespaces, and no overlay spans it."""
    ours = Path(tempfile.mkdtemp(prefix="antei-test-", dir="/dev/shm"))  # root's, as is the directory of the mount
    theirs = Path(tempfile.mkdtemp(prefix="antei-test-", dir="/tmp"))
    theirs.chmod(0o755)
    (theirs / "shm").mkdir()
    script = "cat /opt/antei-test/greeting && touch /opt/antei-test/written && echo and written"
    files = {"/opt/antei-test/greeting": {"content": "laid over "}}
    write_map(machine.home, {"greeter": {"command": ["/bin/sh", "-c", script], "files": files}})
    cluster = machine.antei(f"{theirs / 'shm'}={ours}")
    try:
        cluster.up("--nodes", "1")
        kubectl = cluster.in_namespace("default")
        kubectl.apply(pod("greeter", "greeter", restartPolicy="Never"))
        kubectl.wait("jsonpath={.status.phase}=Succeeded", "pod/greeter")
        assert kubectl("logs", "greeter").out == "laid over and written\n"
    finally:
        cluster.close()
        shutil.rmtree(ours)
        shutil.rmtree(theirs)


@pytest.mark.skipif(bool(missing()), reason=missing())
@pytest.mark.parametrize("machine", ["ordinary"], indirect=True)
def test_real_containers_outlive_antei_and_are_reached_from_the_machine(antei: Antei, machine: Machine) -> None:
    layout = machine.home / "box"
    write_layout(layout, "x", [busybox_layer({"www/index.html": "of a pod\n"})], {"Env": ["PATH=/bin"], "User": "app"})
    give(layout, ordinary_user.UID)
    antei.cli("image", "load", str(layout), "--name", "box:1")
    antei.up("--nodes", "1")
    kubectl = antei.in_namespace("default")
    serve = "id -u; echo kept >/data/file; stat -c %u /home/app; trap 'exit 0' TERM; httpd -f -p 8080 -h /www & wait"
    kubectl.apply(
        deployment(
            "web",
            2,
            "box:1",
            command=["sh", "-c", serve],
            securityContext={"fsGroup": 43},
            volumes=[{"name": "data", "emptyDir": {}}],
            volumeMounts=[{"name": "data", "mountPath": "/data"}],
            readinessProbe={"exec": {"command": ["cat", "/data/file"]}, "periodSeconds": 1},
        )
    )
    kubectl("expose", "deployment", "web", "--type=NodePort", "--port=80", "--target-port=8080")
    kubectl.rolled_out("deployment/web")
    assert kubectl("logs", "deployment/web").out == "1000\n1000\n"
    before = identities(kubectl)
    assert len(before) == 2
    antei.kill()
    antei.up("--nodes", "1")
    assert identities(kubectl) == before
    port = kubectl("get", "service", "web", "-o", "jsonpath={.spec.ports[0].nodePort}").out
    fetch = ("ip", "netns", "exec", machine.near, "curl", "-s", f"http://127.0.0.1:{port}/")
    until("the Service answers on the machine's loopback", lambda: reached(*fetch) == "of a pod\n")
    assert kubectl("exec", "deployment/web", "--", "stat", "-c", "%g", "/data/file").out == "43\n"
    assert (machine.home / HELD).exists()


def identities(kubectl: Kubectl) -> dict[str, tuple[str, int]]:
    statuses = {found["metadata"]["uid"]: found["status"] for found in kubectl.items("pods", "-l", "app=web")}
    return {
        uid: (status["containerStatuses"][0]["containerID"], status["containerStatuses"][0]["restartCount"])
        for uid, status in statuses.items()
    }


@pytest.mark.parametrize("machine", ["ordinary"], indirect=True)
def test_what_the_user_does_not_get_is_said_in_a_line_each(antei: Antei, machine: Machine) -> None:
    """On a machine without uidmap, passt and runc."""
    tools = machine.home / "bin"
    tools.mkdir()
    for name in ("sh", "sleep", "nft", "nsenter", "setpriv", "true", "ip"):
        (tools / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    antei.cli("up", "--detach", "--nodes", "1", "--data", str(antei.data), PATH=str(tools))
    said = antei.cli("status", "--data", str(antei.data), check=False).out
    notes = [line for line in said.splitlines() if line.startswith("note: ")]
    assert [line for line in notes if "limits" not in line] == [
        "note: containers have one user and one group id, yours; runAsUser and what an image gives to others fail:"
        " install the package uidmap, and see that /etc/subuid and /etc/subgid have a line for you",
        "note: only images of an image map run: real images need runc, conmon, skopeo, umoci: install the packages of"
        " these names",
        "note: pods reach nothing outside of the cluster: install the package passt",
    ]
