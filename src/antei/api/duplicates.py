"""The keys that a JSON body has twice in one object, which plain decoding loses (sigs.k8s.io/json, strict)."""

from __future__ import annotations

from collections.abc import Iterator
from json import JSONDecoder
from typing import Any

from antei.api.schema import FieldSchema, Kind, StructSchema, ValueSchema, struct_schema

__all__ = ["all_duplicates", "duplicates"]


class _Pairs(list[tuple[str, Any]]):
    """An object as the pairs that were written, duplicates included."""


def duplicates(body: bytes, schema: StructSchema) -> list[str]:
    """The paths of the keys that an object known to the schema has twice; only asked when the counts differ."""
    try:
        data = JSONDecoder(object_pairs_hook=_Pairs).decode(body.decode())
    except RecursionError:
        return []
    return list(dict.fromkeys(_struct_duplicates(data, schema, "")))


def all_duplicates(body: bytes) -> list[str]:
    """The paths of all keys that an object has twice, whatever its type."""
    try:
        data = JSONDecoder(object_pairs_hook=_Pairs).decode(body.decode())
        return list(dict.fromkeys(_any_duplicates(data, "")))
    except RecursionError:
        return []


def _any_duplicates(data: Any, path: str) -> Iterator[str]:
    if isinstance(data, _Pairs):
        seen: set[str] = set()
        for key, value in data:
            place = f"{path}.{key}" if path else key
            if key in seen:
                yield place
            seen.add(key)
            yield from _any_duplicates(value, place)
    elif isinstance(data, list):
        for index, entry in enumerate(data):
            yield from _any_duplicates(entry, f"{path}[{index}]")


def _struct_duplicates(data: Any, schema: StructSchema, path: str) -> Iterator[str]:
    if not isinstance(data, _Pairs):
        return
    seen: set[str] = set()
    for key, value in data:
        known: FieldSchema | None = schema.fields.get(key)
        place = f"{path}.{key}" if path else key
        if known is None:
            continue
        if key in seen:
            yield place
        seen.add(key)
        yield from _value_duplicates(value, known.value, place)


def _value_duplicates(value: Any, expected: ValueSchema, path: str) -> Iterator[str]:
    if expected.kind is Kind.STRUCT and expected.struct is not None:
        yield from _struct_duplicates(value, struct_schema(expected.struct), path)
    elif expected.kind is Kind.LIST and isinstance(value, list) and not isinstance(value, _Pairs):
        for index, entry in enumerate(value):
            if expected.item is not None:
                yield from _value_duplicates(entry, expected.item, f"{path}[{index}]")
    elif expected.kind is Kind.MAP and isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, _ in value:
            if key in seen:
                yield f"{path}.{key}"
            seen.add(key)
