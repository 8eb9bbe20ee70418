"""The HTTP proxy on real loopback sockets, with endpoints that are scripts of bytes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest
from lightkube.resources.networking_v1 import Ingress

from antei.network.ingress import IngressServer
from antei.network.ingress_rules import ingress_table
from antei.network.publishing import connect
from antei.network.relay import listen
from antei.network.services import Endpoint, ServicePort
from antei.world.sockets import HostSockets
from antei.world.virtual import SeededChance

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
RULES = msgspec.convert(
    {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "i", "namespace": "ns"},
        "spec": {
            "rules": [
                {
                    "host": "h",
                    "http": {
                        "paths": [
                            {
                                "path": "/",
                                "pathType": "Prefix",
                                "backend": {"service": {"name": "web", "port": {"number": 80}}},
                            }
                        ]
                    },
                }
            ]
        },
    },
    Ingress,
)


class Front:
    def __init__(self, port: int) -> None:
        self.port = port

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def say(self, *pieces: bytes) -> bytes:
        """All that comes back on one connection."""
        reader, writer = await self.connect()
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        try:
            return await asyncio.wait_for(reader.read(-1), 10)
        finally:
            writer.close()


@asynccontextmanager
async def ingress(*servers: Serve | None) -> AsyncIterator[Front]:
    """In front of these endpoints; None is one that refuses connections."""
    started, endpoints = [], []
    for serve in servers:
        if serve is None:
            with listen(("127.0.0.1", 0)) as listener:
                endpoints.append(Endpoint("127.0.0.1", listener.getsockname()[1]))
        else:
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            started.append(server)
            endpoints.append(Endpoint("127.0.0.1", server.sockets[0].getsockname()[1]))
    port = ServicePort("ns", "web", "", "TCP", 80, ("10.96.1.1",), None, tuple(endpoints), None)

    async def dial(endpoint: Endpoint) -> socket.socket:
        return await connect(HostSockets(), endpoint.ip, endpoint.port)

    front = IngressServer(lambda backend: port if backend.service == "web" else None, dial, SeededChance(1))
    front.table = ingress_table([RULES])
    listener = listen(("127.0.0.1", 0))
    await front.listen(listener)
    try:
        yield Front(listener.getsockname()[1])
    finally:
        await front.aclose()
        for server in started:
            server.close()


def replying(reply: bytes, heads: list[bytes] | None = None) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if heads is not None:
            heads.append(head)
        writer.write(reply)
        writer.close()

    return serve


GET = b"GET /a?b=c HTTP/1.1\r\nHost: h\r\n\r\n"
GET_AND_CLOSE = b"GET /a?b=c HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Mine: yes\r\n\r\nok"


async def test_the_request_arrives_with_its_host_and_who_asked_and_without_hop_by_hop_headers() -> None:
    heads: list[bytes] = []
    async with ingress(replying(OK, heads)) as front:
        request = (
            b"GET /a?b=c HTTP/1.1\r\nHost: h\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n"
            b"X-Forwarded-For: 6.6.6.6\r\nX-Own: kept\r\n\r\n"
        )
        reply = await front.say(request)
        assert reply.startswith(b"HTTP/1.1 200 OK\r\n")
        assert reply.endswith(b"\r\n\r\nok")
        assert b"X-Mine: yes\r\n" in reply
        (head,) = heads
        assert head.startswith(b"GET /a?b=c HTTP/1.1\r\n")
        for line in (b"Host: h", b"X-Own: kept", b"Connection: close", b"X-Forwarded-For: 127.0.0.1"):
            assert line + b"\r\n" in head
        assert b"X-Forwarded-Proto: http\r\n" in head
        assert b"X-Forwarded-Port: %d\r\n" % front.port in head
        assert b"X-Hop" not in head
        assert b"Keep-Alive" not in head
        assert b"6.6.6.6" not in head


async def test_one_connection_serves_several_requests_each_on_its_own_connection_inside() -> None:
    heads: list[bytes] = []
    async with ingress(replying(OK, heads)) as front:
        reply = await front.say(GET, GET, GET_AND_CLOSE)
        assert reply.count(b"HTTP/1.1 200 OK") == 3
        assert len(heads) == 3


async def test_bodies_stream_both_ways_chunked_or_not() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Transfer-Encoding: chunked" in head
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + body)  # ended by the end of the connection
        writer.close()

    async with ingress(echo) as front:
        big = b"x" * 300_000
        reply = await front.say(
            b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"%x\r\n%b\r\n" % (len(big), big),
            b"3\r\nend\r\n0\r\n\r\n",
        )
        assert b"transfer-encoding: chunked" in reply.lower()
        body = reply.partition(b"\r\n\r\n")[2]
        assert body.count(b"x") == len(big)
        assert body.endswith(b"0\r\n\r\n")


async def test_an_endpoint_that_refuses_is_passed_over_whatever_the_method() -> None:
    async with ingress(None, replying(OK), None) as front:
        for _ in range(10):
            assert b" 200 " in await front.say(GET_AND_CLOSE)
            post = b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"
            assert b" 200 " in await front.say(post)


@pytest.mark.parametrize(
    ("servers", "request_bytes", "status"),
    [
        ([], GET_AND_CLOSE, b"503 Service Unavailable"),
        ([None, None], GET_AND_CLOSE, b"502 Bad Gateway"),
        ([replying(b"")], GET_AND_CLOSE, b"502 Bad Gateway"),  # ended without a word
        ([replying(b"garbage\r\n\r\n")], GET_AND_CLOSE, b"502 Bad Gateway"),
        ([replying(OK)], GET_AND_CLOSE.replace(b"Host: h", b"Host: other"), b"404 Not Found"),
        ([replying(OK)], b"nonsense\r\n\r\n", b"400 Bad Request"),
        ([replying(OK)], b"GET / HTTP/1.1\r\n\r\n", b"400 Bad Request"),  # no Host
        ([replying(OK)], b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 70_000, b"431 Request Header Fields Too Large"),
    ],
)
async def test_what_cannot_be_served_is_said_with_the_right_status(
    servers: list[Serve | None], request_bytes: bytes, status: bytes
) -> None:
    async with ingress(*servers) as front:
        assert (await front.say(request_bytes)).startswith(b"HTTP/1.1 " + status)


async def test_a_response_that_breaks_off_is_not_passed_on_as_a_whole_one() -> None:
    async with ingress(replying(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")) as front:
        reader, writer = await front.connect()
        writer.write(GET)

        async def whole() -> bytes:
            await reader.readuntil(b"\r\n\r\n")
            return await reader.readexactly(100)

        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await whole()
        writer.close()


async def test_an_endpoint_that_keeps_silent_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antei.network.http_exchange._RESPONSE_SECONDS", 0.05)
    done = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    async with ingress(silent) as front:
        assert (await front.say(GET_AND_CLOSE)).startswith(b"HTTP/1.1 504 Gateway Timeout")
        done.set()


async def test_a_response_before_the_end_of_the_request_reaches_the_client() -> None:
    async def too_large(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()

    async with ingress(too_large) as front:
        reply = await front.say(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n", b"x" * 1000)
        assert reply.startswith(b"HTTP/1.1 413")


async def test_continue_is_passed_on_before_the_body_is_sent() -> None:
    async def careful(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(2)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + body)
        writer.close()

    async with ingress(careful) as front:
        reader, writer = await front.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).startswith(b"HTTP/1.1 100")
        writer.write(b"hi")
        assert b" 200 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert await reader.readexactly(2) == b"hi"
        writer.close()


async def test_an_upgraded_connection_carries_anything_and_its_end() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Upgrade: websocket\r\n" in head
        assert b"Connection: Upgrade\r\n" in head
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfirst")
        while data := await reader.read(100):
            writer.write(data.upper())
        writer.close()

    async with ingress(talk) as front:
        reader, writer = await front.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert head.startswith(b"HTTP/1.1 101")
        assert b"Upgrade: websocket" in head
        assert await asyncio.wait_for(reader.readexactly(5), 5) == b"first"
        writer.write(b"hello")
        assert await asyncio.wait_for(reader.readexactly(5), 5) == b"HELLO"
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(-1), 5) == b""
        writer.close()


async def test_head_has_no_body_and_not_modified_neither() -> None:
    heads = [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
    ]
    for method, answer in heads:
        async with ingress(replying(answer)) as front:
            reply = await front.say(method + b" / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            assert reply.endswith(b"\r\n\r\n")
            assert reply.split(b" ")[1] == answer.split(b" ")[1]
