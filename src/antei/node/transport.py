"""Probes over real sockets: `world.sockets.ProbeTransport`, in whichever network namespace the sockets are opened.

A new connection for each question and none kept alive, so that a probe says what a new client would find.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from antei.world.sockets import HttpReply, Sockets

if TYPE_CHECKING:
    from antei.node.http_probe import HttpProbes

__all__ = ["SocketProbeTransport"]

#: struct linger { on, seconds }: closing resets the connection, which leaves no TIME_WAIT behind.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class SocketProbeTransport:
    """`aclose` when done; safe to use from any task of one loop."""

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets
        self._http: HttpProbes | None = None

    async def http_get(self, url: str, headers: Mapping[str, str], body_limit_bytes: int) -> HttpReply:
        if self._http is None:
            # Loaded by the first HTTP probe only, in a thread, so that nobody waits meanwhile: it is 10 MB and 80 ms.
            module = await asyncio.to_thread(import_module, "antei.node.http_probe")
            self._http = self._http or module.HttpProbes(self._sockets)
        return await self._http.get(url, headers, body_limit_bytes)

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
        if self._http is not None:
            await self._http.aclose()
            self._http = None

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
