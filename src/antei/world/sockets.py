"""The network as the outside world: sockets in a namespace, and the three questions a probe asks over it."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

__all__ = ["HostSockets", "HttpReply", "PodAddress", "ProbeTransport", "Sockets"]


class Sockets(Protocol):
    """Opens sockets in one network namespace; a socket stays in the namespace it was opened in."""

    def open(self, family: int, kind: int) -> socket.socket:
        """A new non-blocking socket (`socket.AF_INET`, `socket.SOCK_STREAM`, …), neither bound nor connected."""
        ...


class HostSockets:
    """Sockets of the namespace that antei itself runs in."""

    def open(self, family: int, kind: int) -> socket.socket:
        # asyncio sets TCP_NODELAY only on sockets that name their protocol.
        protocol = socket.IPPROTO_TCP if kind == socket.SOCK_STREAM else 0
        opened = socket.socket(family, kind, protocol)
        opened.setblocking(False)
        return opened


@dataclass(frozen=True, slots=True)
class PodAddress:
    """Where a pod is on the network."""

    ip: str
    namespace: str | None  # the network namespace's name under /run/netns; None: pods share the host's


@dataclass(frozen=True, slots=True)
class HttpReply:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes


class ProbeTransport(Protocol):
    """One question, one new connection, no retries. All raise OSError when the other side cannot be reached.

    None has a timeout of its own: the caller sets one around it and cancellation closes the connection.
    """

    async def http_get(self, url: str, headers: Mapping[str, str], body_limit_bytes: int) -> HttpReply:
        """GET without following redirects, without verifying certificates, connection closed afterwards.

        The `Host` header in `headers` is sent in place of the URL's own (and is the TLS server name).
        """
        ...

    async def tcp_connect(self, host: str, port: int) -> None:
        """Connects and closes at once with SO_LINGER 0, so that no TIME_WAIT is left behind."""
        ...

    async def grpc_check(self, host: str, port: int, service: str) -> str:
        """grpc.health.v1.Health/Check; returns the status' name ("SERVING").

        Raises LookupError for an unknown service and NotImplementedError for a server without the health API.
        """
        ...
