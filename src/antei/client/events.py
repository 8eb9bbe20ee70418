"""Events: what happened to an object, for people. Repeats are counted on one Event, as client-go's recorder does."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict

from lightkube.models.core_v1 import EventSource, ObjectReference
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Event

from antei.api.errors import ApiError
from antei.api.objects import Object, meta, to_time
from antei.client import Client
from antei.world import World

__all__ = ["EventRecorder"]

_LOG = logging.getLogger(__name__)
#: Events of one object and reason that are remembered for counting (client-go: maxLruCacheEntries).
_REMEMBERED = 4096
#: Events waiting to be written; beyond it new ones are dropped and the drop is logged.
_QUEUED = 1000


class EventRecorder:
    """Records without waiting: `event` queues, `run` writes. What cannot be written is logged, never raised."""

    def __init__(self, client: Client, world: World, component: str, host: str = "") -> None:
        self._client = client
        self._world = world
        self._component = component
        self._host = host
        self._queue: asyncio.Queue[Event] = asyncio.Queue(_QUEUED)
        self._known: OrderedDict[tuple[str, ...], Event] = OrderedDict()

    def named(self, component: str, host: str = "") -> EventRecorder:
        """A recorder for another component that shares this one's queue: only one of them is run."""
        other = EventRecorder(self._client, self._world, component, host)
        other._queue, other._known = self._queue, self._known
        return other

    def event(self, obj: Object, event_type: str, reason: str, message: str, field_path: str = "") -> None:
        """`event_type` is Normal or Warning; `field_path` e.g. `spec.containers{web}`."""
        metadata = meta(obj)
        now = to_time(self._world.clock.now())
        namespace = metadata.namespace or "default"
        # The name is unique by the moment, as client-go's is: <object>.<nanoseconds in hex>; the suffix tells apart
        # what virtual time makes happen at one moment.
        stamp = f"{int(self._world.clock.now().timestamp() * 1_000_000_000):x}{self._world.chance.suffix()}"
        event = Event(
            apiVersion="v1",
            kind="Event",
            metadata=ObjectMeta(name=f"{metadata.name}.{stamp}", namespace=namespace),
            involvedObject=ObjectReference(
                apiVersion=obj.apiVersion,
                kind=obj.kind,
                name=metadata.name,
                namespace=metadata.namespace,
                uid=metadata.uid,
                resourceVersion=metadata.resourceVersion,
                fieldPath=field_path or None,
            ),
            type=event_type,
            reason=reason,
            message=message,
            source=EventSource(component=self._component, host=self._host or None),
            reportingComponent=self._component,
            reportingInstance=self._host or None,
            firstTimestamp=now,
            lastTimestamp=now,
            count=1,
        )
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            _LOG.warning("event dropped, %d are waiting: %s %s", _QUEUED, reason, message)

    async def run(self) -> None:
        while True:
            event = await self._queue.get()
            try:
                await self._write(event)
            except ApiError as error:
                _LOG.warning("event %s not written: %s", event.reason, error)
            except OSError as error:
                _LOG.warning("event %s not written: %r", event.reason, error)
            finally:
                self._queue.task_done()

    async def drain(self) -> None:
        """Returns when everything recorded so far has been written."""
        await self._queue.join()

    async def _write(self, event: Event) -> None:
        involved = event.involvedObject
        identity = (
            involved.kind or "",
            involved.namespace or "",
            involved.name or "",
            involved.uid or "",
            involved.fieldPath or "",
            event.type or "",
            event.reason or "",
            event.message or "",
        )
        known = self._known.get(identity)
        if known is not None:
            metadata = meta(known)
            try:
                self._known[identity] = await self._client.patch(
                    Event,
                    metadata.name or "",
                    metadata.namespace or "",
                    {
                        "count": (known.count or 1) + 1,
                        "lastTimestamp": event.lastTimestamp,
                        "message": event.message,
                    },
                )
            except ApiError as error:
                if error.code != 404:
                    raise
            else:
                self._known.move_to_end(identity)
                return
        self._known[identity] = await self._client.create(event)
        self._known.move_to_end(identity)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
