"""Which pod a connection to a Service went to: the kernel says it, once, when the flow begins. Linux, as root.

    nf_conntrack ─ NEW (original tuple, reply tuple) ─► netlink socket of the namespace ─► {client's address: pod's IP}

The event is in the socket before the connection is established, so that `pod_of` knows every connection. Asking the
table instead would cost a dump for each; pyroute2 parses about as slowly as requests come (200 µs an event), so the
few attributes that matter are read here.

Source: Linux include/uapi/linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from antei.world import namespaces

__all__ = ["ConntrackAttribution", "flows_in"]

_LOG = logging.getLogger(__name__)
_NETLINK_NETFILTER = 12
_GROUP_NEW = 1  # NF_NETLINK_CONNTRACK_NEW
_MESSAGE_NEW = 0x0100  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW
_SO_RCVBUFFORCE = 33
_BUFFER_BYTES = 8 * 1024 * 1024
_READ_BYTES = 64 * 1024
#: All ports of two clients' addresses; the oldest are forgotten beyond.
_FLOWS_LIMIT = 131072

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_FAMILY_BYTES = 4  # struct nfgenmsg
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length with this header, type
_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED, NLA_F_NET_BYTEORDER
_TUPLE_ORIG, _TUPLE_REPLY = 1, 2
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_IP_V4_SRC = 1
_PROTO_NUM, _PROTO_SRC_PORT = 1, 2

#: An IPv4 address as four bytes, and a port.
_End = tuple[bytes, int]


class ConntrackAttribution:
    """Implements `Attribution` for clients in a named network namespace. `close` when done."""

    def __init__(self, events: socket.socket, pod_of_ip: Callable[[str], str]) -> None:
        self._events = events
        self._pod_of_ip = pod_of_ip
        self._pod_ips: dict[_End, bytes] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(events.fileno(), self._drain)

    @classmethod
    async def open(cls, namespace_name: str, pod_of_ip: Callable[[str], str]) -> ConntrackAttribution:
        """`pod_of_ip`: the name of the pod with that IP, or "". Raises OSError when the kernel does not let us."""
        thread = ThreadPoolExecutor(1)  # a thread of its own: it is inside afterwards
        try:
            events = await asyncio.get_running_loop().run_in_executor(thread, _listen, namespace_name)
        finally:
            thread.shutdown(wait=False)
        return cls(events, pod_of_ip)

    def pod_of(self, local: tuple[str, int]) -> str:
        self._drain()
        pod_ip = self._pod_ips.get((socket.inet_aton(local[0]), local[1])) if "." in local[0] else None
        return self._pod_of_ip(socket.inet_ntoa(pod_ip)) if pod_ip is not None else ""

    def close(self) -> None:
        self._loop.remove_reader(self._events.fileno())
        self._events.close()

    def _drain(self) -> None:
        while True:
            try:
                data = self._events.recv(_READ_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                _LOG.warning("more connections began than could be followed: some requests will name no pod")
                continue
            for client, pod_ip in flows_in(data):
                self._pod_ips.pop(client, None)  # a port that is used again is a new flow: last in order
                self._pod_ips[client] = pod_ip
            while len(self._pod_ips) > _FLOWS_LIMIT:
                del self._pod_ips[next(iter(self._pod_ips))]


def flows_in(data: bytes) -> Iterator[tuple[_End, bytes]]:
    """(who began it, the address that answers) of each new TCP flow over IPv4 in a datagram of the kernel's."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        if kind == _MESSAGE_NEW and data[at + _HEADER.size] == socket.AF_INET:
            found = dict(_attributes(data, at + _HEADER.size + _FAMILY_BYTES, min(at + length, len(data))))
            original, reply = found.get(_TUPLE_ORIG), found.get(_TUPLE_REPLY)
            if original is not None and reply is not None:
                client, answering = _source(data, original), _source(data, reply)
                if client is not None and answering is not None:
                    yield client, answering[0]
        at += _aligned(length)


def _source(data: bytes, span: tuple[int, int]) -> _End | None:
    """Where a tuple comes from; None if it is not TCP over IPv4."""
    parts = dict(_attributes(data, *span))
    if _TUPLE_IP not in parts or _TUPLE_PROTO not in parts:
        return None
    address = dict(_attributes(data, *parts[_TUPLE_IP])).get(_IP_V4_SRC)
    protocol = dict(_attributes(data, *parts[_TUPLE_PROTO]))
    number, port = protocol.get(_PROTO_NUM), protocol.get(_PROTO_SRC_PORT)
    if address is None or number is None or port is None or data[number[0]] != socket.IPPROTO_TCP:
        return None
    return data[address[0] : address[1]], int.from_bytes(data[port[0] : port[1]], "big")


def _attributes(data: bytes, start: int, end: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """(type, (start, end) of the payload) of each attribute."""
    at = start
    while at + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size or at + length > end:
            return
        yield kind & _TYPE_MASK, (at + _ATTRIBUTE.size, at + length)
        at += _aligned(length)


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _listen(namespace_name: str) -> socket.socket:
    namespaces.enter(namespace_name)
    events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    try:
        events.setblocking(False)
        events.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        events.bind((0, _GROUP_NEW))
    except OSError:
        events.close()
        raise
    return events
