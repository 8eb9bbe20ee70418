"""One HTTP request passed on to an endpoint, and its response passed back. Bodies stream both ways.

    client ══ h11 server side ══ exchange ══ h11 client side ══ endpoint

Each request has a connection of its own to its endpoint: a kept-alive one may lead to a pod that has left the Service
since, and would lose the request. What has begun and breaks off is reset, so that nobody takes half an answer for
a whole one.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass

import h11

__all__ = ["BrokenOff", "Client", "Forwarding", "NoResponse", "Upstream", "exchange"]

_LOG = logging.getLogger(__name__)
_CHUNK_BYTES = 65536
#: RFC 9110, section 7.6.1, and what older proxies send.
_HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"})
_FORWARDED = frozenset(
    {b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port", b"x-real-ip"}
)
#: Until the response begins (ingress-nginx: proxy-read-timeout).
_RESPONSE_SECONDS = 60.0

Headers = list[tuple[bytes, bytes]]


class NoResponse(Exception):
    """The endpoint ended the connection, or let us wait too long, before it said anything."""

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


class BrokenOff(Exception):
    """One side went away in the middle; the connection to the client is of no use any more."""


@dataclass(frozen=True, slots=True)
class Forwarding:
    """What the endpoint is told about the client."""

    client_ip: str
    scheme: str
    port: int


class _Side:
    """A connection with h11's state machine on top."""

    def __init__(
        self, role: type[h11.CLIENT] | type[h11.SERVER], streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    ):
        self.reader, self.writer = streams
        self.protocol = h11.Connection(role)

    async def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Raises h11.RemoteProtocolError and OSError."""
        while True:
            event = self.protocol.next_event()
            if event is not h11.NEED_DATA:
                return event
            self.protocol.receive_data(await self.reader.read(_CHUNK_BYTES))

    async def send(self, event: h11.Event) -> None:
        data = self.protocol.send(event)
        if data:
            self.writer.write(data)
            await self.writer.drain()

    def abort(self) -> None:
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


class Client(_Side):
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(h11.SERVER, (reader, writer))


class Upstream(_Side):
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(h11.CLIENT, (reader, writer))


async def exchange(client: Client, upstream: Upstream, request: h11.Request, forwarding: Forwarding) -> None:
    """Passes the request on and the response back.

    Raises NoResponse while the client can still be told, BrokenOff afterwards. Closes the upstream in any case.
    """
    uploading = asyncio.create_task(_upload(client, upstream, _upstream_request(request, forwarding)))
    try:
        response = await _response_head(client, upstream, uploading)
        if response.status_code == 101:
            await uploading
            await _switch(client, upstream, response)
            return
        await _download(client, upstream, response)
    finally:
        uploading.cancel()
        with suppress(asyncio.CancelledError, BrokenOff, OSError):
            await uploading
        if not upstream.writer.is_closing():
            upstream.abort()


async def _upload(client: Client, upstream: Upstream, request: h11.Request) -> None:
    """Sends the request and its body. An endpoint that stops listening may have answered already: no error here."""
    await _send_upstream(upstream, request)
    while True:
        try:
            event = await client.next_event()
        except (h11.RemoteProtocolError, OSError) as error:
            raise BrokenOff(f"the client went away while it sent its request: {error}") from error
        if isinstance(event, (h11.Data, h11.EndOfMessage)):
            await _send_upstream(upstream, event)
        if not isinstance(event, h11.Data):
            return


async def _send_upstream(upstream: Upstream, event: h11.Event) -> None:
    try:
        await upstream.send(event)
    except (h11.LocalProtocolError, OSError) as error:
        _LOG.debug("the endpoint does not take the request: %r", error)


async def _response_head(
    client: Client, upstream: Upstream, uploading: asyncio.Task[None]
) -> h11.Response | h11.InformationalResponse:
    """The response's head, or 101. Other informational responses are passed on as they come."""
    while True:
        head = asyncio.create_task(upstream.next_event())
        try:
            # The wait for an answer begins when the request is out.
            await asyncio.wait({head, uploading}, return_when=asyncio.FIRST_COMPLETED)
            if uploading.done() and not head.done():
                uploading.result()  # raises BrokenOff
                await asyncio.wait({head}, timeout=_RESPONSE_SECONDS)
            if not head.done():
                raise NoResponse(f"no response within {_RESPONSE_SECONDS:g} s", timed_out=True)
            event = head.result()
        except (h11.RemoteProtocolError, OSError) as error:
            raise NoResponse(f"no response: {error}") from error
        finally:
            head.cancel()
        if isinstance(event, h11.Response):
            return event
        if not isinstance(event, h11.InformationalResponse):
            raise NoResponse("the connection was closed without a response")
        if event.status_code == 101:
            return event
        await _send_client(client, event)


async def _download(client: Client, upstream: Upstream, response: h11.Response | h11.InformationalResponse) -> None:
    headers = _end_to_end(response)
    await _send_client(client, h11.Response(status_code=response.status_code, headers=headers, reason=response.reason))
    while True:
        try:
            event = await upstream.next_event()
        except (h11.RemoteProtocolError, OSError) as error:
            raise BrokenOff(f"the endpoint broke off its response: {error}") from error
        if isinstance(event, h11.Data):
            await _send_client(client, h11.Data(data=event.data))
        elif isinstance(event, h11.EndOfMessage):
            await _send_client(client, h11.EndOfMessage())
            return
        else:
            raise BrokenOff(f"the endpoint ended its response with {event!r}")


async def _send_client(client: Client, event: h11.Event) -> None:
    try:
        await client.send(event)
    except (h11.LocalProtocolError, OSError) as error:
        raise BrokenOff(f"the client went away while it was answered: {error}") from error


async def _switch(client: Client, upstream: Upstream, response: h11.Response | h11.InformationalResponse) -> None:
    """After 101 both sides speak something else (WebSocket): bytes pass as they are, until both have ended."""
    await _send_client(client, h11.InformationalResponse(status_code=101, headers=response.headers.raw_items()))
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_copy(client, upstream))
            group.create_task(_copy(upstream, client))
    except* OSError as errors:
        raise BrokenOff(f"switched connection: {errors.exceptions[0]}") from errors
    await upstream.close()


async def _copy(source: _Side, sink: _Side) -> None:
    data, _ = source.protocol.trailing_data
    while True:
        if data:
            sink.writer.write(data)
            await sink.writer.drain()
        data = await source.reader.read(_CHUNK_BYTES)
        if not data:
            if sink.writer.can_write_eof():
                sink.writer.write_eof()
            return


def _upstream_request(request: h11.Request, forwarding: Forwarding) -> h11.Request:
    """Host and everything end to end stay as they are; hop-by-hop headers are this connection's own."""
    headers = [(name, value) for name, value in _end_to_end(request) if name.lower() not in _FORWARDED]
    upgrade = [value for name, value in request.headers if name == b"upgrade"]
    host = next((value for name, value in request.headers if name == b"host"), b"")
    if upgrade:
        headers += [(b"Connection", b"Upgrade"), (b"Upgrade", upgrade[0])]
    else:
        headers.append((b"Connection", b"close"))
    headers += [
        (b"X-Forwarded-For", forwarding.client_ip.encode()),
        (b"X-Forwarded-Host", host),
        (b"X-Forwarded-Proto", forwarding.scheme.encode()),
        (b"X-Forwarded-Port", str(forwarding.port).encode()),
        (b"X-Real-IP", forwarding.client_ip.encode()),
    ]
    return h11.Request(method=request.method, target=request.target, headers=headers)


def _end_to_end(message: h11.Request | h11.Response | h11.InformationalResponse) -> Headers:
    """The headers that concern both ends, in the case they were written in."""
    headers: Headers = message.headers.raw_items()
    named: set[bytes] = set()
    for name, value in headers:
        if name.lower() == b"connection":
            named.update(token.strip().lower() for token in value.split(b","))
    return [(name, value) for name, value in headers if name.lower() not in _HOP_BY_HOP | named]
