"""How defaults are filled into Structs that others share: a copy where something changes, the same object otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

__all__ = ["change", "each", "fill", "inside"]

S = TypeVar("S")


def fill(struct: S, **defaults: Any) -> S:
    """The Struct with these values where it has None or an empty string."""
    missing = {name: value for name, value in defaults.items() if getattr(struct, name) in (None, "")}
    return change(struct, **missing)


def change(struct: S, **values: Any) -> S:
    """The Struct with these values, itself if it has them."""
    changed = {name: value for name, value in values.items() if getattr(struct, name) is not value}
    return msgspec.structs.replace(struct, **changed) if changed else struct  # type: ignore[type-var]


def inside(struct: S, **functions: Callable[[Any], Any]) -> S:
    """The Struct with each of these fields, where it is set, put through a function."""
    return change(
        struct,
        **{
            name: function(value)
            for name, function in functions.items()
            if (value := getattr(struct, name)) is not None
        },
    )


def each(function: Callable[[Any], Any]) -> Callable[[list[Any]], list[Any]]:
    """A function over lists out of one over items; a list that does not change is returned itself."""

    def over(items: list[Any]) -> list[Any]:
        result = [function(item) for item in items]
        return result if any(new is not old for new, old in zip(result, items, strict=True)) else items

    return over
