"""What every cluster has is made by few commits when it first starts, and by none when nothing of it is missing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from antei.server.bootstrap import bootstrap, together
from antei.server.registry import Registry
from antei.server.role_bootstrap import reconcile_default_roles
from antei.store import Key, Stored, StoreError
from antei.store.memory import MemoryStore
from antei.world.virtual import virtual_world


class Disk(MemoryStore):
    """Each turn of the loop is a commit, which takes all that was begun by then, as the store on disk does."""

    def __init__(self) -> None:
        super().__init__()
        self.commits = 0
        self._commit: asyncio.Future[None] | None = None

    async def create(self, key: Key, obj: Any) -> Stored:
        await self._committed()
        return await super().create(key, obj)

    async def update(self, key: Key, obj: Any, expected_revision: int) -> Stored:
        await self._committed()
        return await super().update(key, obj, expected_revision)

    async def _committed(self) -> None:
        if self._commit is None:
            loop = asyncio.get_running_loop()
            self._commit = loop.create_future()
            loop.call_soon(self._end_commit)
        await self._commit

    def _end_commit(self) -> None:
        assert self._commit is not None
        self._commit.set_result(None)
        self._commit = None
        self.commits += 1


async def start(store: MemoryStore) -> None:
    registry = Registry(store, virtual_world(1))
    await bootstrap(registry, provisioner="antei.dev/directory", api_endpoints=[("10.96.0.1", 443)])
    await reconcile_default_roles(registry)


async def test_what_belongs_together_shares_a_commit() -> None:
    store = Disk()
    await start(store)
    # Namespaces, what is in them, the status of the service for metrics, roles.
    assert (store.revision >= 50, store.commits <= 6) == (True, True), (store.revision, store.commits)


async def test_a_start_that_finds_everything_writes_nothing() -> None:
    store = Disk()
    await start(store)
    known = store.revision, store.commits
    await start(store)
    assert (store.revision, store.commits) == known


async def test_a_disk_that_refuses_is_told_as_it_is_when_all_have_ended() -> None:
    ended = []

    async def write(number: int) -> None:
        await asyncio.sleep(0)
        ended.append(number)
        if number > 1:
            raise StoreError(f"the disk is full ({number})")

    with pytest.raises(StoreError, match=r"full \(2\)"):
        await together(write(number) for number in range(4))
    assert ended == [0, 1, 2, 3]
