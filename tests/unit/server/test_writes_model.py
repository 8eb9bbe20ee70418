"""Whatever is written, in whatever order, the registry agrees with a small model of Kubernetes' rules for writes.

The object is a ConfigMap, seen as a flat map: labels, data, and owner references, a list that merges by uid. The model
knows what each of these fields is, and who owns it:

    create, update, the three patches   what changed is the writer's alone (operation Update)
    apply                               what the manager sends is its own, beside others of the same mind; what it no
                                        longer sends, and nobody else applies, goes; a field that others have
                                        otherwise is a conflict (409), unless it is forced; a map or list that
                                        appliers have set and none sets any more goes whole (structured-merge-diff:
                                        EnsureNamedFieldsAreMembers)
    anything once more                  changes nothing, the resourceVersion included
    a dry run                           answers the same and changes nothing
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import msgspec
from hypothesis import given, note, settings
from hypothesis import strategies as st
from lightkube.models.meta_v1 import ManagedFieldsEntry
from lightkube.resources.core_v1 import ConfigMap

from antei.api.decode import decode
from antei.api.errors import ApiError
from antei.api.objects import meta
from antei.api.resources import resource_of
from antei.server.deletion import DeleteOptions
from antei.server.registry import Registry
from antei.store.memory import MemoryStore
from antei.world.system import system_world

Leaf = tuple[str, str]  # ("labels", "a"), ("data", "a"), ("owners", uid)
Fields = dict[Leaf, str]
Manager = tuple[str, str]  # (name, "Update" or "Apply")

MAPS = resource_of(ConfigMap)
#: A label that always has an owner: what has none is not told apart (`test_managed_fields.py`).
ANCHOR: Leaf = ("labels", "anchor")
LEAVES: list[Leaf] = [(group, key) for group in ("labels", "data", "owners") for key in "ab"]
_UPDATE, _APPLY = "Update", "Apply"


@dataclass
class Model:
    fields: Fields | None = None  # None: there is no object
    owners: dict[Manager, set[Leaf]] = field(default_factory=dict)

    def write(self, manager: str, wanted: Fields) -> None:
        before = self.fields or {}
        changed = {leaf for leaf, value in wanted.items() if before.get(leaf) != value}
        gone = before.keys() - wanted.keys()
        for owned in self.owners.values():
            owned -= changed | gone
        self.owners.setdefault((manager, _UPDATE), set()).update(changed)
        self._settle(wanted)

    def apply(self, manager: str, config: Fields, *, force: bool) -> bool:
        """Whether it was done; otherwise it is a conflict."""
        before = self.fields or {}
        applier = (manager, _APPLY)
        differing = {leaf for leaf, value in config.items() if leaf in before and before[leaf] != value}
        others = {other: owned for other, owned in self.owners.items() if other != applier}
        if not force and any(owned & differing for owned in others.values()):
            return False
        for owned in others.values():
            owned -= differing
        last = self.owners.get(applier, set())
        kept = {leaf for (_, operation), owned in others.items() if operation == _APPLY for leaf in owned}
        kept |= config.keys()
        ended = {group for group, _ in last} - {group for group, _ in kept}
        given_up = last - kept | {leaf for leaf in before if leaf[0] in ended}
        wanted = {leaf: value for leaf, value in before.items() if leaf not in given_up}
        for owned in others.values():
            owned -= given_up
        self.owners[applier] = set(config)
        self._settle({**wanted, **config})
        return True

    def delete(self) -> None:
        self.fields, self.owners = None, {}

    def _settle(self, fields: Fields) -> None:
        self.fields = dict(fields)
        self.owners = {manager: owned for manager, owned in self.owners.items() if owned}


def _object(fields: Fields, **more: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": "it", **more}
    labels = {key: value for (group, key), value in fields.items() if group == "labels"}
    data = {key: value for (group, key), value in fields.items() if group == "data"}
    owners = [_owner(key, value) for (group, key), value in fields.items() if group == "owners"]
    if labels:
        metadata["labels"] = labels
    if owners:
        metadata["ownerReferences"] = owners
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **({"data": data} if data else {})}


def _owner(uid: str, value: str) -> dict[str, str]:
    return {"apiVersion": "v1", "kind": "Pod", "name": value, "uid": uid}


def _fields(obj: Any) -> Fields:
    labels = {("labels", key): value for key, value in (meta(obj).labels or {}).items()}
    data = {("data", key): value for key, value in (obj.data or {}).items()}
    owners = {("owners", owner.uid): owner.name for owner in meta(obj).ownerReferences or ()}
    return {**labels, **data, **owners}


def _owned(entries: list[ManagedFieldsEntry] | None) -> dict[Manager, set[Leaf]]:
    found: dict[Manager, set[Leaf]] = {}
    for entry in entries or ():
        tree: dict[str, Any] = entry.fieldsV1 or {}  # type: ignore[assignment]
        metadata = tree.get("f:metadata", {})
        leaves = {("labels", name[2:]) for name in metadata.get("f:labels", {}) if name != "."}
        leaves |= {("data", name[2:]) for name in tree.get("f:data", {}) if name != "."}
        items = (name for name in metadata.get("f:ownerReferences", {}) if name != ".")
        leaves |= {("owners", json.loads(name[2:])["uid"]) for name in items}
        if leaves:
            found[entry.manager or "", entry.operation or ""] = leaves
    return found


@dataclass(frozen=True)
class Write:
    """`change` is what to set, or with None to remove; a create, an update and an apply take what it sets."""

    verb: str
    manager: str
    change: dict[Leaf, str | None]
    force: bool = False
    dry_run: bool = False

    @property
    def given(self) -> Fields:
        return {ANCHOR: "0"} | {leaf: value for leaf, value in self.change.items() if value is not None}

    def result(self, before: Fields) -> Fields:
        if self.verb in ("create", "update"):
            return self.given
        after = {**before, **self.given}
        return {leaf: value for leaf, value in after.items() if self.change.get(leaf, value) is not None}


_VERBS = ("create", "update", "json", "merge", "strategic", "apply", "apply", "delete")
_CHANGES = st.dictionaries(st.sampled_from(LEAVES), st.sampled_from(["1", "2", None]), max_size=4)
_WRITES = st.builds(
    Write,
    st.sampled_from(_VERBS),
    st.sampled_from(["one", "two", "three"]),
    _CHANGES,
    st.booleans(),
    st.integers(0, 4).map(lambda number: number == 0),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_WRITES, max_size=12))
def test_every_sequence_of_writes_agrees_with_the_model(writes: list[Write]) -> None:
    asyncio.run(_compare(writes))


async def _compare(writes: list[Write]) -> None:
    for write in writes:
        note(str(write))
    store = MemoryStore()
    registry = Registry(store, system_world())
    model = Model()
    await _perform(registry, Write("create", "zero", {("data", "a"): "1"}), model)
    for write in writes:
        before = await _read(registry)
        await _perform(registry, write, model)
        after = await _read(registry)
        if write.dry_run:
            assert after == before
        elif after is not None:
            assert _owned(after.metadata.managedFields) == model.owners
        assert (_fields(after) if after is not None else None) == model.fields
    await store.aclose()


async def _read(registry: Registry) -> Any:
    try:
        return (await registry.get(MAPS, "default", "it")).object
    except ApiError as error:
        if error.code != 404:
            raise
        return None


async def _perform(registry: Registry, write: Write, model: Model) -> None:
    """Does it, and once more; tells the model what was done."""
    exists = model.fields is not None
    wanted = write.result(model.fields or {})
    expected = 409 if write.verb == "create" and exists else 0
    if not exists and write.verb not in ("create", "apply"):
        expected = 404
    trial = Model(model.fields, {manager: set(owned) for manager, owned in model.owners.items()})
    if not expected:
        if write.verb == "apply":
            expected = 0 if trial.apply(write.manager, write.given, force=write.force) else 409
        elif write.verb == "delete":
            trial.delete()
        else:
            trial.write(write.manager, wanted)
    try:
        answer = await _request(registry, write, wanted)
    except ApiError as error:
        if error.code != expected:
            raise
        return
    assert not expected
    if write.verb != "delete":
        assert _fields(answer) == trial.fields
    if write.dry_run:
        return
    model.fields, model.owners = trial.fields, trial.owners
    if write.verb in ("update", "merge", "strategic", "apply"):
        again = await _request(registry, write, wanted)
        assert meta(again).resourceVersion == meta(answer).resourceVersion


async def _request(registry: Registry, write: Write, wanted: Fields) -> Any:
    options: dict[str, Any] = {"field_manager": write.manager, "dry_run": write.dry_run}
    if write.verb == "create":
        return (await registry.create(MAPS, "default", _decoded(wanted), **options)).object
    if write.verb == "update":
        return (await registry.update(MAPS, "default", "it", _decoded(wanted), **options)).object
    if write.verb == "apply":
        config = _object(write.given)
        stored, _ = await registry.apply(MAPS, "default", "it", config, force=write.force, **options)
        return stored.object
    if write.verb == "delete":
        await registry.delete_with(MAPS, "default", "it", DeleteOptions(), dry_run=write.dry_run)
        return None
    live = await _read(registry)
    patch = {"json": _json_patch, "merge": _merge_patch, "strategic": _strategic_patch}[write.verb](write, wanted, live)
    stored = await registry.patch(MAPS, "default", "it", patch, patch_type=_TYPES[write.verb], **options)
    return stored.object


_TYPES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}


def _decoded(fields: Fields) -> Any:
    return decode(msgspec.json.encode(_object(fields)), ConfigMap).object


def _json_patch(write: Write, wanted: Fields, live: Any) -> list[dict[str, Any]]:
    """Each map or list is made, if it is not there, and then changed key by key; the list goes from its end."""
    if live is None:
        return []
    patch: list[dict[str, Any]] = [{"op": "test", "path": "/metadata/name", "value": "it"}]
    places = {"labels": "/metadata/labels", "data": "/data", "owners": "/metadata/ownerReferences"}
    there = {"labels": meta(live).labels, "data": live.data, "owners": meta(live).ownerReferences}
    present = _fields(live)
    for group, place in places.items():
        changes = {key: value for (one, key), value in write.change.items() if one == group}
        if any(value is not None for value in changes.values()) and not there[group]:
            patch.append({"op": "add", "path": place, "value": [] if group == "owners" else {}})
        if group == "owners":
            uids = [owner.uid for owner in there["owners"] or ()]
            for index in reversed(range(len(uids))):
                if uids[index] in changes:
                    patch.append({"op": "remove", "path": f"{place}/{index}"})
            added = [_owner(uid, value) for uid, value in changes.items() if value is not None]
            patch += [{"op": "add", "path": f"{place}/-", "value": one} for one in added]
            continue
        for key, value in changes.items():
            if value is not None:
                patch.append({"op": "add", "path": f"{place}/{key}", "value": value})
            elif (group, key) in present:
                patch.append({"op": "remove", "path": f"{place}/{key}"})
    return patch


def _merge_patch(write: Write, wanted: Fields, live: Any) -> dict[str, Any]:
    """Maps merge, null removes; the list is sent whole."""
    owners = [_owner(uid, value) for (group, uid), value in wanted.items() if group == "owners"]
    return _patch_of_maps(write, {"ownerReferences": owners})


def _strategic_patch(write: Write, wanted: Fields, live: Any) -> dict[str, Any]:
    """The list merges by uid; an item that goes is named with a directive."""
    items: list[dict[str, Any]] = []
    for (group, uid), value in write.change.items():
        if group == "owners":
            items.append({"uid": uid, "$patch": "delete"} if value is None else _owner(uid, value))
    return _patch_of_maps(write, {"ownerReferences": items} if items else {})


def _patch_of_maps(write: Write, metadata: dict[str, Any]) -> dict[str, Any]:
    labels = {key: value for (group, key), value in write.change.items() if group == "labels"}
    data = {key: value for (group, key), value in write.change.items() if group == "data"}
    return {"metadata": {"labels": labels, **metadata}, "data": data}
