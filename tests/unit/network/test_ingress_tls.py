from __future__ import annotations

import asyncio
import base64
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from antei.network.ingress_tls import Certificates, context_of


def secret_data(host: str) -> dict[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    key_pem = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {
        "tls.crt": base64.b64encode(certificate.public_bytes(pem)).decode(),
        "tls.key": base64.b64encode(key_pem).decode(),
    }


@pytest.fixture
def contexts() -> dict[str, ssl.SSLContext]:
    return {host: context_of(secret_data(host)) for host in ("one.example", "*.two.example")}


@pytest.mark.parametrize(
    ("asked", "shown"),
    [("one.example", "one.example"), ("ONE.example", "one.example"), ("a.two.example", "*.two.example")],
)
async def test_a_client_is_shown_the_certificate_of_the_name_it_asks_for(
    contexts: dict[str, ssl.SSLContext], asked: str, shown: str
) -> None:
    assert await shown_to(contexts, asked) == shown


@pytest.mark.parametrize("asked", ["other.example", "a.b.two.example"])
async def test_for_an_unknown_name_the_handshake_fails(contexts: dict[str, ssl.SSLContext], asked: str) -> None:
    with pytest.raises(OSError):  # an alert, or a reset where that comes first
        await shown_to(contexts, asked)


async def shown_to(contexts: dict[str, ssl.SSLContext], host: str) -> str:
    certificates = Certificates()
    certificates.replace(contexts)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=certificates.context)
    client = ssl.create_default_context()
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    port = server.sockets[0].getsockname()[1]
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname=host)
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        attributes = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(attributes[0].value)
    finally:
        server.close()


@pytest.mark.parametrize(
    "data",
    [{}, {"tls.crt": "AAAA"}, {"tls.crt": "AAAA", "tls.key": "AAAA"}, {"tls.crt": "!", "tls.key": "!"}],
)
def test_a_secret_without_a_usable_certificate_is_refused(data: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"usable|damaged"):
        context_of(data)


def test_a_key_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        context_of(secret_data("a") | {"tls.key": secret_data("b")["tls.key"]})
