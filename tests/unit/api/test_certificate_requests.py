"""What is wrong with a CertificateSigningRequest, in Kubernetes' words."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from lightkube.models.certificates_v1 import (
    CertificateSigningRequestCondition,
    CertificateSigningRequestSpec,
    CertificateSigningRequestStatus,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.certificates_v1 import CertificateSigningRequest

from antei.api.validation.certificates import signing_request, signing_request_update

KEY = ec.generate_private_key(ec.SECP256R1())
CLIENT = "kubernetes.io/kube-apiserver-client"


def pem(data: bytes) -> str:
    return base64.b64encode(data).decode()


REQUEST = (
    x509.CertificateSigningRequestBuilder()
    .subject_name(x509.Name([]))
    .sign(KEY, hashes.SHA256())
    .public_bytes(serialization.Encoding.PEM)
)
PUBLIC_KEY = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def forged() -> bytes:
    """The request with another signature than its key's."""
    der = bytearray(x509.load_pem_x509_csr(REQUEST).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    lines = base64.encodebytes(bytes(der))
    return b"-----BEGIN CERTIFICATE REQUEST-----\n" + lines + b"-----END CERTIFICATE REQUEST-----\n"


def made(*conditions: str, certificate: str | None = None, **spec: Any) -> CertificateSigningRequest:
    fields = {"request": pem(REQUEST), "signerName": CLIENT, "usages": ["client auth"], **spec}
    listed = [CertificateSigningRequestCondition(type=kind, status="True") for kind in conditions]
    return CertificateSigningRequest(
        apiVersion="certificates.k8s.io/v1",
        kind="CertificateSigningRequest",
        metadata=ObjectMeta(name="x"),
        spec=CertificateSigningRequestSpec(**fields),
        status=CertificateSigningRequestStatus(conditions=listed or None, certificate=certificate),
    )


@pytest.mark.parametrize(
    ("spec", "path", "detail"),
    [
        ({"request": "!"}, "spec.request", "illegal base64 data"),
        ({"request": pem(PUBLIC_KEY)}, "spec.request", "PEM block type must be CERTIFICATE REQUEST"),
        ({"request": pem(REQUEST[:60])}, "spec.request", ""),
        ({"request": pem(forged())}, "spec.request", "the request is not signed with its key"),
        ({"usages": []}, "spec.usages", ""),
        ({"usages": ["client auth", "flying"]}, "spec.usages[1]", "supported values"),
        ({"usages": ["client auth", "client auth"]}, "spec.usages[1]", ""),
        ({"signerName": ""}, "spec.signerName", ""),
        ({"signerName": "plain"}, "spec.signerName", "must be a fully qualified domain and path"),
        ({"signerName": "test/x"}, "spec.signerName", "should be a domain with at least two segments"),
        ({"signerName": "a.test/X_y"}, "spec.signerName", ""),
        ({"signerName": "kubernetes.io/legacy-unknown"}, "spec.signerName", "legacy signerName is not allowed"),
        ({"expirationSeconds": 599}, "spec.expirationSeconds", "may not specify a duration less than 600 seconds"),
    ],
)
def test_what_is_wrong_is_said_of_its_field(spec: dict[str, Any], path: str, detail: str) -> None:
    errors = signing_request(made(**spec))
    assert [error.path for error in errors] == [path]
    assert detail in errors[0].body


def test_what_is_right_is_left_alone() -> None:
    assert signing_request(made(expirationSeconds=600, signerName="a.test/b.c")) == []


def test_what_was_decided_and_issued_stays() -> None:
    assert signing_request_update(made("Approved"), made()) == []
    said = [str(error) for error in signing_request_update(made(), made("Approved"))]
    assert said == ['status.conditions: Forbidden: updates may not remove a condition of type "Approved"']
    both = signing_request_update(made("Approved", "Denied"), made())
    assert [error.body.partition(": ")[2] for error in both] == [
        '"Denied": Approved and Denied conditions are mutually exclusive'
    ]
    changed = signing_request_update(made(certificate="Yg=="), made(certificate="YQ=="))
    assert [error.path for error in changed] == ["status.certificate"]
    unread = signing_request_update(made(certificate="YQ=="), made())
    assert "error parsing certificate" in unread[0].body
