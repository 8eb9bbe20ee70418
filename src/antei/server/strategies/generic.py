"""The rules that hold for every kind, as hooks that a kind may override.

    create:  normalise ► prepare_create ► allocate       update:  normalise ► prepare_update ► allocate
    status:  normalise ► prepare_status        other subresources:  normalise ► prepare_subresource

All hooks are pure but for what they read through the `Context`: they take objects and return changed copies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from antei.api.errors import method_not_supported
from antei.api.objects import meta, replace, replace_meta
from antei.api.resources import Resource
from antei.server.allocation import ServiceAllocator
from antei.server.authorization import Rbac
from antei.server.strategies.empty_status import empty_status
from antei.store import Store
from antei.world import World

__all__ = ["Context", "Strategy"]


@dataclass(frozen=True, slots=True)
class Context:
    """What a strategy may look at besides the object."""

    store: Store
    world: World
    rbac: Rbac
    allocator: ServiceAllocator


class Strategy:
    #: Does `metadata.generation` count the changes of this kind's spec?
    has_generation = False
    #: Does an immediate DELETE answer with the object (else with a Status)?
    returns_deleted_object = False
    #: May a PUT create it?
    creates_on_update = False
    #: May a PUT leave out the resourceVersion, and so overwrite whatever is there?
    allows_unconditional_update = True
    #: What becomes of dependents where a DELETE does not say: Background, Orphan, or Unsupported (it has none).
    default_propagation = "Background"

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.has_status = "status" in resource.subresources

    def normalise(self, obj: Any) -> Any:
        """What a client wrote in a way that is accepted but not stored."""
        return obj

    def prepare_create(self, obj: Any, context: Context) -> Any:
        """Drops what a client may not set, and sets what the server alone sets; the object has name and uid."""
        return replace(obj, status=self._empty_status(obj)) if self.has_status else obj

    def _empty_status(self, obj: Any) -> Any | None:
        """Of the version that is stored, which may be another than the resource's."""
        return empty_status(type(obj)) if self.resource.definition is None else None

    def writable(self, obj: Any) -> Any:
        """What of a new object its creator can own (Kubernetes: ResetFieldsStrategy)."""
        return replace(obj, status=None) if self.has_status else obj

    def prepare_update(self, new: Any, old: Any, context: Context) -> Any:
        """A PUT or PATCH of the main resource; `new` has `old`'s system metadata already."""
        if self.has_status:
            new = replace(new, status=old.status)
        return self.counted(new, old)

    def prepare_status(self, new: Any, old: Any, context: Context) -> Any:
        """A PUT or PATCH of the status subresource: all but metadata and status stays."""
        return replace(old, metadata=new.metadata, status=new.status)

    def prepare_subresource(self, subresource: str, new: Any, old: Any, context: Context) -> Any:
        """A PUT or PATCH of any other subresource that takes the object itself."""
        raise method_not_supported(f"{self.resource.plural}/{subresource}", "update", self.resource.group)

    def allocate(self, new: Any, old: Any | None, context: Context) -> tuple[Any, Callable[[], None] | None]:
        """The object with what is given out once only, and what to call when its write has ended, well or not."""
        return new, None

    def counted(self, new: Any, old: Any) -> Any:
        """The object with the next generation where its spec has changed."""
        if self.has_generation and self.spec_changed(new, old):
            return replace_meta(new, generation=(meta(old).generation or 0) + 1)
        return new

    def spec_changed(self, new: Any, old: Any) -> bool:
        return any(
            getattr(new, field) != getattr(old, field)
            for field in type(new).__struct_fields__
            if field not in ("apiVersion", "kind", "metadata", "status")
        )

    def prepare_delete(self, obj: Any, context: Context) -> Any:
        """What a DELETE makes of the object before it is marked or removed."""
        return obj

    def grace_seconds(self, obj: Any, requested: int | None) -> int | None:
        """The grace period of a deletion; None for kinds that are not deleted gracefully."""
        return None
