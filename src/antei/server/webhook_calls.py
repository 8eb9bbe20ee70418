"""Webhooks over HTTPS: by URL from where antei runs, by Service inside of the cluster's network.

Certificates are always verified, against the configuration's caBundle or else the machine's own authorities, and by
their subject alternative names only. What goes wrong is said in Go's words.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any

import aiohttp

from antei.server.webhooks import Endpoint, TransportError
from antei.world.sockets import Sockets

__all__ = ["WebhookCalls"]

_MOST_ANSWER_BYTES = 8 * 1024 * 1024
_MOST_CONTEXTS = 64
#: OpenSSL's X509_V_ERR_*.
_EXPIRED, _HOSTNAME, _ADDRESS = (9, 10), 62, 64


class WebhookCalls:
    """What `webhook_transport.HttpsWebhooks` hands on to; connections are kept and used again."""

    def __init__(self, cluster_sockets: Callable[[], Sockets] | None, placed: Callable[[str], str] = str) -> None:
        """`placed` is the address at which a cluster IP is answered there; without sockets there are no Services."""
        self._cluster_sockets = cluster_sockets
        self._placed = placed
        self._sessions: dict[bool, aiohttp.ClientSession] = {}  # by whether it is the cluster's network
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def post(self, endpoint: Endpoint, path: str, body: bytes) -> tuple[int, bytes]:
        is_in_cluster = endpoint.service is not None
        if is_in_cluster and self._cluster_sockets is None:
            raise TransportError("pods of this cluster are simulated: no Service answers")
        host = self._placed(endpoint.host) if is_in_cluster else endpoint.host
        authority = f"[{host}]" if ":" in host else host
        try:
            async with self._session(is_in_cluster).post(
                f"https://{authority}:{endpoint.port}{path}",
                data=body,
                headers={
                    "Host": f"{endpoint.server_name}:{endpoint.port}",
                    "Content-Type": "application/json",
                    "Accept": "application/json, */*",
                    "User-Agent": "kube-apiserver-admission",
                },
                ssl=await self._context(endpoint.ca_bundle),
                server_hostname=endpoint.server_name,
                allow_redirects=False,
            ) as answer:
                return answer.status, await _read(answer)
        except (aiohttp.ClientError, OSError, ssl.SSLError, ValueError) as error:
            raise TransportError(_worded(error, endpoint, host)) from error

    def _session(self, is_in_cluster: bool) -> aiohttp.ClientSession:
        session = self._sessions.get(is_in_cluster)
        if session is None or session.closed:
            connector = aiohttp.TCPConnector(
                limit_per_host=32, socket_factory=self._open_in_cluster if is_in_cluster else None
            )
            # The caller's own timeout ends a call.
            session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
            self._sessions[is_in_cluster] = session
        return session

    def _open_in_cluster(self, address: Any) -> socket.socket:
        assert self._cluster_sockets is not None  # `post` has looked
        return self._cluster_sockets().open(address[0], address[1])

    async def _context(self, ca_bundle: str) -> ssl.SSLContext:
        context = self._contexts.get(ca_bundle)
        if context is None:
            # The machine's authorities are read from disk.
            context = await asyncio.to_thread(_make_context, ca_bundle)
            if len(self._contexts) >= _MOST_CONTEXTS:
                self._contexts.clear()
            self._contexts[ca_bundle] = context
        return context

    async def aclose(self) -> None:
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()


def _make_context(ca_bundle: str) -> ssl.SSLContext:
    """Raises ssl.SSLError or ValueError for a bundle that is none."""
    context = ssl.create_default_context(cadata=ca_bundle) if ca_bundle else ssl.create_default_context()
    context.hostname_checks_common_name = False
    return context


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > _MOST_ANSWER_BYTES:
            raise ValueError(f"the answer is longer than {_MOST_ANSWER_BYTES} bytes")
    return bytes(body)


def _worded(error: Exception, endpoint: Endpoint, host: str) -> str:
    cause = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"tls: failed to verify certificate: x509: {_certificate_problem(cause, endpoint)}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"dial tcp: lookup {endpoint.server_name}: no such host"
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return f"tls: {error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        known = {errno.ECONNREFUSED: "connection refused", errno.EHOSTUNREACH: "no route to host"}
        detail = known.get(number or 0) or (os.strerror(number).lower() if number else str(error.os_error))
        return f"dial tcp {host}:{endpoint.port}: connect: {detail}"
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError):
        return "EOF"
    return str(error) or type(error).__name__


def _certificate_problem(error: ssl.SSLCertVerificationError, endpoint: Endpoint) -> str:
    if error.verify_code in _EXPIRED:
        return "certificate has expired or is not yet valid"
    if error.verify_code in (_HOSTNAME, _ADDRESS):
        return f"certificate is not valid for {endpoint.server_name}: {error.verify_message}"
    return "certificate signed by unknown authority"
