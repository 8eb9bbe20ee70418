"""Server-side apply: one configuration, applied to what is there or to nothing.

    configuration ──► merged with the current object ──► the registry's own write, with the managers that result
                          (api.managed_fields)                and compared and swapped again if it was disturbed

Kubernetes: apiserver/pkg/endpoints/handlers/patch.go (applyPatcher).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from antei.api.conversion import to_stored
from antei.api.decode import decode_data
from antei.api.errors import ApiError, conflict
from antei.api.managed_fields import Applied, Applying, apply_configuration
from antei.api.objects import meta
from antei.api.resources import Resource
from antei.server.admission import Options, write_options
from antei.server.authorization import Rbac
from antei.server.caller import caller
from antei.server.field_management import Entries, EntriesOf, is_same, json_of
from antei.server.metadata import MODIFIED, answered, derived, in_namespace
from antei.server.scale import scale_of
from antei.store import Key, Store, Stored

__all__ = ["ObjectWriter", "ServerSideApply"]


class ObjectWriter(Protocol):
    """What applying asks of the registry."""

    rbac: Rbac

    async def create_with(
        self,
        resource: Resource,
        namespace: str,
        obj: Any,
        entries_of: EntriesOf | None,
        *,
        options: Options,
        dry_run: bool = False,
    ) -> Stored: ...

    async def modify(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: Callable[[Stored], Any],
        *,
        subresource: str = "",
        entries_of: EntriesOf | None = None,
        options: Options | None = None,
        dry_run: bool = False,
    ) -> Stored: ...


class ServerSideApply:
    def __init__(self, store: Store, writer: ObjectWriter) -> None:
        self._store = store
        self._writer = writer

    async def apply(
        self, resource: Resource, namespace: str, name: str, applying: Applying, *, dry_run: bool
    ) -> tuple[Stored, bool]:
        """The object, or its Scale, and whether it is new.

        Raises ApiError: 409 with a cause for each field that another manager has otherwise, 400 and 422 for what is
        no such object, 404 for a subresource of nothing.
        """
        subresource = applying.writer.subresource
        key = Key(resource.bucket, namespace if resource.namespaced else "", name)
        if not subresource and "create" in resource.verbs and self._store.get(key) is None:
            self._writer.rbac.require_create(caller(), resource, namespace, name)
            try:
                return await self._create(resource, namespace, applying, dry_run), True
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise  # another one has created it meanwhile
        stored = await self._change(resource, namespace, name, applying, dry_run)
        if subresource == "scale":
            return derived(stored, scale_of(stored.object)), False
        return answered(resource, stored), False

    async def _create(self, resource: Resource, namespace: str, applying: Applying, dry_run: bool) -> Stored:
        metadata = applying.config["metadata"]
        if metadata.get("uid") or metadata.get("resourceVersion"):
            raise conflict(resource.plural, metadata["name"], MODIFIED, resource.group)
        applied = apply_configuration(applying, None, None)
        obj = _decoded(resource, applied)

        def entries_of(*_: object) -> Entries:
            return applied.entries(None, is_changed=True)

        options = write_options("CreateOptions", applying.writer.manager, dry_run)
        return await self._writer.create_with(resource, namespace, obj, entries_of, options=options, dry_run=dry_run)

    async def _change(self, resource: Resource, namespace: str, name: str, applying: Applying, dry_run: bool) -> Stored:
        latest: list[Applied] = []

        def change(current: Stored) -> Any:
            known = meta(current.object).managedFields
            latest[:] = [apply_configuration(applying, json_of(resource, current.object), known)]
            return to_stored(resource, in_namespace(resource, namespace, _decoded(resource, latest[0])))

        def entries_of(_: object, current: Stored | None, new: Any) -> Entries:
            assert current is not None  # `change` was called with it
            known = meta(current.object).managedFields
            return latest[0].entries(known, is_changed=not is_same(current.object, new))

        return await self._writer.modify(
            resource,
            namespace,
            name,
            change,
            subresource=applying.writer.subresource,
            entries_of=entries_of,
            options=write_options("UpdateOptions", applying.writer.manager, dry_run),
            dry_run=dry_run,
        )


def _decoded(resource: Resource, applied: Applied) -> Any:
    """Fields that the type has not were refused before."""
    return decode_data(applied.data, resource.type, field_validation="Ignore").object
