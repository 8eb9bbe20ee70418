"""Every kind's create, get, list, watch, update, patch and delete: one generic implementation over the store.

    create ──► stored version ──► defaults ──► mutate ──► strategy ──► validation ──► validate ──► store
    change ──► current ──► new ──► identity ──► defaults ──► mutate ──► strategy ──► validation ──► validate ──┐
                  ▲                                                                                            ▼
                  └──────────────── changed meanwhile, and no resourceVersion was named ──────────── compare-and-swap

`mutate` and `validate` are the two rounds of admission. What the server itself writes (a binding, the condition of an
evicted pod) is not asked about again: its command was.

What differs from kind to kind is in `strategies`; deletion, eviction, binding, scale, server-side apply and who owns
which field have modules of their own.
Kubernetes: apiserver/pkg/registry/generic/registry/store.go, apiserver/pkg/registry/rest/{create,update}.go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn

import msgspec

from antei.api.conversion import stored_resource, to_stored
from antei.api.customresources.definition import CRD_BUCKET
from antei.api.decode import decode_data
from antei.api.defaults import apply_defaults
from antei.api.errors import (
    ApiError,
    already_exists,
    bad_request,
    conflict,
    internal_error,
    method_not_supported,
    not_found,
)
from antei.api.objects import meta, replace_meta, to_time
from antei.api.patch import APPLY_PATCH, apply_patch, check_patch_type
from antei.api.resources import Resource
from antei.api.retired import served_versions
from antei.server.admission import Admission, Options, Request, write_options
from antei.server.admitted import (
    after_admission,
    change_of,
    command_on,
    connection_to,
    creation_of,
    deletion_of,
    shown_to_judges,
)
from antei.server.allocation import ServiceAllocator
from antei.server.apply import ServerSideApply
from antei.server.authorization import Rbac
from antei.server.binding import bound, check_binding
from antei.server.caller import caller
from antei.server.catalog import Catalog
from antei.server.commands import command_of
from antei.server.customresources.definitions import Definitions
from antei.server.customresources.versions import Versions
from antei.server.deletion import (
    DeleteOptions,
    Deletion,
    Step,
    is_finished,
    plan_deletion,
    validate_options,
)
from antei.server.eviction import Evictions
from antei.server.expiry import EVENT_BUCKET, EventExpiry
from antei.server.field_management import EntriesOf, applying_of, check_apply_options, entries_of_update
from antei.server.listing import Page, Pager
from antei.server.metadata import (
    MODIFIED,
    answered,
    check_changed,
    check_identity,
    check_name,
    check_new,
    check_requested,
    derived,
    in_namespace,
    require_revision,
    typed,
    with_system_metadata,
)
from antei.server.scale import scale_of, scaled
from antei.server.selection import SelectedWatch, narrowing_of, predicate_of, require_past_revision
from antei.server.strategies import Context, strategy_of
from antei.server.webhooks import NoTransport, WebhookCaller, WebhookTransport
from antei.store import Conflict, Exists, Key, Missing, Store, Stored, StoreError
from antei.store.state import stored_as
from antei.world import World

__all__ = ["Registry"]

#: Tries of a write that names no resourceVersion (Kubernetes: patches 5 retries; plain updates have no limit there).
_WRITE_TRIES = 6
#: Tries of a generated name (Kubernetes: maxNameGenerationCreateAttempts).
_NAME_TRIES = 8
#: Kubernetes: names.maxGeneratedNameLength, without the suffix.
_MOST_PREFIX_CHARACTERS = 58

Change = Callable[[Stored], Any]


class Registry:
    """Implements `antei.client.local.RegistryProtocol`. All methods raise ApiError.

    Objects come and go in the version of the `resource` that is passed; they are stored in one.
    """

    def __init__(self, store: Store, world: World, *, webhooks: WebhookTransport | None = None) -> None:
        """`webhooks` is how webhooks are called; without it there are none that could be."""
        self.store = store
        self.world = world
        # The kinds are found on disk, once a process: here, before a loop would have to wait for it.
        served_versions()
        self.catalog = Catalog(store)
        webhooks = webhooks or NoTransport()
        self._versions = Versions(WebhookCaller(store, webhooks), world.chance)
        self.rbac = Rbac(store)
        self._context = Context(store, world, ServiceAllocator(store, world.chance))
        self._pager = Pager(store)
        self._admission = Admission(store, world, webhooks, self.catalog.resources, self._versions)
        self._evictions = Evictions(store, world, self)
        self._server_side_apply = ServerSideApply(store, self)
        self.expiry = EventExpiry(store, world.clock)
        self._definitions = Definitions(store, self, world.clock)

    def mount_tokens(self) -> None:
        """From now on new pods get a volume with a token of their account: there is somebody who signs it."""
        self._admission.mount_tokens()

    # Reading

    async def get(self, resource: Resource, namespace: str, name: str, subresource: str = "") -> Stored:
        """`scale` is answered as a Scale; any other subresource is read as the object itself."""
        resource = self._as_served(resource)
        stored = await self._current(resource, namespace, name)
        if subresource == "scale":
            return derived(stored, scale_of(stored.object))
        return answered(resource, stored)

    async def list(
        self, resource: Resource, namespace: str | None, *, label_selector: str = "", field_selector: str = ""
    ) -> tuple[Sequence[Stored], int]:
        page = await self.list_page(resource, namespace, label_selector=label_selector, field_selector=field_selector)
        return page.items, page.revision

    async def list_page(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_token: str = "",
        revision: int | None = None,
    ) -> Page:
        """A list in chunks, as it was at `revision` where that is given.

        Raises 400 for a bad selector or token, 410 for a revision or a token that has expired, 504 for a revision
        that is yet to come.
        """
        resource = self._as_served(resource)
        wanted = predicate_of(resource, label_selector, field_selector)
        page = self._pager.page(resource.bucket, namespace, wanted, limit, continue_token, revision)
        if resource.definition is not None:
            converted = await self._versions.read_all(resource, page.items)
            return Page(converted, page.revision, page.continue_token, page.remaining)
        if stored_resource(resource).type is resource.type:
            return page
        items = [answered(resource, stored) for stored in page.items]
        return Page(items, page.revision, page.continue_token, page.remaining)

    def watch(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        after_revision: int,
        label_selector: str = "",
        field_selector: str = "",
    ) -> SelectedWatch:
        """Changes after that revision. Raises 400 for a bad selector, 504 for a revision that is yet to come.

        Iterating raises 410 when the revision is no longer kept, or when the reader is too slow.
        """
        resource = self._as_served(resource)
        wanted = predicate_of(resource, label_selector, field_selector)
        require_past_revision(after_revision, self.store.revision)
        narrowing = narrowing_of(resource, field_selector)
        changes = self.store.watch(resource.bucket, namespace, after_revision, narrowing)
        if resource.definition is not None:
            self._definitions.follow(resource.bucket, changes)
            return SelectedWatch(changes, wanted, None, after_revision, partial(self._versions.read, resource))
        return SelectedWatch(changes, wanted, lambda stored: answered(resource, stored), after_revision)

    def _as_served(self, resource: Resource) -> Resource:
        """A custom kind as its definition is now: callers keep Resources, definitions change. Raises 404."""
        current = self.catalog.current(resource)
        if current is None:
            raise not_found(resource.plural, "", resource.group)
        return current

    async def _current(self, resource: Resource, namespace: str, name: str) -> Stored:
        stored = self.store.get(Key(resource.bucket, namespace if resource.namespaced else "", name))
        if stored is None:
            raise not_found(resource.plural, name, resource.group)
        return stored if resource.definition is None else await self._versions.read(resource, stored)

    # Creating

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
                await self.expiry.sweep_when_due()
            return stored
        except Exists as error:
            raise already_exists(resource.plural, key.name, resource.group) from error
        except StoreError as error:
            _fail(error)
        finally:
            if release is not None:
                release()
            if request.charge is not None:
                found = self.store.get(key)
                is_stored = found is not None and meta(found.object).uid == meta(obj).uid
                await self._admission.settle(request, is_stored=is_stored)

    # Changing

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
        merged_by = None if resource.definition is not None else kind

        def patched(current: Stored) -> Any:
            seen = derived(current, scale_of(current.object)) if is_scale else answered(resource, current)
            data = apply_patch(patch_type, msgspec.json.decode(seen.data), patch, merged_by)
            decoded = decode_data(data, kind, field_validation=field_validation)
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
            patched,
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
        for _ in range(_WRITE_TRIES):
            current = await self._current(resource, namespace, name)
            new = change(current)
            given = meta(new).managedFields
            check_identity(resource, new, current)
            new = strategy.normalise(new)
            if subresource in ("", "scale", "ephemeralcontainers"):
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
                _fail(error)
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

    # Deleting

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
        orphan_dependents: bool | None = None,
        dry_run: bool = False,
    ) -> Stored:
        """The object as the deletion leaves it, or its last state."""
        options = DeleteOptions(grace_period_seconds, propagation_policy, orphan_dependents, uid, resource_version)
        return (await self.delete_with(resource, namespace, name, options, dry_run=dry_run)).stored

    async def delete_with(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        options: DeleteOptions,
        *,
        is_admitted: bool = False,
        is_of_collection: bool = False,
        dry_run: bool = False,
    ) -> Deletion:
        """`is_admitted` for what admission is not to be asked about (again)."""
        resource = self._as_served(resource)
        validate_options(options)
        strategy = strategy_of(stored_resource(resource))
        for _ in range(_WRITE_TRIES):
            current = await self._current(resource, namespace, name)
            prepared = strategy.prepare_delete(current.object, self._context)
            plan = plan_deletion(strategy, replace(current, object=prepared), options, self.world.clock.now())
            try:
                if plan.step is Step.PENDING:
                    return Deletion(answered(resource, current), False, strategy.returns_deleted_object)
                if not is_admitted:
                    request = deletion_of(resource, current, options, dry_run, is_of_collection=is_of_collection)
                    await self._admission.mutate(request)
                    await self._admission.validate(request)
                if plan.step is Step.REMOVE:
                    removed = current if dry_run else await self._removed(resource, current)
                    return Deletion(answered(resource, removed), True, strategy.returns_deleted_object)
                marked = await self._commit(resource, current, plan.object, dry_run)
                return Deletion(answered(resource, marked), False, True)
            except Conflict:
                continue
            except Missing as error:
                raise not_found(resource.plural, name, resource.group) from error
            except StoreError as error:
                _fail(error)
        raise conflict(resource.plural, name, MODIFIED, resource.group)

    async def delete_collection(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        options: DeleteOptions | None = None,
        dry_run: bool = False,
    ) -> tuple[Sequence[Stored], int]:
        """Deletes what the selectors match; what is gone by then is passed over. Returns the objects as they were."""
        items, revision = await self.list(
            resource, namespace, label_selector=label_selector, field_selector=field_selector
        )
        for stored in items:
            try:
                await self.delete_with(
                    resource,
                    stored.key.namespace,
                    stored.key.name,
                    options or DeleteOptions(),
                    is_of_collection=True,
                    dry_run=dry_run,
                )
            except ApiError as error:
                if error.code != 404:
                    raise
        return items, revision

    # Subresources that are connections and commands

    async def admit_connection(
        self, resource: Resource, namespace: str, name: str, subresource: str, options: Options
    ) -> None:
        """Asks admission about a connection to `pods/NAME/exec` and the like. Raises ApiError for what is refused."""
        request = connection_to(resource, subresource, namespace, name, options)
        await self._admission.mutate(request)
        await self._admission.validate(request)

    async def post_subresource(
        self, resource: Resource, namespace: str, name: str, subresource: str, body: Any, *, dry_run: bool = False
    ) -> None:
        """`pods/NAME/binding` with a Binding, `pods/NAME/eviction` with an Eviction; a mapping is taken, too."""
        served = resource.subresources.get(subresource)
        if served is None or "create" not in served.verbs:
            raise not_found(f"{resource.plural}/{subresource}", name, resource.group)
        if subresource not in ("binding", "eviction"):
            raise method_not_supported(f"{resource.plural}/{subresource}", "create", resource.group)
        body = command_of(served, body)
        request = command_on(resource, subresource, namespace, name, body, dry_run)
        request.object = body = await self._admission.mutate(request)
        await self._admission.validate(request)
        if subresource == "eviction":
            await self._evictions.evict(namespace, name, body, dry_run=dry_run)
            return
        check_binding(body, name)
        await self.modify(
            resource,
            namespace,
            name,
            lambda current: bound(current.object, body, self.world.clock.now()),
            subresource="binding",
            dry_run=dry_run,
        )


def _fail(error: StoreError) -> NoReturn:
    """The store itself cannot write: closed, or the disk is full."""
    raise internal_error(str(error)) from error
