"""What both store drivers promise, and what only the durable one does."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap

from antei.store import Change, ChangeType, Conflict, Exists, Expired, Key, Missing, Narrowing, Store
from antei.store.memory import MemoryStore
from antei.store.sqlite import Damaged, InUse, SqliteStore, TooNew, WriteFailed
from antei.store.state import Closed, Limits

BUCKET = "/configmaps"
OpenStore = Callable[[Limits | None], Awaitable[Store]]


def key(name: str, namespace: str = "default") -> Key:
    return Key(BUCKET, namespace, name)


def config_map(name: str, value: str = "", namespace: str = "default") -> ConfigMap:
    return ConfigMap(
        apiVersion="v1", kind="ConfigMap", metadata=ObjectMeta(name=name, namespace=namespace), data={"value": value}
    )


@pytest.fixture(params=["memory", "sqlite"])
async def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenStore]:
    opened: list[Store] = []

    async def open_one(limits: Limits | None = None) -> Store:
        store: Store
        if request.param == "memory":
            store = MemoryStore(limits)
        else:
            store = await SqliteStore.open(tmp_path / f"{len(opened)}.db", limits)
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        await store.aclose()


@pytest.fixture
async def store(open_store: OpenStore) -> Store:
    return await open_store(None)


async def test_a_created_object_carries_its_revision_and_its_json(store: Store) -> None:
    stored = await store.create(key("a"), config_map("a", "x"))
    assert (stored.revision, stored.object.metadata.resourceVersion) == (1, "1")
    assert b'"resourceVersion":"1"' in stored.data
    assert store.get(key("a")) == stored
    assert store.revision == 1


async def test_one_counter_numbers_the_writes_of_all_buckets(store: Store) -> None:
    await store.create(key("a"), config_map("a"))
    other = await store.create(Key("/secrets", "default", "a"), config_map("a"))
    deleted = await store.delete(key("a"), 1)
    assert (other.revision, deleted.revision, store.revision) == (2, 3, 3)
    assert deleted.object.metadata.resourceVersion == "3"


def value_of(obj: Any) -> str:
    return (obj.data or {}).get("value", "")


async def test_a_narrowed_list_follows_the_field_that_it_is_narrowed_by(store: Store) -> None:
    def listed(value: str, namespace: str | None = None) -> list[str]:
        return [stored.key.name for stored in store.list(BUCKET, namespace, Narrowing(value_of, value)).items]

    assert listed("x") == []
    await store.create(key("b"), config_map("b", "x"))
    await store.create(key("a", "other"), config_map("a", "x", namespace="other"))
    assert (listed("x"), listed("x", "other"), listed("")) == (["b", "a"], ["a"], [])
    first = await store.create(key("a"), config_map("a", "x"))
    assert listed("x") == ["a", "b", "a"]
    moved = await store.update(key("a"), config_map("a", "y"), first.revision)
    assert (listed("x", "default"), listed("y")) == (["b"], ["a"])
    assert store.list(BUCKET, None, Narrowing(value_of, "y")).items == (moved,)
    again = await store.update(key("a"), config_map("a", "y"), moved.revision)
    assert store.list(BUCKET, None, Narrowing(value_of, "y")).items == (again,)
    await store.delete(key("a"), again.revision)
    assert (listed("x", "default"), listed("y")) == (["b"], [])


async def test_lists_are_sorted_by_namespace_and_name(store: Store) -> None:
    for namespace, name in (("b", "a"), ("a-b", "x"), ("a", "z"), ("a", "b"), ("b", "0")):
        await store.create(key(name, namespace), config_map(name, namespace=namespace))
    listed = store.list(BUCKET)
    assert [stored.key[1:] for stored in listed.items] == [
        ("a", "b"),
        ("a", "z"),
        ("a-b", "x"),
        ("b", "0"),
        ("b", "a"),
    ]
    assert listed.revision == 5
    assert [stored.key.name for stored in store.list(BUCKET, "a").items] == ["b", "z"]
    assert store.list("/pods").items == ()


async def test_writes_that_expect_another_state_are_refused(store: Store) -> None:
    await store.create(key("a"), config_map("a"))
    with pytest.raises(Exists):
        await store.create(key("a"), config_map("a"))
    with pytest.raises(Missing):
        await store.update(key("b"), config_map("b"), 1)
    with pytest.raises(Missing):
        await store.delete(key("b"), 1)
    current = await store.update(key("a"), config_map("a", "new"), 1)
    with pytest.raises(Conflict) as conflict:
        await store.update(key("a"), config_map("a", "late"), 1)
    assert conflict.value.current == current
    with pytest.raises(Conflict):
        await store.delete(key("a"), 1)


async def test_of_many_writers_that_expect_one_revision_exactly_one_wins(store: Store) -> None:
    await store.create(key("a"), config_map("a"))

    told = []

    async def write(value: int) -> bool:
        try:
            await store.update(key("a"), config_map("a", str(value)), 1)
        except Conflict as conflict:
            told.append((conflict.current, store.get(key("a"))))
            return False
        return True

    assert sum(await asyncio.gather(*(write(value) for value in range(20)))) == 1
    # What the losers are told of is what a read finds: it is durable.
    assert all(current == found for current, found in told)


async def test_a_watch_tells_every_change_of_its_bucket_and_namespace_in_order(store: Store) -> None:
    await store.create(key("a"), config_map("a"))
    changes = store.watch(BUCKET, "default", 0)
    await store.create(key("b", "other"), config_map("b", namespace="other"))
    await store.create(Key("/secrets", "default", "s"), config_map("s"))
    updated = await store.update(key("a"), config_map("a", "x"), 1)
    await store.delete(key("a"), updated.revision)
    seen = [await anext(changes) for _ in range(3)]
    assert [(change.type, change.revision) for change in seen] == [
        (ChangeType.ADDED, 1),
        (ChangeType.MODIFIED, 4),
        (ChangeType.DELETED, 5),
    ]
    assert seen[0].previous is None
    assert seen[1].previous == seen[0].stored
    assert seen[2].previous == seen[1].stored


async def test_a_watch_waits_for_the_next_change(store: Store) -> None:
    changes = store.watch(BUCKET, None, 0)
    waiting = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0)
    assert not waiting.done()
    await store.create(key("a"), config_map("a"))
    change: Change = await waiting
    assert change.stored.key == key("a")


async def test_a_revision_that_history_no_longer_holds_is_expired(open_store: OpenStore) -> None:
    store = await open_store(Limits(history=3))
    for number in range(5):
        await store.create(key(str(number)), config_map(str(number)))
    with pytest.raises(Expired):
        await anext(store.watch(BUCKET, None, 1))
    assert (await anext(store.watch(BUCKET, None, 2))).revision == 3


async def test_history_is_bounded_in_bytes_too(open_store: OpenStore) -> None:
    store = await open_store(Limits(history_bytes=1000))
    for number in range(3):
        await store.create(key(str(number)), config_map(str(number), "x" * 600))
    with pytest.raises(Expired):
        await anext(store.watch(BUCKET, None, 0))


async def test_a_reader_that_falls_behind_is_told_so(open_store: OpenStore) -> None:
    store = await open_store(Limits(reader_lag=3))
    changes = store.watch(BUCKET, None, 0)
    for number in range(5):
        await store.create(key(str(number)), config_map(str(number)))
    with pytest.raises(Expired):
        await anext(changes)


async def test_closing_a_watch_releases_a_reader_that_waits(store: Store) -> None:
    changes: Any = store.watch(BUCKET, None, 0)
    waiting = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0)
    await changes.aclose()
    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_a_closed_store_refuses_writes_and_ends_watches(store: Store) -> None:
    changes = store.watch(BUCKET, None, 0)
    await store.aclose()
    with pytest.raises(Closed):
        await anext(changes)
    with pytest.raises(Closed):
        await store.create(key("a"), config_map("a"))
    with pytest.raises(Closed):
        await anext(store.watch(BUCKET, None, 0))


async def test_what_was_acknowledged_is_there_after_opening_again(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    first = await SqliteStore.open(path)
    await first.create(key("a"), config_map("a", "x"))
    kept = await first.update(key("a"), config_map("a", "y"), 1)
    await first.create(key("b"), config_map("b"))
    await first.delete(key("b"), 3)
    await first.aclose()
    second = await SqliteStore.open(path)
    assert second.list(BUCKET).items == (kept,)
    assert second.revision == 4
    assert (await second.create(key("c"), config_map("c"))).revision == 5
    assert (await anext(second.watch(BUCKET, None, 4))).revision == 5
    with pytest.raises(Expired):
        await anext(second.watch(BUCKET, None, 3))
    await second.aclose()


async def test_writes_that_arrive_during_a_commit_share_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await SqliteStore.open(tmp_path / "state.db")
    commits: list[int] = []
    commit = store._database.commit

    def counted(changes: list[Change]) -> None:
        commits.append(len(changes))
        commit(changes)

    monkeypatch.setattr(store._database, "commit", counted)
    await asyncio.gather(*(store.create(key(str(n)), config_map(str(n))) for n in range(200)))
    assert sum(commits) == 200
    assert len(commits) <= 2
    await store.aclose()


async def test_a_write_is_invisible_until_it_is_durable(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "state.db")
    writing = asyncio.ensure_future(store.create(key("a"), config_map("a")))
    await asyncio.sleep(0)
    assert store.get(key("a")) is None
    assert store.revision == 0
    # A second writer is judged by the pending state, and told of it only once it stands.
    with pytest.raises(Exists):
        await store.create(key("a"), config_map("a"))
    assert store.get(key("a")) is not None
    await writing
    await store.aclose()


async def test_a_cancelled_writer_takes_nothing_back(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "state.db")
    writing = asyncio.ensure_future(store.create(key("a"), config_map("a")))
    await asyncio.sleep(0)
    writing.cancel()
    await store.create(key("b"), config_map("b"))
    assert [stored.key.name for stored in store.list(BUCKET).items] == ["a", "b"]
    await store.aclose()


async def test_a_failed_commit_fails_its_writes_and_those_built_on_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await SqliteStore.open(tmp_path / "state.db")
    await store.create(key("a"), config_map("a"))
    commit = store._database.commit

    def full(changes: list[Change]) -> None:
        raise WriteFailed("database or disk is full")

    monkeypatch.setattr(store._database, "commit", full)
    results = await asyncio.gather(
        store.update(key("a"), config_map("a", "x"), 1),
        store.create(key("b"), config_map("b")),
        store.update(key("a"), config_map("a", "y"), 2),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [WriteFailed, WriteFailed, WriteFailed]
    monkeypatch.setattr(store._database, "commit", commit)
    assert (await store.update(key("a"), config_map("a", "z"), 1)).object.data == {"value": "z"}
    assert store.get(key("b")) is None
    await store.aclose()


async def test_a_commit_that_breaks_off_leaves_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await SqliteStore.open(tmp_path / "state.db")

    def broken(changes: list[Change]) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(store._database, "commit", broken)
        with pytest.raises(WriteFailed, match="broke off: ZeroDivisionError"):
            await store.create(key("a"), config_map("a"))
    await store.create(key("a"), config_map("a"))
    await store.aclose()


async def test_a_database_that_fills_the_disk_keeps_what_it_had(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "state.db")
    await store.create(key("a"), config_map("a"))

    def limit(pages: int) -> None:
        assert store._database._connection is not None
        store._database._connection.execute(f"PRAGMA max_page_count = {pages}")

    await store._database.run(limit, 10)
    with pytest.raises(WriteFailed, match="full"):
        await store.create(key("b"), config_map("b", "x" * 100_000))
    await store._database.run(limit, 1000)
    await store.create(key("b"), config_map("b", "x" * 100_000))
    await store.aclose()
    again = await SqliteStore.open(tmp_path / "state.db")
    assert [stored.key.name for stored in again.list(BUCKET).items] == ["a", "b"]
    await again.aclose()


async def test_a_database_cannot_be_opened_twice(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = await SqliteStore.open(path)
    program = (
        "import asyncio, sys; from pathlib import Path; from antei.store.sqlite import InUse, SqliteStore\n"
        "try: asyncio.run(SqliteStore.open(Path(sys.argv[1])))\n"
        "except InUse as error: print(error)\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(path), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert output.decode() == f"{path} is in use by another antei\n"
    with pytest.raises(InUse):
        await SqliteStore.open(path)
    await store.aclose()


def _sqlite(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("statements", "failure", "words"),
    [
        (["PRAGMA user_version = 99"], TooNew, "newer antei"),
        (["INSERT INTO objects VALUES ('/configmaps', 'n', 'a', 1, 'no json')"], Damaged, "unreadable object"),
        (["INSERT INTO objects VALUES ('/nothings', 'n', 'a', 1, '{}')"], Damaged, "does not know"),
        (["PRAGMA application_id = 1"], Damaged, "another program"),
    ],
)
async def test_a_database_that_cannot_be_understood_is_refused(
    tmp_path: Path, statements: list[str], failure: type[Exception], words: str
) -> None:
    path = tmp_path / "state.db"
    await (await SqliteStore.open(path)).aclose()
    await asyncio.to_thread(_sqlite, path, *statements)
    with pytest.raises(failure, match=words):
        await SqliteStore.open(path)


def _modes(directory: Path) -> set[int]:
    return {path.stat().st_mode & 0o777 for path in directory.iterdir()}


async def test_nobody_else_may_read_the_database(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "state.db")
    await store.create(key("a"), config_map("a"))
    assert _modes(tmp_path) == {0o600}
    await store.aclose()


async def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(Damaged, match="cannot be opened"):
        await SqliteStore.open(tmp_path / "nowhere" / "state.db")


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"certainly not a database" * 100)
    with pytest.raises(Damaged):
        await SqliteStore.open(path)


_WRITER = """
import asyncio, sys
from pathlib import Path
from tempfile import TemporaryDirectory
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap
from antei.store import Key
from antei.store.sqlite import SqliteStore

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]))
    for stored in store.list("/configmaps").items:
        await store.delete(stored.key, stored.revision)
    async def write(worker):
        number = 0
        while True:
            name = f"{worker}-{number}"
            obj = ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=ObjectMeta(name=name, namespace="default"))
            stored = await store.create(Key("/configmaps", "default", name), obj)
            print(f"+ {name} {stored.revision}", flush=True)
            if number % 3 == 0:
                deleted = await store.delete(stored.key, stored.revision)
                print(f"- {name} {deleted.revision}", flush=True)
            number += 1
    await asyncio.gather(*(write(worker) for worker in range(8)))

asyncio.run(main())
"""


@pytest.mark.parametrize("seed", range(4))
async def test_every_acknowledged_write_survives_kill_9(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "state.db"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _WRITER, str(path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    lines = [await process.stdout.readline() for _ in range(random.Random(seed).randrange(20, 300))]
    os.kill(process.pid, signal.SIGKILL)
    lines += (await process.stdout.read()).splitlines(keepends=True)
    await process.wait()
    present: dict[str, bool] = {}
    last = 0
    for line in lines:
        if line.endswith(b"\n"):
            sign, name, revision = line.decode().split()
            present[name] = sign == "+"
            last = max(last, int(revision))
    store = await SqliteStore.open(path)
    assert store.revision >= last
    for name, is_present in present.items():
        # One that was created and acknowledged may also have been deleted without word of it getting out.
        unheard = is_present and int(name.split("-")[1]) % 3 == 0
        assert unheard or (store.get(key(name)) is not None) is is_present, name
    await store.aclose()


class StoreMachine(RuleBasedStateMachine):
    """Random writes against a model that is nothing but a dictionary and a list of changes."""

    names = st.sampled_from(["a", "b", "c"])
    namespaces = st.sampled_from(["x", "y"])

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.store: Store = self.loop.run_until_complete(self.opened())
        self.model: dict[Key, int] = {}
        self.log: list[tuple[ChangeType, Key, int]] = []
        self.revision = 0
        self.reader = self.store.watch(BUCKET, None, 0)
        self.seen: list[tuple[ChangeType, Key, int]] = []

    async def opened(self) -> Store:
        return MemoryStore()

    def teardown(self) -> None:
        self.loop.run_until_complete(self.store.aclose())
        self.loop.close()

    def note(self, change_type: ChangeType, at: Key) -> None:
        self.revision += 1
        self.log.append((change_type, at, self.revision))
        if change_type is ChangeType.DELETED:
            del self.model[at]
        else:
            self.model[at] = self.revision

    @rule(name=names, namespace=namespaces)
    def create(self, name: str, namespace: str) -> None:
        at = key(name, namespace)
        writing = self.store.create(at, config_map(name, namespace=namespace))
        if at in self.model:
            with pytest.raises(Exists):
                self.loop.run_until_complete(writing)
        else:
            self.loop.run_until_complete(writing)
            self.note(ChangeType.ADDED, at)

    @rule(name=names, namespace=namespaces, stale=st.booleans())
    def update(self, name: str, namespace: str, stale: bool) -> None:
        at = key(name, namespace)
        expected = self.model.get(at, 0) - (1 if stale else 0)
        writing = self.store.update(at, config_map(name, "new", namespace), expected)
        if at not in self.model or stale:
            with pytest.raises(Missing if at not in self.model else Conflict):
                self.loop.run_until_complete(writing)
        else:
            self.loop.run_until_complete(writing)
            self.note(ChangeType.MODIFIED, at)

    @rule(name=names, namespace=namespaces)
    def delete(self, name: str, namespace: str) -> None:
        at = key(name, namespace)
        writing = self.store.delete(at, self.model.get(at, 0))
        if at not in self.model:
            with pytest.raises(Missing):
                self.loop.run_until_complete(writing)
        else:
            self.loop.run_until_complete(writing)
            self.note(ChangeType.DELETED, at)

    @precondition(lambda self: len(self.seen) < len(self.log))
    @rule()
    def read(self) -> None:
        async def following() -> Change:
            return await anext(self.reader)

        change = self.loop.run_until_complete(following())
        self.seen.append((change.type, change.stored.key, change.revision))

    def first_kept(self) -> int:
        return 0

    @rule(data=st.data())
    def watch_from(self, data: st.DataObject) -> None:
        after = data.draw(st.integers(self.first_kept(), self.revision))

        async def replayed() -> list[tuple[ChangeType, Key, int]]:
            changes = self.store.watch(BUCKET, None, after)
            read = [await anext(changes) for _ in range(self.revision - after)]
            return [(change.type, change.stored.key, change.revision) for change in read]

        assert self.loop.run_until_complete(replayed()) == self.log[after:]

    @invariant()
    def agrees(self) -> None:
        assert self.store.revision == self.revision
        assert [(s.key, s.revision) for s in self.store.list(BUCKET).items] == sorted(self.model.items())
        assert self.seen == self.log[: len(self.seen)]


class DurableStoreMachine(StoreMachine):
    """The same on disk, where the store is opened anew now and then."""

    async def opened(self) -> Store:
        self.directory = TemporaryDirectory()
        self.opened_at = 0
        return await SqliteStore.open(Path(self.directory.name) / "state.db")

    def teardown(self) -> None:
        super().teardown()
        self.directory.cleanup()

    @rule()
    def reopen(self) -> None:
        self.loop.run_until_complete(self.store.aclose())
        self.store = self.loop.run_until_complete(SqliteStore.open(Path(self.directory.name) / "state.db"))
        self.opened_at = self.revision
        self.seen = list(self.log)
        self.reader = self.store.watch(BUCKET, None, self.revision)

    def first_kept(self) -> int:
        return self.opened_at


class TestMemoryStoreAgainstAModel(StoreMachine.TestCase):  # type: ignore[misc, valid-type]
    settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


class TestSqliteStoreAgainstAModel(DurableStoreMachine.TestCase):  # type: ignore[misc, valid-type]
    settings = settings(max_examples=15, stateful_step_count=30, deadline=None)
