"""The rules that hold for every kind, as hooks that a kind may override.

All hooks are pure but for what they read through the `Context`: they take objects and return changed copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from antei.api.errors import FieldError
from antei.api.objects import meta, replace, replace_meta
from antei.api.resources import Resource
from antei.store import Store
from antei.world import World

__all__ = ["Context", "Strategy"]


@dataclass(frozen=True, slots=True)
class Context:
    """What a strategy may look at besides the object."""

    store: Store
    world: World


class Strategy:
    #: Does `metadata.generation` count the changes of this kind's spec?
    has_generation = False
    #: Does an immediate DELETE answer with the object (else with a Status)?
    returns_deleted_object = False
    #: May a PUT create it?
    creates_on_update = False

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.has_status = "status" in resource.subresources

    def prepare_create(self, obj: Any, context: Context) -> Any:
        """Drops what a client may not set, and sets what the server alone sets."""
        return replace(obj, status=None) if self.has_status else obj

    def validate_create(self, obj: Any, context: Context) -> Sequence[FieldError]:
        """What only a look at the cluster tells (api.validation knows the rest)."""
        return ()

    def created(self, stored: Any, context: Context) -> None:
        """The object has been stored."""

    def prepare_update(self, new: Any, old: Any, context: Context) -> Any:
        """A PUT or PATCH of the main resource; `new` has `old`'s system metadata already."""
        if self.has_status:
            new = replace(new, status=old.status)
        if self.has_generation and self.spec_changed(new, old):
            new = replace_meta(new, generation=(meta(old).generation or 0) + 1)
        return new

    def validate_update(self, new: Any, old: Any, context: Context) -> Sequence[FieldError]:
        return ()

    def prepare_status(self, new: Any, old: Any, context: Context) -> Any:
        """A PUT or PATCH of the status subresource: all but metadata and status stays."""
        return replace(old, metadata=new.metadata, status=new.status)

    def spec_changed(self, new: Any, old: Any) -> bool:
        return any(
            getattr(new, field) != getattr(old, field)
            for field in type(new).__struct_fields__
            if field not in ("apiVersion", "kind", "metadata", "status")
        )

    def grace_seconds(self, obj: Any, requested: int | None) -> int | None:
        """The grace period of a deletion; None for kinds that are not deleted gracefully."""
        return None

    def refuse_delete(self, obj: Any, context: Context) -> None:
        """Raises ApiError where this object must stay."""
