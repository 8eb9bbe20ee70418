"""An HTTP server of known behaviour: what it does to the nth request is given, and it counts what it saw."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

__all__ = ["KnownServer", "known_server", "unused_port"]

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def answer(body: bytes = b"ok\n", status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


class KnownServer:
    """`behave(number)` names what is done to the request with that number, counted from 0 in the order of arrival.

    ok, reset, close, stall, unavailable (503), missing (404), slow-body, chunked, until-close, half (of the body, then
    a reset), half-close (half of the body, then an orderly end), garbage, last (ok, and then the connection is closed)
    """

    def __init__(self, behave: Callable[[int], str], delay_seconds: float, close_after: int | None) -> None:
        self._behave = behave
        self._delay_seconds = delay_seconds
        self._close_after = close_after
        self.requests: list[bytes] = []
        self.connections = 0
        self.open_connections = 0
        self.port = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open_connections += 1
        served = 0
        try:
            while self._close_after is None or served < self._close_after:
                head = await reader.readuntil(b"\r\n\r\n")
                number = len(self.requests)
                self.requests.append(head)
                if self._delay_seconds:
                    await asyncio.sleep(self._delay_seconds)
                if not await self._answer(self._behave(number), writer):
                    break
                served += 1
                if b"connection: close" in head.lower():
                    break
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self.open_connections -= 1
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, what: str, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        match what:
            case "ok":
                writer.write(answer())
            case "last":
                writer.write(answer())
                return False
            case "reset":
                _reset(writer)
                return False
            case "close":
                return False
            case "stall":
                await asyncio.sleep(3600)
            case "unavailable":
                writer.write(answer(b"", "503 Service Unavailable"))
            case "missing":
                writer.write(answer(b"", "404 Not Found"))
            case "slow-body":
                writer.write(answer(b"x" * 10)[:-9])
                for _ in range(9):
                    await asyncio.sleep(0.005)
                    writer.write(b"x")
            case "chunked":
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                writer.write(b"3\r\nabc\r\n0\r\n\r\n")
            case "until-close":
                writer.write(b"HTTP/1.1 200 OK\r\n\r\nabc")
                return False
            case "half":
                writer.write(answer(b"x" * 10)[:-5])
                await writer.drain()
                await asyncio.sleep(0.02)
                _reset(writer)
                return False
            case "half-close":
                writer.write(answer(b"x" * 10)[:-5])
                return False
            case "garbage":
                writer.write(b"+PONG\r\n")
            case json if json.startswith("json:"):
                writer.write(answer(b'{"pod": "%s"}' % json[5:].encode()))
            case header:
                writer.write(answer(headers=header))
        return True

    async def aclose(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def known_server(
    behave: Callable[[int], str] = lambda number: "ok",
    *,
    delay_seconds: float = 0.0,
    close_after: int | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[KnownServer]:
    """On 127.0.0.1. `close_after`: so many answers on a connection, then it is closed without a word."""
    known = KnownServer(behave, delay_seconds, close_after)
    server = await asyncio.start_server(known.serve, "127.0.0.1", 0, ssl=tls, backlog=1024)
    known.port = server.sockets[0].getsockname()[1]
    try:
        yield known
    finally:
        server.close()
        await known.aclose()
        await server.wait_closed()


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _reset(writer: asyncio.StreamWriter) -> None:
    """A reset whatever the kernel has of the request."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
