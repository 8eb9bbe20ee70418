"""Raw TCP, and HTTP over TLS."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from known_server import known_server, unused_port

from antei.rehearse.load import Kind, LoadClient, LoadSpec, target_of_url
from antei.rehearse.load.accounting import count_requests
from antei.rehearse.model import Outcome
from antei.world.sockets import HostSockets


async def _run(spec: LoadSpec, count: int, tls: ssl.SSLContext | None = None) -> LoadClient:
    client = LoadClient(spec, target_of_url(spec), HostSockets(), origin=0.0, count=count, tls=tls)
    await client.start()
    await client.wait()
    await client.stop()
    return client


@asynccontextmanager
async def _tcp_server(greeting: bytes, *, closes: bool = False) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        while not closes and (data := await reader.read(100)):
            writer.write(data.upper())
        writer.close()

    async def serve_quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(serve_quietly, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


def _tcp(port: int, send: str = "", expect: str = "") -> LoadSpec:
    url = f"tcp://127.0.0.1:{port}"
    return LoadSpec(name="tcp", kind=Kind.TCP, url=url, rate=500.0, send=send, expect=expect, timeout_seconds=0.3)


@pytest.mark.parametrize(
    ("greeting", "closes", "send", "expect", "outcome"),
    [
        (b"", False, "", "", Outcome.OK),
        (b"ready\n", False, "", "ready", Outcome.OK),
        (b"", False, "ping\n", "PING", Outcome.OK),
        (b"", False, "ping\n", "PONG", Outcome.TIMED_OUT),
        (b"no\n", True, "", "PONG", Outcome.SERVER_ERROR),
        (b"", True, "", "PONG", Outcome.REFUSED),  # accepted and left at once, before anything was said
        (b"x" * 70000, False, "", "PONG", Outcome.SERVER_ERROR),
    ],
)
async def test_tcp(greeting: bytes, closes: bool, send: str, expect: str, outcome: Outcome) -> None:
    async with _tcp_server(greeting, closes=closes) as port:
        client = await _run(_tcp(port, send, expect), 10)
    assert [request.outcome for request in client.requests] == [outcome] * 10


async def test_tcp_to_nobody_is_refused() -> None:
    client = await _run(_tcp(unused_port()), 3)
    assert count_requests(client.requests).by_outcome == {"refused": 3}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificate and key of `chat.example`, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "chat.example")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName(
        [x509.DNSName("chat.example"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


def _server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def _https(port: int, kind: Kind, **more: object) -> LoadSpec:
    fields: dict[str, object] = {"url": f"https://127.0.0.1:{port}/", "rate": 200.0, "timeout_seconds": 5.0} | more
    return LoadSpec(name="tls", kind=kind, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [Kind.HTTP, Kind.HTTP_KEEP_ALIVE])
@pytest.mark.parametrize("host", ["", "chat.example", "chat.example:8443"])
async def test_https_with_a_certificate_that_is_trusted(certificate: Path, kind: Kind, host: str) -> None:
    async with known_server(lambda n: "half" if n % 5 == 4 else "ok", tls=_server_context(certificate)) as server:
        trusting = ssl.create_default_context(cafile=str(certificate))
        client = await _run(_https(server.port, kind, host=host), 20, trusting)
    assert count_requests(client.requests).by_outcome == {"ok": 16, "reset": 4}


async def test_https_without_verification(certificate: Path) -> None:
    async with known_server(tls=_server_context(certificate)) as server:
        client = await _run(_https(server.port, Kind.HTTP, insecure_skip_tls_verify=True), 5)
    assert count_requests(client.requests).by_outcome == {"ok": 5}


@pytest.mark.parametrize(
    ("host", "trusted", "detail"),
    [("", False, "TLS: self-signed certificate"), ("other.example", True, "TLS: Hostname mismatch")],
)
async def test_a_certificate_that_is_not_good_is_unreachable_and_said(
    certificate: Path, host: str, trusted: bool, detail: str
) -> None:
    async with known_server(tls=_server_context(certificate)) as server:
        tls = ssl.create_default_context(cafile=str(certificate)) if trusted else None
        client = await _run(_https(server.port, Kind.HTTP, host=host), 3, tls)
    assert {request.outcome for request in client.requests} == {Outcome.UNREACHABLE}
    assert all(request.detail.startswith(detail) for request in client.requests)


async def test_tls_to_a_server_without_it_is_unreachable() -> None:
    async with _tcp_server(b"hello, this is not TLS\n") as port:
        client = await _run(_https(port, Kind.HTTP, insecure_skip_tls_verify=True), 3)
    assert {request.outcome for request in client.requests} == {Outcome.UNREACHABLE}
