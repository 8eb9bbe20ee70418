"""The store that forgets when its process ends: for tests, simulations in virtual time and `antei up --ephemeral`."""

from __future__ import annotations

from typing import Any

from antei.store import Change, ChangeType, Conflict, Exists, Key, Missing, Narrowing, Snapshot, Stored
from antei.store.state import Closed, Limits, Reader, State, stored_as

__all__ = ["MemoryStore"]


class MemoryStore:
    """Implements `antei.store.Store`. No write ever waits, so each is atomic on the loop."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._state = State(limits=limits)
        self._closed = False

    @property
    def revision(self) -> int:
        return self._state.revision

    def get(self, key: Key) -> Stored | None:
        return self._state.get(key)

    def list(self, bucket: str, namespace: str | None = None, narrowing: Narrowing | None = None) -> Snapshot:
        return self._state.list(bucket, namespace, narrowing)

    def list_at(self, bucket: str, namespace: str | None, revision: int) -> Snapshot:
        return self._state.list_at(bucket, namespace, revision)

    async def create(self, key: Key, obj: Any) -> Stored:
        self._refuse_when_closed()
        if self._state.get(key) is not None:
            raise Exists(str(key))
        return self._apply(ChangeType.ADDED, key, obj, None)

    async def update(self, key: Key, obj: Any, expected_revision: int) -> Stored:
        current = self._expected(key, expected_revision)
        return self._apply(ChangeType.MODIFIED, key, obj, current)

    async def delete(self, key: Key, expected_revision: int) -> Stored:
        current = self._expected(key, expected_revision)
        return self._apply(ChangeType.DELETED, key, current.object, current)

    def _expected(self, key: Key, revision: int) -> Stored:
        self._refuse_when_closed()
        current = self._state.get(key)
        if current is None:
            raise Missing(str(key))
        if current.revision != revision:
            raise Conflict(current)
        return current

    def _apply(self, change_type: ChangeType, key: Key, obj: Any, previous: Stored | None) -> Stored:
        stored = stored_as(key, obj, self._state.revision + 1)
        self._state.apply(Change(change_type, stored, previous))
        return stored

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise Closed("the store is closed")

    def watch(
        self, bucket: str, namespace: str | None, after_revision: int, narrowing: Narrowing | None = None
    ) -> Reader:
        return self._state.watch(bucket, namespace, after_revision, narrowing)

    async def aclose(self) -> None:
        self._closed = True
        self._state.close()
