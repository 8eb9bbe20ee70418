"""Sets of fields: as sets of paths here, as `fieldsV1` in an object's managedFields.

A path is a tuple of elements as fieldsV1 writes them: `f:NAME` a field or a map's key, `k:{…}` the item of a list
that these fields name, `v:…` the item of a set. A field that is in the set has `{}`, or `.` beside its children.
Kubernetes: structured-merge-diff/fieldpath/{serialize,serialize-pe,element,path}.go.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from antei.api.managed_fields.list_types import KEY_DEFAULTS
from antei.api.managed_fields.shapes import LEAF, UNTYPED, Form, Shape, child_shape

__all__ = [
    "FieldSet",
    "MalformedFields",
    "Path",
    "field_element",
    "fields_v1",
    "key_element",
    "parse_fields_v1",
    "path_text",
    "value_element",
    "with_struct_fields",
]

Path = tuple[str, ...]
FieldSet = frozenset[Path]

_SELF = "."


class MalformedFields(Exception):
    """What is no fieldsV1."""


def field_element(name: str) -> str:
    return f"f:{name}"


def value_element(value: Any) -> str:
    return f"v:{_canonical(value)}"


def key_element(item: Any, keys: tuple[str, ...], defaults: Mapping[str, Any] = KEY_DEFAULTS) -> str | None:
    """What names an item among its like; None where it has none of the keys."""
    if not isinstance(item, dict):
        return None
    named = {}
    for key in sorted(keys):
        value = item.get(key)
        if value is None:
            value = defaults.get(key)
        if value is not None:
            named[key] = value
    return f"k:{_canonical(named)}" if any(item.get(key) is not None for key in keys) else None


def _canonical(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def fields_v1(paths: Iterable[Path]) -> dict[str, Any]:
    """The set as fieldsV1, its elements in order."""
    tree: dict[str, Any] = {}
    members = set(paths)
    for path in sorted(members):
        node = tree
        for depth, element in enumerate(path):
            if element not in node:
                node[element] = {}
            elif depth < len(path) - 1 and path[: depth + 1] in members and not node[element]:
                node[element][_SELF] = {}
            node = node[element]
    return tree


def parse_fields_v1(fields: Any) -> FieldSet:
    """Raises MalformedFields."""
    found: set[Path] = set()
    try:
        _parse(fields, (), found)
    except (ValueError, RecursionError) as error:
        raise MalformedFields(str(error)) from error
    return frozenset(found)


def _parse(node: Any, path: Path, found: set[Path]) -> None:
    if not isinstance(node, Mapping):
        raise ValueError(f"an object is expected at {'/'.join(path)}")
    if path and (not node or _SELF in node):
        found.add(path)
    for element, child in node.items():
        if element != _SELF:
            _parse(child, (*path, _parsed_element(element)), found)


def _parsed_element(element: str) -> str:
    """An element as it is written here, whatever the space and order in its JSON."""
    kind, separator, text = element.partition(":")
    if kind == "f" and separator:
        return element
    if kind == "k" and separator:
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError(f"a key is expected: {element}")
        return f"k:{_canonical(value)}"
    if kind == "v" and separator:
        return f"v:{_canonical(json.loads(text))}"
    if kind == "i" and separator:
        return f"i:{int(text)}"
    raise ValueError(f"unknown path element: {element}")


def path_text(path: Path) -> str:
    """A path as errors print it: `.spec.containers[name="web"].image`."""
    parts = []
    for element in path:
        kind, text = element[0], element[2:]
        if kind == "f":
            parts.append(f".{text}")
        elif kind == "k":
            named = json.loads(text)
            parts.append("[" + ",".join(f"{name}={_canonical(value)}" for name, value in named.items()) + "]")
        else:
            parts.append(f"[={text}]" if kind == "v" else f"[{text}]")
    return "".join(parts)


def with_struct_fields(paths: Iterable[Path], root: Shape) -> FieldSet:
    """The set with every struct that it has a field of: who owned all that was in one owned the struct.

    Kubernetes: structured-merge-diff/fieldpath/set.go (EnsureNamedFieldsAreMembers).
    """
    found = set()
    for path in paths:
        found.add(path)
        shape = root
        for depth, element in enumerate(path[:-1], 1):
            if shape.form is Form.STRUCT:
                found.add(path[:depth])
            shape = _child(shape, element)
    return frozenset(found)


def _child(shape: Shape, element: str) -> Shape:
    if shape.form is Form.STRUCT:
        return child_shape(shape, element[2:]) or UNTYPED
    return shape.item or LEAF
