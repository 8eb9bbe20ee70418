"""The store that survives: everything in memory for readers, every write in SQLite before anybody hears of it.

    create/update/delete ──► checked against what is pending, numbered, queued ─┐
                                                                                │ all that queued up during the
    acknowledged, visible, watched ◄── in order ◄── COMMIT (one fsync) ◄────────┘ last commit: one transaction

One thread owns the database. A write that loses against one that is still pending is told so when that one is durable,
so nobody hears of a state that a crash could undo. Reads never touch the disk.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from antei.api.customresources.definition import CRD_BUCKET
from antei.api.customresources.object import CustomObject
from antei.api.resources import all_resources
from antei.store import Change, ChangeType, Conflict, Exists, Key, Missing, Narrowing, Snapshot, Stored, StoreError
from antei.store.state import Closed, Limits, Reader, State, stored_as

__all__ = ["Damaged", "InUse", "SqliteStore", "TooNew", "WriteFailed"]

#: `PRAGMA user_version`; a database of a newer one is refused.
_SCHEMA_VERSION = 1
#: `PRAGMA application_id`: "ante" in ASCII, so that another program's database is not mistaken for ours.
_APPLICATION_ID = 0x616E7465

_SCHEMA = (
    "CREATE TABLE objects (bucket TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,"
    " revision INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (bucket, namespace, name))",
    "CREATE TABLE counter (revision INTEGER NOT NULL)",
    "INSERT INTO counter VALUES (0)",
)
_UPSERT = (
    "INSERT INTO objects VALUES (?, ?, ?, ?, ?) ON CONFLICT (bucket, namespace, name)"
    " DO UPDATE SET revision = excluded.revision, data = excluded.data"
)


class InUse(StoreError):
    """Another process has the database open."""


class TooNew(StoreError):
    """A newer antei wrote the database."""


class Damaged(StoreError):
    """The file is no database of antei's, or holds what cannot be read."""


class WriteFailed(StoreError):
    """The disk refused (full, read-only, broken); nothing of the write is stored."""


class _Pending:
    """A write that is numbered but not durable yet."""

    __slots__ = ("change", "durable")

    def __init__(self, change: Change) -> None:
        self.change = change
        self.durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def result(self) -> Stored | None:
        return None if self.change.type is ChangeType.DELETED else self.change.stored


class SqliteStore:
    """Implements `antei.store.Store`. Made by `open`."""

    def __init__(self, database: _Database, state: State) -> None:
        self._database = database
        self._state = state
        self._last_revision = state.revision
        self._pending: dict[Key, _Pending] = {}  # the last write of each key
        self._queue: list[_Pending] = []
        self._writer: asyncio.Task[None] | None = None
        self._closed = False

    @classmethod
    async def open(cls, path: Path, limits: Limits | None = None) -> SqliteStore:
        """Raises InUse, TooNew or Damaged; the message names the file."""
        database = _Database(path)
        try:
            revision, objects = await database.run(database.open)
        except StoreError:
            database.stop()
            raise
        return cls(database, State(revision, objects, limits))

    @property
    def revision(self) -> int:
        return self._state.revision

    def get(self, key: Key) -> Stored | None:
        return self._state.get(key)

    def list(self, bucket: str, namespace: str | None = None, narrowing: Narrowing | None = None) -> Snapshot:
        return self._state.list(bucket, namespace, narrowing)

    def list_at(self, bucket: str, namespace: str | None, revision: int) -> Snapshot:
        return self._state.list_at(bucket, namespace, revision)

    def watch(
        self, bucket: str, namespace: str | None, after_revision: int, narrowing: Narrowing | None = None
    ) -> Reader:
        return self._state.watch(bucket, namespace, after_revision, narrowing)

    async def create(self, key: Key, obj: Any) -> Stored:
        while (current := self._newest(key)) is not None:
            if not await self._settled(key):
                raise Exists(str(current.key))
        return await self._write(ChangeType.ADDED, key, obj, None)

    async def update(self, key: Key, obj: Any, expected_revision: int) -> Stored:
        current = await self._expected(key, expected_revision)
        return await self._write(ChangeType.MODIFIED, key, obj, current)

    async def delete(self, key: Key, expected_revision: int) -> Stored:
        current = await self._expected(key, expected_revision)
        return await self._write(ChangeType.DELETED, key, current.object, current)

    def _newest(self, key: Key) -> Stored | None:
        pending = self._pending.get(key)
        return pending.result if pending is not None else self._state.get(key)

    async def _expected(self, key: Key, revision: int) -> Stored:
        while True:
            current = self._newest(key)
            if current is not None and current.revision == revision:
                return current
            if await self._settled(key):
                continue
            raise Missing(str(key)) if current is None else Conflict(current)

    async def _settled(self, key: Key) -> bool:
        """Waits for the key's pending write, come what may of it; False at once when there is none."""
        pending = self._pending.get(key)
        if pending is None:
            return False
        await asyncio.wait([pending.durable])
        return True

    async def _write(self, change_type: ChangeType, key: Key, obj: Any, previous: Stored | None) -> Stored:
        if self._closed:
            raise Closed("the store is closed")
        self._last_revision += 1
        stored = stored_as(key, obj, self._last_revision)
        pending = _Pending(Change(change_type, stored, previous))
        self._pending[key] = pending
        self._queue.append(pending)
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._commit_queued(), name="store commits")
        # Whoever asked may be cancelled; the write goes on, for others may have built on it.
        await asyncio.shield(pending.durable)
        return stored

    async def _commit_queued(self) -> None:
        try:
            while self._queue:
                batch, self._queue = self._queue, []
                try:
                    await self._database.run(self._database.commit, [pending.change for pending in batch])
                except WriteFailed as failure:
                    self._refuse(batch, failure)
                except BaseException as error:
                    # A fault of our own, or the loop is going: nobody may be left waiting.
                    self._refuse(batch, WriteFailed(f"the commit broke off: {error!r}"))
                    raise
                else:
                    self._publish(batch)
        finally:
            self._writer = None

    def _publish(self, batch: Sequence[_Pending]) -> None:
        for pending in batch:
            self._state.apply(pending.change)
            self._forget(pending)
            pending.durable.set_result(None)

    def _refuse(self, batch: Sequence[_Pending], failure: WriteFailed) -> None:
        """Fails the batch, and what queued up meanwhile: it was checked against states that never came to be."""
        queued, self._queue = self._queue, []
        for pending in (*batch, *queued):
            self._forget(pending)
            pending.durable.set_exception(failure)
            pending.durable.exception()  # it is no news to the loop where the caller was cancelled

    def _forget(self, pending: _Pending) -> None:
        key = pending.change.stored.key
        if self._pending.get(key) is pending:
            del self._pending[key]

    async def aclose(self) -> None:
        """Waits for the writes under way, then lets go of the file."""
        if self._closed:
            return
        self._closed = True
        if self._writer is not None:
            await asyncio.wait([self._writer])
        self._state.close()
        await self._database.run(self._database.close)
        self._database.stop()


def _may_be_custom(bucket: str) -> bool:
    """Objects of a kind whose definition has gone are kept: they are there again when the definition is."""
    group = bucket.rpartition("/")[0]
    return "." in group and not group.endswith(".k8s.io")


class _Database:
    """The file and the one thread that touches it: every method but `run` and `stop` belongs to that thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="antei-store")
        self._connection: sqlite3.Connection | None = None

    async def run(self, work: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def stop(self) -> None:
        self._thread.shutdown(wait=False)

    def open(self) -> tuple[int, list[Stored]]:
        """Locks the file, makes the schema where it is new, and returns (revision, objects)."""
        try:
            self._connection = self._connected()
            return self._prepared(self._connection)
        except sqlite3.OperationalError as error:
            self.close()
            if "locked" in str(error):
                raise InUse(f"{self._path} is in use by another antei") from error
            raise Damaged(f"{self._path} cannot be opened: {error}") from error
        except OSError as error:
            raise Damaged(f"{self._path} cannot be opened: {error}") from error
        except sqlite3.DatabaseError as error:
            self.close()
            raise Damaged(f"{self._path} is no database of antei's: {error}") from error
        except StoreError:
            self.close()
            raise

    def _connected(self) -> sqlite3.Connection:
        # It holds Secrets: nobody else may read it. SQLite gives its side files the same mode.
        self._path.touch(mode=0o600)
        connection = sqlite3.connect(self._path, timeout=0, isolation_level=None)
        # The lock is held until the file is closed, or the process is gone.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("COMMIT")
        return connection

    def _prepared(self, connection: sqlite3.Connection) -> tuple[int, list[Stored]]:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        is_new = not connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        if not is_new and application != _APPLICATION_ID:
            raise Damaged(f"{self._path} is another program's database")
        if version > _SCHEMA_VERSION:
            raise TooNew(
                f"{self._path} was written by a newer antei (schema {version}, this one knows {_SCHEMA_VERSION})"
            )
        if is_new:
            connection.execute("BEGIN")
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
            connection.execute("COMMIT")
        revision = connection.execute("SELECT revision FROM counter").fetchone()[0]
        return revision, self._loaded(connection)

    def _loaded(self, connection: sqlite3.Connection) -> list[Stored]:
        decoders: dict[str, msgspec.json.Decoder[Any]] = {}
        types = {resource.bucket: resource.type for resource in all_resources() if resource.is_storage_version}
        custom = self._custom_buckets(connection)
        objects = []
        rows = connection.execute(
            "SELECT bucket, namespace, name, revision, data FROM objects ORDER BY bucket, namespace, name"
        )
        for bucket, namespace, name, revision, data in rows:
            key = Key(bucket, namespace, name)
            decoder = decoders.get(bucket)
            if decoder is None:
                if bucket not in types and bucket not in custom and not _may_be_custom(bucket):
                    raise Damaged(f"{self._path} holds {bucket}, which this antei does not know")
                decoder = decoders[bucket] = msgspec.json.Decoder(types.get(bucket, dict[str, Any]))
            try:
                decoded = decoder.decode(data)
                obj = decoded if bucket in types else CustomObject.of(decoded)
                objects.append(Stored(key, obj, data, revision))
            except msgspec.DecodeError as error:
                raise Damaged(f"{self._path} holds an unreadable object, {key}: {error}") from error
        return objects

    def _custom_buckets(self, connection: sqlite3.Connection) -> frozenset[str]:
        """Those of the kinds that CustomResourceDefinitions define, by whose names PLURAL.GROUP they are known."""
        rows = connection.execute("SELECT name FROM objects WHERE bucket = ?", (CRD_BUCKET,))
        names = [name.partition(".") for (name,) in rows]
        return frozenset(f"{group}/{plural}" for plural, _, group in names)

    def commit(self, changes: Sequence[Change]) -> None:
        """All of them or none. Raises WriteFailed."""
        connection = self._connection
        if connection is None:
            raise WriteFailed(f"{self._path} is closed")
        try:
            connection.execute("BEGIN")
            for change in changes:
                key = change.stored.key
                if change.type is ChangeType.DELETED:
                    connection.execute("DELETE FROM objects WHERE bucket = ? AND namespace = ? AND name = ?", key)
                else:
                    connection.execute(
                        _UPSERT,
                        (*key, change.revision, change.stored.data),
                    )
            connection.execute("UPDATE counter SET revision = ?", (changes[-1].revision,))
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back(connection, changes[-1].revision, error)

    def _roll_back(self, connection: sqlite3.Connection, revision: int, error: sqlite3.Error) -> None:
        """A COMMIT may have failed after its work was done: the counter tells, and then all is well."""
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if connection.execute("SELECT revision FROM counter").fetchone()[0] == revision:
                return
        except sqlite3.Error as second:
            self.close()
            raise WriteFailed(f"{self._path}: {error}; then {second}") from error
        raise WriteFailed(f"{self._path}: {error}") from error

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
