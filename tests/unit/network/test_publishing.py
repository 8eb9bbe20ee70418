from __future__ import annotations

import logging
import socket
from dataclasses import replace

import pytest

from antei.network.addresses import ClusterAddresses
from antei.network.datagrams import DatagramRelay
from antei.network.publishing import LoopbackBackend, NodePortPublisher
from antei.network.relay import Dial, Relay
from antei.network.services import Endpoint, ServicePort, ServiceTable
from antei.world.sockets import HostSockets
from antei.world.virtual import SeededChance

WEB = ServicePort("ns", "web", "", "TCP", 80, ("10.96.1.1",), 30080, (), None)


class RecordingRelay(Relay):
    wanted: dict[tuple[str, int], Dial]

    def publish(self, wanted: object) -> None:
        self.wanted = dict(wanted)  # type: ignore[call-overload]


def backend(relay: Relay) -> LoopbackBackend:
    return LoopbackBackend(relay, HostSockets(), ClusterAddresses.of(["a"], loopback=True), SeededChance(1))


class RecordingDatagrams(DatagramRelay):
    wanted: dict[tuple[str, int], tuple[str, int]]

    def publish(self, wanted: object) -> None:
        self.wanted = dict(wanted)  # type: ignore[call-overload]


def test_with_namespaces_node_ports_are_on_the_loopback() -> None:
    relay, datagrams = RecordingRelay(), RecordingDatagrams(HostSockets())
    udp = replace(WEB, name="dns", protocol="UDP", node_port=30053)
    NodePortPublisher(relay, datagrams, HostSockets(), "10.128.0.1").publish(
        ServiceTable((WEB, udp, replace(WEB, name="inner", node_port=None)))
    )
    assert sorted(relay.wanted) == [("127.0.0.1", 30080)]
    assert datagrams.wanted == {("127.0.0.1", 30053): ("10.128.0.1", 30053)}


async def test_without_namespaces_a_service_is_at_its_stand_in_address_and_udp_is_said_not_to_be(
    caplog: pytest.LogCaptureFixture,
) -> None:
    relay = RecordingRelay()
    table = ServiceTable((WEB, replace(WEB, name="dns", protocol="UDP", node_port=None)))
    loopback = backend(relay)
    with caplog.at_level(logging.WARNING):
        await loopback.apply(table)
        await loopback.apply(table)
    assert sorted(relay.wanted) == [("127.0.0.1", 30080), ("127.128.0.1", 30080), ("127.96.1.1", 80)]
    assert [record.message for record in caplog.records] == [
        "Service ns/dns:80 is UDP: not served without network namespaces"
    ]
    with pytest.raises(ConnectionRefusedError, match="ns/web:80 has no endpoint"):
        await relay.wanted["127.96.1.1", 80]("127.0.0.1")


async def test_without_namespaces_affinity_keeps_a_client_at_one_endpoint_while_it_is_there() -> None:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
    endpoints = tuple(Endpoint("127.0.0.1", listener.getsockname()[1]) for listener in listeners)
    relay = RecordingRelay()
    loopback = backend(relay)

    async def reached(table_endpoints: tuple[Endpoint, ...], affinity_seconds: int | None) -> set[int]:
        await loopback.apply(
            ServiceTable((replace(WEB, endpoints=table_endpoints, affinity_seconds=affinity_seconds),))
        )
        ports = set()
        for _ in range(30):
            with await relay.wanted["127.96.1.1", 80]("127.0.0.7") as connection:
                ports.add(connection.getpeername()[1])
        return ports

    assert len(await reached(endpoints, None)) == 4
    (kept,) = await reached(endpoints, 60)
    assert await reached(tuple(item for item in endpoints if item.port == kept) + endpoints[:1], 60) == {kept}
    others = tuple(item for item in endpoints if item.port != kept)
    (moved,) = await reached(others, 60)
    assert moved != kept
    for listener in listeners:
        listener.close()
