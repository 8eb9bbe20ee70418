"""What can be asked of every kind, and what all verbs stand on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NoReturn

from antei.api.conversion import stored_resource
from antei.api.errors import internal_error, not_found
from antei.api.resources import Resource
from antei.server.admission import Admission
from antei.server.authorization import Rbac
from antei.server.catalog import Catalog
from antei.server.customresources.definitions import Definitions
from antei.server.customresources.versions import Versions
from antei.server.expiry import EventExpiry
from antei.server.listing import Page, Pager
from antei.server.metadata import answered, derived
from antei.server.scale import scale_of
from antei.server.selection import SelectedWatch, narrowing_of, predicate_of, require_past_revision
from antei.server.strategies import Context
from antei.store import Key, Store, Stored, StoreError
from antei.world import World

__all__ = ["Reading", "fail"]


class Reading:
    """`get`, `list`, `watch`. What it is made of is put together by `Registry`."""

    store: Store
    world: World
    catalog: Catalog
    rbac: Rbac
    expiry: EventExpiry
    _versions: Versions
    _context: Context
    _pager: Pager
    _admission: Admission
    _definitions: Definitions

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
        narrowing = narrowing_of(resource, field_selector)
        page = self._pager.page(resource.bucket, namespace, wanted, limit, continue_token, revision, narrowing)
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


def fail(error: StoreError) -> NoReturn:
    """The store itself cannot write: closed, or the disk is full."""
    raise internal_error(str(error)) from error
