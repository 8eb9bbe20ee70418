"""A structural schema, compiled once: what of it decides about the shape of objects, node by node.

Kubernetes: apiextensions-apiserver/pkg/apiserver/schema/{structural,convert}.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["ABSENT", "Rule", "Structure", "structure_of"]


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


#: No default, where null would be one.
ABSENT = _Absent()


@dataclass(frozen=True, slots=True)
class Rule:
    """One of x-kubernetes-validations."""

    rule: str
    message: str = ""
    message_expression: str = ""
    reason: str = ""
    field_path: str = ""
    optional_old_self: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """`values` are its additionalProperties: a node, True where anything may be there, None where there are none."""

    schema: Mapping[str, Any]
    type: str
    format: str
    nullable: bool
    int_or_string: bool
    preserves_unknown: bool
    is_embedded: bool
    properties: Mapping[str, Structure]
    values: Structure | bool | None
    items: Structure | None
    default: Any
    list_type: str
    list_map_keys: tuple[str, ...]
    map_type: str
    rules: tuple[Rule, ...]
    #: Rules or defaults, here or further down: where there are none, nobody need look.
    has_defaults: bool
    has_rules: bool
    has_list_types: bool


def structure_of(schema: Mapping[str, Any]) -> Structure:
    properties = {name: structure_of(child) for name, child in _mapping(schema.get("properties")).items()}
    given = schema.get("additionalProperties")
    values = structure_of(given) if isinstance(given, Mapping) else given if isinstance(given, bool) else None
    items = schema.get("items")
    item = structure_of(items) if isinstance(items, Mapping) else None
    children = [*properties.values(), *([values] if isinstance(values, Structure) else []), *([item] if item else [])]
    default = schema.get("default", ABSENT)
    list_type = schema.get("x-kubernetes-list-type") or ""
    rules = tuple(_rule(rule) for rule in schema.get("x-kubernetes-validations") or ())
    in_all_of = any(_has_rules(part) for part in schema.get("allOf") or ())
    return Structure(
        schema=schema,
        type=schema.get("type") or "",
        format=schema.get("format") or "",
        nullable=bool(schema.get("nullable")),
        int_or_string=bool(schema.get("x-kubernetes-int-or-string")),
        preserves_unknown=bool(schema.get("x-kubernetes-preserve-unknown-fields")),
        is_embedded=bool(schema.get("x-kubernetes-embedded-resource")),
        properties=properties,
        values=values,
        items=item,
        default=ABSENT if default is None else default,
        list_type=list_type,
        list_map_keys=tuple(schema.get("x-kubernetes-list-map-keys") or ()),
        map_type=schema.get("x-kubernetes-map-type") or "",
        rules=rules,
        has_defaults=default not in (ABSENT, None) or any(child.has_defaults for child in children),
        has_rules=bool(rules) or in_all_of or any(child.has_rules for child in children),
        has_list_types=list_type in ("set", "map") or any(child.has_list_types for child in children),
    )


def _mapping(value: Any) -> Mapping[str, Mapping[str, Any]]:
    return value if isinstance(value, Mapping) else {}


def _has_rules(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return False
    parts: Sequence[Any] = (
        *_mapping(schema.get("properties")).values(),
        schema.get("items"),
        schema.get("additionalProperties"),
        *(schema.get("allOf") or ()),
    )
    return bool(schema.get("x-kubernetes-validations")) or any(_has_rules(part) for part in parts)


def _rule(given: Mapping[str, Any]) -> Rule:
    return Rule(
        rule=given.get("rule") or "",
        message=given.get("message") or "",
        message_expression=given.get("messageExpression") or "",
        reason=given.get("reason") or "",
        field_path=given.get("fieldPath") or "",
        optional_old_self=bool(given.get("optionalOldSelf")),
    )
