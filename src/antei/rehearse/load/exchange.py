"""One request under way, and what the ways of sending it have in common.

LoadClient ─ send(exchange) ─► Way (HTTP, gRPC, TCP) ─ dial ─► Stream
    ▲                            │
    └──── exchange.end(…) ◄──────┘   exactly once
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from antei.rehearse.load.ports import UnansweredPorts
from antei.rehearse.load.spec import LoadSpec, Target
from antei.rehearse.load.stream import Receiver, Stream, TlsStream
from antei.rehearse.model import Outcome
from antei.world.sockets import Sockets

__all__ = ["Attribution", "Carrier", "Dialer", "Exchange", "Way"]


class Attribution(Protocol):
    """Which pod is at the other end of a connection to a Service."""

    def pod_of(self, local: tuple[str, int]) -> str:
        """The pod's name for an established connection from this (address, port); "" if it is not known."""
        ...


class Carrier(Protocol):
    """What carries an exchange: told when nobody waits for it any longer."""

    def abandon(self, exchange: Exchange) -> None: ...


class Exchange:
    """Times are by `antei.world.system.monotonic`. `pod`: when it is known; `note` goes before the detail."""

    __slots__ = ("_ended", "carrier", "deadline", "due_at", "is_over", "is_resent", "note", "pod", "sent_at")

    def __init__(self, due_at: float, sent_at: float, deadline: float, ended: Ended) -> None:
        self.due_at = due_at
        self.sent_at = sent_at
        self.deadline = deadline
        self._ended = ended
        self.carrier: Carrier | None = None
        self.pod = ""
        self.note = ""
        self.is_resent = False
        self.is_over = False

    def end(self, outcome: Outcome, detail: str = "", status: int | None = None) -> None:
        if self.is_over:
            return
        self.is_over = True
        self.carrier = None
        self._ended(self, outcome, detail, status)


#: (exchange, outcome, detail, status)
Ended = Callable[[Exchange, Outcome, str, "int | None"], None]


class Way(Protocol):
    """How requests of one kind travel. All calls from the loop; none blocks."""

    def send(self, exchange: Exchange) -> None:
        """Ends the exchange sooner or later, whatever happens; its timeout is the client's."""
        ...

    def close(self) -> None: ...


class Dialer:
    """Opens connections to the target. `address` is set by who resolves its name."""

    def __init__(
        self,
        sockets: Sockets,
        spec: LoadSpec,
        target: Target,
        tls: ssl.SSLContext | None,
        attribution: Attribution | None,
        ports: UnansweredPorts | None = None,
    ) -> None:
        self.spec = spec
        self.target = target
        #: A row of getaddrinfo, or why there is none.
        self.address: tuple[int, tuple[Any, ...]] | OSError = OSError("the name has not been resolved yet")
        self._sockets = sockets
        self._tls = tls
        self._attribution = attribution
        self._ports = ports
        self._loop = asyncio.get_running_loop()

    def dial(self, receiver: Receiver) -> Stream:
        """A stream that is about to connect. Raises OSError."""
        if isinstance(self.address, OSError):
            raise self.address
        family, address = self.address
        opened = self._sockets.open(family, socket.SOCK_STREAM)
        if self.target.tls_name is not None and self._tls is not None:
            stream: Stream = TlsStream(self._loop, opened, receiver, self._tls, self.target.tls_name)
        else:
            stream = Stream(self._loop, opened, receiver)
        if self._ports is not None:
            stream.unanswered = partial(self._ports.keep, family)
        stream.connect(address)
        return stream

    def pod_of(self, stream: Stream) -> str:
        return self._attribution.pod_of(stream.local) if self._attribution is not None else ""
