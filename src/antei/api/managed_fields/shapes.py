"""How the fields of a Kubernetes type are told apart when their owners are: one by one, item by item, or as a whole.

    STRUCT   known fields, each for itself          SET     items that are their own names
    MAP      any keys, each for itself              KEYED   items that some of their fields name
    UNTYPED  a map as MAP, a list as LEAF           LEAF    a scalar, or what has one owner as a whole

Kubernetes: sigs.k8s.io/structured-merge-diff/schema; apiserver's schemas come from the same tags of the types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import cache, lru_cache, reduce
from typing import Any

import msgspec
from lightkube.models.meta_v1 import ObjectMeta

from antei.api.customresources import CustomObject
from antei.api.customresources.checks import structure_of_definition
from antei.api.customresources.structure import ABSENT, Structure
from antei.api.managed_fields.list_types import KEY_DEFAULTS, is_atomic_map, is_atomic_struct, list_keys
from antei.api.schema import Kind, ValueSchema, struct_schema

__all__ = ["LEAF", "UNTYPED", "Form", "Shape", "child_shape", "shape_of"]


class Form(Enum):
    LEAF = auto()
    STRUCT = auto()
    MAP = auto()
    SET = auto()
    KEYED = auto()
    UNTYPED = auto()


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """`item` is that of a map's values, a list's items, or those fields of a `fields` STRUCT that it does not name;
    `is_held` says that Go never has it absent.
    """

    form: Form
    struct: type[msgspec.Struct] | None = None
    item: Shape | None = None
    keys: tuple[str, ...] = ()
    key_defaults: Mapping[str, Any] = field(default_factory=lambda: KEY_DEFAULTS)
    is_held: bool = False
    fields: Mapping[str, Shape] | None = None  # of a STRUCT that a schema describes


LEAF = Shape(Form.LEAF)
#: So deep the fields of what has no schema are told apart; deeper ones have one owner together. Kubernetes goes on, but
#: what is written of a field is its whole path, so a deep and wide object would fill the memory.
_MOST_UNTYPED_LEVELS = 32
UNTYPED = reduce(lambda item, _: Shape(Form.UNTYPED, item=item), range(_MOST_UNTYPED_LEVELS), LEAF)

#: Fields that are structs in Go, not pointers to them: their being there says nothing, so nobody owns that.
_HELD_STRUCTS = frozenset(
    {"jobTemplate", "metadata", "resources", "spec", "status", "strategy", "template", "updateStrategy"}
)


@cache
def shape_of(struct: type[msgspec.Struct]) -> Shape:
    """The shape of a whole object, a Struct's or a custom kind's."""
    if issubclass(struct, CustomObject):
        return custom_shape(struct)
    return Shape(Form.STRUCT, struct=struct, is_held=True)


def child_shape(shape: Shape, name: str) -> Shape | None:
    """The shape of a field of a STRUCT; None for one that it has not."""
    if shape.fields is not None:
        return shape.fields.get(name, shape.item)
    assert shape.struct is not None
    return _fields_of(shape.struct).get(name)


@cache
def _fields_of(struct: type[msgspec.Struct]) -> Mapping[str, Shape]:
    """The shapes of a Struct's fields by their JSON names. A resource class counts as the model that it extends."""
    found = {}
    for name, known in struct_schema(struct).fields.items():
        is_held = known.is_required or (name in _HELD_STRUCTS and known.value.kind is Kind.STRUCT)
        found[name] = _shape(struct, name, known.value, is_held)
    return found


def _shape(owner: type[msgspec.Struct], name: str, value: ValueSchema, is_held: bool) -> Shape:
    match value.kind:
        case Kind.STRUCT:
            assert value.struct is not None
            if is_atomic_struct(owner, name, value.struct):
                return LEAF
            return Shape(Form.STRUCT, struct=value.struct, is_held=is_held)
        case Kind.MAP:
            if is_atomic_map(owner, name):
                return LEAF
            return Shape(Form.MAP, item=_item(owner, value), is_held=is_held)
        case Kind.LIST:
            keys = list_keys(owner, name)
            if keys is None:
                return LEAF
            return Shape(Form.KEYED if keys else Form.SET, item=_item(owner, value), keys=keys, is_held=is_held)
        case Kind.ANY:
            return UNTYPED
        case _:
            return LEAF


def _item(owner: type[msgspec.Struct], value: ValueSchema) -> Shape:
    """The name that no field has: of the items of a list or the values of a map nothing more is said."""
    return UNTYPED if value.item is None else _shape(owner, "", value.item, is_held=False)


# Custom kinds


@lru_cache(maxsize=1024)
def custom_shape(kind: type[CustomObject]) -> Shape:
    """By the schema's x-kubernetes-list-type and x-kubernetes-map-type: lists are atomic, maps and objects are not."""
    definition = kind.resource.definition if kind.resource is not None else None
    root = _structure_shape(structure_of_definition(definition)) if definition is not None else UNTYPED
    own = {"apiVersion": LEAF, "kind": LEAF, "metadata": shape_of(ObjectMeta)}
    item = UNTYPED if definition is None else root.item if root.form is Form.STRUCT else UNTYPED
    return Shape(Form.STRUCT, fields={**(root.fields or {}), **own}, item=item, is_held=True)


def _structure_shape(node: Structure) -> Shape:
    if node.items is not None:
        return _list_shape(node)
    if node.type != "object" and not (node.properties or node.preserves_unknown):
        return LEAF
    if node.map_type == "atomic":
        return LEAF
    if node.properties or not (node.values or node.preserves_unknown):
        fields = {name: _structure_shape(child) for name, child in node.properties.items()}
        return Shape(Form.STRUCT, fields=fields, item=_other_fields(node))
    if isinstance(node.values, Structure):
        return Shape(Form.MAP, item=_structure_shape(node.values))
    return UNTYPED


def _other_fields(node: Structure) -> Shape | None:
    """Those that the schema does not name; None where there may be none."""
    if isinstance(node.values, Structure):
        return _structure_shape(node.values)
    return UNTYPED if node.preserves_unknown or node.is_embedded or node.values else None


def _list_shape(node: Structure) -> Shape:
    assert node.items is not None
    if node.list_type == "map":
        described = {key: node.items.properties.get(key) for key in node.list_map_keys}
        defaults = {key: child.default for key, child in described.items() if child and child.default is not ABSENT}
        return Shape(Form.KEYED, item=_structure_shape(node.items), keys=node.list_map_keys, key_defaults=defaults)
    if node.list_type == "set":
        return Shape(Form.SET, item=_structure_shape(node.items))
    return LEAF
