from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from lightkube.resources.core_v1 import Pod

from antei.network.addresses import ClusterAddresses
from antei.network.host_ports import HostPorts, PodPorts, arrange, ports_of
from antei.world.sockets import HostSockets

NODES = ClusterAddresses.of(["a", "b"], loopback=False)
ON_LOOPBACK = ClusterAddresses.of(["a", "b"], loopback=True)


def pod(
    name: str, *ports: dict[str, Any], node: str = "a", ip: str = "10.244.1.2", minute: int = 0, **spec: Any
) -> Pod:
    containers = [{"name": "main", "ports": [{"containerPort": 80, **port} for port in ports]}]
    manifest = {
        "metadata": {
            "name": name,
            "namespace": "ns",
            "uid": name,
            "creationTimestamp": datetime(2026, 1, 1, 0, minute, tzinfo=UTC),
        },
        "spec": {"nodeName": node, "containers": containers, **spec},
        "status": {"podIP": ip, "phase": "Running"},
    }
    return msgspec.convert(manifest, Pod)


def asked(*pods: Pod) -> list[PodPorts]:
    return [ports for each in pods if (ports := ports_of(each)) is not None]


@pytest.mark.parametrize(
    "silent",
    [
        pod("no-port", {}),
        pod("own", {"hostPort": 80}, hostNetwork=True),
        pod("no-address", {"hostPort": 80}, ip=""),
    ],
    ids=["no-port", "host-network", "no-address"],
)
def test_pods_that_ask_for_nothing_or_have_no_address(silent: Pod) -> None:
    assert ports_of(silent) is None


def test_a_sidecar_has_ports_and_a_container_that_runs_first_has_none() -> None:
    first = {"name": "first", "ports": [{"containerPort": 1, "hostPort": 1}]}
    sidecar = {"name": "sidecar", "restartPolicy": "Always", "ports": [{"containerPort": 2, "hostPort": 3}]}
    (ports,) = asked(pod("web", initContainers=[first, sidecar]))
    assert [(port.container, port.number, port.target) for port in ports.ports] == [("sidecar", 3, 2)]


@pytest.mark.parametrize(
    ("host_ip", "places"),
    [
        ("", ["127.0.0.1", "10.128.0.1"]),
        ("0.0.0.0", ["127.0.0.1", "10.128.0.1"]),
        ("::", ["127.0.0.1", "10.128.0.1"]),
        ("10.128.0.1", ["10.128.0.1"]),
        ("127.0.0.5", ["127.0.0.5"]),
    ],
)
def test_where_a_port_is(host_ip: str, places: list[str]) -> None:
    found = arrange(asked(pod("web", {"hostPort": 8080, "hostIP": host_ip})), NODES)
    assert list(found.places["TCP"]) == [(ip, 8080) for ip in places]
    assert {(to.ip, port.target) for to, port in found.places["TCP"].values()} == {("10.244.1.2", 80)}


def test_of_two_nodes_the_oldest_pod_has_the_loopback_and_each_its_own_node() -> None:
    young = pod("a-young", {"hostPort": 8080}, node="b", minute=5)
    old = pod("old", {"hostPort": 8080}, minute=1)
    found = arrange(asked(young, old), NODES)
    assert {ip: to.name for (ip, _), (to, _) in found.places["TCP"].items()} == {
        "127.0.0.1": "ns/old",
        "10.128.0.1": "ns/old",
        "10.128.0.2": "ns/a-young",
    }
    assert [(to.name, said) for to, said in found.refused] == [
        (
            "ns/a-young",
            "hostPort 8080 of container main is not published at 127.0.0.1:8080: it leads to pod ns/old",
        )
    ]


def test_one_port_of_two_protocols_is_two_and_others_are_refused() -> None:
    ports = [{"hostPort": 53, "protocol": protocol} for protocol in ("UDP", "TCP", "SCTP")]
    found = arrange(asked(pod("dns", *ports)), NODES)
    assert found.places["UDP"].keys() == found.places["TCP"].keys()
    assert ("127.0.0.1", 53) in found.places["UDP"]
    assert [said for _, said in found.refused] == [
        "hostPort 53 of container main is not published: SCTP is not relayed"
    ]


def test_in_the_machine_s_network_a_pod_listens_itself_unless_its_port_is_another() -> None:
    same, other = {"hostPort": 80}, {"hostPort": 8080, "containerPort": 81}
    found = arrange(asked(pod("web", same, other, ip="127.244.1.2")), ON_LOOPBACK)
    assert list(found.places["TCP"]) == [("127.0.0.1", 8080), ("127.128.0.1", 8080)]


class Informer:
    def add_handler(self, handler: Any) -> None:
        self.handler = handler

    async def wait_synced(self) -> None:
        pass


class Recorder:
    def __init__(self) -> None:
        self.said: list[tuple[str, ...]] = []

    def event(self, of: Pod, kind: str, reason: str, message: str) -> None:
        assert of.metadata is not None
        self.said.append((str(of.metadata.name), kind, reason, message))


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def free_ports(count: int) -> Sequence[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    numbers = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return numbers


async def test_a_port_leads_to_the_pod_until_it_is_gone_and_a_taken_one_is_told_of_once() -> None:
    informer, recorder = Informer(), Recorder()
    server = await asyncio.start_server(lambda _, writer: (writer.write(b"hello"), writer.close()), "127.0.0.1", 0)
    inside = server.sockets[0].getsockname()[1]
    (free,) = free_ports(1)
    informers: Any = SimpleNamespace(of=lambda _: informer)
    recording: Any = recorder
    ports = HostPorts(informers, ON_LOOPBACK, HostSockets(), recording)
    running = asyncio.create_task(ports.run())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        wanted = [{"hostPort": each, "containerPort": inside, "hostIP": "127.0.0.1"} for each in (free, number)]
        web = pod("web", *wanted, ip="127.0.0.1")
        for _ in range(2):
            informer.handler(None, web)
            await turns()
        reader, writer = await asyncio.open_connection("127.0.0.1", free)
        assert await reader.read() == b"hello"
        writer.close()
    assert ports.published == [("Pod ns/web", f"127.0.0.1:{free}")]
    assert recorder.said == [
        (
            "web",
            "Warning",
            "HostPortNotPublished",
            f"hostPort {number} of container main is not published at 127.0.0.1:{number}: Address already in use",
        )
    ]
    informer.handler(web, None)
    await turns()
    assert ports.published == []
    running.cancel()
    await ports.aclose()
    server.close()


async def test_a_udp_port_leads_to_the_pod_until_it_is_gone() -> None:
    informer, recorder = Informer(), Recorder()
    sockets = HostSockets()
    inside, client = (sockets.open(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    (free,) = free_ports(1)
    informers: Any = SimpleNamespace(of=lambda _: informer)
    recording: Any = recorder
    ports = HostPorts(informers, ON_LOOPBACK, sockets, recording)
    running = asyncio.create_task(ports.run())
    loop = asyncio.get_running_loop()
    with inside, client:
        inside.bind(("127.0.0.1", 0))
        target = inside.getsockname()[1]
        wanted = {"hostPort": free, "containerPort": target, "hostIP": "127.0.0.1", "protocol": "UDP"}
        names = pod("names", wanted, ip="127.0.0.1")
        informer.handler(None, names)
        await turns()
        assert ports.published == [("Pod ns/names", f"127.0.0.1:{free}/UDP")]
        async with asyncio.timeout(60):
            await loop.sock_sendto(client, b"who?", ("127.0.0.1", free))
            data, back = await loop.sock_recvfrom(inside, 100)
            await loop.sock_sendto(inside, data + b" me", back)
            assert await loop.sock_recv(client, 100) == b"who? me"
        informer.handler(names, None)
        await turns()
        assert ports.published == []
    assert recorder.said == []
    running.cancel()
    await ports.aclose()
