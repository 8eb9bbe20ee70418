"""The store of a simulation: in memory, and whoever wants to is told of each write as it is made."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from antei.store import Change, ChangeType, Key, Narrowing, Snapshot, Stored
from antei.store.memory import MemoryStore
from antei.store.state import Limits

__all__ = ["ToldStore"]


class ToldStore:
    """Implements `antei.store.Store`."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._store = MemoryStore(limits)
        self._listeners: list[Callable[[Change], None]] = []

    def listen(self, listener: Callable[[Change], None]) -> None:
        """Told of every write from now on, before any watch is; it must not block."""
        self._listeners.append(listener)

    @property
    def revision(self) -> int:
        return self._store.revision

    def get(self, key: Key) -> Stored | None:
        return self._store.get(key)

    def list(self, bucket: str, namespace: str | None = None, narrowing: Narrowing | None = None) -> Snapshot:
        return self._store.list(bucket, namespace, narrowing)

    def list_at(self, bucket: str, namespace: str | None, revision: int) -> Snapshot:
        return self._store.list_at(bucket, namespace, revision)

    async def create(self, key: Key, obj: Any) -> Stored:
        stored = await self._store.create(key, obj)
        self._tell(Change(ChangeType.ADDED, stored, None))
        return stored

    async def update(self, key: Key, obj: Any, expected_revision: int) -> Stored:
        before = self._store.get(key)
        stored = await self._store.update(key, obj, expected_revision)
        self._tell(Change(ChangeType.MODIFIED, stored, before))
        return stored

    async def delete(self, key: Key, expected_revision: int) -> Stored:
        before = self._store.get(key)
        stored = await self._store.delete(key, expected_revision)
        self._tell(Change(ChangeType.DELETED, stored, before))
        return stored

    def watch(
        self, bucket: str, namespace: str | None, after_revision: int, narrowing: Narrowing | None = None
    ) -> AsyncIterator[Change]:
        return self._store.watch(bucket, namespace, after_revision, narrowing)

    async def aclose(self) -> None:
        await self._store.aclose()

    def _tell(self, change: Change) -> None:
        for listener in self._listeners:
            listener(change)
