"""Every kind's create, get, list, watch, update, patch and delete: one generic implementation over the store.

    request ──► version stored ──► admission ──► strategy ──► defaults, validation ──► compare-and-swap ──► answer

What differs from kind to kind is in `strategies`; deletion, eviction, binding and scale have modules of their own.
Kubernetes: apiserver/pkg/registry/generic/registry/store.go, apiserver/pkg/registry/rest/{create,update}.go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from antei.api.errors import (
    ApiError,
    FieldError,
    FieldErrorType,
    already_exists,
    bad_request,
    conflict,
    invalid,
    not_found,
)
from antei.api.objects import meta, replace_meta, to_time
from antei.api.patch import apply_patch, check_patch_type
from antei.api.resources import Resource, all_resources
from antei.server.selection import SelectedWatch, predicate_of
from antei.server.strategies import Context, Strategy, strategy_of
from antei.store import Conflict, Exists, Key, Missing, Store, Stored
from antei.store.state import stored_as
from antei.world import World

__all__ = ["Registry"]

_MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"
#: Tries of a write that names no resourceVersion before it gives up (Kubernetes: MaxRetryWhenPatchConflicts is 5).
_WRITE_TRIES = 6
_NAME_TRIES = 8


class Registry:
    """Implements `antei.client.local.RegistryProtocol`. All methods raise ApiError."""

    def __init__(self, store: Store, world: World) -> None:
        self.store = store
        self.world = world
        self.context = Context(store, world)
        self._stored_kinds = {r.bucket: r for r in all_resources() if r.is_storage_version}

    # Reading

    async def get(self, resource: Resource, namespace: str, name: str, subresource: str = "") -> Stored:
        return self._current(resource, namespace, name)

    async def list(
        self, resource: Resource, namespace: str | None, *, label_selector: str = "", field_selector: str = ""
    ) -> tuple[Sequence[Stored], int]:
        wanted = predicate_of(resource, label_selector, field_selector)
        snapshot = self.store.list(resource.bucket, namespace)
        if wanted is None:
            return snapshot.items, snapshot.revision
        return [stored for stored in snapshot.items if wanted(stored.object)], snapshot.revision

    def watch(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        after_revision: int,
        label_selector: str = "",
        field_selector: str = "",
    ) -> SelectedWatch:
        wanted = predicate_of(resource, label_selector, field_selector)
        changes = self.store.watch(resource.bucket, namespace, after_revision)
        return SelectedWatch(changes, wanted, lambda stored: stored, after_revision)

    def _current(self, resource: Resource, namespace: str, name: str) -> Stored:
        stored = self.store.get(Key(resource.bucket, namespace if resource.namespaced else "", name))
        if stored is None:
            raise not_found(resource.plural, name, resource.group)
        return stored

    # Writing

    async def create(self, resource: Resource, namespace: str, obj: Any, *, dry_run: bool = False) -> Stored:
        strategy = strategy_of(self._stored_kinds[resource.bucket])
        obj = self._typed(resource, obj)
        obj = self._in_namespace(resource, namespace, obj)
        if meta(obj).resourceVersion:
            raise bad_request("resourceVersion should not be set on objects to be created")
        obj = replace_meta(
            obj,
            uid=self.world.chance.uid(),
            creationTimestamp=to_time(self.world.clock.now()),
            generation=1 if strategy.has_generation else None,
            deletionTimestamp=None,
            deletionGracePeriodSeconds=None,
            managedFields=None,
            selfLink=None,
        )
        obj = strategy.prepare_create(obj, self.context)
        name = meta(obj).name or ""
        if name:
            return await self._create_named(resource, obj, dry_run)
        prefix = meta(obj).generateName or ""
        if not prefix:
            raise invalid(
                resource.kind,
                "",
                [FieldError(FieldErrorType.REQUIRED, "metadata.name", detail="name or generateName is required")],
                resource.group,
            )
        for attempt in range(_NAME_TRIES):
            name = prefix[: 63 - 5] + self.world.chance.suffix()
            try:
                return await self._create_named(resource, replace_meta(obj, name=name), dry_run)
            except ApiError as error:
                if error.reason != "AlreadyExists" or attempt == _NAME_TRIES - 1:
                    raise
        raise AssertionError("unreachable")

    async def _create_named(self, resource: Resource, obj: Any, dry_run: bool) -> Stored:
        metadata = meta(obj)
        key = Key(resource.bucket, metadata.namespace or "", metadata.name or "")
        if dry_run:
            if self.store.get(key) is not None:
                raise already_exists(resource.plural, key.name, resource.group)
            return Stored(key, obj, msgspec.json.encode(obj), 0)
        try:
            return await self.store.create(key, obj)
        except Exists as error:
            raise already_exists(resource.plural, key.name, resource.group) from error

    async def update(
        self, resource: Resource, namespace: str, name: str, obj: Any, *, subresource: str = "", dry_run: bool = False
    ) -> Stored:
        obj = self._in_namespace(resource, namespace, self._typed(resource, obj))
        if meta(obj).name != name:
            raise bad_request(f"the name of the object ({meta(obj).name}) does not match the name on the URL ({name})")
        return await self._write(resource, namespace, name, lambda _: obj, subresource, dry_run)

    async def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: Any,
        *,
        patch_type: str,
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
        dry_run: bool = False,
    ) -> Stored:
        check_patch_type(patch_type)

        def patched(current: Stored) -> Any:
            changed = apply_patch(patch_type, msgspec.json.decode(current.data), patch, resource.type)
            return self._typed(resource, changed)

        return await self._write(resource, namespace, name, patched, subresource, dry_run)

    async def _write(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: Callable[[Stored], Any],
        subresource: str,
        dry_run: bool,
    ) -> Stored:
        strategy = strategy_of(self._stored_kinds[resource.bucket])
        for _ in range(_WRITE_TRIES):
            current = self._current(resource, namespace, name)
            new = change(current)
            unconditional = not meta(new).resourceVersion
            self._check_identity(resource, new, current)
            new = self._prepared(strategy, new, current, subresource)
            candidate = stored_as(current.key, new, current.revision)
            if candidate.data == current.data or dry_run:
                return candidate if dry_run else current
            try:
                if _is_finished(new):
                    return await self.store.delete(current.key, current.revision)
                return await self.store.update(current.key, new, current.revision)
            except Missing as error:
                raise not_found(resource.plural, name, resource.group) from error
            except Conflict as error:
                if not unconditional and meta(change(error.current)).resourceVersion != str(error.current.revision):
                    raise conflict(resource.plural, name, _MODIFIED, resource.group) from error
        raise conflict(resource.plural, name, _MODIFIED, resource.group)

    def _check_identity(self, resource: Resource, new: Any, current: Stored) -> None:
        metadata = meta(new)
        if metadata.uid and metadata.uid != meta(current.object).uid:
            detail = (
                f"Precondition failed: UID in precondition: {metadata.uid}, "
                f"UID in object meta: {meta(current.object).uid}"
            )
            raise conflict(resource.plural, current.key.name, detail, resource.group)
        if metadata.resourceVersion and metadata.resourceVersion != str(current.revision):
            raise conflict(resource.plural, current.key.name, _MODIFIED, resource.group)

    def _prepared(self, strategy: Strategy, new: Any, current: Stored, subresource: str) -> Any:
        old = meta(current.object)
        new = replace_meta(
            new,
            uid=old.uid,
            creationTimestamp=old.creationTimestamp,
            generation=old.generation,
            deletionTimestamp=old.deletionTimestamp,
            deletionGracePeriodSeconds=old.deletionGracePeriodSeconds,
            generateName=old.generateName,
            managedFields=None,
            selfLink=None,
        )
        if subresource == "status":
            return strategy.prepare_status(new, current.object, self.context)
        return strategy.prepare_update(new, current.object, self.context)

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        grace_period_seconds: int | None = None,
        propagation_policy: str | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> Stored:
        current = self._current(resource, namespace, name)
        return await self.store.delete(current.key, current.revision)

    async def post_subresource(
        self, resource: Resource, namespace: str, name: str, subresource: str, body: Any
    ) -> None:
        raise not_found(f"{resource.plural}/{subresource}", name, resource.group)

    def _typed(self, resource: Resource, obj: Any) -> Any:
        """The object as its JSON reads: what a caller built with wrong types is refused here."""
        try:
            return msgspec.json.decode(msgspec.json.encode(obj), type=resource.type)
        except msgspec.ValidationError as error:
            raise bad_request(f"{resource.kind} in version {resource.api_version!r}: {error}") from error

    def _in_namespace(self, resource: Resource, namespace: str, obj: Any) -> Any:
        given = meta(obj).namespace or ""
        if not resource.namespaced:
            return replace_meta(obj, namespace=None)
        if given and given != namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        return replace_meta(obj, namespace=namespace)


def _is_finished(obj: Any) -> bool:
    """Whether a terminating object has nothing left to wait for."""
    metadata = meta(obj)
    return bool(metadata.deletionTimestamp and not metadata.finalizers and not metadata.deletionGracePeriodSeconds)
