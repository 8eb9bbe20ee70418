"""Revisions, compare-and-swap and watch behind one Protocol, with two drivers: `memory` and `sqlite`.

The store knows nothing of Kubernetes' rules but one: an object carries its revision in
`metadata.resourceVersion`. One counter numbers all writes of a cluster, as etcd's does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

import msgspec

__all__ = [
    "Change",
    "ChangeType",
    "Conflict",
    "Exists",
    "Expired",
    "Key",
    "Missing",
    "Narrowing",
    "Snapshot",
    "Store",
    "StoreError",
    "Stored",
]


class Key(NamedTuple):
    """Where an object is kept; `bucket` is `Resource.bucket`, `namespace` is empty for cluster-scoped objects."""

    bucket: str
    namespace: str
    name: str


class Stored(msgspec.Struct, frozen=True):
    """An object as the store keeps it: immutable, encoded once. Reads, lists and watches send `data`."""

    key: Key
    object: Any  # a lightkube Struct; nobody mutates it
    data: bytes  # its JSON, resourceVersion included
    revision: int


class ChangeType(StrEnum):
    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


class Change(msgspec.Struct, frozen=True):
    """One write. For DELETED `stored` is the last state, its resourceVersion being that of the deletion."""

    type: ChangeType
    stored: Stored
    previous: Stored | None

    @property
    def revision(self) -> int:
        return self.stored.revision


class Snapshot(msgspec.Struct, frozen=True):
    """A list of objects sorted by (namespace, name), and the revision it is consistent with."""

    items: tuple[Stored, ...]
    revision: int


class Narrowing(NamedTuple):
    """Objects of which `read` gives `value`: lists find them by it, and of many watches that differ in it only those
    are told of their changes."""

    read: Callable[[Any], str]
    value: str


class StoreError(Exception):
    """A write or a watch that the store refuses."""


class Exists(StoreError):
    """create: the key is taken."""


class Missing(StoreError):
    """update or delete: there is no such object."""


class Conflict(StoreError):
    """update or delete: the object's revision is not the expected one; `current` is what is there now."""

    def __init__(self, current: Stored) -> None:
        super().__init__(f"{current.key} is at revision {current.revision}")
        self.current = current


class Expired(StoreError):
    """list_at, watch: the revision is older than the history that is kept, or the reader fell too far behind.

    `oldest` is the first revision that can be read, where that is the reason.
    """

    def __init__(self, message: str, oldest: int | None = None) -> None:
        super().__init__(message)
        self.oldest = oldest


class Store(Protocol):
    """What both drivers promise; `tests/conformance/test_store.py` holds them to it.

    Writes are atomic, ordered, and acknowledged only when durable; readers and watchers see a write only then.
    """

    @property
    def revision(self) -> int:
        """The revision of the last write that readers can see; it only grows."""
        ...

    def get(self, key: Key) -> Stored | None: ...

    def list(self, bucket: str, namespace: str | None = None, narrowing: Narrowing | None = None) -> Snapshot:
        """All objects of a bucket, or of one namespace of it, or those of them that the narrowing means."""
        ...

    def list_at(self, bucket: str, namespace: str | None, revision: int) -> Snapshot:
        """As `list`, as it was at a revision that is not yet to come. Raises Expired where that is no longer known."""
        ...

    async def create(self, key: Key, obj: Any) -> Stored:
        """Raises Exists. The store sets `metadata.resourceVersion`."""
        ...

    async def update(self, key: Key, obj: Any, expected_revision: int) -> Stored:
        """Raises Missing or Conflict."""
        ...

    async def delete(self, key: Key, expected_revision: int) -> Stored:
        """Removes it and returns its last state with the revision of the deletion. Raises Missing or Conflict."""
        ...

    def watch(
        self, bucket: str, namespace: str | None, after_revision: int, narrowing: Narrowing | None = None
    ) -> AsyncIterator[Change]:
        """Every change after that revision, once and in order, for ever.

        With a `narrowing` changes may be left out of objects that have another value before and after.

        Raises Expired (at the first step when the revision is too old, later when the reader is too slow).
        Closing the iterator (`aclose`) releases it.
        """
        ...

    async def aclose(self) -> None: ...
