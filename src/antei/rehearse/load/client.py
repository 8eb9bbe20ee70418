"""The open-loop client: request k is due at start + k / rate, whatever became of the others.

No coordinated omission: a server that stalls does not make the client ask less often, and latency counts from when
a request was due. What the client itself is late with (`sent_at - due_at`) is in the record of every request.
Virtual users (`http-users`) wait for their answers by nature: a request of theirs is due when its user has thought.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Iterator
from typing import Any

from antei.rehearse.load.exchange import Attribution, Dialer, Exchange, Way
from antei.rehearse.load.http1 import HttpWay
from antei.rehearse.load.log import RequestLog
from antei.rehearse.load.ports import UnansweredPorts
from antei.rehearse.load.spec import Kind, LoadSpec, Target
from antei.rehearse.load.tcp import TcpWay
from antei.rehearse.model import Outcome
from antei.world.sockets import Sockets
from antei.world.system import monotonic

__all__ = ["LoadClient"]

_LOG = logging.getLogger(__name__)
IN_FLIGHT_LIMIT = 10_000
#: A client that has fallen behind sends so many at a time before it looks at what came back.
_BURST = 32
#: Load balancers change their addresses; so often a name is looked up anew.
_RESOLVE_SECONDS, _RESOLVE_AGAIN_SECONDS = 10.0, 1.0


class LoadClient:
    """`start`, then `stop`; `requests` is complete after `stop`. One use."""

    def __init__(
        self,
        spec: LoadSpec,
        target: Target,
        sockets: Sockets,
        *,
        origin: float,
        attribution: Attribution | None = None,
        count: int | None = None,
        in_flight_limit: int = IN_FLIGHT_LIMIT,
        tls: ssl.SSLContext | None = None,
        ports: UnansweredPorts | None = None,
    ) -> None:
        """`origin`: the time by `antei.world.system.monotonic` that all times in `requests` are relative to.

        `count`: how many requests to send; None: until `stop`. `tls`: in place of the system's certificates.
        `ports`: where those that nobody answered are kept.
        """
        self.spec = spec
        self.target = target
        self.origin = origin
        self.requests = RequestLog(spec.name)
        self._sockets = sockets
        self._attribution = attribution
        self._count = count
        self._in_flight_limit = in_flight_limit
        self._tls = tls
        self._ports = ports
        #: In the order in which they were sent, which is that of their deadlines.
        self._in_flight: dict[Exchange, asyncio.Future[None] | None] = {}
        self._sent = 0
        self._until: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._tasks: list[asyncio.Task[None]] = []
        self._senders: list[asyncio.Task[None]] = []
        self._way: Way | None = None  # from `start` on

    # Valid after `start`
    _loop: asyncio.AbstractEventLoop
    _dialer: Dialer

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    async def start(self) -> None:
        """The first request is due when this returns. Raises OSError for certificates that cannot be read."""
        self._loop = asyncio.get_running_loop()
        if self.target.tls_name is not None and self._tls is None:
            self._tls = await asyncio.to_thread(_tls_context, self.spec)
        self._dialer = Dialer(self._sockets, self.spec, self.target, self._tls, self._attribution, self._ports)
        await self._resolve()
        self._way = self._make_way()
        if not _is_ip(self.target.host):
            self._tasks.append(asyncio.create_task(self._keep_resolved(), name=f"load {self.spec.name}: resolve"))
        begin = monotonic()
        if self.spec.kind is Kind.HTTP_USERS:
            users = self.spec.users
            spread = self.spec.think_seconds / users
            self._senders = [self._sender(self._visit(begin + number * spread)) for number in range(users)]
        else:
            self._senders = [self._sender(self._pace(begin))]

    async def wait(self) -> None:
        """Until `count` requests have been sent and have ended."""
        await asyncio.gather(*self._senders)
        await self._idle.wait()

    async def stop(self) -> None:
        """Sends what is due by now and nothing after it; returns when all that were sent have ended or timed out."""
        if self._way is None:
            return
        if self._until is None:
            self._until = monotonic()
        try:
            await self.wait()
        finally:
            self.abort()

    def abort(self) -> None:
        """Ends everything at once; what is in flight is not recorded."""
        for task in [*self._senders, *self._tasks]:
            task.cancel()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for exchange in list(self._in_flight):
            exchange.is_over = True
        self._in_flight.clear()
        self._idle.set()
        if self._way is not None:
            self._way.close()

    # When

    def _sender(self, sending: Any) -> asyncio.Task[None]:
        return asyncio.create_task(sending, name=f"load {self.spec.name}")

    async def _pace(self, begin: float) -> None:
        burst = 0
        while self._count is None or self._sent < self._count:
            due_at = begin + self._sent / self.spec.rate
            if self._until is not None and due_at > self._until:
                return
            wait = due_at - monotonic()
            if wait > 0:
                burst = 0
                await self._pause(wait)
                continue
            burst += 1
            if burst % _BURST == 0:
                await asyncio.sleep(0)
            self._send(due_at)

    async def _visit(self, due_at: float) -> None:
        """One virtual user."""
        while self._count is None or self._sent < self._count:
            if self._until is not None and due_at > self._until:
                return
            wait = due_at - monotonic()
            if wait > 0:
                await self._pause(wait)
                continue
            answered: asyncio.Future[None] = self._loop.create_future()
            self._send(due_at, answered)
            await answered
            due_at = monotonic() + self.spec.think_seconds

    async def _pause(self, seconds: float) -> None:
        """A millisecond at least, which is as fine as loops wait: for less, uvloop would not wait at all but go round.
        A tenth of a second at most: `stop` may have come in between."""
        await asyncio.sleep(min(max(seconds, 0.001), 0.1))

    # One request

    def _send(self, due_at: float, waiter: asyncio.Future[None] | None = None) -> None:
        now = monotonic()
        self._sent += 1
        exchange = Exchange(due_at, now, now + self.spec.timeout_seconds, self._ended)
        if len(self._in_flight) >= self._in_flight_limit:
            exchange.end(Outcome.TIMED_OUT, f"not sent: {self._in_flight_limit} requests wait for an answer already")
            return
        self._in_flight[exchange] = waiter
        self._idle.clear()
        if self._timer is None:
            self._timer = self._loop.call_at(exchange.deadline, self._expire)
        assert self._way is not None
        self._way.send(exchange)

    def _ended(self, exchange: Exchange, outcome: Outcome, detail: str, status: int | None) -> None:
        now, origin = monotonic(), self.origin
        if exchange.note:
            detail = f"{exchange.note}; {detail}" if detail else exchange.note
        self.requests.add(
            exchange.due_at - origin, exchange.sent_at - origin, now - origin, outcome, status, exchange.pod, detail
        )
        waiter = self._in_flight.pop(exchange, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        if not self._in_flight:
            self._idle.set()

    def _expire(self) -> None:
        """All requests have the same timeout, so the oldest one's deadline is the next."""
        self._timer = None
        now = monotonic()
        for exchange in _until(self._in_flight, now):
            carrier = exchange.carrier
            exchange.end(Outcome.TIMED_OUT, f"no answer within {self.spec.timeout_seconds:g} s")
            if carrier is not None:
                carrier.abandon(exchange)
        first = next(iter(self._in_flight), None)
        if first is not None:
            self._timer = self._loop.call_at(first.deadline, self._expire)

    # Where

    def _make_way(self) -> Way:
        spec = self.spec
        if spec.kind is Kind.HTTP:
            return HttpWay(self._dialer, keep_alive=False, connections=0)
        if spec.kind is Kind.HTTP_KEEP_ALIVE:
            return HttpWay(self._dialer, keep_alive=True, connections=spec.connections)
        if spec.kind is Kind.HTTP_USERS:
            return HttpWay(self._dialer, keep_alive=True, connections=spec.users)
        if spec.kind is Kind.TCP:
            return TcpWay(self._dialer)
        # HTTP/2 and protobuf are loaded by the first gRPC load only.
        from antei.rehearse.load.grpc import GrpcWay

        return GrpcWay(self._dialer)

    async def _keep_resolved(self) -> None:
        while True:
            is_known = not isinstance(self._dialer.address, OSError)
            await asyncio.sleep(_RESOLVE_SECONDS if is_known else _RESOLVE_AGAIN_SECONDS)
            await self._resolve()

    async def _resolve(self) -> None:
        """IPv4 before IPv6. A name that was known stays as it was while it cannot be looked up."""
        host, port = self.target.host, self.target.port
        try:
            rows = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            if isinstance(self._dialer.address, OSError):
                self._dialer.address = error
            _LOG.warning("load %s: %s: %s", self.spec.name, host, error)
            return
        family, _, _, _, address = min(rows, key=lambda row: row[0] != socket.AF_INET)
        self._dialer.address = (family, address)


def _until(in_flight: dict[Exchange, Any], now: float) -> list[Exchange]:
    def expired() -> Iterator[Exchange]:
        for exchange in in_flight:
            if exchange.deadline > now:
                return
            yield exchange

    return list(expired())


def _is_ip(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return True
    return False


def _tls_context(spec: LoadSpec) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if spec.insecure_skip_tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"] if spec.kind is Kind.GRPC else ["http/1.1"])
    return context
