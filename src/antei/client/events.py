"""Events: what happened to an object, for people. `event_correlation` counts repeats and combines what is similar."""

from __future__ import annotations

import asyncio
import logging

from lightkube.models.core_v1 import EventSource, ObjectReference
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Event

from antei.api.errors import ApiError
from antei.api.objects import Object, meta, replace_meta, to_time
from antei.client import Client
from antei.client.event_correlation import EventCorrelator
from antei.world import World
from antei.world.mistakes import report_mistake

__all__ = ["EventRecorder"]

_LOG = logging.getLogger(__name__)
#: Events waiting to be written, some 2 KB each: what a thousand pods that start at once tell. Beyond it new ones are
#: dropped, and how many is logged once the queue has been written.
_QUEUED = 10_000
#: Names that are tried for an event; two events of one object have the same name once in some 10 million.
_NAME_TRIES = 3


class EventRecorder:
    """Records without waiting: `event` queues, `run` writes. What cannot be written is logged, never raised."""

    def __init__(self, client: Client, world: World, component: str, host: str = "") -> None:
        self._client = client
        self._world = world
        self._component = component
        self._host = host
        self._waiting = _Waiting()
        self._correlator = EventCorrelator()

    def named(self, component: str, host: str = "") -> EventRecorder:
        """A recorder for another component that shares this one's queue: only one of them is run."""
        other = EventRecorder(self._client, self._world, component, host)
        other._waiting, other._correlator = self._waiting, self._correlator
        return other

    def event(self, obj: Object, event_type: str, reason: str, message: str, field_path: str = "") -> None:
        """`event_type` is Normal or Warning; `field_path` e.g. `spec.containers{web}`."""
        metadata = meta(obj)
        now = to_time(self._world.clock.now())
        event = Event(
            apiVersion="v1",
            kind="Event",
            metadata=ObjectMeta(name=self._new_name(metadata.name or ""), namespace=metadata.namespace or "default"),
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
        self._waiting.add(event)

    def _new_name(self, object_name: str) -> str:
        """Unique by the moment, as client-go's is: <object>.<nanoseconds in hex>; the suffix tells apart what virtual
        time makes happen at one moment."""
        nanoseconds = int(self._world.clock.now().timestamp() * 1_000_000_000)
        return f"{object_name}.{nanoseconds:x}{self._world.chance.suffix()}"

    async def run(self) -> None:
        while True:
            event = await self._waiting.queue.get()
            try:
                await self._write(event)
            except (ApiError, OSError) as error:
                _LOG.warning("event %s not written: %r", event.reason, error)
            except Exception as error:  # noqa: BLE001 - one event that goes wrong must not silence the others
                report_mistake(f"event {event.reason} not written", error)
            finally:
                self._waiting.done()

    async def drain(self) -> None:
        """Returns when everything recorded so far has been written."""
        await self._waiting.queue.join()

    async def _write(self, event: Event) -> None:
        name = self._new_name(event.involvedObject.name or "")
        correlated = self._correlator.correlate(event, self._world.clock.now(), name)
        if correlated is None:
            _LOG.debug("event %s about %s is one too many", event.reason, event.involvedObject.name)
            return
        event = correlated.event
        written = await self._repeat(event) if correlated.is_repeat else None
        self._correlator.written(written or await self._create(event))

    async def _repeat(self, event: Event) -> Event | None:
        """Counts on the event that is there; None when it is there no more."""
        metadata = meta(event)
        change = {"count": event.count, "lastTimestamp": event.lastTimestamp, "message": event.message}
        try:
            return await self._client.patch(Event, metadata.name or "", metadata.namespace or "", change)
        except ApiError as error:
            if error.code != 404:
                raise
            return None

    async def _create(self, event: Event) -> Event:
        for _ in range(_NAME_TRIES - 1):
            try:
                return await self._client.create(event)
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise
            event = replace_meta(event, name=self._new_name(event.involvedObject.name or ""))
        return await self._client.create(event)


class _Waiting:
    """The events that wait to be written, and how many found no place."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Event] = asyncio.Queue(_QUEUED)
        self._dropped = 0

    def add(self, event: Event) -> None:
        try:
            self.queue.put_nowait(event)
        except asyncio.QueueFull:
            if not self._dropped:
                _LOG.warning("%d events wait to be written: more are dropped, beginning with %s", _QUEUED, event.reason)
            self._dropped += 1

    def done(self) -> None:
        """One has been written, or given up."""
        self.queue.task_done()
        if self._dropped and self.queue.empty():
            _LOG.warning("%d events were dropped", self._dropped)
            self._dropped = 0
