"""What readers see: the objects in memory, the history of their changes, and who follows it. Both drivers share it.

Nothing here waits: a driver applies a write when it is durable, and that moment is when it becomes visible.

    write ──► driver: check, number, make durable ──► State.apply ──► lists, history, readers' queues

Bounds: the history keeps so many changes and so many bytes, whichever is reached first; a reader that has fallen
more than `reader_lag_limit` changes behind is told Expired and forgotten.
"""

from __future__ import annotations

import asyncio
import weakref
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from antei.api.objects import replace_meta
from antei.store import Change, ChangeType, Expired, Key, Narrowing, Snapshot, Stored, StoreError

__all__ = ["Closed", "Limits", "Reader", "State", "stored_as"]

_encoder = msgspec.json.Encoder()


class Closed(StoreError):
    """The store has been closed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of the past is kept for watches."""

    history: int = 10_000  # changes, of all kinds together
    history_bytes: int = 64 * 1024 * 1024  # of encoded objects in it
    reader_lag: int = 10_000  # changes that wait for one reader


def stored_as(key: Key, obj: Any, revision: int) -> Stored:
    """The object with that revision in its metadata, encoded."""
    numbered = replace_meta(obj, resourceVersion=str(revision))
    return Stored(key, numbered, _encoder.encode(numbered), revision)


class _Bucket:
    """The objects of one kind, sorted by (namespace, name), and by the fields that lists have been narrowed by."""

    __slots__ = ("_by_value", "_lists", "_names", "objects")

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Stored] = {}
        # How a field is read -> its value -> the names of those that have it. Begun with the first list that asks.
        self._by_value: dict[Callable[[Any], str], dict[str, set[tuple[str, str]]]] = {}
        self._names: list[tuple[str, str]] = []
        self._lists: dict[str | None, tuple[Stored, ...]] = {}

    def set(self, stored: Stored) -> None:
        name = (stored.key.namespace, stored.key.name)
        before = self.objects.get(name)
        if before is None:
            insort(self._names, name)
        self.objects[name] = stored
        self._lists.clear()
        if self._by_value:
            self._enter(name, before, stored)

    def remove(self, key: Key) -> None:
        name = (key.namespace, key.name)
        gone = self.objects.pop(name)
        del self._names[bisect_left(self._names, name)]
        self._lists.clear()
        if self._by_value:
            self._enter(name, gone, None)

    def _enter(self, name: tuple[str, str], before: Stored | None, after: Stored | None) -> None:
        for read, by_value in self._by_value.items():
            old = read(before.object) if before is not None else None
            new = read(after.object) if after is not None else None
            if old == new:
                continue
            if old is not None:
                by_value[old].discard(name)
                if not by_value[old]:
                    del by_value[old]
            if new is not None:
                by_value.setdefault(new, set()).add(name)

    def list(self, namespace: str | None) -> tuple[Stored, ...]:
        listed = self._lists.get(namespace)
        if listed is None:
            names = self._names
            if namespace is not None:
                first = bisect_left(names, (namespace, ""))
                names = names[first : bisect_left(names, (namespace + "\0", ""))]
            listed = tuple([self.objects[name] for name in names])
            self._lists[namespace] = listed
        return listed

    def narrowed(self, namespace: str | None, narrowing: Narrowing) -> tuple[Stored, ...]:
        by_value = self._by_value.get(narrowing.read)
        if by_value is None:
            by_value = self._by_value[narrowing.read] = {}
            for name, stored in self.objects.items():
                by_value.setdefault(narrowing.read(stored.object), set()).add(name)
        names = sorted(by_value.get(narrowing.value, ()))
        return tuple([self.objects[name] for name in names if namespace in (None, name[0])])


class State:
    def __init__(self, revision: int = 0, objects: Iterable[Stored] = (), limits: Limits | None = None) -> None:
        """`objects` are what a driver loaded; watches can start at `revision` and after, not before."""
        self.revision = revision
        self._limits = limits or Limits()
        self._buckets: dict[str, _Bucket] = {}
        self._history: deque[Change] = deque()
        self._history_bytes = 0
        self._forgotten_revision = revision
        self._readers: dict[str, dict[int, weakref.ref[Reader]]] = {}
        # Of watches for one value of a field: bucket -> how it is read -> value -> readers.
        self._narrowed: dict[str, dict[Callable[[Any], str], dict[str, dict[int, weakref.ref[Reader]]]]] = {}
        self._closed = False
        for stored in objects:
            self._bucket(stored.key.bucket).set(stored)

    def _bucket(self, name: str) -> _Bucket:
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = _Bucket()
        return bucket

    def get(self, key: Key) -> Stored | None:
        bucket = self._buckets.get(key.bucket)
        return bucket.objects.get((key.namespace, key.name)) if bucket is not None else None

    def list(self, bucket_name: str, namespace: str | None, narrowing: Narrowing | None = None) -> Snapshot:
        bucket = self._buckets.get(bucket_name)
        if bucket is None:
            return Snapshot((), self.revision)
        items = bucket.list(namespace) if narrowing is None else bucket.narrowed(namespace, narrowing)
        return Snapshot(items, self.revision)

    def list_at(self, bucket_name: str, namespace: str | None, revision: int) -> Snapshot:
        """What there is now, with every change since that revision taken back."""
        if revision < self._forgotten_revision:
            raise self._forgotten(revision)
        before: dict[tuple[str, str], Stored | None] = {}
        for change in reversed(self._history):
            if change.revision <= revision:
                break
            key = change.stored.key
            if key.bucket == bucket_name and namespace in (None, key.namespace):
                before[(key.namespace, key.name)] = change.previous
        items = self.list(bucket_name, namespace).items
        if before:
            kept = [stored for stored in items if (stored.key.namespace, stored.key.name) not in before]
            kept += [stored for stored in before.values() if stored is not None]
            items = tuple(sorted(kept, key=lambda stored: (stored.key.namespace, stored.key.name)))
        return Snapshot(items, revision)

    def _forgotten(self, revision: int) -> Expired:
        oldest = self._forgotten_revision
        return Expired(f"revision {revision} is older than {oldest}", oldest)

    def apply(self, change: Change) -> None:
        """Makes one durable write visible; changes come in the order of their revisions."""
        stored = change.stored
        bucket = self._bucket(stored.key.bucket)
        if change.type is ChangeType.DELETED:
            bucket.remove(stored.key)
        else:
            bucket.set(stored)
        self.revision = change.revision
        self._remember(change)
        self._offer(change, self._readers.get(stored.key.bucket, {}))
        for read, by_value in self._narrowed.get(stored.key.bucket, {}).items():
            values = {read(stored.object): None}
            if change.previous is not None:
                values[read(change.previous.object)] = None
            for value in values:
                self._offer(change, by_value.get(value, {}))

    def _offer(self, change: Change, readers: dict[int, weakref.ref[Reader]]) -> None:
        for reference in list(readers.values()):
            reader = reference()
            if reader is not None:
                reader.offer(change)

    def _remember(self, change: Change) -> None:
        self._history.append(change)
        self._history_bytes += len(change.stored.data)
        while len(self._history) > self._limits.history or self._history_bytes > self._limits.history_bytes:
            forgotten = self._history.popleft()
            self._history_bytes -= len(forgotten.stored.data)
            self._forgotten_revision = forgotten.revision

    def watch(
        self, bucket: str, namespace: str | None, after_revision: int, narrowing: Narrowing | None = None
    ) -> Reader:
        reader = Reader(namespace, self._limits.reader_lag)
        if self._closed:
            reader.fail(Closed("the store is closed"))
            return reader
        if after_revision < self._forgotten_revision:
            reader.fail(self._forgotten(after_revision))
            return reader
        for change in self._after(after_revision):
            if change.stored.key.bucket == bucket:
                reader.offer(change)
        if narrowing is None:
            readers = self._readers.setdefault(bucket, {})
        else:
            by_value = self._narrowed.setdefault(bucket, {}).setdefault(narrowing.read, {})
            readers = by_value.setdefault(narrowing.value, {})
        identity = id(reader)
        # A reader that nobody holds any more is released by itself, aclose or not.
        readers[identity] = weakref.ref(reader, lambda _: readers.pop(identity, None))
        reader.on_release = lambda: readers.pop(identity, None)
        return reader

    def _after(self, revision: int) -> Iterable[Change]:
        recent: list[Change] = []
        for change in reversed(self._history):
            if change.revision <= revision:
                break
            recent.append(change)
        return reversed(recent)

    def close(self) -> None:
        self._closed = True
        narrowed = [by for fields in self._narrowed.values() for values in fields.values() for by in values.values()]
        for readers in (*self._readers.values(), *narrowed):
            for reference in list(readers.values()):
                reader = reference()
                if reader is not None:
                    reader.fail(Closed("the store is closed"))


class Reader:
    """One watch: an asynchronous iterator of changes, for one consumer."""

    def __init__(self, namespace: str | None, lag_limit: int) -> None:
        self._namespace = namespace
        self._lag_limit = lag_limit
        self._changes: deque[Change] = deque()
        self._failure: StoreError | None = None
        self._finished = False
        self._closed = False
        self._wakeup: asyncio.Future[None] | None = None
        self.on_release: Any = None

    def offer(self, change: Change) -> None:
        if self._failure is not None or self._closed:
            return
        if self._namespace is not None and change.stored.key.namespace != self._namespace:
            return
        if len(self._changes) >= self._lag_limit:
            self.fail(Expired(f"the reader is more than {self._lag_limit} changes behind"))
            return
        self._changes.append(change)
        self._wake()

    @property
    def is_idle(self) -> bool:
        """Nothing waits to be read: all that was written so far has been."""
        return not self._changes

    def fail(self, failure: StoreError) -> None:
        """Drops what is waiting: the reader has to list again, whatever it has seen."""
        self._failure = failure
        self._changes.clear()
        self._release()
        self._wake()

    def _wake(self) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    def _release(self) -> None:
        if self.on_release is not None:
            self.on_release()
            self.on_release = None

    def __aiter__(self) -> Reader:
        return self

    async def __anext__(self) -> Change:
        while True:
            if self._closed:
                raise StopAsyncIteration
            if self._changes:
                return self._changes.popleft()
            if self._failure is not None:
                raise self._failure
            if self._finished:
                raise StopAsyncIteration
            self._wakeup = asyncio.get_running_loop().create_future()
            try:
                await self._wakeup
            finally:
                self._wakeup = None

    def finish(self) -> None:
        """Nothing more will come: ends when what is waiting has been read."""
        self._finished = True
        self._release()
        self._wake()

    async def aclose(self) -> None:
        self._closed = True
        self._changes.clear()
        self._release()
        self._wake()
