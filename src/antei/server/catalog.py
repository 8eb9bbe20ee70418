"""The kinds that are served at this moment: the built-in ones, and those that CustomResourceDefinitions define.

It follows the store: a CRD that is established, or changes, or goes, counts from its write on. Custom kinds come from
their CRDs alone, so a restart finds them before the first request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from antei.api.customresources.definition import CRD_BUCKET, CustomKind, condition_of, custom_kind
from antei.api.objects import meta
from antei.api.resources import Resource, all_resources, preference, resource_for_kind, resource_named
from antei.api.retired import ServedVersion, served_versions
from antei.store import Store, Stored

__all__ = ["Catalog"]


class Catalog:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._items: tuple[Stored, ...] = ()
        self._known: dict[str, tuple[int, CustomKind]] = {}
        self._generation = 0
        self._by_name: dict[tuple[str, str, str], ServedVersion] = {}
        self._by_kind: dict[tuple[str, str], Resource] = {}
        self._resources: tuple[Resource, ...] = all_resources()

    @property
    def generation(self) -> int:
        """Changes when the set of kinds, or what is said of one of them, changes."""
        self._follow()
        return self._generation

    def named(self, group: str, version: str, plural: str) -> Resource | None:
        found = resource_named(group, version, plural)
        if found is not None:
            return found
        self._follow()
        served = self._by_name.get((group, version, plural))
        return served.resource if served is not None else None

    def for_kind(self, api_version: str, kind: str) -> Resource | None:
        found = resource_for_kind(api_version, kind)
        if found is not None:
            return found
        self._follow()
        return self._by_kind.get((api_version, kind))

    def resources(self) -> tuple[Resource, ...]:
        """Every kind in every version, sorted as `all_resources`."""
        self._follow()
        return self._resources

    def schema_of(self, resource: Resource) -> Mapping[str, Any] | None:
        """The openAPIV3Schema of a custom kind in that version; None for a built-in one."""
        return resource.definition.schema if resource.definition is not None else None

    def current(self, resource: Resource) -> Resource | None:
        """A custom kind's Resource as it is now, whatever its CRD was when `resource` was made of it."""
        if resource.definition is None:
            return resource
        return self.named(resource.group, resource.version, resource.plural)

    def served(self, group: str, version: str, plural: str) -> ServedVersion | None:
        """A custom kind's version that is served."""
        self._follow()
        return self._by_name.get((group, version, plural))

    def served_versions(self) -> tuple[ServedVersion, ...]:
        """Built-in kinds, retired versions, and custom kinds."""
        self._follow()
        return (*served_versions(), *self._by_name.values())

    def _follow(self) -> None:
        items = self._store.list(CRD_BUCKET).items
        if items is self._items:
            return  # the store makes another tuple when a CRD was written
        self._items = items
        self._known = {stored.key.name: self._kind(stored) for stored in items}
        self._rebuild()

    def _kind(self, stored: Stored) -> tuple[int, CustomKind]:
        """Where only the CRD's status was written, objects need not be looked at again."""
        known = self._known.get(stored.key.name)
        if known is None:
            return stored.revision, custom_kind(stored.object)
        revision, kind = known
        if revision == stored.revision:
            return known
        if kind.crd.spec == stored.object.spec and meta(kind.crd).uid == meta(stored.object).uid:
            return stored.revision, custom_kind(stored.object, kind.schema_revision)
        return stored.revision, custom_kind(stored.object)

    def _rebuild(self) -> None:
        self._generation += 1
        established = [kind for _, kind in self._known.values() if condition_of(kind.crd, "Established") == "True"]
        self._by_name, self._by_kind, custom = {}, {}, []
        for kind in established:
            for resource in kind.served:
                if resource_named(resource.group, resource.version, resource.plural) is not None:
                    continue  # what is built in is not replaced
                definition = resource.definition
                assert definition is not None
                self._by_name[resource.group, resource.version, resource.plural] = ServedVersion(
                    group=resource.group,
                    version=resource.version,
                    resource=resource,
                    stored=resource,
                    warning=definition.warning,
                )
                self._by_kind[resource.api_version, resource.kind] = resource
                custom.append(resource)
        self._resources = tuple(sorted((*all_resources(), *custom), key=preference)) if custom else all_resources()
