"""`pods/NAME/proxy`, `services/NAME/proxy`, `nodes/NAME/proxy`: HTTP through the API server to what they name.

    /api/v1/namespaces/NS/services/[https:]NAME[:PORT]/proxy/a/b?c=d   ─►   a ready endpoint's   /a/b?c=d

Bodies stream both ways, a WebSocket or any other upgrade is passed through. The client's credentials and all headers
that belong to one connection stay here. Kubernetes: apimachinery/pkg/util/proxy/{upgradeaware,transport}.go,
pkg/registry/core/{pod/strategy.go,service/storage/storage.go} (ResourceLocation).
"""

from __future__ import annotations

import asyncio
import os
import ssl
from contextlib import suppress
from urllib.parse import urlsplit

import h11

from antei.api.errors import ApiError, bad_gateway, service_unavailable
from antei.server.http.exchange import Exchange
from antei.server.http.node_endpoints import NodeEndpoints
from antei.server.http.proxy_location import Location, Locator
from antei.server.http.routes import Route
from antei.server.http.streams import Streams
from antei.server.http.upgrade import RawConnection
from antei.server.http.websocket import without_token
from antei.server.pod_streams import PodStreams
from antei.server.registry import Registry

__all__ = ["Proxy", "forwarded_headers", "returned_headers", "rewritten_location"]

_CHUNK_BYTES = 64 * 1024
_CONNECT_SECONDS = 30.0
#: RFC 9110, section 7.6.1, and what HTTP proxies have to themselves.
_HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection")
) | {b"te", b"trailer", b"transfer-encoding", b"upgrade"}
#: The client's credentials are for the API server; `expect` has been answered here.
_KEPT_HERE = _HOP_BY_HOP | {b"authorization", b"expect", b"x-forwarded-for", b"x-forwarded-uri"}
_NO_BODY = (204, 304)


class Proxy:
    def __init__(
        self, registry: Registry, pod_streams: PodStreams, streams: Streams, node_endpoints: NodeEndpoints
    ) -> None:
        self._locator = Locator(registry)
        self._pod_streams = pod_streams
        self._streams = streams
        self._node_endpoints = node_endpoints

    async def serve(self, exchange: Exchange, route: Route) -> None:
        """Raises ApiError while nothing has been answered: 404, 503 where nobody is there."""
        prefix, path = _split(exchange.raw_path)
        if not path and exchange.method in ("GET", "HEAD"):
            # A page's relative links need the slash (Kubernetes: proxyRedirect).
            query = b"?" + exchange.query_string if exchange.query_string else b""
            await exchange.respond(b"", 301, b"text/html; charset=utf-8", [(b"location", prefix + b"/" + query)])
            return
        if route.served.plural == "nodes" and ":" not in route.name:
            await self._node_endpoints.serve(exchange, route.name, path)
            return
        location = await self._locator.locate(route)
        work = self._pass_on(exchange, location, prefix, path or b"/")
        try:
            await self._streams.run(exchange, work, watches_client=False)
        finally:
            if exchange.connection is not None:
                exchange.connection.close()

    async def _pass_on(self, exchange: Exchange, location: Location, prefix: bytes, path: bytes) -> None:
        backend = await self._connect(location)
        sending: asyncio.Task[None] | None = None
        try:
            target = path + (b"?" + exchange.query_string if exchange.query_string else b"")
            headers = forwarded_headers(exchange, prefix + path, upgrades=exchange.wants_upgrade)
            await backend.send(h11.Request(method=exchange.method, target=target, headers=headers))
            if exchange.wants_upgrade:
                await backend.send(h11.EndOfMessage())
                sending = asyncio.create_task(exchange.wait_disconnected())
            else:
                sending = asyncio.create_task(_send_body(exchange, backend))
            answering = asyncio.create_task(self._answer(exchange, backend, location, prefix))
            await _first_of(answering, sending)
        except h11.ProtocolError as error:
            if exchange.has_started:
                raise ConnectionResetError(f"the other side broke off: {error}") from error
            raise bad_gateway(f"error trying to reach service: {error}") from error
        except OSError as error:
            if exchange.has_started:
                raise ConnectionResetError(str(error)) from error
            raise _unreachable(error, location) from error
        finally:
            if sending is not None:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            backend.close()

    async def _connect(self, location: Location) -> _Backend:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                opened = await self._pod_streams.connect(location.ip, location.port)
                secure = _unverified() if location.scheme == "https" else None
                name = location.ip if secure is not None else None
                try:
                    reader, writer = await asyncio.open_connection(
                        sock=opened, ssl=secure, server_hostname=name, limit=_CHUNK_BYTES
                    )
                except BaseException:
                    opened.close()
                    raise
        except TimeoutError as error:
            raise service_unavailable(f"error trying to reach service: dial tcp {location}: i/o timeout") from error
        except OSError as error:
            raise _unreachable(error, location) from error
        return _Backend(reader, writer)

    async def _answer(self, exchange: Exchange, backend: _Backend, location: Location, prefix: bytes) -> None:
        event = await backend.receive()
        while isinstance(event, h11.InformationalResponse):
            if event.status_code == 101:
                await _tunnel(exchange, backend, event)
                return
            event = await backend.receive()
        if not isinstance(event, h11.Response):
            raise ConnectionResetError("it ended without an answer")
        await exchange.start(event.status_code, returned_headers(list(event.headers.raw_items()), location, prefix))
        while isinstance(event := await backend.receive(), h11.Data):
            await exchange.write(bytes(event.data))
        if not isinstance(event, h11.EndOfMessage):
            raise ConnectionResetError("it ended in the midst of its answer")
        await exchange.end_stream()


class _Backend:
    """The connection to the other side, in h11's terms."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=256 * 1024)

    async def send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            await self.write(data)

    async def receive(self) -> h11.Event | type[h11.PAUSED]:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self.read())
        return event  # type: ignore[return-value]

    @property
    def early(self) -> bytes:
        """What came behind a 101."""
        return bytes(self._http.trailing_data[0])

    async def read(self) -> bytes:
        return await self._reader.read(_CHUNK_BYTES)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def close(self) -> None:
        self._writer.transport.abort()


async def _first_of(answering: asyncio.Task[None], sending: asyncio.Task[None]) -> None:
    """Until the answer is complete, or the client is gone, which is how `sending` ends."""
    try:
        await asyncio.wait({answering, sending}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done() and sending.exception() is not None and not answering.done():
            # A server may answer, and close, before it has read the whole of a body.
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await asyncio.wait({answering})
        if answering.done():
            answering.result()
        else:
            sending.result()
    finally:
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)


async def _send_body(exchange: Exchange, backend: _Backend) -> None:
    """The client's body, then waits until the client is gone."""
    async for chunk in exchange.chunks():
        if chunk:
            await backend.send(h11.Data(data=chunk))
    await backend.send(h11.EndOfMessage())
    await exchange.wait_disconnected()


async def _tunnel(exchange: Exchange, backend: _Backend, event: h11.InformationalResponse) -> None:
    """Both sides speak something else from here on: bytes both ways until one of them ends."""
    head = [b"HTTP/1.1 101 Switching Protocols\r\n"]
    head += [name + b": " + value + b"\r\n" for name, value in event.headers.raw_items()]
    client = exchange.upgrade(b"".join(head) + b"\r\n")
    copies = [asyncio.create_task(_inward(client, backend)), asyncio.create_task(_outward(client, backend))]
    try:
        await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for copy in copies:
            copy.cancel()
        await asyncio.gather(*copies, return_exceptions=True)


async def _inward(client: RawConnection, backend: _Backend) -> None:
    while data := await client.read():
        await backend.write(data)


async def _outward(client: RawConnection, backend: _Backend) -> None:
    if backend.early:
        await client.write(backend.early)
    while data := await backend.read():
        await client.write(data)


def forwarded_headers(exchange: Exchange, path: bytes, *, upgrades: bool) -> list[tuple[bytes, bytes]]:
    """The client's headers without those that are not for the other side."""
    kept_here = _KEPT_HERE | _named_in_connection(exchange.header(b"connection"))
    headers = [
        (name, without_token(value) if name == b"sec-websocket-protocol" else value)
        for name, value in exchange.headers
        if name not in kept_here and not name.startswith(b"impersonate-")
    ]
    headers = [(name, value) for name, value in headers if value or name != b"sec-websocket-protocol"]
    if upgrades:
        headers += [(b"connection", b"Upgrade"), (b"upgrade", exchange.header(b"upgrade"))]
    elif exchange.header(b"transfer-encoding"):
        # One length only: two that disagree are two requests to somebody.
        headers = [(name, value) for name, value in headers if name != b"content-length"]
        headers.append((b"transfer-encoding", b"chunked"))
    host = exchange.header(b"host")
    headers += [(b"x-forwarded-uri", path), (b"x-forwarded-proto", b"https")]
    if host:
        headers.append((b"x-forwarded-host", host))
    return headers


def returned_headers(
    headers: list[tuple[bytes, bytes]], location: Location, prefix: bytes
) -> list[tuple[bytes, bytes]]:
    """The other side's headers without those of its connection; where it redirects to itself, it redirects to here."""
    named = _named_in_connection(b",".join(value for name, value in headers if name.lower() == b"connection"))
    kept_here = _HOP_BY_HOP | named | {b"date"}  # this server's own Date is sent
    return [
        (name, rewritten_location(value, location, prefix) if name.lower() == b"location" else value)
        for name, value in headers
        if name.lower() not in kept_here
    ]


def rewritten_location(value: bytes, location: Location, prefix: bytes) -> bytes:
    """Of "/login" or "http://<the other side>/login": the same below `prefix`; of anything else: as it is."""
    try:
        parts = urlsplit(value.decode("latin-1"))
    except ValueError:
        return value
    own = {location.ip, f"{location.ip}:{location.port}", f"[{location.ip}]:{location.port}"}
    if parts.netloc and parts.netloc not in own:
        return value
    if not parts.netloc and not parts.path.startswith("/"):
        return value  # relative: the client's own path decides
    rest = parts.path + (f"?{parts.query}" if parts.query else "") + (f"#{parts.fragment}" if parts.fragment else "")
    return prefix + (rest if rest.startswith("/") else f"/{rest}").encode("latin-1")


def _named_in_connection(value: bytes) -> frozenset[bytes]:
    return frozenset(name.strip().lower() for name in value.split(b","))


def _split(raw_path: bytes) -> tuple[bytes, bytes]:
    """(the path up to and with `proxy`, what follows), as the client wrote them."""
    parts = raw_path.lstrip(b"/").split(b"/")
    depth = 7 if parts[2:3] == [b"namespaces"] else 5  # api v1 namespaces NS pods NAME proxy; api v1 nodes NAME proxy
    prefix, rest = parts[:depth], parts[depth:]
    return b"/" + b"/".join(prefix), b"/" + b"/".join(rest) if len(parts) > depth else b""


def _unreachable(error: OSError, location: Location) -> ApiError:
    said = os.strerror(error.errno).lower() if error.errno and not isinstance(error, ssl.SSLError) else str(error)
    return service_unavailable(f"error trying to reach service: dial tcp {location}: connect: {said}")


def _unverified() -> ssl.SSLContext:
    """Pods have certificates of their own making, if any (Kubernetes does not verify them either)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
