"""Probes over real sockets: `world.sockets.ProbeTransport`, in whichever network namespace the sockets are opened.

A new connection for each question and none kept alive, so that a probe says what a new client would find.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping
from typing import Any

import aiohttp

from antei.world.sockets import HttpReply, Sockets

__all__ = ["SocketProbeTransport"]

#: struct linger { on, seconds }: closing resets the connection, which leaves no TIME_WAIT behind.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_CHUNK_BYTES = 16 * 1024


class SocketProbeTransport:
    """`aclose` when done; safe to use from any task of one loop."""

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets
        self._session: aiohttp.ClientSession | None = None

    async def http_get(self, url: str, headers: Mapping[str, str], body_limit_bytes: int) -> HttpReply:
        host = next((value for name, value in headers.items() if name.lower() == "host"), None)
        try:
            async with self._http().get(
                url,
                headers=headers,
                allow_redirects=False,
                # As Go does: the Host header is the name that the server's certificate is asked for.
                server_hostname=host.partition(":")[0] if host and url.startswith("https:") else None,
            ) as reply:
                body = await _read_at_most(reply, body_limit_bytes)
                reply.close()
                names = {name.lower(): value for name, value in reply.headers.items()}
                return HttpReply(reply.status, names, body)
        except aiohttp.ServerDisconnectedError as error:
            raise ConnectionResetError("EOF") from error
        except aiohttp.ClientError as error:
            if isinstance(error, OSError):
                raise
            raise ConnectionError(f"{type(error).__name__}: {error}") from error

    async def tcp_connect(self, host: str, port: int) -> None:
        opened = await self._connect(host, port)
        opened.close()

    async def grpc_check(self, host: str, port: int, service: str) -> str:
        # HTTP/2 and protobuf are loaded by the first gRPC probe only: most clusters have none.
        from antei.node.grpc_health import check

        opened = await self._connect(host, port)
        reader, writer = await asyncio.open_connection(sock=opened)
        try:
            return await check(reader, writer, f"{host}:{port}", service)
        finally:
            writer.close()

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _connect(self, host: str, port: int) -> socket.socket:
        """A connected, non-blocking socket that is reset when it is closed."""
        loop = asyncio.get_running_loop()
        (family, kind, _, _, address), *_ = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        opened = self._sockets.open(family, kind)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            await loop.sock_connect(opened, address)
        except BaseException:
            opened.close()
            raise
        return opened

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            connector = aiohttp.TCPConnector(
                socket_factory=self._open, ssl=False, force_close=True, limit=0, use_dns_cache=False
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None),  # the caller's
                auto_decompress=False,
                skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session

    def _open(self, address: Any) -> socket.socket:
        """aiohttp's socket factory: `address` is a row of getaddrinfo."""
        return self._sockets.open(address[0], address[1])


async def _read_at_most(reply: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    """What exceeds the limit is left unread; the connection is closed anyway."""
    body = b""
    while len(body) < limit_bytes:
        piece = await reply.content.read(min(_CHUNK_BYTES, limit_bytes - len(body)))
        if not piece:
            break
        body += piece
    return body
