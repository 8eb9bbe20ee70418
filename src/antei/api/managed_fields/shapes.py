"""How the fields of a Kubernetes type are told apart when their owners are: one by one, item by item, or as a whole.

    STRUCT   known fields, each for itself          SET     items that are their own names
    MAP      any keys, each for itself              KEYED   items that some of their fields name
    UNTYPED  a map as MAP, a list as LEAF           LEAF    a scalar, or what has one owner as a whole

Kubernetes: sigs.k8s.io/structured-merge-diff/schema; apiserver's schemas come from the same tags of the types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache

import msgspec

from antei.api.managed_fields.list_types import is_atomic_map, is_atomic_struct, list_keys
from antei.api.schema import Kind, ValueSchema, struct_schema

__all__ = ["LEAF", "UNTYPED", "Form", "Shape", "fields_of_shape", "shape_of"]


class Form(Enum):
    LEAF = auto()
    STRUCT = auto()
    MAP = auto()
    SET = auto()
    KEYED = auto()
    UNTYPED = auto()


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """`item` is that of a map's values or a list's items; `is_held` says that Go never has it absent."""

    form: Form
    struct: type[msgspec.Struct] | None = None
    item: Shape | None = None
    keys: tuple[str, ...] = ()
    is_held: bool = False


LEAF = Shape(Form.LEAF)
UNTYPED = Shape(Form.UNTYPED)

#: Fields that are structs in Go, not pointers to them: their being there says nothing, so nobody owns that.
_HELD_STRUCTS = frozenset(
    {"jobTemplate", "metadata", "resources", "spec", "status", "strategy", "template", "updateStrategy"}
)


@cache
def shape_of(struct: type[msgspec.Struct]) -> Shape:
    """The shape of a whole object."""
    return Shape(Form.STRUCT, struct=struct, is_held=True)


@cache
def fields_of_shape(struct: type[msgspec.Struct]) -> Mapping[str, Shape]:
    """The shapes of a Struct's fields by their JSON names. A resource class counts as the model that it extends."""
    found = {}
    for name, field in struct_schema(struct).fields.items():
        is_held = field.is_required or (name in _HELD_STRUCTS and field.value.kind is Kind.STRUCT)
        found[name] = _shape(struct, name, field.value, is_held)
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
