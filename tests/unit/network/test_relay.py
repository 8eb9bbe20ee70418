"""On real loopback sockets: what goes through the relay, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from antei.network.publishing import connect
from antei.network.relay import Relay, listen
from antei.world.sockets import HostSockets

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def free_port() -> int:
    with listen(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@asynccontextmanager
async def relayed(serve: Serve) -> AsyncIterator[int]:
    """A server behind a relay; gives the relay's port."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    inner = server.sockets[0].getsockname()[1]
    relay = Relay()
    port = free_port()

    async def dial(_client_ip: str) -> socket.socket:
        return await connect(HostSockets(), "127.0.0.1", inner)

    relay.publish({("127.0.0.1", port): dial})
    try:
        yield port
    finally:
        await relay.aclose()
        server.close()


async def test_every_byte_arrives_in_both_directions_with_the_ends_passed_on() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = await reader.read(-1)  # until the client's half is closed
        writer.write(received[::-1])
        writer.close()

    async with relayed(serve) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        sent = bytes(range(256)) * 8192
        writer.write(sent)
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(-1), 10) == sent[::-1]
        writer.close()


async def test_a_server_that_ends_first_can_still_be_sent_to() -> None:
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")
        writer.write_eof()
        received.set_result(await reader.read(-1))
        writer.close()

    async with relayed(serve) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await asyncio.wait_for(reader.read(-1), 5) == b"bye"
        writer.write(b"still here")
        writer.close()
        assert await asyncio.wait_for(received, 5) == b"still here"


async def test_a_reset_of_either_side_resets_the_other() -> None:
    seen: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            said = await reader.read(100)
            if said == b"reset":
                reset_by(writer)
                return
            await reader.read(-1)
            seen.set_result("an orderly end")
        except ConnectionResetError:
            seen.set_result("reset")
        writer.close()

    def reset_by(writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with relayed(serve) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"reset")
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(-1), 5)
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello")
        await asyncio.sleep(0.05)
        reset_by(writer)
        assert await asyncio.wait_for(seen, 5) == "reset"


async def test_a_connection_refused_inside_is_a_reset_outside() -> None:
    relay, port = Relay(), free_port()
    nobody = free_port()

    async def dial(_client_ip: str) -> socket.socket:
        return await connect(HostSockets(), "127.0.0.1", nobody)

    relay.publish({("127.0.0.1", port): dial})
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(-1), 5)
    writer.close()
    await relay.aclose()


async def test_a_port_that_is_taken_is_reported_and_had_once_it_is_free(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antei.network.relay._RETRY_SECONDS", 0.01)
    relay = Relay()
    taken = listen(("127.0.0.1", 0))
    address = taken.getsockname()

    async def dial(_client_ip: str) -> socket.socket:
        raise ConnectionRefusedError

    with caplog.at_level(logging.WARNING):
        relay.publish({address: dial})
        await asyncio.sleep(0.05)
    assert list(relay.failures) == [address]
    assert len(caplog.records) == 1  # said once, not at every attempt
    taken.close()
    for _ in range(500):
        if not relay.failures:
            break
        await asyncio.sleep(0.01)
    assert relay.listening == [address]
    relay.publish({})
    assert relay.listening == []
    await relay.aclose()


async def test_established_connections_outlive_the_port() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    inner = server.sockets[0].getsockname()[1]
    relay, port = Relay(), free_port()
    dialled = asyncio.Event()

    async def dial(_client_ip: str) -> socket.socket:
        dialled.set()
        return await connect(HostSockets(), "127.0.0.1", inner)

    relay.publish({("127.0.0.1", port): dial})
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await dialled.wait()
    relay.publish({})
    await asyncio.sleep(0.01)
    writer.write(b"on")
    assert await asyncio.wait_for(reader.read(-1), 5) == b"on"
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    await relay.aclose()
    server.close()


async def test_a_port_that_is_withdrawn_at_once_is_free_again() -> None:
    async def dial(_client_ip: str) -> socket.socket:
        raise ConnectionRefusedError

    address = ("127.0.0.1", free_port())
    relay = Relay()
    relay.publish({address: dial})
    relay.publish({})  # before the task that accepts has begun
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    listen(address).close()
    await relay.aclose()
