"""Garbage collection: what is owned goes when its owners are gone, in the order that the deletion asked for.

    background   owner removed ──► each dependent without another owner is deleted
    foreground   owner waits with a finalizer ──► dependents deleted ──► last blocking one gone ──► finalizer removed
    orphan       owner waits with a finalizer ──► its references removed from the dependents ──► finalizer removed

The graph holds uids and places only: the objects are the informers'. An owner that no informer knows is asked of the
API before anything is deleted for it. (Kubernetes: pkg/controller/garbagecollector.)
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from lightkube.models.meta_v1 import OwnerReference

from antei.api.errors import ApiError
from antei.api.objects import is_terminating, meta, name_of, namespace_of, replace, replace_meta, uid_of
from antei.api.resources import Resource, all_resources
from antei.client import Client
from antei.client.events import EventRecorder
from antei.client.informer import Informer, Informers
from antei.control.controller import Key, Requeue, WorkQueue
from antei.control.custom_kinds import CustomKinds
from antei.world import World

__all__ = ["GarbageCollectorController", "Owners", "propagation_of"]

_LOG = logging.getLogger(__name__)
FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
#: Events have no dependents and are nobody's (Kubernetes: DefaultIgnoredResources).
_IGNORED_BUCKETS = {"/events"}


class Place(NamedTuple):
    """Where an object is."""

    bucket: str
    namespace: str
    name: str


class Owners(NamedTuple):
    """An object's owner references, by what has become of the owners."""

    solid: tuple[OwnerReference, ...]
    dangling: tuple[OwnerReference, ...]
    waiting: tuple[OwnerReference, ...]  # owners that are being deleted in the foreground


class GarbageCollectorController:
    """Keys are objects of any kind: ("<bucket> <namespace>", name)."""

    name = "garbage-collector"

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder, world: World) -> None:
        self._client = client
        self._recorder = recorder
        self._resources: dict[str, Resource] = {
            resource.bucket: resource
            for resource in all_resources()
            if resource.is_storage_version and resource.is_stored and resource.bucket not in _IGNORED_BUCKETS
        }
        self._informers: dict[str, Informer[Any]] = {
            bucket: informers.of(resource.type) for bucket, resource in self._resources.items()
        }
        self._custom = CustomKinds(informers)
        self._places: dict[str, Place] = {}  # uid → where
        self._dependents: dict[str, dict[Place, None]] = {}  # owner's uid → where, in order of appearance
        self._queue: WorkQueue | None = None

    def setup(self, informers: Informers, queue: WorkQueue) -> None:
        self._queue = queue
        for bucket, informer in self._informers.items():
            informer.add_handler(self._handler(bucket))

        def came(resource: Resource) -> None:
            self._resources[resource.bucket] = resource
            informer = self._informers[resource.bucket] = informers.of(resource.type)
            informer.add_handler(self._handler(resource.bucket))

        def gone(resource: Resource) -> None:
            informers.drop(resource.type)
            del self._informers[resource.bucket], self._resources[resource.bucket]

        self._custom.setup(came, gone)

    def _handler(self, bucket: str) -> Callable[[Any, Any], None]:
        def handler(old: Any, new: Any) -> None:
            if old is not None and new is not None and uid_of(old) != uid_of(new):
                self._removed(bucket, old)
                old = None
            if new is None:
                self._removed(bucket, old)
            else:
                self._changed(bucket, old, new)

        return handler

    def _changed(self, bucket: str, old: Any, new: Any) -> None:
        metadata = meta(new)
        place = Place(bucket, metadata.namespace or "", metadata.name or "")
        references = metadata.ownerReferences or ()
        if old is None:
            self._places[metadata.uid or ""] = place
        known = (meta(old).ownerReferences if old is not None else None) or ()
        if references != known:
            self._relink(place, {r.uid for r in known}, references)
        is_news = old is None or is_terminating(old) != is_terminating(new) or references != known
        if metadata.deletionTimestamp is not None:
            if is_news or meta(old).finalizers != metadata.finalizers:
                self._add(place)
        elif references and is_news:
            self._add(place)

    def _relink(self, place: Place, known: set[str], references: Any) -> None:
        current = [reference.uid for reference in references]
        for uid in sorted(known - set(current)):
            self._unlink(uid, place)
            self._add_by_uid(uid)
        for uid in current:
            self._dependents.setdefault(uid, {})[place] = None

    def _unlink(self, uid: str, place: Place) -> None:
        dependents = self._dependents.get(uid)
        if dependents is not None:
            dependents.pop(place, None)
            if not dependents:
                del self._dependents[uid]

    def _removed(self, bucket: str, old: Any) -> None:
        metadata = meta(old)
        self._places.pop(metadata.uid or "", None)
        place = Place(bucket, metadata.namespace or "", metadata.name or "")
        for reference in metadata.ownerReferences or ():
            self._unlink(reference.uid, place)
            self._add_by_uid(reference.uid)
        for dependent in self._dependents.get(metadata.uid or "", ()):
            self._add(dependent)

    def _add(self, place: Place) -> None:
        if self._queue is not None:
            self._queue.add((f"{place.bucket} {place.namespace}", place.name))

    def _add_by_uid(self, uid: str) -> None:
        """An owner, to look again at what it waits for."""
        place = self._places.get(uid)
        owner = self._object(place) if place is not None else None
        if place is not None and owner is not None and is_terminating(owner):
            self._add(place)

    def _object(self, place: Place) -> Any | None:
        informer = self._informers.get(place.bucket)
        return informer.get(place.namespace, place.name) if informer is not None else None

    async def reconcile(self, key: Key) -> Requeue | None:
        bucket, _, namespace = key[0].partition(" ")
        obj = self._object(Place(bucket, namespace, key[1]))
        if obj is None:
            return None
        try:
            if is_terminating(obj):
                await self._finish(bucket, obj)
            elif meta(obj).ownerReferences:
                await self._collect(self._resources[bucket], obj)
        except ApiError as error:
            if error.code != 404:
                raise
        return None

    # An owner on its way out.

    async def _finish(self, bucket: str, owner: Any) -> None:
        finalizers = meta(owner).finalizers or []
        dependents = [(place, obj) for place in self._dependents.get(uid_of(owner), ()) if (obj := self._object(place))]
        if ORPHAN in finalizers:
            for place, obj in dependents:
                await self._remove_references(self._resources[place.bucket], obj, {uid_of(owner)})
            await self._remove_finalizer(owner, ORPHAN)
        elif FOREGROUND in finalizers:
            if not any(_blocks(obj, uid_of(owner)) for _, obj in dependents):
                await self._remove_finalizer(owner, FOREGROUND)
                return
            for place, obj in dependents:
                if not is_terminating(obj):
                    self._add(place)

    async def _remove_finalizer(self, owner: Any, finalizer: str) -> None:
        left = [held for held in meta(owner).finalizers or () if held != finalizer]
        await self._client.update(replace_meta(owner, finalizers=left or None))

    # A dependent.

    async def _collect(self, resource: Resource, known: Any) -> None:
        """Deletes the object when no owner of it is left, on what the API says of it now."""
        owners = await self._owners(resource, known)
        if not owners.dangling and not owners.waiting:
            return
        obj = await self._client.get(resource.type, name_of(known), namespace_of(known))
        if uid_of(obj) != uid_of(known) or is_terminating(obj):
            return
        if meta(obj).ownerReferences != meta(known).ownerReferences:
            owners = await self._owners(resource, obj)
        if owners.solid:
            gone = {reference.uid for reference in (*owners.dangling, *owners.waiting)}
            if gone:
                await self._remove_references(resource, obj, gone)
            return
        if not owners.dangling and not owners.waiting:
            return
        has_dependents = bool(self._dependents.get(uid_of(obj)))
        policy = propagation_of(obj, bool(owners.waiting), has_dependents)
        if policy == "Foreground":
            await self._break_circle(obj)
        _LOG.debug("deleting %s %s/%s (%s)", resource.kind, namespace_of(obj), name_of(obj), policy)
        await self._client.delete(
            resource.type,
            name_of(obj),
            namespace_of(obj),
            propagation_policy=policy,
            uid=uid_of(obj),
            resource_version=meta(obj).resourceVersion,
        )

    async def _owners(self, resource: Resource, obj: Any) -> Owners:
        solid, dangling, waiting = [], [], []
        for reference in meta(obj).ownerReferences or ():
            owner = await self._owner(resource, obj, reference)
            if owner is False:
                dangling.append(reference)
            elif owner is not True and is_terminating(owner) and FOREGROUND in (meta(owner).finalizers or ()):
                waiting.append(reference)
            else:
                solid.append(reference)
        return Owners(tuple(solid), tuple(dangling), tuple(waiting))

    async def _owner(self, resource: Resource, obj: Any, reference: OwnerReference) -> Any:
        """The owner; False where it is gone; True where that cannot be known, and the object is to stay."""
        place = self._places.get(reference.uid)
        if place is not None and place.namespace in ("", namespace_of(obj)):
            owner = self._object(place)
            if owner is not None:
                return owner
        kind = self._custom.for_kind(reference.apiVersion, reference.kind)
        if kind is None or not kind.is_stored:
            return True
        if kind.namespaced and not resource.namespaced:
            text = f'ownerRef {_text(reference)} does not exist in namespace ""'
            self._recorder.event(obj, "Warning", "OwnerRefInvalidNamespace", text)
            return True
        try:
            owner = await self._client.get(kind.type, reference.name, namespace_of(obj) if kind.namespaced else "")
        except ApiError as error:
            if error.code == 404:
                return False
            raise
        return owner if uid_of(owner) == reference.uid else False

    async def _remove_references(self, resource: Resource, obj: Any, uids: set[str]) -> None:
        left = [reference for reference in meta(obj).ownerReferences or () if reference.uid not in uids]
        if len(left) == len(meta(obj).ownerReferences or ()):
            return
        try:
            await self._client.update(replace_meta(obj, ownerReferences=left or None))
        except ApiError as error:
            if error.code != 404:
                raise

    async def _break_circle(self, obj: Any) -> None:
        """Owners in a circle would wait for each other for ever: this object no longer blocks its own.

        (Kubernetes: attemptToDeleteItem, unblockOwnerReferencesStrategicMergePatch.)
        """
        dependents = [d for place in self._dependents.get(uid_of(obj), ()) if (d := self._object(place))]
        for dependent in dependents:
            if not is_terminating(dependent) or FOREGROUND not in (meta(dependent).finalizers or ()):
                continue
            references = [replace(r, blockOwnerDeletion=False) for r in meta(obj).ownerReferences or ()]
            await self._client.patch(
                type(obj),
                name_of(obj),
                namespace_of(obj),
                {"metadata": {"uid": uid_of(obj), "ownerReferences": references}},
            )
            return


def propagation_of(obj: Any, is_owner_waiting: bool, has_dependents: bool) -> str:
    """How a collected object goes itself: as its finalizers say; in the foreground where its owner waits for it."""
    if is_owner_waiting and has_dependents:
        return "Foreground"
    finalizers = meta(obj).finalizers or ()
    if ORPHAN in finalizers:
        return "Orphan"
    return "Foreground" if FOREGROUND in finalizers else "Background"


def _blocks(dependent: Any, owner_uid: str) -> bool:
    return any(r.uid == owner_uid and r.blockOwnerDeletion for r in meta(dependent).ownerReferences or ())


def _text(reference: OwnerReference) -> str:
    return f"[{reference.apiVersion}/{reference.kind}, name: {reference.name}, uid: {reference.uid}]"
