"""exec, attach, cp, port-forward and proxy as somebody at a keyboard does them: kubectl against real containers."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from antei_process import IMAGES, Antei, Kubectl, following, needs_namespaces, old_kubectl_binary, pod, until, write_map
from terminal import Terminal

pytestmark = [pytest.mark.lasts(30), pytest.mark.live, needs_namespaces()]

MORE_IMAGES = {
    "bash": {"command": ["/bin/bash"]},
    "cat": {"command": ["/bin/cat"]},
    # Listens where only the pod itself can reach it, and everywhere.
    "inner": {"command": ["${python}", "-m", "http.server", "8080", "--bind", "127.0.0.1"]},
    "outer": {"command": ["${python}", "-m", "http.server", "8080"]},
}


@pytest.fixture(scope="module")
def antei(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Antei]:
    directory = tmp_path_factory.mktemp("exec")
    cluster = Antei(directory / "data", (write_map(directory / "map", {**IMAGES, **MORE_IMAGES}),))
    try:
        cluster.up()
        kubectl = cluster.in_namespace("default")
        served = {"ports": [{"containerPort": 8080, "name": "http"}]}
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "outer"},
            "spec": {"selector": {"app": "outer"}, "ports": [{"port": 80, "targetPort": "http"}]},
        }
        two = pod("two")
        two["spec"]["containers"].append({"name": "side", "image": "pause"})
        kubectl.apply(pod("box"), two, pod("inner", "inner", **served), pod("outer", "outer", **served), service)
        kubectl.wait("condition=Ready", "pod", "--all")
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(params=["newest", "1.20"])
def kubectl(request: pytest.FixtureRequest, antei: Antei, monkeypatch: pytest.MonkeyPatch) -> Kubectl:
    """kubectl of this release (WebSocket), and Debian's (SPDY/3.1), each test with both."""
    if request.param == "1.20":
        old = old_kubectl_binary()
        monkeypatch.setattr("antei_process.kubectl_binary", lambda: old)
    return antei.in_namespace("default")


def test_output_errors_and_exit_code_come_apart(kubectl: Kubectl) -> None:
    said = kubectl("exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (said.code, said.out) == (7, "out\n")
    assert said.err == "err\ncommand terminated with exit code 7\n"
    assert kubectl("exec", "box", "--", "true").out == ""
    assert kubectl("exec", "two", "-c", "side", "--", "hostname").out == "two\n"


def test_stdin_ends_where_it_ends(kubectl: Kubectl) -> None:
    text = "line\n" * 200_000
    said = kubectl("exec", "-i", "box", "--", "sha1sum", stdin=text)
    assert said.out.split()[0] == hashlib.sha1(text.encode()).hexdigest()
    assert kubectl("exec", "-i", "box", "--", "head", "-n", "1", stdin=text).out == "line\n"
    assert kubectl("exec", "box", "--", "cat", stdin=text).out == ""  # without -i there is none


def test_a_signalled_command_and_one_that_is_missing(kubectl: Kubectl) -> None:
    assert kubectl("exec", "box", "--", "sh", "-c", "kill -9 $$", check=False).code == 137
    said = kubectl("exec", "box", "--", "no-such-program", check=False)
    assert said.code == 1
    assert 'exec: "no-such-program": executable file not found in $PATH' in said.err
    said = kubectl("exec", "box", "--", "/no/such", check=False)
    assert 'exec: "/no/such": no such file or directory' in said.err


REFUSED = {
    "no such pod": (["exec", "nope", "--", "true"], 'pods "nope" not found'),
    "no such container": (["exec", "box", "-c", "x", "--", "true"], "container x is not valid for pod box"),
    "no such port": (["port-forward", "pod/nope", "1:1"], 'pods "nope" not found'),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_there_is_said(kubectl: Kubectl, arguments: list[str], message: str) -> None:
    said = kubectl(*arguments, check=False)
    assert said.code == 1
    assert message.split(" for ")[0] in said.err


def test_files_are_copied_both_ways(kubectl: Kubectl, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "large").write_bytes(os.urandom(8 * 1024 * 1024))
    (tree / "名前").write_text("x")
    kubectl("exec", "box", "--", "rm", "-rf", "/tmp/tree")
    kubectl("cp", str(tree), "box:/tmp/tree")
    kubectl("cp", "box:/tmp/tree", str(tmp_path / "back"))
    assert {p.name: p.read_bytes() for p in tree.iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "back").iterdir()
    }


def test_a_shell_has_a_terminal_with_job_control_and_the_window_of_its_user(kubectl: Kubectl) -> None:
    terminal = Terminal(kubectl, "exec", "-it", "box", "--", "bash", "--norc")
    terminal.expect(r"[#$] ")
    terminal.type("tty; stty size; echo T=$TERM\n")
    terminal.expect(r"/dev/pts/\d+\r\n30 100\r\nT=xterm\r\n")
    terminal.type("sleep 1000\n")
    terminal.expect("sleep 1000\r\n")
    time.sleep(0.2)
    terminal.type("\x03")  # ends the command, not the shell
    terminal.expect(r"\^C")
    terminal.type("sleep 1000 & jobs; kill %1\n")
    terminal.expect("Running")
    terminal.resize(120, 40)
    until("the window has its new size", lambda: _size(terminal) == "40 120")
    terminal.type("exit 5\n")
    assert terminal.close() == 5


def _size(terminal: Terminal) -> str:
    terminal.type("stty size\n")
    return terminal.expect(r"\d+ \d+(?=\r\n)")


def test_a_container_with_a_terminal_is_attached_to(kubectl: Kubectl) -> None:
    terminal = Terminal(kubectl, "run", "shell", "--rm", "-it", "--image=bash", "--restart=Never")
    terminal.type("\n")
    terminal.expect(r"[#$] ")
    terminal.type("tty; sleep 1000\n")
    terminal.expect("/dev/console")
    time.sleep(0.2)
    terminal.type("\x03")
    terminal.expect(r"\^C")
    terminal.resize(120, 40)
    until("the window has its new size", lambda: _size(terminal) == "40 120")
    terminal.type("exit\n")
    assert terminal.close() == 0


def test_stdin_of_a_container_ends_with_the_first_who_attached(kubectl: Kubectl) -> None:
    said = kubectl("run", "cat", "--rm", "-i", "--image=cat", "--restart=Never", "--quiet", stdin="hello\n")
    assert said.out.startswith("hello\n")


def test_output_is_followed_from_the_moment_of_attaching(kubectl: Kubectl) -> None:
    kubectl("delete", "pod", "ticking", "--ignore-not-found", "--grace-period=1")
    kubectl.apply(pod("ticking", "ticker"))
    kubectl.wait("condition=Ready", "pod/ticking")
    with following(kubectl.start("attach", "ticking")) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert re.fullmatch(r"line \d+\n", first)
        assert process.stdout.readline() == f"line {int(first.split()[1]) + 1}\n"
    kubectl("delete", "pod", "ticking", "--wait=false")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as answer:
        body: bytes = answer.read()
        return body


@pytest.mark.parametrize("name", ["pod/inner", "pod/outer", "service/outer"])
def test_a_port_is_forwarded_to_the_pods_own_loopback(kubectl: Kubectl, name: str) -> None:
    port = free_port()
    far = "80" if name.startswith("service") else "8080"
    with following(kubectl.start("port-forward", name, f"{port}:{far}")) as process:
        assert process.stdout is not None
        assert "Forwarding from 127.0.0.1" in process.stdout.readline()
        for _ in range(5):
            assert _get(f"http://127.0.0.1:{port}/etc/hostname") == name.partition("/")[2].encode() + b"\n"


def test_pods_and_services_are_reached_through_kubectl_proxy(kubectl: Kubectl) -> None:
    port = free_port()
    with following(kubectl.start("proxy", f"--port={port}")) as process:
        assert process.stdout is not None
        assert "Starting to serve" in process.stdout.readline()
        base = f"http://127.0.0.1:{port}/api/v1/namespaces/default"
        for target in ("pods/outer", "pods/outer:8080", "pods/outer:http", "services/outer", "services/outer:80"):
            assert _get(f"{base}/{target}/proxy/etc/hostname") == b"outer\n", target
        with pytest.raises(urllib.error.HTTPError) as refused:  # it listens on its loopback only
            _get(f"{base}/pods/inner:8080/proxy/")
        with refused.value as answer:
            assert answer.code == 503
        assert _get(f"http://127.0.0.1:{port}/api/v1/nodes/node-1/proxy/healthz") == b"ok"


# What is left behind


def _commands(word: str) -> list[psutil.Process]:
    found: list[Any] = []
    for process in psutil.process_iter(["cmdline"]):
        if process.info["cmdline"] == ["sleep", word]:
            found.append(process)
    return found


@pytest.mark.parametrize("flags", [[], ["-i"]])
def test_a_client_that_is_killed_takes_its_command_with_it(kubectl: Kubectl, flags: list[str]) -> None:
    process = kubectl.start("exec", *flags, "box", "--", "sh", "-c", "sleep 12345 & sleep 12345")
    until("the command runs", lambda: len(_commands("12345")) == 2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    until("nothing of it runs", lambda: not _commands("12345"))


def test_a_slow_reader_costs_no_memory_and_nobody_else_waits(antei: Antei, kubectl: Kubectl) -> None:
    server = psutil.Process(antei.pid)
    process = kubectl.start("exec", "box", "--", "cat", "/dev/zero")  # nobody reads what it says
    try:
        time.sleep(1)
        before = server.memory_info().rss
        time.sleep(1)
        assert server.memory_info().rss - before < 16 * 1024 * 1024
        assert kubectl("exec", "box", "--", "echo", "meanwhile").out == "meanwhile\n"
    finally:
        process.kill()
        process.communicate()


def test_nothing_is_left_open(antei: Antei, kubectl: Kubectl, tmp_path: Path) -> None:
    server = psutil.Process(antei.pid)

    def session() -> None:
        kubectl("exec", "-i", "box", "--", "cat", stdin="x")
        kubectl("exec", "box", "--", "no-such-program", check=False)
        kubectl("exec", "nope", "--", "true", check=False)
        terminal = Terminal(kubectl, "exec", "-it", "box", "--", "true")
        terminal.close()
        port = free_port()
        with following(kubectl.start("port-forward", "pod/inner", f"{port}:8080")) as process:
            assert process.stdout is not None
            process.stdout.readline()
            _get(f"http://127.0.0.1:{port}/etc/hostname")

    session()
    time.sleep(3)
    before = server.num_fds()
    for _ in range(3):
        session()
    until("descriptors are given back", lambda: server.num_fds() <= before + 1)
