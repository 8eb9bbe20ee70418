"""What is known of a connection that ended, and what a relay makes of a refusal."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from known_server import known_server, unused_port

from antei.network.relay import Relay
from antei.rehearse.load import Kind, LoadClient, LoadSpec, Target
from antei.rehearse.load.accounting import count_requests
from antei.rehearse.load.outcomes import Phase, of_end
from antei.rehearse.load.stream import Stream
from antei.rehearse.model import Outcome
from antei.world.sockets import HostSockets


class _Receiver:
    def __init__(self, sent_before: int) -> None:
        self.is_connected = asyncio.Event()
        self.has_ended = asyncio.Event()
        self.stream: Stream | None = None
        self.error: Exception | None = None
        self.is_unacknowledged = False
        self._sent_before = sent_before

    def connected(self) -> None:
        self.is_connected.set()

    def received(self, data: bytes) -> None:
        raise AssertionError(data)

    def ended(self, error: Exception | None) -> None:
        assert self.stream is not None
        self.error = error
        self.is_unacknowledged = self.stream.is_unacknowledged(self._sent_before)
        self.has_ended.set()


@asynccontextmanager
async def _connection(sent_before: int = 5) -> AsyncIterator[tuple[Stream, _Receiver, socket.socket]]:
    """A stream that has sent `sent_before` bytes which the other side has read."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        receiver = _Receiver(sent_before)
        opened = HostSockets().open(socket.AF_INET, socket.SOCK_STREAM)
        stream = receiver.stream = Stream(asyncio.get_running_loop(), opened, receiver)
        stream.connect(listener.getsockname())
        await receiver.is_connected.wait()
        other, _ = listener.accept()
        with other:
            stream.send(b"x" * sent_before)
            assert len(other.recv(100)) == sent_before
            yield stream, receiver, other
        stream.close()
        stream.close()  # once more does no harm


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel says so on Linux only")
async def test_a_request_that_met_a_closed_connection_was_not_acknowledged() -> None:
    async with _connection() as (stream, receiver, other):
        other.close()
        assert not stream.is_silent()
        stream.send(b"request")
        await receiver.has_ended.wait()
    assert receiver.error is None
    assert receiver.is_unacknowledged


async def test_a_request_that_was_read_before_the_end_was_acknowledged() -> None:
    async with _connection() as (stream, receiver, other):
        assert stream.is_silent()
        stream.send(b"request")
        assert other.recv(100) == b"request"
        other.close()
        await receiver.has_ended.wait()
    assert receiver.error is None
    assert not receiver.is_unacknowledged


async def test_a_request_that_nobody_read_before_the_end_is_reset() -> None:
    async with _connection() as (stream, receiver, other):
        stream.send(b"request")
        other.close()
        await receiver.has_ended.wait()
    assert isinstance(receiver.error, ConnectionResetError)


async def test_much_is_sent_piece_by_piece() -> None:
    async with _connection() as (stream, receiver, other):
        size = 20 * 1024 * 1024
        stream.send(b"x" * size)
        stream.send(b"y")
        received = 0
        last = b""
        other.setblocking(False)
        while received < size + 1:
            data = await asyncio.get_running_loop().sock_recv(other, 1024 * 1024)
            received += len(data)
            last = data[-1:]
        assert last == b"y"
        assert stream.bytes_sent == size + 6
        assert not receiver.has_ended.is_set()


@pytest.mark.parametrize(
    ("number", "phase", "is_new", "is_relayed", "outcome"),
    [
        (errno.ECONNREFUSED, Phase.CONNECTING, True, False, Outcome.REFUSED),
        (errno.ECONNRESET, Phase.CONNECTING, True, False, Outcome.REFUSED),
        (None, Phase.CONNECTING, True, False, Outcome.REFUSED),
        (errno.ECONNRESET, Phase.SENT, True, False, Outcome.RESET),
        (errno.ECONNRESET, Phase.SENT, True, True, Outcome.REFUSED),
        (errno.EPIPE, Phase.SENT, True, True, Outcome.REFUSED),
        (None, Phase.SENT, True, True, Outcome.RESET),
        (errno.ECONNRESET, Phase.SENT, False, True, Outcome.RESET),
        (errno.ECONNRESET, Phase.ANSWERING, True, True, Outcome.RESET),
        (errno.EHOSTUNREACH, Phase.CONNECTING, True, False, Outcome.UNREACHABLE),
        (errno.EHOSTUNREACH, Phase.SENT, False, False, Outcome.UNREACHABLE),
        (errno.ENETUNREACH, Phase.CONNECTING, True, False, Outcome.UNREACHABLE),
        (errno.EMFILE, Phase.CONNECTING, True, False, Outcome.UNREACHABLE),
        (errno.EADDRNOTAVAIL, Phase.CONNECTING, True, False, Outcome.UNREACHABLE),
        (errno.ETIMEDOUT, Phase.CONNECTING, True, False, Outcome.TIMED_OUT),
        (errno.ETIMEDOUT, Phase.SENT, False, False, Outcome.TIMED_OUT),
    ],
)
def test_what_an_end_means(number: int | None, phase: Phase, is_new: bool, is_relayed: bool, outcome: Outcome) -> None:
    error = OSError(number, "") if number is not None else None
    found, detail = of_end(error, phase, is_new, is_relayed)
    assert found is outcome
    assert detail


@pytest.mark.parametrize("kind", [Kind.HTTP, Kind.HTTP_KEEP_ALIVE, Kind.GRPC])
async def test_a_refusal_behind_a_relay_is_a_refusal(kind: Kind) -> None:
    port, behind = unused_port(), unused_port()

    async def dial(client_ip: str) -> socket.socket:
        inner = HostSockets().open(socket.AF_INET, socket.SOCK_STREAM)
        try:
            await asyncio.get_running_loop().sock_connect(inner, ("127.0.0.1", behind))
        except OSError:
            inner.close()
            raise
        return inner

    relay = Relay()
    relay.publish({("127.0.0.1", port): dial})
    assert relay.listening == [("127.0.0.1", port)]
    by_outcome = await _through(port, kind)
    await relay.aclose()
    assert by_outcome == {"refused": 20}


async def test_a_server_that_ends_behind_a_relay_is_a_reset() -> None:
    port = unused_port()
    async with known_server(lambda number: "close") as server:

        async def dial(client_ip: str) -> socket.socket:
            inner = HostSockets().open(socket.AF_INET, socket.SOCK_STREAM)
            await asyncio.get_running_loop().sock_connect(inner, ("127.0.0.1", server.port))
            return inner

        relay = Relay()
        relay.publish({("127.0.0.1", port): dial})
        by_outcome = await _through(port, Kind.HTTP)
        await relay.aclose()
    assert by_outcome == {"reset": 20}


async def _through(port: int, kind: Kind) -> dict[str, int]:
    target = Target("127.0.0.1", port, "chat", is_relayed=True)
    spec = LoadSpec(name="relayed", kind=kind, service="chat", rate=200.0)
    client = LoadClient(spec, target, HostSockets(), origin=0.0, count=20)
    await client.start()
    await client.wait()
    await client.stop()
    return dict(count_requests(client.requests).by_outcome)
