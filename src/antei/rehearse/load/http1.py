"""HTTP/1.1: a new connection for each request, or a pool of kept ones. httptools (llhttp) reads the answers.

The pool opens `connections` before it uses one twice, takes the one that has been idle for longest, so that all pods
behind a Service are asked, and opens more while all are busy: a request never waits for a connection.
"""

from __future__ import annotations

import errno
from collections import deque

import httptools
import msgspec

from antei.rehearse.load.exchange import Dialer, Exchange
from antei.rehearse.load.outcomes import Phase, of_end, of_status
from antei.rehearse.load.spec import LoadSpec, Resend, Target
from antei.rehearse.load.stream import Stream
from antei.rehearse.model import Outcome

__all__ = ["HttpWay", "request_bytes"]

#: As much of a body is kept to find who served it.
_BODY_LIMIT_BYTES = 64 * 1024


def request_bytes(spec: LoadSpec, target: Target, keep_alive: bool) -> bytes:
    """The whole request. Headers of the specification replace those of the same name."""
    body = spec.body.encode()
    headers = {"Host": target.authority, "User-Agent": "antei-rehearse", "Accept": "*/*"}
    if body or spec.method.upper() not in ("GET", "HEAD", "DELETE", "OPTIONS", "TRACE"):
        headers["Content-Length"] = str(len(body))
    headers["Connection"] = "keep-alive" if keep_alive else "close"
    given = {name.lower() for name in spec.headers}
    headers = {name: text for name, text in headers.items() if name.lower() not in given} | spec.headers
    head = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
    return f"{spec.method.upper()} {target.path} HTTP/1.1\r\n{head}\r\n".encode() + body


class HttpWay:
    def __init__(self, dialer: Dialer, keep_alive: bool, connections: int) -> None:
        self.dialer = dialer
        self.spec = dialer.spec
        self.keep_alive = keep_alive
        self.request = request_bytes(dialer.spec, dialer.target, keep_alive)
        self._connections = connections
        self._idle: deque[HttpConnection] = deque()
        self._open: dict[HttpConnection, None] = {}  # idle ones and those under way, in the order of opening

    def send(self, exchange: Exchange) -> None:
        connection = self._take_idle() if self.keep_alive and len(self._open) >= self._connections else None
        if connection is not None:
            connection.begin(exchange)
        else:
            self._send_on_new(exchange)

    def close(self) -> None:
        for connection in list(self._open):
            connection.close()
        self._idle.clear()
        self._open.clear()

    # Called by connections

    def answered(self, connection: HttpConnection, can_be_reused: bool) -> None:
        if self.keep_alive and can_be_reused and len(self._open) <= self._connections:
            self._idle.append(connection)
        else:
            self._forget(connection)
            connection.close()

    def broken(self, connection: HttpConnection, exchange: Exchange | None, error: Exception | None) -> None:
        """The connection has ended: an idle one, or one whose answer is not complete."""
        self._forget(connection)
        if exchange is None:
            return
        if not exchange.is_resent and connection.may_resend(self.spec, error):
            exchange.is_resent = True
            exchange.note = "sent again, the idle connection was closed under it"
            self._send_on_new(exchange)
            return
        relayed = self.dialer.target.is_relayed
        outcome, detail = of_end(error, connection.phase, not connection.is_reused, relayed)
        exchange.end(outcome, detail)

    def _forget(self, connection: HttpConnection) -> None:
        self._open.pop(connection, None)
        if connection in self._idle:
            self._idle.remove(connection)

    def _take_idle(self) -> HttpConnection | None:
        while self._idle:
            connection = self._idle.popleft()
            if connection.is_usable():
                return connection
            self._open.pop(connection, None)
            connection.close()
        return None

    def _send_on_new(self, exchange: Exchange) -> None:
        connection = HttpConnection(self)
        connection.begin(exchange)
        try:
            connection.stream = self.dialer.dial(connection)
        except OSError as error:
            outcome, detail = of_end(error, Phase.CONNECTING, True, False)
            exchange.end(Outcome.UNREACHABLE if error.errno is None else outcome, detail)
            return
        self._open[connection] = None


class HttpConnection:
    """Implements `stream.Receiver` and `exchange.Carrier`; also what httptools tells the parts of an answer."""

    __slots__ = (
        "_body",
        "_can_be_reused",
        "_has_length",
        "_is_complete",
        "_is_connected",
        "_parser",
        "_sent_before",
        "_served_by",
        "_status",
        "_way",
        "exchange",
        "is_reused",
        "phase",
        "pod",
        "stream",
    )

    def __init__(self, way: HttpWay) -> None:
        self._way = way
        self.stream: Stream | None = None
        self.exchange: Exchange | None = None
        self.phase = Phase.CONNECTING
        self.is_reused = False
        self.pod = ""
        self._is_connected = False
        self._sent_before = 0

    def begin(self, exchange: Exchange) -> None:
        self.exchange = exchange
        exchange.carrier = self
        exchange.pod = self.pod
        self._parser = httptools.HttpResponseParser(self)
        self._status = 0
        self._is_complete = False
        self._can_be_reused = False
        self._has_length = False
        self._served_by = ""
        self._body = b""
        if self._is_connected:
            self.is_reused = True
            self._send()

    def _send(self) -> None:
        assert self.stream is not None
        self.phase = Phase.SENT
        self._sent_before = self.stream.bytes_sent
        self.stream.send(self._way.request)

    def is_usable(self) -> bool:
        return self.stream is not None and not self.stream.is_closed and self.stream.is_silent()

    def may_resend(self, spec: LoadSpec, error: Exception | None) -> bool:
        """See `Resend`."""
        if not self.is_reused or self.phase is not Phase.SENT or spec.resend is Resend.NEVER:
            return False
        if spec.resend is Resend.IDEMPOTENT and spec.is_idempotent:
            return True
        if error is None:
            return self.stream is not None and self.stream.is_unacknowledged(self._sent_before)
        is_reset = isinstance(error, OSError) and error.errno in (errno.ECONNRESET, errno.EPIPE)
        return is_reset and spec.is_idempotent

    def close(self) -> None:
        if self.stream is not None:
            # New connections by the thousand would leave their ports in TIME_WAIT for a minute each.
            self.stream.close(reset=not self._way.keep_alive)

    # Carrier

    def abandon(self, exchange: Exchange) -> None:
        if exchange is self.exchange:
            self.exchange = None
            self._way._forget(self)
            if self.stream is not None:
                self.stream.close(reset=True)

    # Receiver

    def connected(self) -> None:
        self._is_connected = True
        if self.exchange is None or self.stream is None:
            return
        self.pod = self.exchange.pod = self._way.dialer.pod_of(self.stream)
        self._send()

    def received(self, data: bytes) -> None:
        if self.exchange is None:  # on an idle connection (408): not the answer to anything
            self._way._forget(self)
            self.close()
            return
        self.phase = Phase.ANSWERING
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._is_complete = True
        except httptools.HttpParserError as error:
            if not self._is_complete:
                self._finish(Outcome.SERVER_ERROR, f"the answer is not HTTP: {error}", can_be_reused=False)
                return
        if self._is_complete:
            self._answered(self._can_be_reused)

    def ended(self, error: Exception | None) -> None:
        exchange = self.exchange
        if exchange is not None and error is None and self._status and not self._has_length:
            self._answered(can_be_reused=False)  # an answer whose end is the connection's
            return
        self.exchange = None
        self._way.broken(self, exchange, error)

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        if lower in (b"content-length", b"transfer-encoding"):
            self._has_length = True
        wanted = self._way.spec.served_by.header
        if wanted and lower == wanted.lower().encode():
            self._served_by = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200 or status == 101:
            self._status = status
            if self._way.spec.method.upper() == "HEAD":
                self._complete()
        else:
            self._has_length = False  # an interim answer; the real one follows

    def on_body(self, body: bytes) -> None:
        if self._way.spec.served_by.field and len(self._body) < _BODY_LIMIT_BYTES:
            self._body += body

    def on_message_complete(self) -> None:
        if self._status:
            self._complete()

    def _complete(self) -> None:
        self._is_complete = True
        self._can_be_reused = self._parser.should_keep_alive()  # llhttp knows it here and forgets it afterwards

    def _answered(self, can_be_reused: bool) -> None:
        outcome, detail = of_status(self._status, self._way.spec.expected_statuses)
        self._finish(outcome, detail, can_be_reused)

    def _finish(self, outcome: Outcome, detail: str, can_be_reused: bool) -> None:
        exchange, self.exchange = self.exchange, None
        if exchange is None:
            return
        exchange.pod = self._served_by or self._pod_in_body() or exchange.pod
        status = self._status or None
        self._way.answered(self, can_be_reused)
        exchange.end(outcome, detail, status)

    def _pod_in_body(self) -> str:
        field = self._way.spec.served_by.field
        if not field or not self._body:
            return ""
        try:
            found = msgspec.json.decode(self._body)
        except msgspec.DecodeError:
            return ""
        name = found.get(field) if isinstance(found, dict) else None
        return name if isinstance(name, str) else ""
