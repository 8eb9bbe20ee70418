"""How an object comes to be: defaults, admission, strategy, validation, and names that are generated."""

from __future__ import annotations

from typing import Any

from antei.api.conversion import stored_resource, to_stored
from antei.api.customresources.definition import CRD_BUCKET
from antei.api.defaults import apply_defaults
from antei.api.errors import ApiError, already_exists, bad_request, method_not_supported
from antei.api.objects import meta, replace_meta, to_time
from antei.api.resources import Resource
from antei.server.admission import Options, Request, write_options
from antei.server.admitted import creation_of
from antei.server.expiry import EVENT_BUCKET
from antei.server.field_management import EntriesOf, entries_of_update
from antei.server.metadata import answered, check_new, check_requested, derived, in_namespace, typed
from antei.server.registry.reading import Reading, fail
from antei.server.strategies import strategy_of
from antei.store import Exists, Key, Stored, StoreError

__all__ = ["Creating"]

#: Tries of a generated name (Kubernetes: maxNameGenerationCreateAttempts).
_NAME_TRIES = 8
#: Kubernetes: names.maxGeneratedNameLength, without the suffix.
_MOST_PREFIX_CHARACTERS = 58


class Creating(Reading):
    async def create(
        self, resource: Resource, namespace: str, obj: Any, *, field_manager: str = "", dry_run: bool = False
    ) -> Stored:
        entries_of = entries_of_update(resource, field_manager, "", self.world.clock.now())
        options = write_options("CreateOptions", field_manager, dry_run)
        return await self.create_with(resource, namespace, obj, entries_of, options=options, dry_run=dry_run)

    async def create_with(
        self,
        resource: Resource,
        namespace: str,
        obj: Any,
        entries_of: EntriesOf | None,
        *,
        options: Options,
        dry_run: bool = False,
    ) -> Stored:
        """As `create`, with the managedFields that `entries_of` makes; `options` are those that admission is shown."""
        resource = self._as_served(resource)
        if not resource.is_stored:
            raise method_not_supported(resource.plural, "create", resource.group)
        obj = in_namespace(resource, namespace, typed(resource, obj))
        if meta(obj).resourceVersion:
            raise bad_request("resourceVersion should not be set on objects to be created")
        strategy = strategy_of(stored_resource(resource))
        obj = apply_defaults(strategy.normalise(to_stored(resource, obj)))
        request = creation_of(resource, namespace, obj, options, dry_run)
        given = obj
        obj = await self._admission.mutate(request)
        name, prefix = meta(obj).name, meta(obj).generateName
        if name or not prefix:
            return answered(resource, await self._create_named(request, obj, given, entries_of))
        for attempt in range(_NAME_TRIES):
            generated = prefix[:_MOST_PREFIX_CHARACTERS] + self.world.chance.suffix()
            try:
                named = replace_meta(obj, name=generated)
                stored = await self._create_named(request, named, given, entries_of)
            except ApiError as error:
                if error.reason != "AlreadyExists" or attempt == _NAME_TRIES - 1:
                    raise
            else:
                return answered(resource, stored)
        raise AssertionError("the last try returns or raises")

    async def _create_named(self, request: Request, obj: Any, given: Any, entries_of: EntriesOf | None) -> Stored:
        """`given` is the object before admission and strategy: what these add is no manager's."""
        resource = request.resource
        strategy = strategy_of(stored_resource(resource))
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
        obj = strategy.prepare_create(obj, self._context)
        check_requested(resource, obj, None)
        check_new(strategy.resource, obj)
        key = Key(resource.bucket, meta(obj).namespace or "", meta(obj).name or "")
        obj, release = strategy.allocate(obj, None, self._context)
        try:
            if entries_of is not None:
                obj = replace_meta(obj, managedFields=entries_of(None, None, strategy.writable(given)))
            request.name, request.object = key.name, obj
            await self._admission.validate(request)
            if self.store.get(key) is not None:
                raise already_exists(resource.plural, key.name, resource.group)
            if request.dry_run:
                return derived(Stored(key, obj, b"", 0), obj)
            if resource.definition is not None:
                written = await self._versions.written(resource, obj)
                return await self._versions.read(resource, await self.store.create(key, written))
            stored = await self.store.create(key, obj)
            if resource.bucket == CRD_BUCKET:
                await self._definitions.settle()
            if resource.bucket == EVENT_BUCKET:
                await self.expiry.added(stored)
            return stored
        except Exists as error:
            raise already_exists(resource.plural, key.name, resource.group) from error
        except StoreError as error:
            fail(error)
        finally:
            if release is not None:
                release()
            if request.charge is not None:
                found = self.store.get(key)
                is_stored = found is not None and meta(found.object).uid == meta(obj).uid
                await self._admission.settle(request, is_stored=is_stored)
