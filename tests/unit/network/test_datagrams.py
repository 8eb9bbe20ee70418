from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from antei.network.datagrams import DatagramRelay
from antei.world.sockets import HostSockets

ANY = ("127.0.0.1", 0)


class Server(asyncio.DatagramProtocol):
    """Answers with its name and what it was sent."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.clients: set[tuple[str, int]] = set()

    transport: asyncio.DatagramTransport

    async def listen(self) -> tuple[str, int]:
        self.transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, local_addr=ANY)
        found = self.transport.get_extra_info("sockname")
        return str(found[0]), int(found[1])

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.clients.add(addr)
        self.transport.sendto(self.name.encode() + data, addr)


def udp() -> socket.socket:
    opened = HostSockets().open(socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind(ANY)
    return opened


@pytest.fixture
def free() -> tuple[str, int]:
    with udp() as opened:
        found = opened.getsockname()
    return str(found[0]), int(found[1])


@pytest.fixture
async def relay() -> AsyncIterator[DatagramRelay]:
    found = DatagramRelay(HostSockets())
    yield found
    await found.aclose()


@pytest.fixture
async def servers() -> AsyncIterator[list[Server]]:
    found = [Server("a"), Server("b")]
    yield found
    for server in found:
        if hasattr(server, "transport"):
            server.transport.close()
    await asyncio.sleep(0)


@pytest.fixture
def clients() -> Iterator[list[socket.socket]]:
    found = [udp(), udp()]
    yield found
    for client in found:
        client.close()


async def ask(client: socket.socket, address: tuple[str, int], data: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(60):
        await loop.sock_sendto(client, data, address)
        return await loop.sock_recv(client, 65536)


async def test_each_client_has_its_own_answers(
    relay: DatagramRelay, free: tuple[str, int], clients: list[socket.socket], servers: list[Server]
) -> None:
    server = servers[0]
    relay.publish({free: await server.listen()})
    assert relay.listening == [free]
    for round in (b"1", b"2"):
        answers = await asyncio.gather(*(ask(client, free, round + b"%d" % n) for n, client in enumerate(clients)))
        assert answers == [b"a" + round + b"0", b"a" + round + b"1"]
    assert len(server.clients) == 2
    assert await ask(clients[0], free, b"x" * 60_000) == b"a" + b"x" * 60_000


async def test_a_port_that_leads_elsewhere_leads_known_clients_there_too(
    relay: DatagramRelay, free: tuple[str, int], clients: list[socket.socket], servers: list[Server]
) -> None:
    first, second = servers
    relay.publish({free: await first.listen()})
    assert await ask(clients[0], free, b"?") == b"a?"
    relay.publish({free: await second.listen()})
    assert await ask(clients[0], free, b"?") == b"b?"
    relay.publish({})
    assert relay.listening == []


async def test_nobody_inside_ends_nothing(
    relay: DatagramRelay, free: tuple[str, int], clients: list[socket.socket], servers: list[Server]
) -> None:
    server = servers[0]
    target = await server.listen()
    server.transport.close()
    await asyncio.sleep(0)
    relay.publish({free: target})
    await asyncio.get_running_loop().sock_sendto(clients[0], b"lost", free)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as later:
        later.setblocking(False)
        later.bind(target)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(60):
            while True:
                await loop.sock_sendto(clients[0], b"heard", free)
                data, _ = await loop.sock_recvfrom(later, 100)
                if data == b"heard":
                    return


async def test_a_port_that_is_taken_is_tried_again(
    relay: DatagramRelay, clients: list[socket.socket], servers: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antei.network.datagrams._RETRY_SECONDS", 0.01)
    server = servers[0]
    holder = udp()
    address = holder.getsockname()
    relay.publish({address: await server.listen()})
    assert list(relay.failures) == [address]
    holder.close()
    async with asyncio.timeout(60):
        while relay.failures:  # noqa: ASYNC110 - the relay tells nobody
            await asyncio.sleep(0.01)
    assert await ask(clients[0], address, b"?") == b"a?"


async def test_idle_clients_and_too_many_of_them_are_forgotten(
    relay: DatagramRelay,
    free: tuple[str, int],
    clients: list[socket.socket],
    servers: list[Server],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = servers[0]
    relay.publish({free: await server.listen()})
    monkeypatch.setattr("antei.network.datagrams._FLOWS_MOST", 1)
    for client in (*clients, *clients):
        assert await ask(client, free, b"?") == b"a?"
    assert len(server.clients) == 4  # each time anew
    with monkeypatch.context() as idle:
        idle.setattr("antei.network.datagrams._IDLE_SECONDS", 0.0)
        relay._end_idle()
    assert await ask(clients[1], free, b"?") == b"a?"
    assert len(server.clients) == 5
