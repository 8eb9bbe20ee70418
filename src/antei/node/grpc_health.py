"""grpc.health.v1.Health/Check over a connection that is there already.

grpcio opens its own sockets and cannot be handed one of another network namespace; HTTP/2 is h2's, the messages
are grpcio-health-checking's, and one unary call over both is what is left to do here.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

__all__ = ["check"]

_PATH = "/grpc.health.v1.Health/Check"
_NOT_FOUND, _UNIMPLEMENTED = "5", "12"
_READ_BYTES = 16 * 1024
#: A health reply is a handful of bytes; whoever sends more than this is no health service.
_REPLY_LIMIT_BYTES = 64 * 1024


@dataclass
class _Reply:
    headers: dict[str, str] = field(default_factory=dict)  # trailers included
    body: bytes = b""
    is_complete: bool = False


async def check(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, authority: str, service: str) -> str:
    """The status' name. Raises LookupError, NotImplementedError, or ConnectionError for anything that is no answer."""
    try:
        reply = await _call(reader, writer, authority, service)
    except h2.exceptions.ProtocolError as error:
        raise ConnectionError(f"rpc error: code = Unavailable desc = {error}") from error
    return _understand(reply)


async def _call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, authority: str, service: str) -> _Reply:
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
    connection.initiate_connection()
    stream = connection.get_next_available_stream_id()
    connection.send_headers(
        stream,
        [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", _PATH),
            (":authority", authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "kube-probe/1.37"),
        ],
    )
    message = HealthCheckRequest(service=service).SerializeToString()
    connection.send_data(stream, struct.pack(">BI", 0, len(message)) + message, end_stream=True)
    reply = _Reply()
    while not reply.is_complete:
        writer.write(connection.data_to_send())
        await writer.drain()
        received = await reader.read(_READ_BYTES)
        if not received:
            raise ConnectionError("rpc error: code = Unavailable desc = error reading from server: EOF")
        for event in connection.receive_data(received):
            _take(event, reply, connection)
    writer.write(connection.data_to_send())
    return reply


def _take(event: h2.events.Event, reply: _Reply, connection: h2.connection.H2Connection) -> None:
    if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
        reply.headers.update({_text(name): _text(value) for name, value in event.headers or ()})
    elif isinstance(event, h2.events.DataReceived):
        reply.body += event.data or b""
        if len(reply.body) > _REPLY_LIMIT_BYTES:
            raise ConnectionError("rpc error: code = ResourceExhausted desc = the reply is too large")
        connection.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
    elif isinstance(event, h2.events.StreamEnded):
        reply.is_complete = True
    elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
        raise ConnectionError("rpc error: code = Unavailable desc = the server closed the stream")


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")


def _understand(reply: _Reply) -> str:
    status = reply.headers.get("grpc-status")
    said = reply.headers.get("grpc-message", "")
    if status == _NOT_FOUND:
        raise LookupError(said or "unknown service")
    if status == _UNIMPLEMENTED or reply.headers.get(":status") == "404":
        raise NotImplementedError(said or "unknown service grpc.health.v1.Health")
    if status != "0":
        raise ConnectionError(f"rpc error: code = {status} desc = {said}")
    try:
        answer = HealthCheckResponse.FromString(reply.body[5:])
    except Exception as error:  # protobuf's DecodeError; its module differs between protobuf's implementations
        raise ConnectionError(f"rpc error: code = Internal desc = {error}") from error
    return HealthCheckResponse.ServingStatus.Name(answer.status)
