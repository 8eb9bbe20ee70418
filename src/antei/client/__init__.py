"""How controllers, node agents and tools see a cluster: one Client Protocol over two transports.

`client.local` calls the API server in its own process, `client.http` speaks to any Kubernetes API server
through a kubeconfig. Kinds are lightkube's resource classes (`lightkube.resources.core_v1.Pod`). All calls
raise `antei.api.errors.ApiError`. What a call returns is shared and must not be mutated.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from antei.api.objects import Object

__all__ = ["Client", "EventType", "Listing", "PatchType", "WatchEvent"]

T = TypeVar("T", bound=Object)


class EventType(StrEnum):
    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


class PatchType(StrEnum):
    JSON = "application/json-patch+json"
    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"
    APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    items: tuple[T, ...]
    resource_version: str


class WatchEvent(msgspec.Struct, Generic[T], frozen=True):
    """A change of one object. A BOOKMARK has an object with nothing but its resourceVersion."""

    type: EventType
    object: T


class Client(Protocol):
    async def get(self, kind: type[T], name: str, namespace: str = "") -> T: ...

    async def list(
        self,
        kind: type[T],
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
    ) -> Listing[T]:
        """The objects of one namespace, or of all where it is None."""
        ...

    def watch(
        self,
        kind: type[T],
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[WatchEvent[T]]:
        """Changes after that resourceVersion. Raises ApiError 410 when it is no longer kept: list again."""
        ...

    async def create(self, obj: T) -> T: ...

    async def update(self, obj: T, subresource: str = "") -> T:
        """Replace. With a resourceVersion in its metadata it is a compare-and-swap (409 Conflict)."""
        ...

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
    ) -> T: ...

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
        """Deletion with preconditions; graceful for pods. Raises 404, or 409 when a precondition fails."""
        ...

    async def post_subresource(self, kind: type[T], name: str, namespace: str, subresource: str, body: Any) -> None:
        """POST to `NAME/binding` (core/v1 Binding) or `NAME/eviction` (policy/v1 Eviction)."""
        ...

    async def aclose(self) -> None: ...
