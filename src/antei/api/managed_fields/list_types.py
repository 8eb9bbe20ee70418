"""Which lists and maps server-side apply takes whole, and which item by item.

By the types' listType, listMapKey and mapType; a list of which nothing is said is atomic, a map or struct is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from antei.api.type_facts import type_facts

__all__ = ["KEY_DEFAULTS", "is_atomic_map", "is_atomic_struct", "list_keys"]

#: What a key field is taken for where an item leaves it out, by the field's name.
KEY_DEFAULTS: Mapping[str, str] = {"protocol": "TCP"}


def list_keys(owner: type[Any], field: str) -> tuple[str, ...] | None:
    """The keys of a list's items; none for a set; None for a list that is atomic."""
    kind = type_facts(owner).of(field).list
    if kind is None or kind == "atomic":
        return None
    return () if isinstance(kind, str) else kind


def is_atomic_struct(owner: type[Any], field: str, struct: type[Any]) -> bool:
    """What is said of the field comes before what is said of its type."""
    return (type_facts(owner).of(field).map or type_facts(struct).map) == "atomic"


def is_atomic_map(owner: type[Any], field: str) -> bool:
    return type_facts(owner).of(field).map == "atomic"
