"""Connections: what a request's head may be and take, and the way from a request to the bare connection below it.

    request with `Upgrade:` ─► the application, as any other: it authenticates, looks up, may refuse with a Status
                              └► exchange.upgrade(…) writes the 101 and hands over a RawConnection

A connection that asked for an upgrade and got an ordinary answer is closed after it: what the client sent behind its
request may be in the other protocol already.

A head must come within 32 seconds and 1 MiB, else the connection is closed (kube-apiserver: ReadHeaderTimeout; Go:
DefaultMaxHeaderBytes), so that a client which sends drop by drop holds a socket for so long and nothing else.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = [
    "CERTIFICATE_KEY",
    "FLOW_KEY",
    "HEAD_SECONDS",
    "OUTGOING_KEY",
    "SCOPE_KEY",
    "Heads",
    "Outgoing",
    "RawConnection",
    "UpgradableProtocol",
]

#: Where the scope of a request has its `UpgradableProtocol`, if it asks for an upgrade.
SCOPE_KEY = "antei.upgrade"
#: Where it has the certificate that the client has shown (DER), if it has shown one that TLS accepts.
CERTIFICATE_KEY = "antei.certificate"
#: Where it has the connection's flow control: whether the client takes what it is sent.
FLOW_KEY = "antei.flow"
#: Where it has what the answer is written to.
OUTGOING_KEY = "antei.outgoing"
_READ_AHEAD_BYTES = 64 * 1024
HEAD_SECONDS = 32.0
_HEAD_BYTES = 1024 * 1024
_HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"\r\n431 Request Header Fields Too Large"
)
#: A longer body is not copied to be joined with its head.
_MOST_JOINED_BYTES = 64 * 1024
#: How long a client may take to read the rest of what was sent before its connection is cut.
_LINGER_SECONDS = 5.0


class RawConnection:
    """Bytes both ways with backpressure: at most 64 KiB are read ahead, and `write` waits for a slow reader."""

    def __init__(self, transport: asyncio.Transport, flow: FlowControl, early: bytes) -> None:
        self._transport = transport
        self._flow = flow
        self._received = bytearray(early)
        self._has_received = asyncio.Event()
        self._closed = asyncio.Event()

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set() or self._transport.is_closing()

    async def read(self) -> bytes:
        """What has come, at least one byte; b"" when the client is gone."""
        while not self._received:
            if self._closed.is_set():
                return b""
            self._has_received.clear()
            self._flow.resume_reading()
            await self._has_received.wait()
        data = bytes(self._received)
        self._received.clear()
        return data

    async def write(self, data: bytes) -> None:
        """Raises ConnectionResetError when the client is gone."""
        if self._flow.write_paused:
            await self._flow.drain()
        if self.is_closed:
            raise ConnectionResetError("the client is gone")
        self._transport.write(data)

    def close(self) -> None:
        """Lets the client read what was sent, but not for ever."""
        if not self._transport.is_closing():
            self._transport.close()
            asyncio.get_running_loop().call_later(_LINGER_SECONDS, self._transport.abort)

    def abort(self) -> None:
        self._transport.abort()

    async def wait_closed(self) -> None:
        await self._closed.wait()

    # From the protocol

    def feed(self, data: bytes) -> None:
        self._received += data
        self._has_received.set()
        if len(self._received) >= _READ_AHEAD_BYTES:
            self._flow.pause_reading()

    def lost(self) -> None:
        self._closed.set()
        self._has_received.set()


class Outgoing(asyncio.Transport):
    """What answers are written to: the connection, but for the head of an answer that is known as a whole.

    Such a head is held until its body is written: one TLS record and one packet where they were two, which for a
    small object is a quarter of the work.
    """

    __slots__ = ("_head", "_is_holding", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._is_holding = False
        self._head = b""

    def hold_head(self) -> None:
        """What is written next waits for what is written after it, which must follow."""
        self._is_holding = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_holding:
            self._is_holding = False
            self._head = bytes(data)
            return
        if self._head:
            head, self._head = self._head, b""
            if len(data) <= _MOST_JOINED_BYTES:
                data = head + bytes(data)
            else:
                self._transport.write(head)
        self._transport.write(data)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self._transport.close()


class Heads:
    """The connections that a request's head, or the rest of it, is waited for on."""

    def __init__(self, seconds: float = HEAD_SECONDS) -> None:
        self._seconds = seconds
        self._since: dict[UpgradableProtocol, float] = {}  # the first has waited longest

    def __len__(self) -> int:
        return len(self._since)

    def wait(self, protocol: UpgradableProtocol) -> None:
        self._since.setdefault(protocol, asyncio.get_running_loop().time())

    def done(self, protocol: UpgradableProtocol) -> None:
        self._since.pop(protocol, None)

    def tick(self) -> None:
        """Called each second: cuts those that have waited too long."""
        overdue = asyncio.get_running_loop().time() - self._seconds
        for protocol, since in list(self._since.items()):
            if since > overdue:
                break
            del self._since[protocol]
            protocol.transport.abort()


class UpgradableProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which here hands over its connection when the application asks for it.

    A server makes a subclass of its own, with its `heads`.
    """

    heads = Heads()
    _outgoing: Outgoing
    _early: bytearray | None = None
    _raw: RawConnection | None = None
    _certificate: bytes | None = None
    _is_in_head = False
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.heads.wait(self)
        self._outgoing = Outgoing(transport)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self._certificate = tls.getpeercert(binary_form=True)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if self._certificate is not None:
            scope: Any = self.scope
            scope[CERTIFICATE_KEY] = self._certificate

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        super().on_headers_complete()
        scope: Any = self.scope
        scope[FLOW_KEY] = self.flow
        scope[OUTGOING_KEY] = self.cycle.transport = self._outgoing
        if self.parser.should_upgrade():
            self.cycle.keep_alive = False
            scope[SCOPE_KEY] = self

    def data_received(self, data: bytes) -> None:
        if self._raw is not None:
            self._raw.feed(data)
            return
        if self._early is not None:
            self._keep_early(data)
            return
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._early = bytearray()
            self._keep_early(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.heads.done(self)
            self.send_400_response("Invalid HTTP request received.")
            return
        if self._is_in_head or self.cycle is None or self.cycle.response_complete:
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_BYTES:
                self.transport.write(_HEAD_TOO_LARGE)
                self.transport.close()
                return
            self.heads.wait(self)
        else:
            self.heads.done(self)

    def _keep_early(self, data: bytes) -> None:
        assert self._early is not None
        self._early += data
        if len(self._early) >= _READ_AHEAD_BYTES:
            self.flow.pause_reading()

    def take_over(self, head: bytes) -> RawConnection:
        """Writes the head of the answer; from now on the connection is the caller's, who closes it.

        Raises ConnectionResetError when the client is gone.
        """
        if self.transport.is_closing():
            raise ConnectionResetError("the client is gone")
        self.cycle.response_started = self.cycle.response_complete = True
        self.cycle.message_event.set()
        self._unset_keepalive_if_required()
        self._raw = RawConnection(self.transport, self.flow, bytes(self._early or b""))
        self._early = None
        self.transport.write(head)
        return self._raw

    def connection_lost(self, exc: Exception | None) -> None:
        self.heads.done(self)
        super().connection_lost(exc)
        if self._raw is not None:
            self._raw.lost()

    def shutdown(self) -> None:
        if self._raw is not None:
            self._raw.close()
        else:
            super().shutdown()
