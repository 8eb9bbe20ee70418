"""The cluster's own certificate authority and the API server's certificate, made once and kept on disk.

    DATA/pki/ca.crt, ca.key            ECDSA P-256, ten years
    DATA/pki/apiserver.crt, .key       signed by it; made again when a name is missing or a month is left
    DATA/pki/sa.key                    signs the tokens of ServiceAccounts

Keys are readable by their owner only (0600).
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["ServingCertificate", "ensure_certificates", "ensure_signing_key", "write_private"]

#: The names by which pods and people reach the server, and the address of the Service `kubernetes`.
_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "127.0.0.1",
    "::1",
    "10.96.0.1",
)
_LIFETIME = timedelta(days=3650)
_RENEW_BEFORE = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class ServingCertificate:
    certificate_file: Path
    key_file: Path
    ca_file: Path
    ca_key_file: Path
    ca_pem: str


def ensure_certificates(directory: Path, now: datetime, extra_names: Iterable[str] = ()) -> ServingCertificate:
    """The certificate in `directory`/pki, made if it is missing, expires soon or lacks one of the names.

    A name is a DNS name or an IP address.
    """
    pki = directory / "pki"
    pki.mkdir(parents=True, exist_ok=True, mode=0o700)
    ca_file, ca_key_file = pki / "ca.crt", pki / "ca.key"
    file, key_file = pki / "apiserver.crt", pki / "apiserver.key"
    names = tuple(dict.fromkeys([*_NAMES, *extra_names]))
    if not (ca_file.exists() and ca_key_file.exists()):
        _write_pair(ca_file, ca_key_file, *_make_authority(now))
        file.unlink(missing_ok=True)
    if not (file.exists() and key_file.exists() and _still_good(file, names, now)):
        authority = x509.load_pem_x509_certificate(ca_file.read_bytes())
        authority_key = serialization.load_pem_private_key(ca_key_file.read_bytes(), password=None)
        assert isinstance(authority_key, ec.EllipticCurvePrivateKey)
        _write_pair(file, key_file, *_make_serving(authority, authority_key, names, now))
    return ServingCertificate(file, key_file, ca_file, ca_key_file, ca_file.read_text())


def ensure_signing_key(directory: Path) -> ec.EllipticCurvePrivateKey:
    """The key in `directory`/pki/sa.key, made if it is missing."""
    file = directory / "pki" / "sa.key"
    if file.exists():
        key = serialization.load_pem_private_key(file.read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = ec.generate_private_key(ec.SECP256R1())
    write_private(file, _key_pem(key))
    return key


def write_private(file: Path, data: bytes) -> None:
    """Writes a file that only its owner may read, at once or not at all."""
    temporary = file.with_name(f".{file.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(data)
    temporary.replace(file)


def _make_authority(now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "antei-ca")])
    certificate = (
        _builder(name, name, key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def _make_serving(
    authority: x509.Certificate, authority_key: ec.EllipticCurvePrivateKey, names: Iterable[str], now: datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "antei-apiserver")])
    certificate = (
        _builder(subject, authority.subject, key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    return certificate, key


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # a client's clock may be behind
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _still_good(file: Path, names: Iterable[str], now: datetime) -> bool:
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    if certificate.not_valid_after_utc - _RENEW_BEFORE < now:
        return False
    held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return all(_general_name(name) in held for name in names)


def _write_pair(file: Path, key_file: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    write_private(key_file, _key_pem(key))
    write_private(file, certificate.public_bytes(serialization.Encoding.PEM))


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
