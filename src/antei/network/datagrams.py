"""UDP ports on the host's loopback that lead into the cluster.

    client ─► 127.0.0.1:30053 ─► DatagramRelay ─► a socket of the client's inside of the cluster ─► Service ─► pod

Each client has a socket of its own inside, so that answers find their way back, and connection tracking there keeps it
at one endpoint for as long as that is there. Like a tracked flow it ends when nothing has passed for two minutes.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from antei.network.relay import Address
from antei.world.sockets import HostSockets, Sockets

__all__ = ["DatagramRelay"]

_LOG = logging.getLogger(__name__)
_DATAGRAM_BYTES = 65536
#: Linux: net.netfilter.nf_conntrack_udp_timeout_stream.
_IDLE_SECONDS = 120.0
_RETRY_SECONDS = 2.0
#: Sockets for clients, of all ports together; the one that has been idle longest makes room.
_FLOWS_MOST = 1024
#: Taken in at once, before others have their turn.
_BURST = 64


@dataclass(eq=False, slots=True)
class _Port:
    opened: socket.socket
    target: Address


@dataclass(eq=False, slots=True)
class _Flow:
    port: _Port
    client: Address
    inner: socket.socket
    last_used: float


class DatagramRelay:
    """The set of open ports, where `outer` opens them; what comes is sent on from where `inner` opens."""

    def __init__(self, inner: Sockets, outer: Sockets | None = None) -> None:
        self._inner, self._outer = inner, outer or HostSockets()
        self._wanted: dict[Address, Address] = {}
        self._ports: dict[Address, _Port] = {}
        self._refused: dict[Address, OSError] = {}
        self._flows: dict[tuple[_Port, Address], _Flow] = {}  # the one that was used last is last
        self._retry: asyncio.TimerHandle | None = None
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def listening(self) -> list[Address]:
        return sorted(self._ports)

    @property
    def failures(self) -> dict[Address, OSError]:
        """Ports that are wanted and cannot be had; they are tried again every two seconds."""
        return dict(self._refused)

    def publish(self, wanted: Mapping[Address, Address]) -> None:
        """Opens and closes ports until exactly these are open, each leading to its address inside."""
        self._wanted = dict(wanted)
        for address, port in list(self._ports.items()):
            if self._wanted.get(address) != port.target:
                self._close(address)
        self._refused = {address: error for address, error in self._refused.items() if address in self._wanted}
        for address, target in self._wanted.items():
            if address not in self._ports:
                self._open(address, target)
        if self._refused and self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._try_again)

    async def aclose(self) -> None:
        self._wanted.clear()
        for timer in (self._retry, self._sweep):
            if timer is not None:
                timer.cancel()
        for address in list(self._ports):
            self._close(address)

    def _open(self, address: Address, target: Address) -> None:
        opened = None
        try:
            opened = self._outer.open(socket.AF_INET, socket.SOCK_DGRAM)
            opened.bind(address)
        except OSError as error:
            if opened is not None:
                opened.close()
            if address not in self._refused:
                _LOG.warning("%s:%d/UDP cannot be published: %s", *address, error)
            self._refused[address] = error
            return
        self._refused.pop(address, None)
        port = self._ports[address] = _Port(opened, target)
        asyncio.get_running_loop().add_reader(opened.fileno(), self._take_in, port)

    def _close(self, address: Address) -> None:
        port = self._ports.pop(address)
        for key in [key for key in self._flows if key[0] is port]:
            self._end(self._flows.pop(key))
        asyncio.get_running_loop().remove_reader(port.opened.fileno())
        port.opened.close()

    def _end(self, flow: _Flow) -> None:
        asyncio.get_running_loop().remove_reader(flow.inner.fileno())
        flow.inner.close()

    def _try_again(self) -> None:
        self._retry = None
        self.publish(self._wanted)

    def _take_in(self, port: _Port) -> None:
        for _ in range(_BURST):
            try:
                data, client = port.opened.recvfrom(_DATAGRAM_BYTES)
            except OSError:  # nothing left, or what was sent back found nobody
                return
            try:
                _send(self._flow(port, client).inner, data)
            except OSError as error:  # too many at once, or too large: a datagram may be lost
                _LOG.debug("relay: a datagram was not sent on: %s", error)

    def _give_back(self, flow: _Flow) -> None:
        for _ in range(_BURST):
            try:
                data = flow.inner.recv(_DATAGRAM_BYTES)
            except OSError:  # nothing left, or nobody is there
                return
            self._use(flow)
            try:
                flow.port.opened.sendto(data, flow.client)
            except OSError as error:
                _LOG.debug("relay: an answer was not sent back: %s", error)

    def _flow(self, port: _Port, client: Address) -> _Flow:
        """The client's, made when it is missing. Raises OSError."""
        flow = self._flows.get((port, client))
        if flow is None:
            inner = self._inner.open(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                inner.connect(port.target)
            except OSError:
                inner.close()
                raise
            flow = _Flow(port, client, inner, 0.0)
            asyncio.get_running_loop().add_reader(inner.fileno(), self._give_back, flow)
        self._use(flow)
        if len(self._flows) > _FLOWS_MOST:
            self._end(self._flows.pop(next(iter(self._flows))))
        return flow

    def _use(self, flow: _Flow) -> None:
        loop = asyncio.get_running_loop()
        flow.last_used = loop.time()
        self._flows.pop((flow.port, flow.client), None)
        self._flows[flow.port, flow.client] = flow
        if self._sweep is None:
            self._sweep = loop.call_later(_IDLE_SECONDS, self._end_idle)

    def _end_idle(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweep = None
        for key, flow in list(self._flows.items()):
            left = flow.last_used + _IDLE_SECONDS - loop.time()
            if left > 0:
                self._sweep = loop.call_later(left, self._end_idle)
                return
            self._end(self._flows.pop(key))


def _send(inner: socket.socket, data: bytes) -> None:
    """The kernel says with the next datagram that an earlier one was refused. Raises OSError."""
    try:
        inner.send(data)
    except ConnectionRefusedError:
        inner.send(data)
