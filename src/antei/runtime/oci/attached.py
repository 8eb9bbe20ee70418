"""The streams of a container's first process, through conmon's socket.

A packet from conmon is one byte, 2 for stdout and 3 for stderr, and what was printed; what is sent to it is stdin.
conmon does not wait for a reader: what is not read in time is kept here up to a bound, and then the oldest of it is
lost to that reader (the log has it all).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable
from pathlib import Path

from antei.api.pod_streams import CommandStreams, TerminalSize
from antei.runtime import Exit
from antei.runtime.oci.conmon import resize

__all__ = ["open_attached"]

_PACKET_BYTES = 64 * 1024
_SEND_BYTES = 8 * 1024
_KEPT_BYTES = 16 * 1024 * 1024
_STDERR = 3


async def open_attached(
    bundle: Path, ended: asyncio.Event, exit_of: Callable[[], Exit | None], *, stdin: bool, tty: bool
) -> CommandStreams:
    """Raises OSError when conmon is gone."""
    connection = await asyncio.to_thread(_connect, bundle)
    return _Attached(connection, bundle, ended, exit_of, stdin=stdin, tty=tty)


def _connect(bundle: Path) -> socket.socket:
    """The way to the socket may be longer than an address may be."""
    directory = os.open(bundle, os.O_PATH | os.O_CLOEXEC)
    try:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            connection.connect(f"/proc/self/fd/{directory}/attach")
        except BaseException:
            connection.close()
            raise
    finally:
        os.close(directory)
    connection.setblocking(False)
    return connection


class _Kept:
    """What was printed and is not read yet."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._is_over = False
        self._news = asyncio.Event()

    def put(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        while self._size > _KEPT_BYTES:
            self._size -= len(self._pieces.popleft())
        self._news.set()

    def end(self) -> None:
        self._is_over = True
        self._news.set()

    async def get(self) -> bytes:
        """b"" at the end."""
        while not self._pieces:
            if self._is_over:
                return b""
            self._news.clear()
            await self._news.wait()
        data = self._pieces.popleft()
        self._size -= len(data)
        return data


class _Attached:
    """Implements `CommandStreams`."""

    def __init__(
        self,
        connection: socket.socket,
        bundle: Path,
        ended: asyncio.Event,
        exit_of: Callable[[], Exit | None],
        *,
        stdin: bool,
        tty: bool,
    ) -> None:
        self._connection = connection
        self._bundle = bundle
        self._ended = ended
        self._exit_of = exit_of
        self._takes_stdin = stdin
        self._tty = tty
        self._stdout, self._stderr = _Kept(), _Kept()
        self._loop = asyncio.get_running_loop()
        self._is_open = True
        self._loop.add_reader(connection.fileno(), self._receive)

    def _receive(self) -> None:
        try:
            packet = self._connection.recv(_PACKET_BYTES)
        except BlockingIOError:
            return
        except OSError:  # conmon has been killed
            packet = b""
        if packet:
            (self._stderr if packet[0] == _STDERR else self._stdout).put(packet[1:])
            return
        self._loop.remove_reader(self._connection.fileno())
        self._stdout.end()
        self._stderr.end()

    async def write_stdin(self, data: bytes) -> None:
        if not self._takes_stdin:
            return
        for start in range(0, len(data), _SEND_BYTES):
            sending = asyncio.ensure_future(self._send(data[start : start + _SEND_BYTES]))
            over = asyncio.ensure_future(self._ended.wait())
            try:
                await asyncio.wait({sending, over}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                sending.cancel()
                over.cancel()

    async def _send(self, data: bytes) -> None:
        while self._is_open:
            try:
                self._connection.send(data)
            except BlockingIOError:
                await self._writable()
            except OSError:  # conmon has ended, and the container with it
                return
            else:
                return

    async def _writable(self) -> None:
        ready = asyncio.Event()
        self._loop.add_writer(self._connection.fileno(), ready.set)
        try:
            await ready.wait()
        finally:
            if self._is_open:
                self._loop.remove_writer(self._connection.fileno())

    async def close_stdin(self) -> None:
        """conmon ends the container's own stdin, unless it is to stay open for the next who attaches."""
        if self._takes_stdin and self._is_open:
            self._takes_stdin = False
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_WR)

    async def read_stdout(self) -> bytes:
        return await self._stdout.get()

    async def read_stderr(self) -> bytes:
        return await self._stderr.get()

    async def resize(self, size: TerminalSize) -> None:
        if self._tty and not self._ended.is_set():
            with contextlib.suppress(OSError):  # it is gone with its container
                await asyncio.to_thread(resize, self._bundle, size.height, size.width)

    async def wait(self) -> int:
        await self._ended.wait()
        found = self._exit_of()
        return found.exit_code if found is not None else 0

    async def aclose(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        self._loop.remove_reader(self._connection.fileno())
        self._loop.remove_writer(self._connection.fileno())
        self._connection.close()
        self._stdout.end()
        self._stderr.end()
