"""`pods/NAME/portforward`: connections from the client to ports on the pod's own loopback.

    SPDY/3.1                               each connection is two streams with one requestID: data, and error
    SPDY/3.1+portforward.k8s.io            the same, its bytes in the messages of a WebSocket (kubectl since 1.31)
    v4.channel.k8s.io, its base64 form,    one connection for each of the query's `ports`: channel 2n is data, 2n+1
    portforward.k8s.io or none             error; the first message of each is the port, two bytes, low one first

Kubernetes: k8s.io/kubelet/pkg/cri/streaming/portforward/{httpstream,websocket}.go.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Protocol

from lightkube.resources.core_v1 import Pod

from antei.api.errors import ApiError, bad_request
from antei.api.objects import name_of, uid_of
from antei.server.http.exchange import Exchange
from antei.server.http.routes import Route
from antei.server.http.spdy import Duplex, SpdySession, SpdyStream
from antei.server.http.spdy.upgrade import accept_spdy, is_spdy
from antei.server.http.streams import Streams
from antei.server.http.websocket import GOODBYE_SECONDS, Channels, WebSocket, WebSocketBytes, is_websocket
from antei.server.pod_streams import PodStreams
from antei.server.registry import Registry

__all__ = ["PortForwards", "forwarded_ports"]

_VERSION = "portforward.k8s.io"
_TUNNEL = "SPDY/3.1+portforward.k8s.io"
_CHANNELS = ("v4.channel.k8s.io", "v4.base64.channel.k8s.io", _VERSION, "")
_CHUNK_BYTES = 32 * 1024
_MOST_PORTS = 100
_Dial = Callable[[int], Awaitable[socket.socket]]


class PortForwards:
    def __init__(self, registry: Registry, pod_streams: PodStreams, streams: Streams) -> None:
        self._registry = registry
        self._pod_streams = pod_streams
        self._streams = streams

    async def serve(self, exchange: Exchange, route: Route) -> None:
        """Raises ApiError before the upgrade."""
        stored = await self._registry.get(route.served.resource, route.namespace or "", route.name)
        pod: Pod = stored.object
        if not exchange.wants_upgrade:
            raise bad_request("Upgrade request required")
        if pod.spec is None or not pod.spec.nodeName:
            raise bad_request(f"pod {name_of(pod)} does not have a host assigned")

        async def dial(port: int) -> socket.socket:
            return await self._pod_streams.connect_local(pod, port)

        try:
            if is_websocket(exchange):
                tunnels = _TUNNEL in exchange.header(b"sec-websocket-protocol").decode("latin-1")
                ports = () if tunnels else forwarded_ports(exchange.values("ports"))
                websocket = WebSocket.accept(exchange, (_TUNNEL,) if tunnels else _CHANNELS)
                if tunnels:
                    work = _over_spdy(WebSocketBytes(websocket), pod, dial)
                else:
                    work = _over_channels(websocket, ports, pod, dial)
            elif is_spdy(exchange):
                work = _over_spdy(accept_spdy(exchange, (_VERSION,))[0], pod, dial)
            else:
                asked = exchange.header(b"upgrade").decode("latin-1")
                raise bad_request(f"unable to upgrade: {asked!r} is not known")
            await self._streams.run(exchange, work)
        finally:
            if exchange.connection is not None:
                exchange.connection.close()


def forwarded_ports(values: list[str]) -> tuple[int, ...]:
    """Of `ports=80,90&ports=443`. Raises 400."""
    if not values:
        raise bad_request('query parameter "ports" is required')
    ports = []
    for value in values:
        if not value:
            raise bad_request('query parameter "ports" cannot be empty')
        for text in value.split(","):
            if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) <= 65535):
                raise bad_request(f'unable to parse "{value}" as a port')
            ports.append(int(text))
    if len(ports) > _MOST_PORTS:
        raise bad_request(f"at most {_MOST_PORTS} ports can be forwarded over one connection")
    return tuple(ports)


# SPDY


async def _over_spdy(connection: Duplex, pod: Pod, dial: _Dial) -> None:
    """Until the client is gone; then its connections are closed too."""
    session = SpdySession(connection)
    taking = asyncio.create_task(session.run())
    pairs: dict[str, dict[str, SpdyStream]] = {}
    tasks: set[asyncio.Task[None]] = set()
    try:
        while (stream := await session.accept()) is not None:
            kind, request = stream.headers.get("streamtype", ""), stream.headers.get("requestid", "")
            pair = pairs.setdefault(request or str(stream.number - (kind == "data") * 2), {})
            if kind not in ("data", "error") or kind in pair or _port_of(stream) is None:
                await stream.reset()
                continue
            pair[kind] = stream
            if kind == "error":
                stream.ignore()
            if len(pair) < 2:
                continue
            pairs = {name: other for name, other in pairs.items() if other is not pair}
            task = asyncio.create_task(_forward_pair(pair["data"], pair["error"], pod, dial))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    finally:
        for pending in [taking, *tasks]:
            pending.cancel()
        await asyncio.gather(taking, *tasks, return_exceptions=True)


def _port_of(stream: SpdyStream) -> int | None:
    text = stream.headers.get("port", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) <= 65535 else None


async def _forward_pair(data: SpdyStream, error: SpdyStream, pod: Pod, dial: _Dial) -> None:
    port = _port_of(data) or 0
    with contextlib.suppress(ConnectionError):
        try:
            inside = await dial(port)
        except (OSError, ApiError) as problem:
            await error.write(_failure(pod, port, problem))
        else:
            with inside:
                await _splice(data, inside)
        await data.close()
        await error.close()
        data.ignore()


# Plain channels


async def _over_channels(websocket: WebSocket, ports: tuple[int, ...], pod: Pod, dial: _Dial) -> None:
    channels = Channels(websocket)
    ends = [_ChannelEnd(channels, 2 * index) for index in range(len(ports))]
    tasks = [asyncio.create_task(websocket.ping_for_ever()), asyncio.create_task(_take_in(channels, ends))]
    try:
        with contextlib.suppress(ConnectionError):
            for index, port in enumerate(ports):
                await channels.send(2 * index, struct.pack("<H", port))
                await channels.send(2 * index + 1, struct.pack("<H", port))
            forwards = [
                asyncio.create_task(_forward_channel(end, port, pod, dial))
                for end, port in zip(ends, ports, strict=True)
            ]
            tasks += forwards
            left = set(forwards)
            while left and not tasks[1].done():
                _, pending = await asyncio.wait({*left, tasks[1]}, return_when=asyncio.FIRST_COMPLETED)
                left &= pending
            await websocket.close()
            await asyncio.wait({tasks[1]}, timeout=GOODBYE_SECONDS)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _ChannelEnd:
    """A pair of channels as something that is read and written."""

    def __init__(self, channels: Channels, number: int) -> None:
        self._channels = channels
        self._number = number
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue(1)
        self.is_ignored = False

    async def take(self, data: bytes) -> None:
        if not self.is_ignored:
            await self._pieces.put(data)

    async def read(self) -> bytes:
        return await self._pieces.get()

    async def write(self, data: bytes) -> None:
        await self._channels.send(self._number, data)

    async def write_error(self, data: bytes) -> None:
        await self._channels.send(self._number + 1, data)

    def ignore(self) -> None:
        self.is_ignored = True
        while not self._pieces.empty():  # whoever waits to put one more must not wait for ever
            self._pieces.get_nowait()


async def _take_in(channels: Channels, ends: list[_ChannelEnd]) -> None:
    while (received := await channels.receive()) is not None:
        channel, data = received
        if data and 0 <= channel < 2 * len(ends) and channel % 2 == 0:
            await ends[channel // 2].take(data)


async def _forward_channel(end: _ChannelEnd, port: int, pod: Pod, dial: _Dial) -> None:
    with contextlib.suppress(ConnectionError):
        try:
            inside = await dial(port)
        except (OSError, ApiError) as problem:
            await end.write_error(_failure(pod, port, problem))
        else:
            with inside:
                await _splice(end, inside)
    end.ignore()


# Both


class _End(Protocol):
    async def read(self) -> bytes: ...

    async def write(self, data: bytes) -> None: ...


async def _splice(client: _End, inside: socket.socket) -> None:
    """Until the pod has ended its side, or the connection breaks. The client's end is passed on to the pod."""
    inward = asyncio.create_task(_inward(client, inside))
    try:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError):
            while data := await loop.sock_recv(inside, _CHUNK_BYTES):
                await client.write(data)
    finally:
        inward.cancel()
        await asyncio.gather(inward, return_exceptions=True)


async def _inward(client: _End, inside: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ConnectionError):
        while data := await client.read():
            await loop.sock_sendall(inside, data)
        inside.shutdown(socket.SHUT_WR)


def _failure(pod: Pod, port: int, problem: OSError | ApiError) -> bytes:
    said = os.strerror(problem.errno).lower() if isinstance(problem, OSError) and problem.errno else str(problem)
    where = f"error forwarding port {port} to pod {name_of(pod)}, uid {uid_of(pod)}"
    return f"{where}: failed to connect to localhost:{port} inside the pod: {said}".encode()
