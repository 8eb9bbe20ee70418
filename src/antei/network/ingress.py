"""The HTTP server in front of the cluster: by host and path to a Service's endpoints.

404 where no rule matches, 503 where the Service is missing or has no endpoint, 502 where no endpoint takes the
connection or one ends it without an answer, 504 where it keeps silent. An endpoint that refuses the connection has
seen nothing of the request, so the next one is tried, whatever the method; once a byte was sent, nothing is repeated.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus

import h11

from antei.network.http_exchange import BrokenOff, Client, Forwarding, NoResponse, Upstream, exchange
from antei.network.ingress_rules import Backend, IngressTable
from antei.network.services import Endpoint, ServicePort
from antei.world import Chance

__all__ = ["IngressServer"]

_LOG = logging.getLogger(__name__)
_IDLE_SECONDS = 75.0
_CONNECT_SECONDS = 5.0
#: How many endpoints are tried for one request (ingress-nginx: proxy-next-upstream-tries).
_TRIES = 3
_DRAINED_BYTES_MOST = 1 << 20
_DRAIN_SECONDS = 1.0


class IngressServer:
    def __init__(
        self,
        find: Callable[[Backend], ServicePort | None],
        dial: Callable[[Endpoint], Awaitable[socket.socket]],
        chance: Chance,
    ) -> None:
        """`find` looks into the service table in force; `dial` raises OSError."""
        self.table = IngressTable()
        self._find = find
        self._dial = dial
        self._chance = chance
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()

    async def listen(self, listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Serves on a bound, listening socket."""
        scheme, port = "https" if tls else "http", listener.getsockname()[1]
        forwarding = Forwarding(client_ip="", scheme=scheme, port=port)

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            if task is not None:
                self._connections.add(task)
                task.add_done_callback(self._connections.discard)
            peer = writer.get_extra_info("peername")
            await self._serve(Client(reader, writer), replace(forwarding, client_ip=peer[0] if peer else ""))

        self._servers.append(await asyncio.start_server(connected, sock=listener, ssl=tls))

    async def aclose(self) -> None:
        for server in self._servers:
            server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, client: Client, forwarding: Forwarding) -> None:
        """Requests of one connection, one after the other."""
        try:
            while True:
                async with asyncio.timeout(_IDLE_SECONDS):
                    request = await client.next_event()
                if not isinstance(request, h11.Request):
                    break
                await self._answer(client, request, forwarding)
                if (client.protocol.our_state, client.protocol.their_state) != (h11.DONE, h11.DONE):
                    await _drain(client)
                    break
                client.protocol.start_next_cycle()
            await client.close()
        except h11.RemoteProtocolError as error:
            await _refuse_malformed(client, error)
        except BrokenOff as error:
            _LOG.debug("ingress: %s", error)
        except OSError as error:  # an idle connection's TimeoutError too
            _LOG.debug("ingress: connection ended: %r", error)
        finally:
            if not client.writer.is_closing():
                client.abort()

    async def _answer(self, client: Client, request: h11.Request, forwarding: Forwarding) -> None:
        host = next((value for name, value in request.headers if name == b"host"), b"").decode("latin-1")
        path = request.target.split(b"?")[0].decode("latin-1")
        backend = self.table.route(host, path)
        if backend is None:
            await _say(client, HTTPStatus.NOT_FOUND, "default backend - 404")
            return
        port = self._find(backend)
        if port is None or not port.endpoints:
            await _say(
                client,
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"Service {backend.namespace}/{backend.service} port {backend.port} has no endpoint",
            )
            return
        upstream = await self._connect(port.endpoints)
        if upstream is None:
            await _say(client, HTTPStatus.BAD_GATEWAY, f"no endpoint of {port} takes connections")
            return
        try:
            await exchange(client, upstream, request, forwarding)
        except NoResponse as error:
            if client.protocol.our_state is not h11.SEND_RESPONSE:
                raise BrokenOff(str(error)) from error
            status = HTTPStatus.GATEWAY_TIMEOUT if error.timed_out else HTTPStatus.BAD_GATEWAY
            await _say(client, status, f"{port}: {error}")

    async def _connect(self, endpoints: tuple[Endpoint, ...]) -> Upstream | None:
        """A connection to one of them at random, or to another one if it refuses."""
        start = int(self._chance.uniform(0, len(endpoints)))
        for step in range(min(_TRIES, len(endpoints))):
            endpoint = endpoints[(start + step) % len(endpoints)]
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    connection = await self._dial(endpoint)
            except OSError as error:
                _LOG.debug("ingress: %s:%d: %s", endpoint.ip, endpoint.port, error)
                continue
            return Upstream(*await asyncio.open_connection(sock=connection))
        return None


async def _say(client: Client, status: HTTPStatus, text: str) -> None:
    body = text.encode() + b"\n"
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    try:
        await client.send(h11.Response(status_code=status, reason=status.phrase.encode(), headers=headers))
        await client.send(h11.Data(data=body))
        await client.send(h11.EndOfMessage())
    except h11.LocalProtocolError as error:
        raise BrokenOff(str(error)) from error
    if client.protocol.their_state is h11.SEND_BODY:
        await _drain(client)


async def _drain(client: Client) -> None:
    """Reads what the client still sends, within bounds: closing at once would reset the answer away from it."""
    if client.protocol.they_are_waiting_for_100_continue:
        return
    left = _DRAINED_BYTES_MOST
    with suppress(TimeoutError, h11.RemoteProtocolError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            while left > 0 and client.protocol.their_state is h11.SEND_BODY:
                event = await client.next_event()
                if isinstance(event, h11.Data):
                    left -= len(event.data)


async def _refuse_malformed(client: Client, error: h11.RemoteProtocolError) -> None:
    _LOG.debug("ingress: malformed request: %s", error)
    if client.protocol.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    status = HTTPStatus(error.error_status_hint)
    with suppress(h11.LocalProtocolError, OSError):
        headers = [("Content-Length", "0"), ("Connection", "close")]
        await client.send(h11.Response(status_code=status, reason=status.phrase.encode(), headers=headers))
        await client.send(h11.EndOfMessage())
        await client.close()
