"""Events are kept for an hour: their number is bounded by what happens, not by how long the cluster runs.

Kubernetes: `--event-ttl`, 1 h, counted from the last write of each event.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from typing import Any

from lightkube.resources.core_v1 import Event

from antei.api.objects import meta
from antei.api.resources import resource_of
from antei.store import Conflict, Missing, Store, Stored, StoreError
from antei.world import Clock

__all__ = ["EVENT_BUCKET", "EventExpiry"]

_LOG = logging.getLogger(__name__)
EVENT_BUCKET = resource_of(Event).bucket
_KEPT = timedelta(hours=1)
_SWEEP_EVERY = timedelta(minutes=1)


class EventExpiry:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._swept: datetime | None = None

    async def run(self) -> None:
        """Removes what has expired also while no new events come; until cancelled."""
        while True:
            await asyncio.sleep(_SWEEP_EVERY.total_seconds())
            await self.sweep_when_due()

    async def sweep_when_due(self) -> None:
        """Removes what has expired; once a minute at most. Called with each new event."""
        now = self._clock.now()
        if self._swept is not None and now - self._swept < _SWEEP_EVERY:
            return
        self._swept = now
        oldest = now - _KEPT
        expired = [stored for stored in self._store.list(EVENT_BUCKET).items if _is_over(stored.object, oldest)]
        # At once: who writes an event waits for one commit, not for one for each that goes.
        await asyncio.gather(*(self._remove(stored) for stored in expired))

    async def _remove(self, stored: Stored) -> None:
        try:
            await self._store.delete(stored.key, stored.revision)
        except (Conflict, Missing):
            return  # written again meanwhile, which is a new hour; or gone already
        except StoreError as error:
            # The event that made us look has been written: its writer has nothing to do with this.
            _LOG.warning("event %s has expired and could not be removed: %s", stored.key.name, error)


def _is_over(event: Any, oldest: datetime) -> bool:
    """Of the tens of thousands that a big cluster has nearly all say by one field that they are not."""
    if event.lastTimestamp is not None and event.lastTimestamp > oldest:
        return False
    return last_seen(event) <= oldest


def last_seen(event: Any) -> datetime:
    """When the event last happened, as far as it says."""
    series = event.series.lastObservedTime if event.series is not None else None
    moments = (event.lastTimestamp, series, event.eventTime, meta(event).creationTimestamp)
    known: list[datetime] = [moment for moment in moments if moment is not None]
    return max(known)
