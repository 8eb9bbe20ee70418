"""CertificateSigningRequests (Kubernetes: pkg/apis/certificates/validation/validation.go)."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from lightkube.resources.certificates_v1 import CertificateSigningRequest

from antei.api import names
from antei.api.errors import FieldError
from antei.api.validation.fields import duplicate, forbidden, invalid, messages, not_supported, required

if TYPE_CHECKING:
    from cryptography import x509

__all__ = ["parse_request", "signing_request", "signing_request_update"]

_LEAST_SECONDS = 600
#: Of v1beta1: it signed anything.
_LEGACY_SIGNER = "kubernetes.io/legacy-unknown"
_USAGES = (
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
)


def parse_request(encoded: str) -> x509.CertificateSigningRequest:
    """`spec.request`, base64 of PEM. Raises ValueError for what is no request, or is not signed with its own key."""
    try:
        pem = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise ValueError(f"illegal base64 data: {error}") from error
    if b"-----BEGIN CERTIFICATE REQUEST-----" not in pem and b"-----BEGIN NEW CERTIFICATE REQUEST-----" not in pem:
        raise ValueError("PEM block type must be CERTIFICATE REQUEST")
    # Here, for this is the one kind that needs it: 9 MB that who only reads manifests does without.
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        request = x509.load_pem_x509_csr(pem)
        if not request.is_signature_valid:
            raise ValueError("the request is not signed with its key")
    except (UnsupportedAlgorithm, InvalidSignature) as error:
        raise ValueError(f"the request's key is of no known kind: {error}") from error
    return request


def signing_request(obj: CertificateSigningRequest) -> list[FieldError]:
    errors = _request(obj)
    if obj.spec.signerName == _LEGACY_SIGNER:
        detail = "the legacy signerName is not allowed via this API version"
        errors.append(invalid("spec.signerName", obj.spec.signerName, detail))
    return errors


def _request(obj: CertificateSigningRequest) -> list[FieldError]:
    spec = obj.spec
    errors: list[FieldError] = []
    try:
        parse_request(spec.request)
    except ValueError as error:
        errors.append(invalid("spec.request", spec.request, str(error)))
    if not spec.usages:
        errors.append(required("spec.usages"))
    seen: set[str] = set()
    for index, usage in enumerate(spec.usages or ()):
        path = f"spec.usages[{index}]"
        if usage not in _USAGES:
            errors.append(not_supported(path, usage, _USAGES))
        elif usage in seen:
            errors.append(duplicate(path, usage))
        seen.add(usage)
    errors += _signer_name(spec.signerName)
    if spec.expirationSeconds is not None and spec.expirationSeconds < _LEAST_SECONDS:
        detail = "may not specify a duration less than 600 seconds (10 minutes)"
        errors.append(invalid("spec.expirationSeconds", spec.expirationSeconds, detail))
    return errors + _conditions(obj)


def _signer_name(name: str) -> list[FieldError]:
    path = "spec.signerName"
    if not name:
        return [required(path)]
    domain, slash, below = name.partition("/")
    if not slash:
        detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        return [invalid(path, name, detail)]
    errors = messages(path, domain, names.dns1123_subdomain(domain))
    if "." not in domain:
        errors.append(invalid(path, name, "should be a domain with at least two segments separated by dots"))
    for part in below.split("."):
        errors += messages(path, below, names.dns1123_label(part))
    return errors


def _conditions(obj: CertificateSigningRequest) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, condition in enumerate((obj.status.conditions if obj.status else None) or ()):
        path = f"status.conditions[{index}]"
        if not condition.type:
            errors.append(required(f"{path}.type"))
        if condition.type in ("Approved", "Denied", "Failed") and condition.status != "True":
            errors.append(not_supported(f"{path}.status", condition.status, ("True",)))
        if condition.type in seen:
            errors.append(duplicate(f"{path}.type", condition.type))
        elif condition.type in ("Approved", "Denied") and seen & {"Approved", "Denied"}:
            errors.append(
                invalid(f"{path}.type", condition.type, "Approved and Denied conditions are mutually exclusive")
            )
        seen.add(condition.type)
    return errors


def signing_request_update(new: CertificateSigningRequest, old: CertificateSigningRequest) -> list[FieldError]:
    """What was approved or denied stays so, and a certificate stays what it is."""
    errors = _request(new)
    kept = _kinds(new)
    for kind in ("Approved", "Denied", "Failed"):
        if kind in _kinds(old) and kind not in kept:
            errors.append(forbidden("status.conditions", f'updates may not remove a condition of type "{kind}"'))
    before = (old.status.certificate if old.status else None) or ""
    after = (new.status.certificate if new.status else None) or ""
    if before and after != before:
        errors.append(forbidden("status.certificate", "updates may not modify the certificate"))
    elif after and not before:
        from cryptography import x509
        from cryptography.exceptions import UnsupportedAlgorithm

        try:
            x509.load_pem_x509_certificates(base64.b64decode(after, validate=True))
        except (ValueError, UnsupportedAlgorithm) as error:
            errors.append(invalid("status.certificate", "<certificate data>", f"error parsing certificate: {error}"))
    return errors


def _kinds(obj: CertificateSigningRequest) -> set[str]:
    return {condition.type for condition in (obj.status.conditions if obj.status else None) or ()}
