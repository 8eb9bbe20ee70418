"""The custom kinds of the cluster, as its CustomResourceDefinitions come, change and go: for controllers of any kind.

A kind is known from when its definition is established until the definition is gone; a definition that names another
version to store is another kind's coming and the old one's going.
"""

from __future__ import annotations

from collections.abc import Callable

from lightkube.resources.apiextensions_v1 import CustomResourceDefinition

from antei.api.customresources.definition import CustomKind, condition_of, custom_kind
from antei.api.objects import name_of
from antei.api.resources import Resource, resource_for_kind
from antei.client.informer import Informers

__all__ = ["CustomKinds"]

Listener = Callable[[Resource], None]


class CustomKinds:
    def __init__(self, informers: Informers) -> None:
        self._definitions = informers.of(CustomResourceDefinition)
        self._kinds: dict[str, CustomKind] = {}  # by the definition's name
        self._watched: dict[str, Resource] = {}  # by the definition's name: the version that listeners were told of
        self._came: list[Listener] = []
        self._gone: list[Listener] = []

    def setup(self, came: Listener | None = None, gone: Listener | None = None) -> None:
        """Listeners are told of each kind in the version that is stored; called once."""
        if came is not None:
            self._came.append(came)
        if gone is not None:
            self._gone.append(gone)
        self._definitions.add_handler(self._changed)

    def resources(self) -> tuple[Resource, ...]:
        """Each kind in the version that is stored, in the order of their definitions' names."""
        return tuple(self._watched[name] for name in sorted(self._watched))

    def for_kind(self, api_version: str, kind: str) -> Resource | None:
        """A kind that is served, built in or custom."""
        found = resource_for_kind(api_version, kind)
        if found is not None:
            return found
        for custom in self._kinds.values():
            for resource in custom.served:
                if (resource.api_version, resource.kind) == (api_version, kind):
                    return resource
        return None

    def _changed(self, old: CustomResourceDefinition | None, new: CustomResourceDefinition | None) -> None:
        crd = new if new is not None else old
        assert crd is not None
        name = name_of(crd)
        if new is None or condition_of(new, "Established") != "True":
            self._kinds.pop(name, None)
            self._watch(name, None)
            return
        kind = self._kinds[name] = custom_kind(new)
        served = [resource for resource in kind.served if resource.is_storage_version] or list(kind.served[:1])
        self._watch(name, served[0] if served else None)

    def _watch(self, name: str, resource: Resource | None) -> None:
        known = self._watched.get(name)
        if known is not None and resource is not None and _is_same(known, resource):
            return
        if known is not None:
            del self._watched[name]
            for listener in self._gone:
                listener(known)
        if resource is not None:
            self._watched[name] = resource
            for listener in self._came:
                listener(resource)


def _is_same(left: Resource, right: Resource) -> bool:
    return (left.group, left.version, left.plural, left.kind, left.namespaced) == (
        right.group,
        right.version,
        right.plural,
        right.kind,
        right.namespaced,
    )
