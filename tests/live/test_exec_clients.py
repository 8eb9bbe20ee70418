"""exec and port-forward by Python's clients: the official one and kr8s."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from antei_process import Antei, needs_namespaces, pod, write_map

pytestmark = [
    pytest.mark.live,
    needs_namespaces(),
    # Their own, of which we can mend nothing.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def antei(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Antei]:
    directory = tmp_path_factory.mktemp("clients")
    images = {
        "pause": {"command": ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait; done"]},
        "inner": {"command": ["${python}", "-m", "http.server", "8080", "--bind", "127.0.0.1"]},
    }
    cluster = Antei(directory / "data", (write_map(directory / "map", images),))
    try:
        cluster.up()
        kubectl = cluster.in_namespace("default")
        kubectl.apply(pod("box"), pod("inner", "inner"))
        kubectl.wait("condition=Ready", "pod", "--all")
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def official(antei: Antei) -> Any:
    config = pytest.importorskip("kubernetes.config")
    client = pytest.importorskip("kubernetes.client")
    config.load_kube_config(str(antei.kubeconfig))
    return client.CoreV1Api()


def test_the_official_client_runs_commands(official: Any) -> None:
    stream = pytest.importorskip("kubernetes.stream").stream
    options = {"stderr": True, "stdout": True, "stdin": False, "tty": False}
    said = stream(
        official.connect_get_namespaced_pod_exec, "box", "default", command=["sh", "-c", "echo out"], **options
    )
    assert said == "out\n"
    session = stream(
        official.connect_get_namespaced_pod_exec,
        "box",
        "default",
        command=["sh", "-c", "read line; echo got $line; echo err >&2; exit 3"],
        **{**options, "stdin": True},
        _preload_content=False,
    )
    session.write_stdin("hello\n")
    session.run_forever(timeout=20)
    assert (session.read_stdout(), session.read_stderr(), session.returncode) == ("got hello\n", "err\n", 3)


def test_the_official_client_forwards_ports(official: Any) -> None:
    portforward = pytest.importorskip("kubernetes.stream").portforward
    forwarded = portforward(official.connect_get_namespaced_pod_portforward, "inner", "default", ports="8080,9")
    connection = forwarded.socket(8080)
    connection.setblocking(True)
    connection.sendall(b"GET /etc/hostname HTTP/1.0\r\n\r\n")
    answer = b""
    while data := connection.recv(4096):
        answer += data
    assert answer.startswith(b"HTTP/1.0 200 OK")
    assert answer.endswith(b"\r\n\r\ninner\n")
    assert "connection refused" in str(forwarded.error(9))


async def test_kr8s_runs_commands_and_forwards_ports(antei: Antei) -> None:
    kr8s = pytest.importorskip("kr8s.asyncio")
    objects = pytest.importorskip("kr8s.asyncio.objects")
    api = await kr8s.api(kubeconfig=str(antei.kubeconfig))
    box = await objects.Pod.get("box", namespace="default", api=api)
    done = await box.exec(["echo", "out"], check=False)
    assert (done.returncode, done.stdout) == (0, b"out\n")
    failed = await box.exec(["sh", "-c", "echo err >&2; exit 4"], check=False)
    assert (failed.returncode, failed.stderr) == (4, b"err\n")
    inner = await objects.Pod.get("inner", namespace="default", api=api)
    async with inner.portforward(remote_port=8080, local_port="auto") as port:
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /etc/hostname HTTP/1.0\r\n\r\n")
            assert (await reader.read()).endswith(b"\r\n\r\ninner\n")
            writer.close()
