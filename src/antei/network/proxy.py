"""Keeps a service table in force: informers in, one whole table out each time it changes.

Service event ───────────────────────────────► dirty ─► service_table (pure) ─► backend.apply ─► subscribers
EndpointSlice event ─► EndpointLag (in order) ───┘            ▲                      │
                                                              └── backoff, logged ◄──┘ OSError
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from lightkube.resources.core_v1 import Service
from lightkube.resources.discovery_v1 import EndpointSlice

from antei.api.objects import key_of
from antei.client.informer import Informers
from antei.network.services import ServiceTable, service_table
from antei.world.mistakes import report_mistake

__all__ = ["Backend", "EndpointLag", "Lag", "ServiceProxy"]

_LOG = logging.getLogger(__name__)
_FIRST_BACKOFF_SECONDS = 0.1
_BACKOFF_CAP_SECONDS = 5.0

#: Seconds between a change of endpoints and its effect, always the same or asked for each change.
Lag = float | Callable[[], float]
Key = tuple[str, str]


class Backend(Protocol):
    """Puts a table into force, whole: a new connection meets either the old table or the new one."""

    async def apply(self, table: ServiceTable) -> None:
        """Raises OSError when it could not; the table before is then still in force."""
        ...


class EndpointLag:
    """Endpoint changes take effect so many seconds later, in the order in which they happened.

    A change never overtakes an earlier one: with a lag that varies it waits for the one before.
    """

    def __init__(self, lag: Lag, on_effect: Callable[[], None]) -> None:
        self._lag = lag
        self._on_effect = on_effect
        self._in_effect: dict[Key, EndpointSlice] = {}
        self._waiting: deque[tuple[float, Key, EndpointSlice | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def slices(self) -> list[EndpointSlice]:
        """What is in effect now."""
        return list(self._in_effect.values())

    def change(self, key: Key, piece: EndpointSlice | None, *, at_once: bool = False) -> None:
        """A slice as it is now, or None: it is gone."""
        delay_seconds = 0.0 if at_once else self._lag() if callable(self._lag) else self._lag
        now = asyncio.get_running_loop().time()
        due = now + max(0.0, delay_seconds)
        if self._waiting:
            due = max(due, self._waiting[-1][0])
        if due <= now and not self._waiting:
            self._take_effect(key, piece)
            self._on_effect()
            return
        self._waiting.append((due, key, piece))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(due, self._fire)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        # The loop may fire up to its clock's resolution early; what it woke us for is due.
        now = max(loop.time(), self._waiting[0][0])
        while self._waiting and self._waiting[0][0] <= now:
            _, key, piece = self._waiting.popleft()
            self._take_effect(key, piece)
        if self._waiting:
            self._timer = loop.call_at(self._waiting[0][0], self._fire)
        self._on_effect()

    def _take_effect(self, key: Key, piece: EndpointSlice | None) -> None:
        if piece is None:
            self._in_effect.pop(key, None)
        else:
            self._in_effect[key] = piece


class ServiceProxy:
    """Follows Services and EndpointSlices and applies their table to the backend, again until it takes it."""

    def __init__(
        self,
        informers: Informers,
        backend: Backend,
        *,
        endpoint_lag: Lag = 0.0,
        own_ips: frozenset[str] = frozenset(),
    ) -> None:
        self.table = ServiceTable()  # the one in force
        self._backend = backend
        self._own_ips = own_ips
        self._dirty = asyncio.Event()
        self._services = informers.of(Service)
        self._lag = EndpointLag(endpoint_lag, self._dirty.set)
        self._slices = informers.of(EndpointSlice)
        self._subscribers: list[Callable[[ServiceTable], None]] = []
        self._reported: frozenset[str] = frozenset()
        self._services.add_handler(self._service_changed)
        self._slices.add_handler(self._slice_changed)

    def subscribe(self, subscriber: Callable[[ServiceTable], None]) -> None:
        """Told of each table once it is in force; must not block."""
        self._subscribers.append(subscriber)
        subscriber(self.table)

    async def run(self) -> None:
        """Until cancelled. Nothing is applied before all that is known has been read: a restart refuses nobody."""
        await self._services.wait_synced()
        await self._slices.wait_synced()
        backoff_seconds = _FIRST_BACKOFF_SECONDS
        is_first = True
        try:
            while True:
                self._dirty.clear()
                try:
                    table = service_table(self._services.items(), self._lag.slices, self._own_ips)
                    if is_first or table.ports != self.table.ports:
                        await self._backend.apply(table)
                except Exception as error:  # noqa: BLE001 - the table before stays in force, and the cluster goes on
                    if isinstance(error, OSError):
                        _LOG.error("the service table is not in force: %s; again in %.1f s", error, backoff_seconds)
                    else:
                        report_mistake(f"the service table is not in force; again in {backoff_seconds:.1f} s", error)
                    await self._wait_dirty(backoff_seconds)
                    backoff_seconds = min(backoff_seconds * 2, _BACKOFF_CAP_SECONDS)
                    is_first = True
                    continue
                is_first, backoff_seconds = False, _FIRST_BACKOFF_SECONDS
                self._publish(table)
                await self._dirty.wait()
                await asyncio.sleep(0)  # what the same turn of the loop still brings belongs in the same table
        finally:
            self._lag.close()

    async def _wait_dirty(self, at_most_seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(at_most_seconds):
                await self._dirty.wait()

    def _publish(self, table: ServiceTable) -> None:
        for message in table.not_honoured:
            if message not in self._reported:
                _LOG.warning("%s", message)
        self._reported = frozenset(table.not_honoured)
        self.table = table
        for subscriber in self._subscribers:
            try:
                subscriber(table)
            except Exception as error:  # noqa: BLE001 - one reader's mistake must not keep the table from the others
                report_mistake("a reader of the service table", error)

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        self._dirty.set()

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        piece = new if new is not None else old
        if piece is not None:
            # What was there before antei started has long been in effect.
            self._lag.change(key_of(piece), new, at_once=not self._slices.is_synced)
