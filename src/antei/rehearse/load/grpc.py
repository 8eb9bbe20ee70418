"""gRPC: unary calls, many at a time over each of a few HTTP/2 connections, as a channel of gRPC sends them.

Connections are used in turn. One that the server ends with GOAWAY finishes what it has begun; calls that the server
says it has not seen (their stream is above GOAWAY's last one, or REFUSED_STREAM) are sent again once on a new
connection, whatever `resend` says: gRPC's specification has every client do so ("transparent retry"). A channel waits
a second or more before it connects again to where it was refused; this client does not: it is there to see when the
server is back.

Protocol: github.com/grpc/grpc doc/PROTOCOL-HTTP2.md; h2 speaks HTTP/2, grpcio-health-checking has the messages.
"""

from __future__ import annotations

import struct
import urllib.parse
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
from google.protobuf.message import DecodeError
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from hyperframe.frame import Frame, GoAwayFrame

from antei.rehearse.load.exchange import Dialer, Exchange
from antei.rehearse.load.outcomes import Phase, of_end
from antei.rehearse.load.spec import LoadSpec, Resend
from antei.rehearse.load.stream import Stream
from antei.rehearse.model import Outcome

__all__ = ["GrpcWay"]

_HEALTH_CHECK = "/grpc.health.v1.Health/Check"
_SERVING = HealthCheckResponse.ServingStatus.Value("SERVING")
#: google.golang.org/grpc/codes
_CODES = (
    *("OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists"),
    *("PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented"),
    *("Internal", "Unavailable", "DataLoss", "Unauthenticated"),
)
#: No reply to a load's call is kept beyond this.
_REPLY_LIMIT_BYTES = 64 * 1024


class GrpcWay:
    def __init__(self, dialer: Dialer) -> None:
        self.dialer = dialer
        self.message = _framed(_message(dialer.spec))
        self.headers = _headers(dialer)
        self._channels: list[_Channel | None] = [None] * dialer.spec.connections
        self._next = 0
        self._open: dict[_Channel, None] = {}  # those that still finish calls included

    def send(self, exchange: Exchange) -> None:
        number, self._next = self._next, (self._next + 1) % len(self._channels)
        channel = self._channels[number]
        if channel is None or not channel.takes_calls:
            try:
                channel = self._channels[number] = self._connect()
            except OSError as error:
                exchange.end(*of_end(error, Phase.CONNECTING, True, False))
                return
        channel.call(exchange)

    def close(self) -> None:
        for channel in list(self._open):
            channel.close()

    # Called by channels

    def again(self, exchange: Exchange, why: str) -> None:
        exchange.is_resent = True
        exchange.note = f"sent again, {why}"
        self.send(exchange)

    def forget(self, channel: _Channel) -> None:
        self._open.pop(channel, None)

    def _connect(self) -> _Channel:
        channel = _Channel(self)
        channel.stream = self.dialer.dial(channel)
        self._open[channel] = None
        return channel


class _Http2(h2.connection.H2Connection):
    """h2 takes GOAWAY for the end of the connection, drops what is to be sent and refuses every frame that follows; a
    server that ends gracefully still answers what it has begun (RFC 9113, 6.8)."""

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[h2.events.Event]]:
        event = h2.events.ConnectionTerminated()
        event.error_code = frame.error_code
        event.last_stream_id = frame.last_stream_id
        return [], [event]


@dataclass(slots=True)
class _Call:
    exchange: Exchange
    headers: dict[str, str] = field(default_factory=dict)  # trailers included
    body: bytes = b""
    has_answer: bool = False


class _Channel:
    """One HTTP/2 connection. Implements `stream.Receiver` and `exchange.Carrier`."""

    def __init__(self, way: GrpcWay) -> None:
        self._way = way
        self._http2 = _Http2(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self._waiting: dict[Exchange, None] = {}  # for the connection, in order
        self._calls: dict[int, _Call] = {}
        self._number_of: dict[Exchange, int] = {}
        self._is_connected = False
        self._is_greeted = False
        self._is_draining = False
        self._is_over = False
        self._pod = ""
        self.stream: Stream | None = None

    @property
    def takes_calls(self) -> bool:
        if self._is_draining or self._is_over:
            return False
        if not self._is_connected:
            return True
        try:
            return self._http2.open_outbound_streams < self._http2.remote_settings.max_concurrent_streams
        except h2.exceptions.ProtocolError:
            return False

    def call(self, exchange: Exchange) -> None:
        exchange.carrier = self
        if not self._is_connected:
            self._waiting[exchange] = None
            return
        self._begin(exchange)
        self._flush()

    def close(self) -> None:
        self._is_over = True
        self._way.forget(self)
        if self.stream is not None:
            self.stream.close()

    def abandon(self, exchange: Exchange) -> None:
        """Cancels the call; a channel that has not even been connected by then is given up."""
        if self._waiting.pop(exchange, self) is None:
            if not self._waiting:
                self.close()
            return
        number = self._number_of.pop(exchange, None)
        if number is None or self._is_over:
            return
        self._calls.pop(number, None)
        try:
            self._http2.reset_stream(number, h2.errors.ErrorCodes.CANCEL)
        except h2.exceptions.ProtocolError:
            self._fail(None)
            return
        self._flush()
        self._close_if_drained()

    # Receiver

    def connected(self) -> None:
        assert self.stream is not None
        self._is_connected = True
        self._pod = self._way.dialer.pod_of(self.stream)
        self._http2.initiate_connection()
        waiting, self._waiting = self._waiting, {}
        for exchange in waiting:
            self._begin(exchange)
        self._flush()

    def received(self, data: bytes) -> None:
        if not self._is_greeted and data.startswith(b"HTTP/"):  # h2 takes that for the head of a very long frame
            self._fail(None, "the answer is HTTP/1, not HTTP/2")
            return
        self._is_greeted = True
        try:
            events = self._http2.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            self._flush()
            self._fail(None, f"the answer is not HTTP/2: {error or type(error).__name__}")
            return
        for event in events:
            self._take(event)
        if not self._is_over:
            self._flush()
            self._close_if_drained()

    def ended(self, error: Exception | None) -> None:
        self._fail(error)

    # Calls

    def _begin(self, exchange: Exchange) -> None:
        exchange.pod = self._pod
        try:
            number = self._http2.get_next_available_stream_id()
            self._http2.send_headers(number, self._way.headers)
            self._http2.send_data(number, self._way.message, end_stream=True)
        except h2.exceptions.ProtocolError as error:  # too many streams, flow control, no ids left
            self._is_draining = True
            exchange.end(Outcome.UNREACHABLE, f"not sent: {error or type(error).__name__}")
            return
        self._calls[number] = _Call(exchange)
        self._number_of[exchange] = number

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self._go_away(event)
            return
        number = getattr(event, "stream_id", None)
        call = self._calls.get(number) if number is not None else None
        if isinstance(event, h2.events.DataReceived) and not self._is_over:
            self._http2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
        if call is None or number is None:
            return
        if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            call.has_answer = True
            call.headers.update({_text(name): _text(value) for name, value in event.headers or ()})
        elif isinstance(event, h2.events.DataReceived):
            call.body = (call.body + (event.data or b""))[:_REPLY_LIMIT_BYTES]
        elif isinstance(event, h2.events.StreamEnded):
            self._finish(number, call)
        elif isinstance(event, h2.events.StreamReset):
            self._forget(number, call)
            if event.error_code == h2.errors.ErrorCodes.REFUSED_STREAM and self._may_resend(call):
                self._way.again(call.exchange, "the server refused the stream")
            else:
                call.exchange.end(Outcome.RESET, f"stream reset, {_error_name(event.error_code)}")

    def _go_away(self, event: h2.events.ConnectionTerminated) -> None:
        """What the server will not look at any more is sent again; it still answers the rest."""
        self._is_draining = True
        last = event.last_stream_id if event.last_stream_id is not None else 0
        for number, call in [(number, call) for number, call in self._calls.items() if number > last]:
            self._forget(number, call)
            if self._may_resend(call):
                self._way.again(call.exchange, "the server was going away")
            else:
                call.exchange.end(Outcome.RESET, "the server was going away")

    def _finish(self, number: int, call: _Call) -> None:
        self._forget(number, call)
        served_by = self._way.dialer.spec.served_by.header.lower()
        if served_by:
            call.exchange.pod = call.headers.get(served_by) or call.exchange.pod
        outcome, detail, status = _understand(call, self._way.dialer.spec)
        call.exchange.end(outcome, detail, status)

    def _fail(self, error: Exception | None, nonsense: str = "") -> None:
        """The connection has ended, with everything on it; `nonsense` says what the server sent in place of HTTP/2."""
        self._is_over = True
        self._way.forget(self)
        for exchange in self._waiting:
            exchange.end(*of_end(error, Phase.CONNECTING, True, False))
        self._waiting.clear()
        relayed = self._way.dialer.target.is_relayed
        calls, self._calls = self._calls, {}
        for call in calls.values():
            phase = Phase.ANSWERING if call.has_answer else Phase.SENT
            end = (Outcome.SERVER_ERROR, nonsense) if nonsense else of_end(error, phase, not self._is_greeted, relayed)
            call.exchange.end(*end)
        if self.stream is not None:
            self.stream.close()

    def _forget(self, number: int, call: _Call) -> None:
        self._calls.pop(number, None)
        self._number_of.pop(call.exchange, None)

    def _may_resend(self, call: _Call) -> bool:
        exchange = call.exchange
        return self._way.dialer.spec.resend is not Resend.NEVER and not (exchange.is_resent or exchange.is_over)

    def _flush(self) -> None:
        if self.stream is not None:
            data = self._http2.data_to_send()
            if data:
                self.stream.send(data)

    def _close_if_drained(self) -> None:
        if self._is_draining and not self._calls and not self._is_over:
            self.close()


def _message(spec: LoadSpec) -> bytes:
    if spec.grpc_method == _HEALTH_CHECK and not spec.grpc_message:
        return HealthCheckRequest(service=spec.grpc_service).SerializeToString()
    return spec.grpc_message


def _framed(message: bytes) -> bytes:
    """Length-prefixed, not compressed."""
    return struct.pack(">BI", 0, len(message)) + message


def _headers(dialer: Dialer) -> list[tuple[str, str]]:
    spec, target = dialer.spec, dialer.target
    return [
        (":method", "POST"),
        (":scheme", "http" if target.tls_name is None else "https"),
        (":path", spec.grpc_method),
        (":authority", target.authority),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "antei-rehearse"),
        *((name.lower(), text) for name, text in spec.headers.items()),
    ]


def _understand(call: _Call, spec: LoadSpec) -> tuple[Outcome, str, int | None]:
    status = call.headers.get("grpc-status", "")
    if not status.isdigit():
        return Outcome.SERVER_ERROR, f"no gRPC status; HTTP status {call.headers.get(':status', '')}", None
    code = int(status)
    if code:
        name = _CODES[code] if code < len(_CODES) else status
        said = urllib.parse.unquote(call.headers.get("grpc-message", ""))
        return Outcome.SERVER_ERROR, f"{name}: {said}" if said else name, code
    if spec.grpc_method != _HEALTH_CHECK:
        return Outcome.OK, "", code
    try:
        answer = HealthCheckResponse.FromString(call.body[5:])
    except DecodeError as error:
        return Outcome.SERVER_ERROR, f"no HealthCheckResponse: {error}", code
    if answer.status != _SERVING:
        return Outcome.SERVER_ERROR, HealthCheckResponse.ServingStatus.Name(answer.status), code
    return Outcome.OK, "", code


def _error_name(code: object) -> str:
    return code.name if isinstance(code, h2.errors.ErrorCodes) else str(code)


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")
