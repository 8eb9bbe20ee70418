"""Which pod answered, from the kernel's connection tracking, in a namespace where a Service is nftables' work."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from antei.rehearse.load import Kind, LoadClient, LoadSpec, UnansweredPorts, target_of_url
from antei.rehearse.load.conntrack import ConntrackAttribution
from antei.rehearse.model import Outcome
from antei.world import namespaces
from antei.world.namespaces import NamespaceSockets

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(
        sys.platform != "linux" or os.geteuid() != 0 or shutil.which("nft") is None,
        reason="needs root and nft on Linux",
    ),
]
_PODS = {"127.0.0.11": "chat-a", "127.0.0.12": "chat-b"}
_RULES = """
table ip test {
  chain output {
    type nat hook output priority -100;
    ip daddr 10.96.0.7 tcp dport 80 dnat to numgen inc mod 2 map { 0 : 127.0.0.11 . 8080, 1 : 127.0.0.12 . 8080 }
  }
}
"""


def _make(name: str) -> None:
    namespaces.create(name)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "address", "add", "10.96.0.7/32", "dev", "lo"], check=True)
    subprocess.run(["nft", "-f", "-"], input=_RULES.encode(), check=True)


@pytest.fixture
async def sockets() -> AsyncIterator[tuple[str, NamespaceSockets]]:
    name = f"antei-l{os.getpid()}"
    thread = ThreadPoolExecutor(1)  # a thread of its own: it is inside afterwards
    try:
        await asyncio.get_running_loop().run_in_executor(thread, _make, name)
        opened = await asyncio.to_thread(NamespaceSockets, name)
        yield name, opened
        await asyncio.to_thread(opened.close)
    finally:
        thread.shutdown(wait=False)
        await asyncio.to_thread(namespaces.remove, name)


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tell: Callable[[], object] = lambda: None
) -> None:
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            tell()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


@pytest.mark.parametrize("kind", [Kind.HTTP, Kind.HTTP_KEEP_ALIVE, Kind.TCP])
async def test_each_request_names_the_pod_that_its_connection_went_to(
    sockets: tuple[str, NamespaceSockets], kind: Kind
) -> None:
    name, opener = sockets
    servers, answered = [], Counter[str | None]()
    for ip, pod in _PODS.items():
        listener = opener.open(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind((ip, 8080))
        answer = partial(_answer, tell=partial(answered.update, [pod]))
        servers.append(await asyncio.start_server(answer, sock=listener))
    attribution = await ConntrackAttribution.open(name, lambda ip: _PODS.get(ip, ""))
    scheme = "tcp" if kind is Kind.TCP else "http"
    spec = LoadSpec(name="service", kind=kind, url=f"{scheme}://10.96.0.7:80", rate=500.0, connections=4)
    client = LoadClient(spec, target_of_url(spec), opener, origin=0.0, attribution=attribution, count=200)
    await client.start()
    await client.wait()
    await client.stop()
    attribution.close()
    for server in servers:
        server.close()
    assert Counter(request.outcome for request in client.requests) == {Outcome.OK: 200}
    named = Counter(request.pod for request in client.requests)
    if kind is Kind.HTTP_KEEP_ALIVE:  # a connection that is slow to answer is passed over: the halves are not exact
        assert named == answered
        assert named.keys() == {"chat-a", "chat-b"}
    else:
        assert named == {"chat-a": 100, "chat-b": 100}


async def _do(name: str, act: Callable[[], None]) -> None:
    def inside() -> None:
        namespaces.enter(name)
        act()

    thread = ThreadPoolExecutor(1)
    await asyncio.get_running_loop().run_in_executor(thread, inside)
    thread.shutdown(wait=False)


def _hang() -> None:
    rules = "table ip hung { chain input { type filter hook input priority 0; ip daddr 127.0.0.12 drop; }; }"
    subprocess.run(["nft", "-f", "-"], input=rules.encode(), check=True)
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40199")


def _take_out() -> None:
    rules = _RULES.replace("mod 2", "mod 1").replace(", 1 : 127.0.0.12 . 8080", "")
    subprocess.run(["nft", "-f", "-"], input=f"delete table ip test\n{rules}".encode(), check=True)


async def test_a_port_that_nobody_answered_does_not_lead_a_later_request_astray(
    sockets: tuple[str, NamespaceSockets],
) -> None:
    """127.0.0.12 hangs, leaves the Service, and the client comes round to the ports that it had tried it from."""
    name, opener = sockets
    listener = opener.open(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.11", 8080))
    server = await asyncio.start_server(_answer, sock=listener)
    ports = UnansweredPorts(opener)

    async def ask(count: int) -> Counter[Outcome]:
        spec = LoadSpec(name="s", kind=Kind.HTTP, url="http://10.96.0.7:80", rate=100.0, timeout_seconds=1.0)
        client = LoadClient(spec, target_of_url(spec), opener, origin=0.0, count=count, ports=ports)
        await client.start()
        await client.wait()
        await client.stop()
        return Counter(request.outcome for request in client.requests)

    try:
        await _do(name, _hang)
        assert await ask(40) == {Outcome.OK: 20, Outcome.TIMED_OUT: 20}
        assert len(ports) == 20
        await _do(name, _take_out)
        assert await ask(400) == {Outcome.OK: 400}
    finally:
        ports.close()
        server.close()


async def test_a_namespace_that_is_not_there_is_an_error_at_once() -> None:
    with pytest.raises(FileNotFoundError):
        await ConntrackAttribution.open("antei-never-there", str)
