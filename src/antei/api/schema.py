"""What Go would make of each field of a Kubernetes type, derived once from lightkube's Structs.

lightkube tells a field's name, whether it is required and, in its annotations, Quantity, Time and IntOrString; what
it does not tell (widths of integers, values of maps) is in `type_facts`, and the names of Go's string types stand in
the table below (Kubernetes: staging/src/k8s.io/api/*/types.go).
"""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, auto
from functools import cache
from typing import Any

import msgspec

from antei.api.type_facts import type_facts

__all__ = ["FieldSchema", "Kind", "StructSchema", "ValueSchema", "struct_schema"]


class Kind(IntEnum):
    STRING = auto()
    INT32 = auto()
    INT64 = auto()
    BOOL = auto()
    FLOAT = auto()
    QUANTITY = auto()
    INT_OR_STRING = auto()
    TIME = auto()
    BYTES = auto()
    STRUCT = auto()
    LIST = auto()
    MAP = auto()
    ANY = auto()


@dataclass(frozen=True, slots=True, eq=False)
class ValueSchema:
    """`item` is that of a list's items or a map's values, `struct` the class of a Struct."""

    kind: Kind
    go_type: str
    item: ValueSchema | None = None
    struct: type[msgspec.Struct] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FieldSchema:
    name: str
    value: ValueSchema
    is_required: bool  # or what Go has as a struct, not a pointer, so that it is never absent: spec, metadata


@dataclass(frozen=True, slots=True, eq=False)
class StructSchema:
    go_name: str
    fields: Mapping[str, FieldSchema]
    required: tuple[FieldSchema, ...]


_GO_STRING_TYPES = {
    "clusterIPs": "string",
    "concurrencyPolicy": "ConcurrencyPolicy",
    "dnsPolicy": "DNSPolicy",
    "externalTrafficPolicy": "ServiceExternalTrafficPolicy",
    "imagePullPolicy": "PullPolicy",
    "pathType": "PathType",
    "podManagementPolicy": "PodManagementPolicyType",
    "protocol": "Protocol",
    "restartPolicy": "RestartPolicy",
    "scheme": "URIScheme",
    "sessionAffinity": "ServiceAffinity",
    "terminationMessagePolicy": "TerminationMessagePolicy",
    "topologyKey": "string",
}

_ANY = ValueSchema(Kind.ANY, "interface {}")
_STRING = ValueSchema(Kind.STRING, "string")
_BYTES = ValueSchema(Kind.BYTES, "[]uint8")
_INT64 = ValueSchema(Kind.INT64, "int64")
#: The scalars of `type_facts`, as values of a map or by themselves.
_SCALARS: Mapping[str, ValueSchema] = {
    "": _STRING,
    "string": _STRING,
    "byte": _BYTES,
    "int64": _INT64,
    "bool": ValueSchema(Kind.BOOL, "bool"),
    "double": ValueSchema(Kind.FLOAT, "float64"),
    "quantity": ValueSchema(Kind.QUANTITY, "resource.Quantity"),
    "time": ValueSchema(Kind.TIME, "v1.Time"),
    "[]string": ValueSchema(Kind.LIST, "[]string", item=_STRING),
}


@cache
def struct_schema(cls: type[msgspec.Struct]) -> StructSchema:
    annotations: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        own = inspect.get_annotations(base)
        annotations.update({name: text for name, text in own.items() if isinstance(text, str)})
    hints = typing.get_type_hints(cls)
    fields: dict[str, FieldSchema] = {}
    for field in msgspec.structs.fields(cls):
        value = _value(cls, field.encode_name, annotations.get(field.name, ""), hints[field.name])
        fields[field.encode_name] = FieldSchema(field.encode_name, value, field.required)
    is_object = {"apiVersion", "kind", "metadata"} <= fields.keys()
    for name in ("metadata", "spec"):
        field_schema = fields.get(name)
        is_held = is_object or (name == "spec" and cls.__name__ in ("PodTemplateSpec", "JobTemplateSpec"))
        if field_schema is not None and is_held and field_schema.value.kind is Kind.STRUCT:
            fields[name] = FieldSchema(name, field_schema.value, is_required=True)
    return StructSchema(cls.__name__, fields, tuple(field for field in fields.values() if field.is_required))


def _package(cls: type[Any]) -> str:
    """Go's name of the package that a type is in, as its error messages print it: core_v1 is v1."""
    return cls.__module__.rpartition("_")[2]


def _value(owner: type[Any], name: str, annotation: str, hint: Any) -> ValueSchema:
    hint = _without_optional(hint)
    fact = type_facts(owner).of(name).value
    if typing.get_origin(hint) is list:
        (inner,) = typing.get_args(hint)
        item = _value(owner, name, annotation, inner)
        return ValueSchema(Kind.LIST, f"[]{item.go_type}", item=item)
    if "IntOrString" in annotation:
        return ValueSchema(Kind.INT_OR_STRING, "int32")
    if "Quantity" in annotation:
        return ValueSchema(Kind.QUANTITY, "resource.Quantity")
    if "Time" in annotation and hint is not str and not _is_struct(hint):
        return ValueSchema(Kind.TIME, "v1.Time")
    if hint is datetime:
        return ValueSchema(Kind.TIME, "v1.Time")
    if _is_struct(hint):
        return ValueSchema(Kind.STRUCT, f"{_package(hint)}.{hint.__name__}", struct=hint)
    if hint is str:
        if fact == "byte":
            return _BYTES
        named = _GO_STRING_TYPES.get(name)
        return ValueSchema(Kind.STRING, f"{_package(owner)}.{named}") if named not in (None, "string") else _STRING
    if hint is bool:
        return ValueSchema(Kind.BOOL, "bool")
    if hint is int:
        return _INT64 if fact == "int64" else ValueSchema(Kind.INT32, "int32")
    if hint is float:
        return ValueSchema(Kind.FLOAT, "float64")
    if typing.get_args(hint) or (hint is dict and annotation.endswith(("dict", "dict]"))):
        return _map(fact)
    return _SCALARS.get(fact, _ANY) if fact else _ANY


def _map(fact: str) -> ValueSchema:
    if fact == "quantity":
        return ValueSchema(Kind.MAP, "v1.ResourceList", item=_SCALARS[fact])
    item = _SCALARS.get(fact) or _struct_named(fact)
    return ValueSchema(Kind.MAP, f"map[string]{item.go_type}", item=item)


def _struct_named(fact: str) -> ValueSchema:
    """Of a Struct's name as `type_facts` has it; a type that lightkube has no Struct of is not looked into."""
    module, _, name = fact.partition(".")
    found: Any = getattr(importlib.import_module(f"lightkube.models.{module}"), name, None)
    if found is None or not _is_struct(found):
        return _ANY
    return ValueSchema(Kind.STRUCT, f"{_package(found)}.{name}", struct=found)


def _is_struct(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct)


def _without_optional(hint: Any) -> Any:
    arguments = [argument for argument in typing.get_args(hint) if argument is not type(None)]
    return arguments[0] if type(None) in typing.get_args(hint) and len(arguments) == 1 else hint
