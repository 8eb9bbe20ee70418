"""TCP ports on the host's loopback that lead into the cluster.

    client ─► 127.0.0.1:30080 ─► Relay ─► dial (a socket inside the cluster's namespace) ─► Service ─► pod

Bytes go through as they come, with backpressure; the end of one direction is passed on while the other stays open;
a reset or a refused connection is passed on as a reset, never as an orderly end that would look like an answer.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from antei.world.sockets import HostSockets, Sockets

__all__ = ["Address", "Dial", "Relay", "bound", "listen", "reset", "splice"]

_LOG = logging.getLogger(__name__)
_CHUNK_BYTES = 65536
_BACKLOG = 1024
#: A pod that is there answers within microseconds; the kernel itself would try for two minutes.
_DIAL_SECONDS = 10.0
_RETRY_SECONDS = 2.0
#: Out of file descriptors: wait for some to come back rather than spin.
_ACCEPT_PAUSE_SECONDS = 0.1

#: Opens the connection on the inside for a client address. Raises OSError.
Dial = Callable[[str], Awaitable[socket.socket]]
Address = tuple[str, int]


class Relay:
    """The set of listening ports, on this machine or where `sockets` opens; `publish` makes it what it should be."""

    def __init__(self, sockets: Sockets | None = None) -> None:
        self._sockets = sockets or HostSockets()
        self._wanted: dict[Address, Dial] = {}
        self._listeners: dict[Address, asyncio.Task[None]] = {}
        self._refused: dict[Address, OSError] = {}
        self._connections: set[asyncio.Task[None]] = set()
        self._retry: asyncio.TimerHandle | None = None

    @property
    def listening(self) -> list[Address]:
        return sorted(self._listeners)

    @property
    def failures(self) -> dict[Address, OSError]:
        """Ports that are wanted and cannot be had; they are tried again every two seconds."""
        return dict(self._refused)

    def publish(self, wanted: Mapping[Address, Dial]) -> None:
        """Opens and closes ports until exactly these are open. Established connections stay as they are."""
        self._wanted = dict(wanted)
        for address in [address for address in self._listeners if address not in self._wanted]:
            self._listeners.pop(address).cancel()
        for address in [address for address in self._refused if address not in self._wanted]:
            del self._refused[address]
        for address in self._wanted:
            if address not in self._listeners:
                self._listen(address)
        if self._refused and self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._try_again)

    async def aclose(self) -> None:
        """Closes the ports and resets what is established."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        tasks = [*self._listeners.values(), *self._connections]
        self._listeners.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _listen(self, address: Address) -> None:
        try:
            listener = bound(self._sockets.open(socket.AF_INET, socket.SOCK_STREAM), address)
        except OSError as error:
            if address not in self._refused:
                _LOG.warning("%s:%d cannot be published: %s", *address, error)
            self._refused[address] = error
            return
        self._refused.pop(address, None)
        task = asyncio.create_task(self._accept(listener, address), name=f"relay {address[0]}:{address[1]}")
        task.add_done_callback(lambda _: listener.close())  # also of a task that is cancelled before it begins
        self._listeners[address] = task

    def _try_again(self) -> None:
        self._retry = None
        self.publish(self._wanted)

    async def _accept(self, listener: socket.socket, address: Address) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                outer, peer = await loop.sock_accept(listener)
            except OSError as error:
                _LOG.warning("%s:%d: a connection was not accepted: %s", *address, error)
                await asyncio.sleep(_ACCEPT_PAUSE_SECONDS)
                continue
            dial = self._wanted.get(address)
            if dial is None:
                reset(outer)
                continue
            task = asyncio.create_task(_serve(outer, peer[0], dial))
            self._connections.add(task)
            task.add_done_callback(partial(self._ended, outer))

    def _ended(self, outer: socket.socket, task: asyncio.Task[None]) -> None:
        self._connections.discard(task)
        if outer.fileno() != -1:  # cancelled before it began
            reset(outer)


def listen(address: Address) -> socket.socket:
    """A listening TCP socket in the host's namespace. Raises OSError when the port is taken or not permitted."""
    return bound(socket.socket(socket.AF_INET, socket.SOCK_STREAM), address)


def bound(listener: socket.socket, address: Address) -> socket.socket:
    """The socket, listening. Its connections inherit TCP_NODELAY, which asyncio would only set on sockets that name
    their protocol; without it a small answer waits 40 ms for an acknowledgement. Raises OSError."""
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def reset(connection: socket.socket) -> None:
    """Closes with a reset: the other side must not take this for an orderly end."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError as error:
        _LOG.debug("a connection was gone before its reset: %s", error)
    finally:
        connection.close()


async def _serve(outer: socket.socket, client_ip: str, dial: Dial) -> None:
    outer.setblocking(False)
    try:
        async with asyncio.timeout(_DIAL_SECONDS):
            inner = await dial(client_ip)
    except OSError as error:  # TimeoutError is one
        _LOG.debug("relay: no connection inside: %s", error)
        reset(outer)
        return
    except BaseException:
        reset(outer)
        raise
    await splice(outer, inner)


async def splice(one: socket.socket, other: socket.socket) -> None:
    """Passes everything on in both directions until both have ended, then closes both; a failure resets both."""
    is_orderly = False
    try:
        for connection in (one, other):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with asyncio.TaskGroup() as group:
            group.create_task(_pump(one, other))
            group.create_task(_pump(other, one))
        is_orderly = True
    except* OSError as errors:
        _LOG.debug("relay: %s", errors.exceptions[0])
    finally:
        for connection in (one, other):
            if is_orderly:
                connection.close()
            else:
                reset(connection)


async def _pump(source: socket.socket, sink: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(source, _CHUNK_BYTES):
        await loop.sock_sendall(sink, data)
    sink.shutdown(socket.SHUT_WR)
