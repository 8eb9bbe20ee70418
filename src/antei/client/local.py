"""The in-process transport: calls the API server's registry, without HTTP and without copies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from antei.api.objects import Object, meta
from antei.api.resources import Resource, resource_of
from antei.client import EventType, Listing, PatchType, WatchEvent
from antei.store import Stored

__all__ = ["LocalClient", "RegistryProtocol"]

T = TypeVar("T", bound=Object)


class RegistryProtocol(Protocol):
    """What this transport asks of the API server (`antei.server.registry.Registry`). All raise ApiError."""

    async def get(self, resource: Resource, namespace: str, name: str, subresource: str = "") -> Stored: ...

    async def list(
        self, resource: Resource, namespace: str | None, *, label_selector: str = "", field_selector: str = ""
    ) -> tuple[Sequence[Stored], int]:
        """The matching objects, sorted, and the revision they are consistent with."""
        ...

    def watch(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        after_revision: int,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[tuple[str, Stored]]:
        """("ADDED" | "MODIFIED" | "DELETED", object), as the selectors see it."""
        ...

    async def create(self, resource: Resource, namespace: str, obj: Any) -> Stored: ...

    async def update(
        self, resource: Resource, namespace: str, name: str, obj: Any, *, subresource: str = ""
    ) -> Stored: ...

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
    ) -> Stored: ...

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
    ) -> Stored: ...

    async def post_subresource(
        self, resource: Resource, namespace: str, name: str, subresource: str, body: Any
    ) -> None: ...


class LocalClient:
    """Implements `antei.client.Client`."""

    def __init__(self, registry: RegistryProtocol) -> None:
        self._registry = registry

    async def get(self, kind: type[T], name: str, namespace: str = "") -> T:
        stored = await self._registry.get(resource_of(kind), namespace, name)
        return _object(stored)

    async def list(
        self,
        kind: type[T],
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
    ) -> Listing[T]:
        items, revision = await self._registry.list(
            resource_of(kind), namespace, label_selector=label_selector, field_selector=field_selector
        )
        return Listing(tuple(_object(stored) for stored in items), str(revision))

    async def watch(
        self,
        kind: type[T],
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[WatchEvent[T]]:
        changes = self._registry.watch(
            resource_of(kind),
            namespace,
            after_revision=int(resource_version or 0),
            label_selector=label_selector,
            field_selector=field_selector,
        )
        async for change_type, stored in changes:
            yield WatchEvent(EventType(change_type), _object(stored))

    async def create(self, obj: T) -> T:
        stored = await self._registry.create(resource_of(type(obj)), meta(obj).namespace or "", obj)
        return _object(stored)

    async def update(self, obj: T, subresource: str = "") -> T:
        metadata = meta(obj)
        stored = await self._registry.update(
            resource_of(type(obj)),
            metadata.namespace or "",
            metadata.name or "",
            obj,
            subresource=subresource,
        )
        return _object(stored)

    async def patch(
        self,
        kind: type[T],
        name: str,
        namespace: str,
        patch: Mapping[str, Any] | Sequence[Any],
        *,
        patch_type: PatchType = PatchType.MERGE,
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
    ) -> T:
        stored = await self._registry.patch(
            resource_of(kind),
            namespace,
            name,
            msgspec.to_builtins(patch),
            patch_type=patch_type.value,
            subresource=subresource,
            field_manager=field_manager,
            force=force,
        )
        return _object(stored)

    async def delete(
        self,
        kind: type[T],
        name: str,
        namespace: str = "",
        *,
        grace_period_seconds: int | None = None,
        propagation_policy: str | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> None:
        await self._registry.delete(
            resource_of(kind),
            namespace,
            name,
            grace_period_seconds=grace_period_seconds,
            propagation_policy=propagation_policy,
            uid=uid,
            resource_version=resource_version,
        )

    async def post_subresource(self, kind: type[T], name: str, namespace: str, subresource: str, body: Any) -> None:
        await self._registry.post_subresource(resource_of(kind), namespace, name, subresource, body)

    async def aclose(self) -> None:
        """Nothing to let go of: the registry is the server's."""


def _object(stored: Stored) -> Any:
    return stored.object
