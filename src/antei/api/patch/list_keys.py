"""How lists merge: the `patchStrategy` and `patchMergeKey` of every field that has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Union, get_args, get_origin

import msgspec

from antei.api.type_facts import FieldFacts, type_facts

__all__ = ["Field", "MergeStrategy", "fields_of"]


@dataclass(frozen=True, slots=True)
class MergeStrategy:
    """`merge` without a key merges a list of scalars as a set; a list that does not merge is replaced."""

    merge: bool = False
    key: str = ""
    retain_keys: bool = False
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """One JSON field of a Struct: the Struct of its value, or of its items or values; None for what is none."""

    strategy: MergeStrategy
    struct: type[Any] | None


@cache
def fields_of(struct: type[Any]) -> Mapping[str, Field]:
    """The fields of a Struct by their JSON names. A resource class counts as the model that it extends."""
    facts = type_facts(struct)
    return {
        info.encode_name: Field(_strategy(facts.of(info.encode_name)), _struct_in(info.type))
        for info in msgspec.structs.fields(struct)
    }


def _strategy(facts: FieldFacts) -> MergeStrategy:
    words = facts.patch.split(",")
    return MergeStrategy("merge" in words, facts.key, "retainKeys" in words, "replace" in words)


def _struct_in(annotation: Any) -> type[Any] | None:
    origin = get_origin(annotation)
    if origin is None:
        return annotation if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct) else None
    arguments = get_args(annotation)
    if origin is dict:
        return _struct_in(arguments[1]) if arguments else None  # a bare Dict holds anything
    if origin in (list, Union) or str(origin) == "<class 'types.UnionType'>":
        for argument in arguments:
            inner = _struct_in(argument)
            if inner is not None:
                return inner
    return None
