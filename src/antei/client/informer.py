"""A local, always current copy of all objects of one kind: list, then watch, then tell who asked.

    list ──► cache filled, handlers told ──► watch ──► each event: cache, then handlers
      ▲                                        │
      └──── 410 Expired, connection lost ──────┘   (only differences are told)

A watch that had come to something is followed by the next list at once, or after a connection lost in 0.2 s; one that
never does (lists are permitted, watches are not) after ever longer waits, so that no server is asked for all it has
five times a second.

Handlers are plain functions called on the loop, in order; they must not block: a controller's handler puts a
key on its work queue.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from antei.api.errors import ApiError
from antei.api.objects import Object, key_of, meta
from antei.client import Client, EventType
from antei.world.mistakes import report_mistake

__all__ = ["Handler", "Informer", "Informers"]

T = TypeVar("T", bound=Object)
Key = tuple[str, str]
#: Called with (old, new): (None, x) is an addition, (x, None) a deletion.
Handler = Callable[[T | None, T | None], None]
IndexFunction = Callable[[T], Iterable[str]]

_LOG = logging.getLogger(__name__)
_BACKOFF_FIRST_SECONDS = 0.2
_BACKOFF_CAP_SECONDS = 30.0
#: A watch that held for so long, or has told something, is one that works.
_HEALTHY_SECONDS = 10.0
#: The index that every informer has.
_NAMESPACE = "namespace"


class Informer(Generic[T]):
    def __init__(self, client: Client, kind: type[T], field_selector: str = "", namespace: str | None = None) -> None:
        """Of one namespace, or of all where it is None."""
        self._client = client
        self._kind = kind
        self._field_selector = field_selector
        self._namespace = namespace
        self._objects: dict[Key, T] = {}
        self._handlers: list[Handler[T]] = []
        self._indexes: dict[str, IndexFunction[T]] = {_NAMESPACE: _namespaces}
        self._index_entries: dict[str, dict[str, dict[Key, T]]] = {_NAMESPACE: {}}
        self._index_values: dict[str, dict[Key, tuple[str, ...]]] = {_NAMESPACE: {}}  # where an object is entered
        self._synced = asyncio.Event()
        self._followed_since: float | None = None  # loop time; long ago for a watch that has told something

    @property
    def is_synced(self) -> bool:
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        await self._synced.wait()

    def get(self, namespace: str, name: str) -> T | None:
        return self._objects.get((namespace, name))

    def items(self, namespace: str | None = None) -> list[T]:
        """All objects, or those of one namespace, in the order in which they were first seen."""
        return list(self._objects.values()) if namespace is None else self.by_index(_NAMESPACE, namespace)

    def add_handler(self, handler: Handler[T]) -> None:
        """Tells the handler of every change; what is known already is told at once, as additions."""
        self._handlers.append(handler)
        for obj in list(self._objects.values()):
            handler(None, obj)

    def add_index(self, name: str, function: IndexFunction[T]) -> None:
        """Keeps objects findable by the strings that `function` names for each; the same index again is a no-op.

        All who share the informer share its indexes. Raises ValueError for a name that stands for another function.
        """
        known = self._indexes.get(name)
        if known is not None:
            if known is not function:
                raise ValueError(f"informer of {self._kind.__name__}: there is another index {name!r} already")
            return
        self._indexes[name] = function
        self._index_entries[name] = {}
        self._index_values[name] = {}
        for key, obj in self._objects.items():
            self._enter(name, key, obj)

    def by_index(self, name: str, value: str) -> list[T]:
        """In the order in which they first had this value. Raises KeyError for an index that nobody added."""
        return list(self._index_entries[name].get(value, {}).values())

    def clear(self) -> None:
        """As if all objects had been deleted."""
        self._replace(())

    async def run(self) -> None:
        """Keeps the copy current until cancelled."""
        loop = asyncio.get_running_loop()
        backoff_seconds = _BACKOFF_FIRST_SECONDS
        while True:
            self._followed_since = None
            is_lost = False
            try:
                listing = await self._client.list(self._kind, self._namespace, field_selector=self._field_selector)
                self._replace(listing.items)
                self._synced.set()
                self._followed_since = loop.time()
                await self._follow(listing.resource_version)
            except ApiError as error:
                is_lost = error.code != 410
                if is_lost:
                    _LOG.warning("informer of %s: %s; trying again", self._kind.__name__, error)
            except (TimeoutError, OSError) as error:
                is_lost = True
                _LOG.warning("informer of %s: %r; trying again", self._kind.__name__, error)
            if self._followed_since is not None and loop.time() - self._followed_since >= _HEALTHY_SECONDS:
                backoff_seconds = _BACKOFF_FIRST_SECONDS
                if not is_lost:
                    continue
            await asyncio.sleep(backoff_seconds)
            backoff_seconds = min(backoff_seconds * 2, _BACKOFF_CAP_SECONDS)

    async def _follow(self, resource_version: str) -> None:
        events = self._client.watch(
            self._kind, self._namespace, resource_version=resource_version, field_selector=self._field_selector
        )
        async for event in events:
            self._followed_since = -math.inf
            if event.type is EventType.BOOKMARK:
                continue
            if event.type is EventType.DELETED:
                self._set(key_of(event.object), None)
            else:
                self._set(key_of(event.object), event.object)

    def _replace(self, items: Iterable[T]) -> None:
        listed = {key_of(obj): obj for obj in items}
        for key in [key for key in self._objects if key not in listed]:
            self._set(key, None)
        for key, obj in listed.items():
            known = self._objects.get(key)
            if known is None or meta(known).resourceVersion != meta(obj).resourceVersion:
                self._set(key, obj)

    def _set(self, key: Key, new: T | None) -> None:
        old = self._objects.pop(key, None) if new is None else self._objects.get(key)
        if old is None and new is None:
            return
        if new is not None:
            self._objects[key] = new
        for name in self._indexes:
            self._enter(name, key, new)
        for handler in self._handlers:
            try:
                handler(old, new)
            except Exception as error:  # noqa: BLE001 - one handler's mistake must not blind all the others
                report_mistake(f"informer of {self._kind.__name__}: a handler of {'/'.join(key)}", error)

    def _enter(self, name: str, key: Key, new: T | None) -> None:
        """Into one index, under the values that it has now, and nowhere else."""
        entries, known = self._index_entries[name], self._index_values[name]
        values = tuple(self._indexes[name](new)) if new is not None else ()
        before = known.get(key, ())
        if values != before:
            for value in before:
                bucket = entries.get(value)
                if bucket is not None and value not in values:
                    bucket.pop(key, None)
                    if not bucket:
                        del entries[value]
            if values:
                known[key] = values
            else:
                del known[key]
        if new is not None:
            for value in values:
                bucket = entries.get(value)
                if bucket is None:
                    bucket = entries[value] = {}
                bucket[key] = new


def _namespaces(obj: Object) -> tuple[str, ...]:
    return (meta(obj).namespace or "",)


class Informers:
    """One shared informer a kind; `run` also starts those that are asked for later."""

    def __init__(self, client: Client, namespace: str | None = None) -> None:
        """Of namespaced kinds the objects of this namespace, where one is given: who may see no other can use it."""
        self._client = client
        self._namespace = namespace
        self._informers: dict[type[Any], Informer[Any]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._tasks: dict[type[Any], asyncio.Task[None]] = {}

    def of(self, kind: type[T]) -> Informer[T]:
        informer = self._informers.get(kind)
        if informer is None:
            informer = Informer(self._client, kind, namespace=self._namespace)
            self._informers[kind] = informer
            if self._group is not None:
                self._start(kind, informer)
        return informer

    def drop(self, kind: type[Any]) -> None:
        """Ends the informer of a kind that is no longer served; its handlers are told that all objects are gone."""
        informer = self._informers.pop(kind, None)
        task = self._tasks.pop(kind, None)
        if task is not None:
            task.cancel()
        if informer is not None:
            informer.clear()

    def _start(self, kind: type[Any], informer: Informer[Any]) -> None:
        assert self._group is not None
        self._tasks[kind] = self._group.create_task(informer.run(), name=f"informer {kind.__name__}")

    async def wait_synced(self) -> None:
        """All informers, those too that come as others learn what there is."""
        while waiting := [informer for informer in self._informers.values() if not informer.is_synced]:
            await waiting[0].wait_synced()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            for kind, informer in self._informers.items():
                self._start(kind, informer)
