"""Signs what CertificateSigningRequests ask for with the cluster's own authority.

Kubernetes: pkg/controller/certificates/signer/signer.go, pkg/controller/certificates/authority/policies.go,
pkg/apis/certificates/helpers.go.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from lightkube.resources.certificates_v1 import CertificateSigningRequest

from antei.api.validation.certificates import parse_request
from antei.world import Clock

__all__ = ["SIGNERS", "CertificateAuthority", "load_authority"]

_CLIENT = "kubernetes.io/kube-apiserver-client"
_KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
_KUBELET_SERVING = "kubernetes.io/kubelet-serving"
#: The signers that the cluster has.
SIGNERS = (_CLIENT, _KUBELET_CLIENT, _KUBELET_SERVING)
#: --cluster-signing-duration.
_LIFETIME = timedelta(days=365)
_LEAST_LIFETIME = timedelta(minutes=10)
_BACKDATE = timedelta(minutes=5)
#: Certificates that live shorter are not shortened by what they are backdated.
_SHORT_LIFETIME = timedelta(hours=8)
_KEY_USAGES = {
    "signing": "digital_signature",
    "digital signature": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "key agreement": "key_agreement",
    "data encipherment": "data_encipherment",
    "encipher only": "encipher_only",
    "decipher only": "decipher_only",
}
_EXTENDED_USAGES = {
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "client auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "code signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "ocsp signing": ExtendedKeyUsageOID.OCSP_SIGNING,
    "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
}
_ALWAYS_ALLOWED = {"digital signature", "key encipherment"}


def load_authority(certificate_file: Path, key_file: Path, clock: Clock) -> CertificateAuthority:
    """Reads files."""
    key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return CertificateAuthority(x509.load_pem_x509_certificate(certificate_file.read_bytes()), key, clock)


class CertificateAuthority:
    """Implements `antei.control.certificates.CertificateSigner`. Signing takes about 0.1 ms."""

    signer_names = SIGNERS

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, clock: Clock) -> None:
        self._certificate = certificate
        self._key = key
        self._clock = clock

    def sign(self, request: CertificateSigningRequest) -> str:
        """The certificate as `status.certificate` has it: base64 of PEM.

        Raises ValueError, with the reason to be told, for what this signer does not sign.
        """
        spec = request.spec
        if spec is None or spec.signerName not in SIGNERS:
            raise ValueError("not a request for this signer")
        parsed = parse_request(spec.request)
        usages = spec.usages or []
        _check(parsed, spec.signerName, usages)
        lifetime = _LIFETIME
        if spec.expirationSeconds is not None:
            lifetime = min(_LIFETIME, max(_LEAST_LIFETIME, timedelta(seconds=spec.expirationSeconds)))
        now = self._clock.now().replace(microsecond=0)
        ends = now + lifetime - (timedelta(0) if lifetime < _SHORT_LIFETIME else _BACKDATE)
        builder = (
            x509.CertificateBuilder()
            .subject_name(parsed.subject)
            .issuer_name(self._certificate.subject)
            .public_key(parsed.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATE)
            .not_valid_after(min(ends, self._certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        key_usage = _key_usage(usages)
        if key_usage is not None:
            builder = builder.add_extension(key_usage, critical=True)
        extended = [_EXTENDED_USAGES[usage] for usage in usages if usage in _EXTENDED_USAGES]
        if extended:
            builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
        names = _alternative_names(parsed)
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        pem = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        return base64.b64encode(pem).decode()


def _check(request: x509.CertificateSigningRequest, signer: str, usages: Sequence[str]) -> None:
    if signer == _CLIENT:
        _check_usages(usages, "client auth", "client certificate")
    elif signer == _KUBELET_CLIENT:
        _check_node(request)
        _check_usages(usages, "client auth", "client certificate")
        if _alternative_names(request) is not None:
            raise ValueError("DNS, IP, email and URI subjectAltNames are not allowed")
    elif signer == _KUBELET_SERVING:
        _check_node(request)
        _check_usages(usages, "server auth", "serving certificate")
        names = _alternative_names(request)
        if names is None or any(not isinstance(name, x509.DNSName | x509.IPAddress) for name in names):
            raise ValueError("DNS or IP subjectAltName is required, and no other is allowed")


def _check_usages(usages: Sequence[str], needed: str, kind: str) -> None:
    for usage in usages:
        if usage != needed and usage not in _ALWAYS_ALLOWED:
            raise ValueError(f"invalid usage for {kind}: {usage}")
    if needed not in usages:
        raise ValueError(f"missing required usage for {kind}: {needed}")


def _check_node(request: x509.CertificateSigningRequest) -> None:
    organizations = [str(found.value) for found in request.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    names = [str(found.value) for found in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if organizations != ["system:nodes"]:
        raise ValueError("subject organization is not system:nodes")
    if len(names) != 1 or not names[0].startswith("system:node:") or names[0] == "system:node:":
        raise ValueError("subject common name does not begin with system:node:")


def _key_usage(usages: Sequence[str]) -> x509.KeyUsage | None:
    asked = {_KEY_USAGES[usage] for usage in usages if usage in _KEY_USAGES}
    if not asked:
        return None
    agreement = "key_agreement" in asked
    return x509.KeyUsage(
        digital_signature="digital_signature" in asked,
        content_commitment="content_commitment" in asked,
        key_encipherment="key_encipherment" in asked,
        data_encipherment="data_encipherment" in asked,
        key_agreement=agreement,
        key_cert_sign=False,  # nobody else becomes an authority
        crl_sign=False,
        encipher_only=agreement and "encipher_only" in asked,
        decipher_only=agreement and "decipher_only" in asked,
    )


def _alternative_names(request: x509.CertificateSigningRequest) -> x509.SubjectAlternativeName | None:
    try:
        return request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
