"""What becomes of an object's fields before it is validated: unknown ones go, nulls go, defaults come.

Nothing that is handed in is changed; what stays as it is, is shared.
Kubernetes: apiextensions-apiserver/pkg/apiserver/schema/{pruning,defaulting}/algorithm.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from antei.api.customresources.structure import ABSENT, Structure

__all__ = ["META_FIELDS", "defaulted", "pruned", "unknown_fields"]

META_FIELDS = ("apiVersion", "kind", "metadata")


# Unknown fields


def pruned(data: Mapping[str, Any], structure: Structure) -> dict[str, Any]:
    """The object without what its schema does not have; apiVersion, kind and metadata stay."""
    result = _pruned(data, structure, is_resource=True)
    assert isinstance(result, dict)  # it was one
    return result


def _pruned(value: Any, node: Structure | None, *, is_resource: bool = False) -> Any:
    if isinstance(value, dict):
        keeps_all = node is not None and node.preserves_unknown
        is_resource = is_resource or (node is not None and node.is_embedded)
        kept = {}
        for name, child in value.items():
            if is_resource and name in META_FIELDS:
                kept[name] = child
            elif node is not None and name in node.properties:
                kept[name] = _pruned(child, node.properties[name])
            elif node is not None and isinstance(node.values, Structure):
                kept[name] = _pruned(child, node.values)
            elif keeps_all:
                kept[name] = child
            elif node is not None and node.values is True:
                kept[name] = _pruned(child, None)
        return kept
    if isinstance(value, list):
        item = node.items if node is not None else None
        if item is None and node is not None and node.preserves_unknown:
            return value
        return [_pruned(child, item) for child in value]
    return value


def unknown_fields(data: Mapping[str, Any], structure: Structure) -> list[str]:
    """The paths of what `pruned` takes away."""
    return list(_unknown(data, structure, "", is_resource=True))


def _unknown(value: Any, node: Structure | None, path: str, *, is_resource: bool = False) -> Iterator[str]:
    if isinstance(value, dict):
        is_resource = is_resource or (node is not None and node.is_embedded)
        for name, child in value.items():
            inner = f"{path}.{name}" if path else name
            if is_resource and name in META_FIELDS:
                continue
            if node is not None and name in node.properties:
                yield from _unknown(child, node.properties[name], inner)
            elif node is not None and isinstance(node.values, Structure):
                yield from _unknown(child, node.values, inner)
            elif node is not None and node.preserves_unknown:
                continue
            elif node is not None and node.values is True:
                yield from _unknown(child, None, inner)
            else:
                yield inner
    elif isinstance(value, list):
        item = node.items if node is not None else None
        if item is None and node is not None and node.preserves_unknown:
            return
        for index, child in enumerate(value):
            yield from _unknown(child, item, f"{path}[{index}]")


# Nulls and defaults


def defaulted(value: Any, node: Structure) -> Any:
    """The value with the schema's defaults, and without nulls where the schema takes none."""
    if isinstance(value, dict):
        return _defaulted_fields(value, node)
    if isinstance(value, list) and node.items is not None:
        item = node.items
        return [defaulted(_filled(child, item), item) for child in value]
    return value


def _defaulted_fields(value: Mapping[str, Any], node: Structure) -> dict[str, Any]:
    result = {}
    for name, child in value.items():
        below = node.properties.get(name)
        if below is None and isinstance(node.values, Structure):
            below = node.values
        if below is None:
            result[name] = child
            continue
        filled = _filled(child, below)
        if filled is None and not below.nullable:
            continue  # as if it had not been said
        result[name] = defaulted(filled, below)
    if node.has_defaults:
        for name, below in node.properties.items():
            if name not in result and below.default is not ABSENT:
                result[name] = defaulted(below.default, below)
    return result


def _filled(value: Any, node: Structure) -> Any:
    if value is None and not node.nullable and node.default is not ABSENT:
        return node.default
    return value
