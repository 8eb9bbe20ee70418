"""What Kubernetes' OpenAPI says of its types beyond what lightkube's Structs say: one table for all who need it.

Decoding asks for the widths of integers and the values of maps, strategic merge patch for patchStrategy and
patchMergeKey, server-side apply for listType, listMapKey and mapType, and OpenAPI for all of it.
`type_facts.json` is written by `scripts/type_facts.py`:

    "core_v1.Container": {"ports": {"list": ["containerPort", "protocol"], "patch": "merge", "key": "containerPort"}}
    "core_v1.SecretKeySelector": {"": {"map": "atomic"}}      of the type as a whole
    "core_v1.ResourceRequirements": {"limits": {"value": "quantity"}}      of a scalar, an item or a map's values
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

__all__ = ["FieldFacts", "TypeFacts", "model_of", "type_facts"]

_MODELS = "lightkube.models."
#: Read once, as the program starts: later it would keep the event loop waiting for a file.
_TABLE: Mapping[str, Mapping[str, Any]] = msgspec.json.decode(
    importlib.resources.files(__package__).joinpath("type_facts.json").read_bytes()
)


class FieldFacts(msgspec.Struct, frozen=True):
    """`value` is empty for a string, an int32 and what Python's type tells; `list` is None for what is no list, or
    for a list of which nothing is said, which is atomic, too."""

    value: str = ""
    list: str | tuple[str, ...] | None = None
    map: str = ""
    patch: str = ""  # the patchStrategy tag: "merge", "merge,retainKeys", …
    key: str = ""


class TypeFacts(msgspec.Struct, frozen=True):
    """`fields` has only those of which something is said."""

    fields: Mapping[str, FieldFacts] = {}
    map: str = ""
    unions: Sequence[Mapping[str, Any]] = ()

    def of(self, field: str) -> FieldFacts:
        return self.fields.get(field, _NOTHING)


class _Own(msgspec.Struct, frozen=True):
    map: str = ""
    unions: tuple[dict[str, Any], ...] = ()


_NOTHING = FieldFacts()


def type_facts(struct: type[Any]) -> TypeFacts:
    """The facts of a Struct; a resource class counts as the model that it extends. Nothing is said of other types."""
    model = model_of(struct)
    return _facts(f"{model.__module__.removeprefix(_MODELS)}.{model.__name__}")


@cache
def _facts(name: str) -> TypeFacts:
    raw = _TABLE.get(name, {})
    own = msgspec.convert(raw.get("", {}), _Own)
    fields = {name: msgspec.convert(fact, FieldFacts) for name, fact in raw.items() if name}
    return TypeFacts(fields, own.map, own.unions)


def model_of(struct: type[Any]) -> type[Any]:
    return next((base for base in struct.__mro__ if base.__module__.startswith(_MODELS)), struct)
