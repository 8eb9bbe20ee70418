"""Callers that show a certificate which the cluster's authority has signed: CN is the user, each O a group.

TLS has checked the signature and the dates by then. Kubernetes: apiserver/pkg/authentication/request/x509.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from antei.server.caller import User

__all__ = ["user_of_certificate"]

_AUTHENTICATED = "system:authenticated"
_UID = x509.ObjectIdentifier("1.3.6.1.4.1.57683.2")


@lru_cache(maxsize=1024)
def user_of_certificate(der: bytes) -> User | None:
    """None for a certificate that is not meant for clients, or names nobody."""
    certificate = x509.load_der_x509_certificate(der)
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return None
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usage and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in usage:
        return None
    names = [str(found.value) for found in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if not names or not names[0]:
        return None
    groups = [str(found.value) for found in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    uids = [str(found.value) for found in certificate.subject.get_attributes_for_oid(_UID)]
    credential = f"X509SHA256={hashlib.sha256(der).hexdigest()}"
    return User(
        names[0],
        (*dict.fromkeys(groups), _AUTHENTICATED) if _AUTHENTICATED not in groups else tuple(dict.fromkeys(groups)),
        uids[0] if uids else "",
        {"authentication.kubernetes.io/credential-id": (credential,)},
    )
