"""Events are kept for an hour: their number is bounded by what happens, not by how long the cluster runs.

Kubernetes: `--event-ttl`, 1 h, counted from the last write of each event.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush
from typing import Any

from lightkube.resources.core_v1 import Event

from antei.api.objects import meta
from antei.api.resources import resource_of
from antei.store import Conflict, Key, Missing, Store, Stored, StoreError
from antei.world import Clock

__all__ = ["EVENT_BUCKET", "EventExpiry"]

_LOG = logging.getLogger(__name__)
EVENT_BUCKET = resource_of(Event).bucket
_KEPT = timedelta(hours=1)
_SWEEP_EVERY = timedelta(minutes=1)
#: When it is to be looked at, its namespace and name.
_Due = tuple[datetime, str, str]


class EventExpiry:
    """Looks at each event when its hour is over, and again an hour after it last happened: never at all of them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._due: list[_Due] | None = None  # a heap; None until the store was looked at
        self._swept: datetime | None = None

    async def run(self) -> None:
        """Removes what has expired also while no new events come; until cancelled."""
        while True:
            await asyncio.sleep(_SWEEP_EVERY.total_seconds())
            await self.sweep_when_due()

    async def added(self, stored: Stored) -> None:
        """Told of each new event; sweeps where it is time to."""
        if self._due is not None:
            heappush(self._due, _due_of(stored))
        await self.sweep_when_due()

    async def sweep_when_due(self) -> None:
        """Removes what has expired; once a minute at most."""
        now = self._clock.now()
        if self._swept is not None and now - self._swept < _SWEEP_EVERY:
            return
        self._swept = now
        if self._due is None:
            self._due = [_due_of(stored) for stored in self._store.list(EVENT_BUCKET).items]
            heapify(self._due)
        expired = []
        while self._due and self._due[0][0] <= now:
            _, namespace, name = heappop(self._due)
            stored = self._store.get(Key(EVENT_BUCKET, namespace, name))
            if stored is None:
                continue
            due = _due_of(stored)
            if due[0] <= now:
                expired.append(stored)
            else:
                heappush(self._due, due)
        # At once: who writes an event waits for one commit, not for one for each that goes.
        await asyncio.gather(*(self._remove(stored) for stored in expired))

    async def _remove(self, stored: Stored) -> None:
        try:
            await self._store.delete(stored.key, stored.revision)
        except Missing:
            return
        except Conflict:
            pass  # written again meanwhile, which is a new hour
        except StoreError as error:
            # The event that made us look has been written: its writer has nothing to do with this.
            _LOG.warning("event %s has expired and could not be removed: %s", stored.key.name, error)
        else:
            return
        if self._due is not None:
            heappush(self._due, _due_of(stored))


def _due_of(stored: Stored) -> _Due:
    return last_seen(stored.object) + _KEPT, stored.key.namespace, stored.key.name


def last_seen(event: Any) -> datetime:
    """When the event last happened, as far as it says."""
    series = event.series.lastObservedTime if event.series is not None else None
    moments = (event.lastTimestamp, series, event.eventTime, meta(event).creationTimestamp)
    known: list[datetime] = [moment for moment in moments if moment is not None]
    return max(known)
