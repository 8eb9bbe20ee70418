from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from aiohttp import web
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from antei.node.transport import SocketProbeTransport
from antei.world.sockets import HostSockets


@pytest.fixture
async def transport() -> AsyncIterator[SocketProbeTransport]:
    made = SocketProbeTransport(HostSockets())
    yield made
    await made.aclose()


@pytest.fixture
async def server() -> AsyncIterator[tuple[str, list[web.Request]]]:
    """A server on loopback and the requests that it got."""
    got: list[web.Request] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        got.append(request)
        if request.path == "/large":
            return web.Response(body=b"x" * 100_000)
        if request.path == "/redirect":
            raise web.HTTPFound("/elsewhere")
        if request.path == "/slow":
            await asyncio.sleep(60)
        return web.Response(text="fine")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", got
    await runner.cleanup()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_http_sends_the_headers_it_is_given_and_no_others(
    transport: SocketProbeTransport, server: tuple[str, list[web.Request]]
) -> None:
    url, got = server
    reply = await transport.http_get(f"{url}/ok", {"Host": "chat.example", "User-Agent": "me"}, 100)
    assert (reply.status, reply.body) == (200, b"fine")
    assert dict(got[0].headers) == {"Host": "chat.example", "User-Agent": "me", "Connection": "close"}


async def test_http_follows_no_redirect_and_reads_no_more_than_it_may(
    transport: SocketProbeTransport, server: tuple[str, list[web.Request]]
) -> None:
    url, got = server
    reply = await transport.http_get(f"{url}/redirect", {}, 100)
    assert (reply.status, reply.headers["location"]) == (302, "/elsewhere")
    reply = await transport.http_get(f"{url}/large", {}, 10_240)
    assert reply.body == b"x" * 10_240
    assert len(got) == 2


async def test_each_question_is_a_connection_of_its_own(server: tuple[str, list[web.Request]]) -> None:
    opened: list[int] = []

    class Counted(HostSockets):
        def open(self, family: int, kind: int) -> socket.socket:
            opened.append(family)
            return super().open(family, kind)

    transport = SocketProbeTransport(Counted())
    for _ in range(3):
        await transport.http_get(f"{server[0]}/ok", {}, 100)
    await transport.aclose()
    assert opened == [socket.AF_INET] * 3


async def test_a_refused_connection_is_an_os_error_with_its_number(transport: SocketProbeTransport) -> None:
    port = free_port()
    for question in (
        transport.http_get(f"http://127.0.0.1:{port}/", {}, 100),
        transport.tcp_connect("127.0.0.1", port),
        transport.grpc_check("127.0.0.1", port, ""),
    ):
        with pytest.raises(OSError) as caught:
            await question
        assert caught.value.errno == 111


async def test_a_timeout_closes_the_connection(
    transport: SocketProbeTransport, server: tuple[str, list[web.Request]]
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await transport.http_get(f"{server[0]}/slow", {}, 100)


async def test_what_is_not_http_is_a_connection_error(transport: SocketProbeTransport) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        with pytest.raises(ConnectionError, match="EOF"):
            await transport.http_get(f"http://127.0.0.1:{port}/", {}, 100)
        with pytest.raises(ConnectionError, match="rpc error"):
            await transport.grpc_check("127.0.0.1", port, "")


async def test_tcp_leaves_with_a_reset(transport: SocketProbeTransport) -> None:
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def watch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(1)
            ended.set_result("closed")
        except ConnectionResetError:
            ended.set_result("reset")
        writer.close()

    async with await asyncio.start_server(watch, "127.0.0.1", 0) as listening:
        await transport.tcp_connect("127.0.0.1", listening.sockets[0].getsockname()[1])
        assert await asyncio.wait_for(ended, 5) == "reset"


async def test_certificates_are_not_verified_and_the_host_header_is_the_server_name(
    transport: SocketProbeTransport, tmp_path: Path
) -> None:
    names: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate, key = self_signed(tmp_path)
    context.load_cert_chain(certificate, key)
    context.sni_callback = lambda _, name, __: names.append(name)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as listening:
        port = listening.sockets[0].getsockname()[1]
        reply = await transport.http_get(f"https://127.0.0.1:{port}/", {"Host": "chat.example"}, 100)
    assert reply.body == b"ok"
    assert names == ["chat.example"]


def self_signed(directory: Path) -> tuple[Path, Path]:
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    certificate, secret = directory / "cert.pem", directory / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, secret


async def test_grpc_health_is_asked_as_the_protocol_has_it(transport: SocketProbeTransport) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        servicer = health.HealthServicer()
        servicer.set("", health_pb2.HealthCheckResponse.SERVING)
        servicer.set("db", health_pb2.HealthCheckResponse.NOT_SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            assert await transport.grpc_check("127.0.0.1", port, "") == "SERVING"
            assert await transport.grpc_check("127.0.0.1", port, "db") == "NOT_SERVING"
            with pytest.raises(LookupError):
                await transport.grpc_check("127.0.0.1", port, "nothing")
        finally:
            server.stop(None).wait()


async def test_a_grpc_server_without_the_health_service_says_so(transport: SocketProbeTransport) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            with pytest.raises(NotImplementedError):
                await transport.grpc_check("127.0.0.1", port, "")
        finally:
            server.stop(None).wait()
