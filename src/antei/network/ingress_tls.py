"""Certificates of Ingresses: which one a TLS client is shown, by the name it asks for (SNI)."""

from __future__ import annotations

import base64
import binascii
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path

__all__ = ["Certificates", "context_of"]


class Certificates:
    """A server context whose certificates can be exchanged while it serves."""

    def __init__(self) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.set_alpn_protocols(["http/1.1"])
        self.context.sni_callback = self._choose
        self._contexts: dict[str, ssl.SSLContext] = {}

    def replace(self, contexts: Mapping[str, ssl.SSLContext]) -> None:
        """By host, a wildcard (`*.example`) for one label, the empty string for any. Old connections go on."""
        self._contexts = dict(contexts)

    def find(self, host: str) -> ssl.SSLContext | None:
        name = host.lower()
        for candidate in (name, "*." + name.partition(".")[2], ""):
            if candidate in self._contexts:
                return self._contexts[candidate]
        return None

    def _choose(self, connection: ssl.SSLObject, host: str | None, _context: ssl.SSLContext) -> int | None:
        chosen = self.find(host or "")
        if chosen is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.context = chosen
        return None


def context_of(secret_data: Mapping[str, str]) -> ssl.SSLContext:
    """A context for the data of a kubernetes.io/tls Secret. Blocking (`ssl` reads keys from files only).

    Raises ValueError when certificate or key are missing or no good.
    """
    try:
        certificate, key = (base64.b64decode(secret_data[name], validate=True) for name in ("tls.crt", "tls.key"))
    except (KeyError, binascii.Error) as error:
        raise ValueError(f"no usable tls.crt and tls.key: {error}") from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    with tempfile.TemporaryDirectory(prefix="antei-tls-") as directory:  # readable by us only
        certificate_path, key_path = Path(directory, "crt"), Path(directory, "key")
        certificate_path.write_bytes(certificate)
        key_path.write_bytes(key)
        try:
            context.load_cert_chain(certificate_path, key_path)
        except (ssl.SSLError, OSError) as error:
            raise ValueError(f"the certificate does not fit or is damaged: {error}") from error
    return context
