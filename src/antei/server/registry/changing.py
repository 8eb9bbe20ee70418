"""How an object changes: by update, the four patches and what the server itself writes, until nothing disturbs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from antei.api.conversion import stored_resource, to_stored
from antei.api.customresources.definition import CRD_BUCKET
from antei.api.defaults import apply_defaults
from antei.api.errors import conflict, not_found
from antei.api.objects import meta, replace_meta
from antei.api.patch import APPLY_PATCH, check_patch_type
from antei.api.resources import Resource
from antei.server.admission import Options, write_options
from antei.server.admitted import after_admission, change_of, shown_to_judges
from antei.server.apply import ServerSideApply
from antei.server.caller import caller
from antei.server.deletion import is_finished
from antei.server.field_management import EntriesOf, applying_of, check_apply_options, entries_of_update
from antei.server.metadata import (
    MODIFIED,
    answered,
    check_changed,
    check_identity,
    check_name,
    check_requested,
    derived,
    in_namespace,
    require_revision,
    typed,
    with_system_metadata,
)
from antei.server.patching import patched
from antei.server.registry.creating import Creating
from antei.server.registry.reading import fail
from antei.server.scale import scale_of, scaled
from antei.server.strategies import strategy_of
from antei.store import Conflict, Key, Missing, Stored, StoreError
from antei.store.state import stored_as

__all__ = ["WRITE_TRIES", "Change", "Changing"]

#: Tries of a write that names no resourceVersion (Kubernetes: patches 5 retries; plain updates have no limit there).
WRITE_TRIES = 6

Change = Callable[[Stored], Any]


class Changing(Creating):
    _server_side_apply: ServerSideApply

    async def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        obj: Any,
        *,
        subresource: str = "",
        field_manager: str = "",
        dry_run: bool = False,
    ) -> Stored:
        """PUT. `scale` takes a Scale and answers with one."""
        resource = self._as_served(resource)
        entries_of = entries_of_update(resource, field_manager, subresource, self.world.clock.now())
        options = write_options("UpdateOptions", field_manager, dry_run)
        if subresource == "scale":
            stored = await self.modify(
                resource,
                namespace,
                name,
                lambda current: scaled(resource, current.object, obj, name),
                subresource="scale",
                entries_of=entries_of,
                options=options,
                dry_run=dry_run,
            )
            return derived(stored, scale_of(stored.object))
        obj = in_namespace(resource, namespace, typed(resource, obj))
        check_name(obj, name)
        obj = to_stored(resource, obj)
        strategy = strategy_of(stored_resource(resource))
        may_create = not subresource and strategy.creates_on_update
        if may_create and not (meta(obj).resourceVersion or meta(obj).uid):
            key = Key(resource.bucket, namespace if resource.namespaced else "", name)
            if self.store.get(key) is None:
                self.rbac.require_create(caller(), resource, namespace, name)
                options = write_options("CreateOptions", field_manager, dry_run)
                stored = await self.create_with(
                    stored_resource(resource), namespace, obj, entries_of, options=options, dry_run=dry_run
                )
                return answered(resource, stored)
        if not strategy.allows_unconditional_update:
            require_revision(resource, obj)
        stored = await self.modify(
            resource,
            namespace,
            name,
            lambda _: obj,
            subresource=subresource,
            entries_of=entries_of,
            options=options,
            dry_run=dry_run,
        )
        return answered(resource, stored)

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
        field_validation: str = "Ignore",
        warn: Callable[[str], None] | None = None,
    ) -> Stored:
        """PATCH. What field validation warns of in the result is told to `warn`."""
        resource = self._as_served(resource)
        check_patch_type(patch_type)
        if patch_type == APPLY_PATCH:
            stored, _ = await self.apply(
                resource,
                namespace,
                name,
                patch,
                subresource=subresource,
                field_manager=field_manager,
                force=force,
                dry_run=dry_run,
            )
            return stored
        is_scale = subresource == "scale"
        kind = resource.subresources["scale"].type if is_scale else resource.type
        is_built_in = resource.definition is None

        def change(current: Stored) -> Any:
            seen = derived(current, scale_of(current.object)) if is_scale else answered(resource, current)
            decoded = patched(patch_type, seen, patch, kind, field_validation, merges_by_key=is_built_in)
            if warn is not None:
                for warning in decoded.warnings:
                    warn(warning)
            if is_scale:
                return scaled(resource, current.object, decoded.object, name)
            check_name(decoded.object, name)
            return to_stored(resource, in_namespace(resource, namespace, decoded.object))

        stored = await self.modify(
            resource,
            namespace,
            name,
            change,
            subresource=subresource,
            entries_of=entries_of_update(resource, field_manager, subresource, self.world.clock.now()),
            options=write_options("UpdateOptions", field_manager, dry_run),
            dry_run=dry_run,
        )
        return derived(stored, scale_of(stored.object)) if is_scale else answered(resource, stored)

    async def apply(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        config: Any,
        *,
        field_manager: str,
        subresource: str = "",
        force: bool = False,
        dry_run: bool = False,
    ) -> tuple[Stored, bool]:
        """Server-side apply: the object that it makes, and whether that is new.

        Raises 409 with a cause for each field that another manager has otherwise, unless by `force`.
        """
        resource = self._as_served(resource)
        check_apply_options(field_manager)
        applying = applying_of(
            resource,
            name,
            config,
            subresource=subresource,
            field_manager=field_manager,
            force=force,
            now=self.world.clock.now(),
        )
        return await self._server_side_apply.apply(resource, namespace, name, applying, dry_run=dry_run)

    async def modify(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: Change,
        *,
        subresource: str = "",
        entries_of: EntriesOf | None = None,
        options: Options | None = None,
        dry_run: bool = False,
    ) -> Stored:
        """Writes what `change` makes of the current object, both in the stored version, until it is not disturbed.

        `options` are those of the request as admission is shown them; None for what the server itself writes.

        Where the changed object names another resourceVersion than the current one, that is a conflict (409).
        What changes nothing is not written. An object that was only waiting for this change to go is removed.
        """
        resource = self._as_served(resource)
        strategy = strategy_of(stored_resource(resource))
        for _ in range(WRITE_TRIES):
            current = await self._current(resource, namespace, name)
            new = change(current)
            given = meta(new).managedFields
            check_identity(resource, new, current)
            new = strategy.normalise(new)
            if subresource in ("", "scale", "ephemeralcontainers", "resize"):
                new = apply_defaults(new)
            request = None
            if options is not None:
                request = change_of(resource, new, current, subresource, options, dry_run)
                new = after_admission(request, new, await self._admission.mutate(request))
            new = self._prepared(resource, new, current, subresource)
            new, release = strategy.allocate(new, current.object, self._context)
            is_stored = False
            try:
                if entries_of is not None:
                    new = replace_meta(new, managedFields=entries_of(given, current, new))
                if request is not None:
                    request.object = shown_to_judges(request, new)
                    await self._admission.validate(request)
                stored = await self._commit(resource, current, new, dry_run)
                is_stored = True
                return stored
            except Conflict:
                continue
            except Missing as error:
                raise not_found(resource.plural, name, resource.group) from error
            except StoreError as error:
                fail(error)
            finally:
                if release is not None:
                    release()
                if request is not None and request.charge is not None:
                    await self._admission.settle(request, is_stored=is_stored)
        raise conflict(resource.plural, name, MODIFIED, resource.group)

    def _prepared(self, resource: Resource, new: Any, current: Stored, subresource: str) -> Any:
        strategy = strategy_of(stored_resource(resource))
        old = current.object
        new = with_system_metadata(resource, new, old)
        if subresource == "status":
            new = strategy.prepare_status(new, old, self._context)
        elif subresource in ("", "scale"):
            new = strategy.prepare_update(new, old, self._context)
        else:
            new = strategy.prepare_subresource(subresource, new, old, self._context)
        check_requested(resource, new, old)
        check_changed(strategy.resource, new, old, "" if subresource == "scale" else subresource)
        return new

    async def _commit(self, resource: Resource, current: Stored, new: Any, dry_run: bool) -> Stored:
        candidate = stored_as(current.key, new, current.revision)
        if resource.definition is not None:
            return await self._commit_custom(resource, candidate, dry_run)
        if dry_run or candidate.data == current.data:
            return candidate
        if is_finished(resource.bucket, new):
            return await self._removed(resource, current)
        stored = await self.store.update(current.key, new, current.revision)
        if resource.bucket == CRD_BUCKET:
            await self._definitions.changed(current.object, stored.object)
        return stored

    async def _commit_custom(self, resource: Resource, candidate: Stored, dry_run: bool) -> Stored:
        """What is compared and written is the storage version."""
        key, revision = candidate.key, candidate.revision
        written = await self._versions.written(resource, candidate.object)
        known = self.store.get(key)
        if dry_run or (known is not None and known.data == stored_as(key, written, revision).data):
            return candidate
        if is_finished(resource.bucket, candidate.object):
            return derived(await self.store.delete(key, revision), candidate.object)
        return await self._versions.read(resource, await self.store.update(key, written, revision))

    async def _removed(self, resource: Resource, current: Stored) -> Stored:
        stored = await self.store.delete(current.key, current.revision)
        if resource.definition is not None:
            return derived(stored, replace_meta(current.object, resourceVersion=str(stored.revision)))
        if current.key.bucket == CRD_BUCKET:
            await self._definitions.gone(current.object)
        return stored
