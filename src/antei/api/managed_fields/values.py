"""What two objects differ in, what one applied configuration sets, what it makes of an object, and what is taken away.

All work on plain JSON values along a Shape and never change what they are handed. A null is as good as absent.
Kubernetes: structured-merge-diff/typed/{tofieldset,compare,merge,remove}.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from antei.api.managed_fields.paths import FieldSet, Path, field_element, key_element, path_text, value_element
from antei.api.managed_fields.shapes import LEAF, UNTYPED, Form, Shape, child_shape

__all__ = ["Difference", "OutOfSchema", "difference", "fields_set_by", "merged", "without"]


class OutOfSchema(Exception):
    """An applied configuration that does not fit its type; the text begins with the path."""


@dataclass(slots=True)
class Difference:
    added: set[Path] = field(default_factory=set)
    modified: set[Path] = field(default_factory=set)
    removed: set[Path] = field(default_factory=set)

    @property
    def set(self) -> FieldSet:
        """What the newer object has that the older one had not, or not so."""
        return frozenset(self.added | self.modified)

    def __bool__(self) -> bool:
        return bool(self.added or self.modified or self.removed)


# What a configuration sets


def fields_set_by(config: Mapping[str, Any], shape: Shape) -> FieldSet:
    """Raises OutOfSchema for a field that the type has not, and for items without a name or with the same one."""
    return frozenset(_fields(config, shape, ()))


def _fields(value: Any, shape: Shape, path: Path) -> Iterator[Path]:
    form = shape.form
    if isinstance(value, dict) and form in (Form.STRUCT, Form.MAP, Form.UNTYPED):
        for name, child in value.items():
            inner = (*path, field_element(name))
            below = _child(shape, name)
            if below is None:
                raise OutOfSchema(f"{path_text(inner)}: field not declared in schema")
            if form is not Form.STRUCT or child is None or child == {}:
                yield inner
            if child is not None:
                yield from _fields(child, below, inner)
    elif isinstance(value, list) and form in (Form.SET, Form.KEYED):
        seen = set()
        for element, item in _elements(value, shape, path):
            inner = (*path, element)
            if element in seen:
                name = path_text((element,))
                raise OutOfSchema(f"{path_text(path)}: duplicate entries for key {name}")
            seen.add(element)
            yield inner
            if form is Form.KEYED:
                yield from (found for found in _fields(item, shape.item or LEAF, inner) if found != inner)
    elif path:
        yield path


def _child(shape: Shape, name: str) -> Shape | None:
    """The shape under a name; None for a field that a Struct has not."""
    if shape.form is Form.STRUCT:
        return child_shape(shape, name)
    return shape.item or UNTYPED


def _elements(items: Sequence[Any], shape: Shape, path: Path) -> Iterator[tuple[str, Any]]:
    """Each item with its path element. Raises OutOfSchema for one that has no name."""
    for index, item in enumerate(items):
        if shape.form is Form.SET:
            yield value_element(item), item
            continue
        element = key_element(item, shape.keys, shape.key_defaults)
        if element is None:
            keys = ", ".join(f'"{key}"' for key in shape.keys)
            raise OutOfSchema(
                f"{path_text(path)}: element {index}: associative list with keys has an element that omits key field "
                f"{keys} (and doesn't have default value)"
            )
        yield element, item


# Differences


def difference(old: Any, new: Any, shape: Shape) -> Difference:
    """From `old`, None where there was nothing, to `new`."""
    found = Difference()
    _compare(old, new, shape, (), found)
    return found


def _compare(old: Any, new: Any, shape: Shape, path: Path, found: Difference) -> None:
    if old is new:
        return
    parts = _parts(old, new, shape, path)
    if parts is None:
        if old is None:
            found.added.add(path)
        elif new is None:
            found.removed.add(path)
        elif old != new:
            found.modified.add(path)
        return
    if path and not shape.is_held:
        if old is None:
            found.added.add(path)
        elif new is None:
            found.removed.add(path)
    for element, before, after, child in parts:
        if before is not None or after is not None:
            _compare(before, after, child, (*path, element), found)


def _parts(old: Any, new: Any, shape: Shape, path: Path) -> list[tuple[str, Any, Any, Shape]] | None:
    """(element, old, new, shape) of what is in either; None where there is only the whole to compare."""
    form = shape.form
    if form is Form.LEAF or not (old or new):
        return None
    if form in (Form.SET, Form.KEYED):
        if not isinstance(old or [], list) or not isinstance(new or [], list):
            return None
        before, after = _indexed(old or [], shape, path), _indexed(new or [], shape, path)
        item = shape.item or LEAF
        return [(element, before.get(element), after.get(element), item) for element in {**before, **after}]
    if not isinstance(old or {}, dict) or not isinstance(new or {}, dict):
        return None
    before, after = old or {}, new or {}
    return [
        (field_element(name), before.get(name), after.get(name), _child(shape, name) or UNTYPED)
        for name in {**before, **after}
    ]


def _indexed(items: Sequence[Any], shape: Shape, path: Path) -> dict[str, Any]:
    """Items by their names; of two with the same the first counts, what has none is named by its place."""
    found: dict[str, Any] = {}
    for index, item in enumerate(items):
        element = value_element(item) if shape.form is Form.SET else key_element(item, shape.keys, shape.key_defaults)
        found.setdefault(element if element is not None else f"i:{index}", item)
    return found


# Merging


def merged(live: Any, config: Any, shape: Shape) -> Any:
    """The live value with what the configuration sets. Raises OutOfSchema for items without a name."""
    form = shape.form
    if form in (Form.STRUCT, Form.MAP, Form.UNTYPED) and isinstance(live, dict) and isinstance(config, dict):
        result = dict(live)
        for name, value in config.items():
            known = live.get(name)
            result[name] = value if known is None else merged(known, value, _child(shape, name) or UNTYPED)
        return result
    if form in (Form.SET, Form.KEYED) and isinstance(live, list) and isinstance(config, list):
        before, after = _indexed(live, shape, ()), dict(_elements(config, shape, ()))
        item = shape.item or LEAF
        return [
            merged(before[element], after[element], item)
            if element in before and element in after
            else after[element]
            if element in after
            else before[element]
            for element in _merged_order(list(before), list(after))
        ]
    return config


def _merged_order(live: Sequence[str], applied: Sequence[str]) -> list[str]:
    """What is applied in its order, what is only live before what it was before."""
    known, wanted = set(live), set(applied)
    shared = [element for element in applied if element in known]
    result: list[str] = []
    place = 0
    for element in applied:
        while place < len(live) and live[place] != (shared[0] if shared else None):
            if live[place] not in wanted:
                result.append(live[place])
            place += 1
        result.append(element)
        if shared and shared[0] == element:
            shared.pop(0)
            place += place < len(live) and live[place] == element
    return [*result, *(element for element in live[place:] if element not in wanted)]


# Taking away


def without(value: Any, removed: Mapping[str, Any], shape: Shape) -> Any:
    """The value without the fields of `removed`, a fieldsV1, and all that is in them; None where nothing is left."""
    if not removed or not value:
        return value
    form = shape.form
    if form in (Form.STRUCT, Form.MAP, Form.UNTYPED) and isinstance(value, dict):
        kept = {}
        for name, child in value.items():
            left = _left(child, removed.get(field_element(name)), _child(shape, name) or UNTYPED)
            if left is not None:
                kept[name] = left
        return kept or None
    if form in (Form.SET, Form.KEYED) and isinstance(value, list):
        item = shape.item or LEAF
        remaining = [_left(child, removed.get(name), item) for name, child in _indexed(value, shape, ()).items()]
        return [child for child in remaining if child is not None] or None
    return value


def _left(value: Any, removed: Mapping[str, Any] | None, shape: Shape) -> Any:
    if removed is None:
        return value
    return None if not removed or "." in removed else without(value, removed, shape)
