"""Client ports that nobody answered: they are kept from being used again while the kernel still tracks the attempt.

Connection tracking remembers an unanswered SYN for two minutes, with the endpoint that was chosen for it. A new
connection from the same port to the same Service within that time is taken for the old attempt and led to that
endpoint, though it hangs or is long gone. One client that opens 50 connections a second comes round to a port after a
minute; many clients, which it stands for, do not. So each such port is occupied until the kernel has forgotten it.
Source: Linux, net/netfilter/nf_conntrack_proto_tcp.c (TCP_CONNTRACK_SYN_SENT: 2 minutes).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque

from antei.world.sockets import Sockets

__all__ = ["UnansweredPorts"]

_LOG = logging.getLogger(__name__)
#: A little longer than nf_conntrack_tcp_timeout_syn_sent.
KEPT_SECONDS = 125.0
#: Each takes a file descriptor.
LIMIT = 2000


class UnansweredPorts:
    """One for all loads of a rehearsal. `close` in the end."""

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets
        #: (when it is free again by the loop's time, what occupies it), the oldest first.
        self._kept: deque[tuple[float, socket.socket]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, family: int, local: tuple[str, int]) -> None:
        """`local` is (address, port) of a socket that was closed before anybody had answered it."""
        if not local[1]:  # it never came to a port
            return
        loop = asyncio.get_running_loop()
        occupying = None
        try:
            occupying = self._sockets.open(family, socket.SOCK_STREAM)
            occupying.bind(local)
        except OSError as error:  # somebody else has it, or there are no descriptors left
            _LOG.debug("port %s:%d is not kept: %s", *local, error)
            if occupying is not None:
                occupying.close()
            return
        while len(self._kept) >= LIMIT:
            self._kept.popleft()[1].close()
        self._kept.append((loop.time() + KEPT_SECONDS, occupying))
        if self._timer is None:
            self._timer = loop.call_later(KEPT_SECONDS, self._release)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._kept:
            self._kept.popleft()[1].close()

    def _release(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        while self._kept and self._kept[0][0] <= loop.time():
            self._kept.popleft()[1].close()
        if self._kept:
            self._timer = loop.call_at(self._kept[0][0], self._release)
