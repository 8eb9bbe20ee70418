"""A TCP connection of the load client: callbacks, the very error it ended with, and what the kernel knows of it.

asyncio's transports cost a task for each connection and do not tell whether the other side had acknowledged anything
when it went away. Here everything happens in callbacks on a non-blocking socket of whatever network namespace.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import struct
import sys
from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["Receiver", "Stream", "TlsStream"]

_READ_BYTES = 64 * 1024
#: struct linger { on, seconds }: closing resets the connection, which leaves no TIME_WAIT behind.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
#: Linux: struct tcp_info, tcpi_bytes_acked; what the other side acknowledged, the SYN included.
_BYTES_ACKED = struct.Struct("120xQ")
_HAS_BYTES_ACKED = sys.platform == "linux"


class Receiver(Protocol):
    """Who a stream tells. `ended` comes once and last, unless the stream was closed from here."""

    def connected(self) -> None: ...

    def received(self, data: bytes) -> None: ...

    def ended(self, error: Exception | None) -> None:
        """OSError (ssl.SSLError is one), or None for an orderly end."""
        ...


class Stream:
    """`connect` once; `send` after `connected`; `close` at any time."""

    __slots__ = (
        "_error",
        "_fd",
        "_is_answered",
        "_loop",
        "_pending",
        "_receiver",
        "_socket",
        "bytes_sent",
        "is_closed",
        "unanswered",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, opened: socket.socket, receiver: Receiver) -> None:
        self._loop = loop
        self._socket = opened
        self._fd = opened.fileno()
        self._receiver = receiver
        self._pending = b""
        self._error: OSError | None = None
        self._is_answered = False
        #: Told (address, port) of this side when the connection is given up before anybody answered.
        self.unanswered: Callable[[tuple[str, int]], None] | None = None
        self.bytes_sent = 0  # given to `send`, encrypted or not
        self.is_closed = False

    def connect(self, address: tuple[Any, ...]) -> None:
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number = self._socket.connect_ex(address)
        except OSError as error:
            number = error.errno or errno.EINVAL
        if number == errno.EINPROGRESS:
            self._loop.add_writer(self._fd, self._connect_ended)
        elif number:
            self._loop.call_soon(self._end, OSError(number, os.strerror(number)))
        else:
            self._loop.call_soon(self._established)

    def send(self, data: bytes) -> None:
        self.bytes_sent += len(data)
        self._send(data)

    def close(self, *, reset: bool = False) -> None:
        """`reset`: at once and without TIME_WAIT, for a client that would run out of ports otherwise."""
        if self.is_closed:
            return
        self.is_closed = True
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        if reset:
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            except OSError as error:  # macOS refuses on a connection that the other side has ended
                self._error = error
        local = self.local if not self._is_answered and self.unanswered is not None else None
        self._socket.close()
        if local is not None and self.unanswered is not None:
            self.unanswered(local)

    @property
    def local(self) -> tuple[str, int]:
        """(address, port) on this side."""
        name = self._socket.getsockname()
        return name[0], name[1]

    def is_silent(self) -> bool:
        """Nothing has come in that was not read yet, the end least of all: an idle connection that can be used."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        return False

    def is_unacknowledged(self, sent_before: int) -> bool:
        """The other side never had a byte of what was sent after the first `sent_before`. False if nobody knows.

        To be asked at an orderly end: the segment that ends a connection acknowledges everything that came before.
        """
        if not _HAS_BYTES_ACKED:
            return False
        try:
            info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
        except OSError:
            return False
        acknowledged: int = _BYTES_ACKED.unpack(info)[0] if len(info) == _BYTES_ACKED.size else sys.maxsize
        return acknowledged <= sent_before + 1

    def _connect_ended(self) -> None:
        self._loop.remove_writer(self._fd)
        number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._is_answered = number == errno.ECONNREFUSED
            self._end(OSError(number, os.strerror(number)))
        else:
            self._established()

    def _established(self) -> None:
        if self.is_closed:
            return
        self._is_answered = True
        self._loop.add_reader(self._fd, self._readable)
        self._begin()

    def _begin(self) -> None:
        self._receiver.connected()

    def _send(self, data: bytes) -> None:
        if self.is_closed or self._error is not None:
            return
        if self._pending:
            self._pending += data
            return
        sent = self._write(data)
        if sent < len(data):
            self._pending = data[sent:]
            self._loop.add_writer(self._fd, self._writable)

    def _write(self, data: bytes) -> int:
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            # An answer may be there nevertheless (413, and closed): reading finds it, or the end.
            self._error = error
            return len(data)

    def _writable(self) -> None:
        self._pending = self._pending[self._write(self._pending) :]
        if not self._pending:
            self._loop.remove_writer(self._fd)

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        if data:
            self._arrived(data)
        else:
            self._end(self._error)

    def _arrived(self, data: bytes) -> None:
        self._receiver.received(data)

    def _end(self, error: Exception | None) -> None:
        if self.is_closed:
            return
        # Told before it is closed, so that the kernel can still be asked.
        self._loop.remove_reader(self._fd)
        self._receiver.ended(error)
        self.close()


class TlsStream(Stream):
    """The same, encrypted: `connected` after the handshake."""

    __slots__ = ("_incoming", "_is_shaken", "_outgoing", "_tls")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        opened: socket.socket,
        receiver: Receiver,
        context: ssl.SSLContext,
        server_name: str,
    ) -> None:
        super().__init__(loop, opened, receiver)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        self._is_shaken = False

    def send(self, data: bytes) -> None:
        self.bytes_sent += len(data)
        if self.is_closed:
            return
        self._tls.write(data)
        self._flush()

    def is_unacknowledged(self, sent_before: int) -> bool:
        return False  # what is acknowledged is counted encrypted

    def _begin(self) -> None:
        self._shake()

    def _shake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as error:
            self._flush()  # the alert
            self._end(error)
            return
        self._is_shaken = True
        self._flush()
        self._receiver.connected()

    def _arrived(self, data: bytes) -> None:
        self._incoming.write(data)
        if not self._is_shaken:
            self._shake()
        while self._is_shaken and not self.is_closed:
            try:
                plain = self._tls.read(_READ_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                self._end(None)
                return
            except ssl.SSLError as error:
                self._end(error)
                return
            if not plain:
                break
            self._receiver.received(plain)
        self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._send(self._outgoing.read())
