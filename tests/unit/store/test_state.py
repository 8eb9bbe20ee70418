"""What the drivers share: readers are released by themselves, and lists are kept until something changes."""

from __future__ import annotations

import gc

from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap

from antei.store import Change, ChangeType, Key
from antei.store.state import State, stored_as


def added(name: str, revision: int) -> Change:
    key = Key("/configmaps", "default", name)
    return Change(ChangeType.ADDED, stored_as(key, ConfigMap(metadata=ObjectMeta(name=name)), revision), None)


def test_a_reader_that_nobody_holds_is_forgotten() -> None:
    state = State()
    kept, dropped = (state.watch("/configmaps", None, 0) for _ in range(2))
    assert len(state._readers["/configmaps"]) == 2
    del dropped
    gc.collect()
    assert len(state._readers["/configmaps"]) == 1
    state.apply(added("a", 1))
    assert len(kept._changes) == 1


def test_a_list_is_made_once_until_its_bucket_changes() -> None:
    state = State()
    state.apply(added("a", 1))
    first = state.list("/configmaps", "default")
    assert state.list("/configmaps", "default").items is first.items
    state.apply(added("b", 2))
    assert [stored.key.name for stored in state.list("/configmaps", "default").items] == ["a", "b"]
    assert [stored.key.name for stored in first.items] == ["a"]


def test_a_namespace_that_is_another_ones_prefix_is_kept_apart() -> None:
    state = State()
    for revision, namespace in enumerate(("a", "a-b", "aa"), start=1):
        key = Key("/configmaps", namespace, "x")
        stored = stored_as(key, ConfigMap(metadata=ObjectMeta(name="x", namespace=namespace)), revision)
        state.apply(Change(ChangeType.ADDED, stored, None))
    assert [stored.key.namespace for stored in state.list("/configmaps", "a").items] == ["a"]
    assert [stored.key.namespace for stored in state.list("/configmaps", "").items] == []
