"""The server on real loopback sockets; what it answers is `test_dns_zone.py`'s subject."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import msgspec
import pytest
from lightkube.resources.core_v1 import Service
from lightkube.resources.discovery_v1 import EndpointSlice

from antei.network.dns import DnsServer
from antei.world.sockets import HostSockets

HEADLESS = msgspec.convert(
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "many", "namespace": "ns"},
        "spec": {"clusterIP": "None"},
    },
    Service,
)
EXTERNAL = msgspec.convert(
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "out", "namespace": "ns"},
        "spec": {"type": "ExternalName", "externalName": "example.org"},
    },
    Service,
)


class View:
    def __init__(self, count: int) -> None:
        endpoints = [{"addresses": [f"10.244.{n // 200}.{n % 200 + 2}"]} for n in range(count)]
        body = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "many-a"}}
        self._slice = msgspec.convert(
            body | {"addressType": "IPv4", "ports": [], "endpoints": endpoints}, EndpointSlice
        )

    def service(self, namespace: str, name: str) -> Service | None:
        return {"many": HEADLESS, "out": EXTERNAL}.get(name)

    def slices(self, namespace: str, service_name: str) -> list[EndpointSlice]:
        return [self._slice]

    def owns(self, ip: str) -> bool:
        return False


class LikeUpstream(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        response = dns.message.make_response(dns.message.from_wire(data))
        name = response.question[0].name
        response.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "192.0.2.7"))
        self.transport.sendto(response.to_wire(), addr)


@asynccontextmanager
async def serving(count: int = 3, upstreams: tuple[str, ...] = ()) -> AsyncIterator[int]:
    for attempt in range(20):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        server = DnsServer(View(count), HostSockets(), "127.0.0.1", upstreams)  # type: ignore[arg-type]
        try:
            await server.start(port)
            break
        except OSError:  # free a moment ago, or free for TCP only
            await server.aclose()
            assert attempt < 19
    try:
        yield port
    finally:
        await server.aclose()


async def test_the_first_address_of_a_headless_service_differs_from_answer_to_answer() -> None:
    async with serving() as port:
        firsts = []
        for _ in range(60):
            query = dns.message.make_query("many.ns.svc.cluster.local", "A")
            reply = await dns.asyncquery.udp(query, "127.0.0.1", port=port, timeout=5)
            assert len(reply.answer[0]) == 3
            firsts.append(str(reply.answer[0][0]))
        assert len(set(firsts)) == 3


async def test_an_answer_too_long_for_a_datagram_is_truncated_and_complete_over_tcp() -> None:
    async with serving(300) as port:
        query = dns.message.make_query("many.ns.svc.cluster.local", "A")
        short = await dns.asyncquery.udp(query, "127.0.0.1", port=port, timeout=5)
        assert short.flags & dns.flags.TC
        assert short.answer == []
        whole = await dns.asyncquery.tcp(query, "127.0.0.1", port=port, timeout=5)
        assert len(whole.answer[0]) == 300


async def test_without_a_resolver_on_the_host_other_names_are_refused() -> None:
    async with serving() as port:
        reply = await dns.asyncquery.udp(dns.message.make_query("example.org", "A"), "127.0.0.1", port=port, timeout=5)
        assert reply.rcode() == dns.rcode.REFUSED


async def test_other_names_are_asked_of_the_hosts_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(LikeUpstream, local_addr=("127.0.0.1", 0))
    upstream_port = transport.get_extra_info("sockname")[1]
    ask = dns.asyncquery.udp_with_fallback

    async def at_port(query: Any, where: str, **options: Any) -> Any:
        return await ask(query, where, port=upstream_port, **options)

    monkeypatch.setattr(dns.asyncquery, "udp_with_fallback", at_port)
    async with serving(upstreams=("127.0.0.1",)) as port:
        for name in ("example.org", "out.ns.svc.cluster.local"):
            query = dns.message.make_query(name, "A")
            for reply in (
                await dns.asyncquery.udp(query, "127.0.0.1", port=port, timeout=5),
                await dns.asyncquery.tcp(query, "127.0.0.1", port=port, timeout=5),
            ):
                assert [str(record) for record in reply.answer[-1]] == ["192.0.2.7"]
    transport.close()


async def test_a_resolver_that_does_not_answer_is_not_asked_again_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def silent(query: Any, where: str, **options: Any) -> Any:
        asked.append(str(query.question[0].name))
        raise dns.exception.Timeout

    monkeypatch.setattr(dns.asyncquery, "udp_with_fallback", silent)
    async with serving(upstreams=("192.0.2.53",)) as port:
        for name in ("gone.mysql", "gone.again"):
            query = dns.message.make_query(name, "A")
            reply = await dns.asyncquery.udp(query, "127.0.0.1", port=port, timeout=5)
            assert reply.rcode() == dns.rcode.SERVFAIL
    assert asked == ["gone.mysql."]


@pytest.mark.parametrize(
    ("wire", "rcode"),
    [
        (b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xff", dns.rcode.FORMERR),
        (b"\x12\x34\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00", dns.rcode.FORMERR),  # no question
        (b"\x12\x34\x11\x00\x00\x00\x00\x00\x00\x00\x00\x00", dns.rcode.NOTIMP),  # opcode 2, STATUS
        (b"short", None),
        (
            b"\x12\x34\x81\x00\x00\x00\x00\x00\x00\x00\x00\x00",
            None,
        ),  # a response: silence, or two servers echo for ever
    ],
)
async def test_malformed_questions_get_an_error_or_silence_and_the_server_goes_on(
    wire: bytes, rcode: dns.rcode.Rcode | None
) -> None:
    loop = asyncio.get_running_loop()
    async with serving() as port:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect(("127.0.0.1", port))
            await loop.sock_sendall(client, wire)
            good = dns.message.make_query("many.ns.svc.cluster.local", "A")
            await loop.sock_sendall(client, good.to_wire())
            if rcode is not None:
                refusal = dns.message.from_wire(await asyncio.wait_for(loop.sock_recv(client, 4096), 5))
                assert (refusal.id, refusal.rcode()) == (0x1234, rcode)
            reply = dns.message.from_wire(await asyncio.wait_for(loop.sock_recv(client, 4096), 5))
            assert reply.id == good.id
