"""HTTP probes over real sockets: the part of `transport.py` that needs an HTTP client."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

import aiohttp

from antei.world.sockets import HttpReply, Sockets

__all__ = ["HttpProbes"]

_CHUNK_BYTES = 16 * 1024


class HttpProbes:
    """`aclose` when done; to be made on the loop that uses it."""

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets
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

    async def get(self, url: str, headers: Mapping[str, str], body_limit_bytes: int) -> HttpReply:
        """As `world.sockets.ProbeTransport.http_get` has it."""
        host = next((value for name, value in headers.items() if name.lower() == "host"), None)
        try:
            async with self._session.get(
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

    async def aclose(self) -> None:
        await self._session.close()

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
