"""gRPC against grpcio's own server, and against an HTTP/2 server that goes away when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc.aio
import h2.config
import h2.connection
import h2.errors
import h2.events
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse
from known_server import known_server, unused_port

from antei.rehearse.load import Kind, LoadClient, LoadSpec, Resend, target_of_url
from antei.rehearse.load.accounting import count_requests
from antei.rehearse.model import Outcome
from antei.world.sockets import HostSockets

#: grpcio ends its threads with the last of its servers, and waits for them, wherever that is collected.
_KEPT: list[grpc.aio.Server] = []


async def _run(port: int, count: int, **more: object) -> LoadClient:
    fields: dict[str, object] = {"rate": 200.0, "timeout_seconds": 5.0, "connections": 2} | more
    spec = LoadSpec(name="grpc", kind=Kind.GRPC, url=f"grpc://127.0.0.1:{port}", **fields)  # type: ignore[arg-type]
    client = LoadClient(spec, target_of_url(spec), HostSockets(), origin=0.0, count=count)
    await client.start()
    await client.wait()
    await client.stop()
    return client


class _Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    def __init__(self) -> None:
        self.calls = 0

    async def Check(self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext) -> object:
        self.calls += 1
        if request.service == "unknown":
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service, ünknown")
        if request.service == "slow":
            await asyncio.sleep(3600)
        return HealthCheckResponse(status=2 if request.service == "down" else 1)


@asynccontextmanager
async def _grpc_server() -> AsyncIterator[tuple[int, _Health]]:
    health = _Health()
    server = grpc.aio.server()
    _KEPT.append(server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port, health
    finally:
        await server.stop(None)


@pytest.mark.parametrize(
    ("service", "outcome", "status", "detail"),
    [
        ("", Outcome.OK, 0, ""),
        ("down", Outcome.SERVER_ERROR, 0, "NOT_SERVING"),
        ("unknown", Outcome.SERVER_ERROR, 5, "NotFound: unknown service, ünknown"),
        ("slow", Outcome.TIMED_OUT, None, "no answer within 0.5 s"),
    ],
)
async def test_health_checks_against_grpcio(service: str, outcome: Outcome, status: int | None, detail: str) -> None:
    async with _grpc_server() as (port, health):
        client = await _run(port, 20, grpc_service=service, timeout_seconds=0.5)
    assert health.calls == 20
    assert {(request.outcome, request.status, request.detail) for request in client.requests} == {
        (outcome, status, detail)
    }
    assert len(client.requests) == 20


async def test_a_method_that_nobody_has_is_a_server_error() -> None:
    async with _grpc_server() as (port, _):
        client = await _run(port, 3, grpc_method="/no.Such/Method")
    assert {(request.outcome, request.status) for request in client.requests} == {(Outcome.SERVER_ERROR, 12)}


async def test_nobody_listening_and_no_http2_are_told_apart() -> None:
    client = await _run(unused_port(), 5)
    assert count_requests(client.requests).by_outcome == {"refused": 5}
    async with known_server() as server:
        client = await _run(server.port, 3)
    assert count_requests(client.requests).by_outcome == {"server-error": 3}
    assert {request.detail for request in client.requests} == {"the answer is HTTP/1, not HTTP/2"}


class _Http2Server:
    """`behave(n)` for the nth call: ok, goaway (answers, says that it was the last one), refuse, reset, drop"""

    def __init__(self, behave: Callable[[int], str]) -> None:
        self._behave = behave
        self.calls = 0
        self.answered = 0
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        http2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        http2.initiate_connection()
        try:
            while data := await reader.read(65536):
                for event in http2.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived) and not self._call(http2, event.stream_id):
                        return
                    writer.write(http2.data_to_send())
        except ConnectionError:
            pass
        finally:
            writer.close()

    def _call(self, http2: h2.connection.H2Connection, stream: int | None) -> bool:
        assert stream is not None
        what = self._behave(self.calls)
        self.calls += 1
        if what == "drop":
            return False
        if what in ("refuse", "reset"):
            code = "REFUSED_STREAM" if what == "refuse" else "INTERNAL_ERROR"
            http2.reset_stream(stream, h2.errors.ErrorCodes[code])
            return True
        if what == "goaway":  # first the frame, then the answer: what was begun is finished
            frame = b"\0\0\x08\x07\0\0\0\0\0" + stream.to_bytes(4, "big") + b"\0\0\0\0"
            http2._data_to_send += frame
        http2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
        http2.send_data(stream, b"\0\0\0\0\x02\x08\x01")
        http2.send_headers(stream, [("grpc-status", "0")], end_stream=True)
        self.answered += 1
        return True


@asynccontextmanager
async def _http2_server(behave: Callable[[int], str]) -> AsyncIterator[tuple[int, _Http2Server]]:
    known = _Http2Server(behave)
    server = await asyncio.start_server(known.serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], known
    finally:
        server.close()
        await server.wait_closed()


async def test_a_connection_that_goes_away_finishes_its_calls_and_another_one_is_opened() -> None:
    async with _http2_server(lambda number: "goaway" if number % 5 == 4 else "ok") as (port, server):
        client = await _run(port, 20, connections=1)
    assert count_requests(client.requests).by_outcome == {"ok": 20}
    assert server.connections >= 4


@pytest.mark.parametrize(
    ("what", "resend", "is_lost"),
    [
        ("refuse", Resend.UNREAD, False),
        ("refuse", Resend.NEVER, True),
        ("reset", Resend.IDEMPOTENT, True),
        ("drop", Resend.UNREAD, True),
    ],
)
async def test_only_calls_that_the_server_has_not_seen_are_sent_again(what: str, resend: Resend, is_lost: bool) -> None:
    async with _http2_server(lambda number: what if number == 5 else "ok") as (port, server):
        client = await _run(port, 10, connections=1, rate=50.0, resend=resend)
    counts = count_requests(client.requests)
    assert counts.succeeded == server.answered
    assert counts.by_outcome.get("reset", 0) == counts.lost == 10 - server.answered
    assert (counts.lost > 0) is is_lost  # with a dropped connection go all calls that were on it
