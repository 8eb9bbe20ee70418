"""x-kubernetes-validations: rules in CEL on the nodes of a schema.

Values are CEL's by the schema's types: a `number` is a double, a string with format date-time a timestamp, and what the
schema has no field for is not there. A rule that only fails where nothing changed is not held against an update.
Kubernetes: apiextensions-apiserver/pkg/apiserver/schema/cel/{compilation,validation}.go, apiserver/pkg/cel/common.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Any

import msgspec
from lightkube.models.meta_v1 import ObjectMeta

from antei.api.cel import CelError, Program, compile, duration_value, timestamp_value
from antei.api.customresources.structure import Rule, Structure, structure_of
from antei.api.customresources.validation import ROOT, child_path, item_name, items_by_name
from antei.api.errors import FieldError, FieldErrorType
from antei.api.formats import parse_duration_nanoseconds, parse_time

__all__ = ["RuleFindings", "compiled", "compiled_message", "rule_findings"]

_NOTHING = object()  # where an old value cannot be told
_OLD_SELF = re.compile(r"\boldSelf\b")
_COST_LIMIT = "operation cancelled: actual cost limit exceeded"
_MOST_MESSAGE_CHARACTERS = 5 * 1024
_REASONS = {
    "FieldValueRequired": FieldErrorType.REQUIRED,
    "FieldValueForbidden": FieldErrorType.FORBIDDEN,
    "FieldValueInvalid": FieldErrorType.INVALID,
    "FieldValueDuplicate": FieldErrorType.DUPLICATE,
}
#: CEL's reserved words, which fields are escaped by (k8s.io/apiserver/pkg/cel/escaping.go).
_RESERVED = frozenset(
    {
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    }
)
_SYMBOLS = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_ESCAPED = re.compile(r"__|[.\-/]")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(slots=True)
class RuleFindings:
    """What refuses the object, and what only warns: rules that were broken before, on what has not changed."""

    errors: list[FieldError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def rule_findings(new: Any, old: Any, node: Structure) -> RuleFindings:
    """`new` and `old` are whole objects, plain JSON; `old` is None where there is none."""
    findings = RuleFindings()
    if node.has_rules:
        with suppress(_OutOfBudget):  # the finding that says so is there
            _walk(new, _NOTHING if old is None else old, node, node, "", findings, False, is_root=True)
    return findings


class _OutOfBudget(Exception):
    """No further rules are run."""


def _walk(
    new: Any,
    old: Any,
    node: Structure,
    values: Structure,
    path: str,
    findings: RuleFindings,
    parent_unchanged: bool,
    *,
    is_root: bool = False,
) -> None:
    """`node` has the rules, `values` says what the values are: they differ inside of an allOf."""
    if new is None or not node.has_rules:
        return
    unchanged = new == old if old is not _NOTHING else parent_unchanged
    if node.rules:
        _evaluate(new, old, node, values, path, findings, unchanged, is_root)
    for part in node.schema.get("allOf") or ():
        _walk(new, old, _all_of(id(part), _Held(part)), values, path, findings, parent_unchanged, is_root=is_root)
    if isinstance(new, dict):
        for name, child in new.items():
            below, below_values = _child(node, name), _child(values, name)
            if below is not None and below_values is not None:
                before = old.get(name, _NOTHING) if isinstance(old, dict) and values.map_type != "atomic" else _NOTHING
                _walk(child, before, below, below_values, child_path(path, name), findings, unchanged)
    elif isinstance(new, list) and node.items is not None and values.items is not None:
        # Only the items of a map have names to be known by.
        keys = values.list_map_keys
        known = items_by_name(old, keys) if values.list_type == "map" and isinstance(old, list) else {}
        for index, item in enumerate(new):
            before = known.get(item_name(item, keys), _NOTHING)
            _walk(item, before, node.items, values.items, f"{path}[{index}]", findings, unchanged)


@dataclass(frozen=True, slots=True)
class _Held:
    """Keeps the schema alive as long as its identity is a key."""

    schema: Any

    def __hash__(self) -> int:
        return id(self.schema)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and other.schema is self.schema


@lru_cache(maxsize=1024)
def _all_of(_: int, part: _Held) -> Structure:
    return structure_of(part.schema)


def _child(node: Structure, name: str) -> Structure | None:
    below = node.properties.get(name)
    return below if below is not None else node.values if isinstance(node.values, Structure) else None


# One node's rules


def _evaluate(
    new: Any,
    old: Any,
    node: Structure,
    values: Structure,
    path: str,
    findings: RuleFindings,
    unchanged: bool,
    is_root: bool,
) -> None:
    shown, kind = path or ROOT, values.type
    variables: dict[str, Any] = {"self": _value(new, values, is_root)}
    old_value = None if old is _NOTHING or old is None else _value(old, values, is_root)
    for rule in node.rules:
        if not rule.rule.strip():
            continue
        uses_old = _OLD_SELF.search(rule.rule) is not None
        if uses_old and old_value is None and not rule.optional_old_self:
            continue
        known = {**variables, "oldSelf": old_value, "oldSelfExists": old_value is not None}
        try:
            holds = compiled(rule).evaluate(known)
        except CelError as error:
            findings.errors.append(_invalid(shown, kind, _failure(str(error), rule)))
            if str(error).startswith(_COST_LIMIT):
                raise _OutOfBudget from error
            continue
        if holds is True:
            continue
        refusal = _refusal(rule, shown, kind, known)
        if unchanged and not uses_old:
            findings.warnings.append(str(refusal))
        else:
            findings.errors.append(refusal)


def _invalid(path: str, kind: str, detail: str) -> FieldError:
    return FieldError(FieldErrorType.INVALID, path, kind, detail)


def _failure(problem: str, rule: Rule) -> str:
    source = _source(rule)
    if problem.startswith("compilation failed"):
        return f"rule compile error: {problem}"
    if problem.startswith("no such overload"):
        return (
            f"'{problem}': call arguments did not match a supported operator, function or macro signature "
            f"for rule: {source}"
        )
    if problem.startswith(_COST_LIMIT):
        return f"'{problem}': no further validation rules will be run due to call cost exceeds limit for rule: {source}"
    return f"{problem} evaluating rule: {source}"


def _source(rule: Rule) -> str:
    return rule.message.strip() or rule.rule.strip()


def _refusal(rule: Rule, path: str, kind: str, variables: Mapping[str, Any]) -> FieldError:
    detail = _message_of(rule, variables) or rule.message.strip() or f"failed rule: {rule.rule.strip()}"
    if rule.field_path:
        inner = rule.field_path.lstrip(".")
        path = inner if path == ROOT else f"{path}.{inner}"
    error_type = _REASONS.get(rule.reason, FieldErrorType.INVALID)
    return FieldError(error_type, path, kind if error_type is not FieldErrorType.REQUIRED else "", detail)


def _message_of(rule: Rule, variables: Mapping[str, Any]) -> str:
    """What the message's expression says; empty where it cannot, or says nothing that fits a line."""
    if not rule.message_expression:
        return ""
    try:
        told = compiled_message(rule).evaluate(variables)
    except CelError:
        return ""  # Kubernetes takes the message then, too
    text = told.strip() if isinstance(told, str) else ""
    return "" if "\n" in text or len(text) > _MOST_MESSAGE_CHARACTERS else text


_DECLARATIONS = {"self": "dyn", "oldSelf": "dyn", "oldSelfExists": "bool"}


def compiled(rule: Rule) -> Program:
    """Raises CelError. An optional oldSelf is one: `oldSelf.hasValue()`."""
    return _program(rule.rule, rule.optional_old_self, "bool")


def compiled_message(rule: Rule) -> Program:
    """Raises CelError."""
    return _program(rule.message_expression, rule.optional_old_self, "string")


@lru_cache(maxsize=4096)
def _program(expression: str, optional_old_self: bool, result: str) -> Program:
    program = compile(expression, _DECLARATIONS, result="" if optional_old_self else result)
    if not optional_old_self:
        return program
    optional = "oldSelfExists ? optional.of(oldSelf) : optional.none()"
    return compile(f"cel.bind(oldSelf, {optional}, {expression}\n)", _DECLARATIONS, result=result)


# Values


def _value(value: Any, node: Structure, is_root: bool = False) -> Any:
    """A JSON value as the schema says that it is. What is not of its type was refused before."""
    if value is None:
        return None
    if isinstance(value, dict):
        return _object_value(value, node, is_root or node.is_embedded)
    if isinstance(value, list):
        item = node.items
        return [_value(child, item) if item is not None else _plain(child) for child in value]
    if node.int_or_string or isinstance(value, bool):
        return value
    if node.type == "number" and isinstance(value, int | float):
        return float(value)
    if node.type == "integer" and isinstance(value, float):
        return int(value)
    if isinstance(value, str) and node.type == "string":
        return _string_value(value, node.format)
    return value


def _object_value(value: Mapping[str, Any], node: Structure, is_resource: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, child in value.items():
        below = node.properties.get(name)
        if is_resource and name == "metadata":
            found[name] = _metadata(child)
        elif is_resource and name in ("apiVersion", "kind"):
            found[name] = child
        elif below is not None:
            found[_escaped(name)] = _value(child, below)
        elif isinstance(node.values, Structure):
            found[name] = _value(child, node.values)
        elif node.values is True or node.preserves_unknown:
            # Kubernetes hides unknown fields from rules, but not the keys of a map.
            found[name] = _plain(child)
    return found


def _metadata(metadata: Any) -> dict[str, Any]:
    """Rules see the name and generateName alone."""
    data = msgspec.to_builtins(metadata) if isinstance(metadata, ObjectMeta) else metadata
    if not isinstance(data, dict):
        return {}
    return {name: data[name] for name in ("name", "generateName") if data.get(name) is not None}


def _plain(value: Any) -> Any:
    return value


def _string_value(value: str, format_name: str) -> Any:
    try:
        match format_name:
            case "date-time" | "datetime":
                return timestamp_value(parse_time(value))
            case "date":
                return timestamp_value(parse_time(f"{value}T00:00:00Z"))
            case "duration":
                return duration_value(timedelta(microseconds=parse_duration_nanoseconds(value) // 1000))
            case "byte":
                return base64.b64decode(value, validate=True)
    except (ValueError, OverflowError, binascii.Error):
        return value
    return value


def _escaped(name: str) -> str:
    if name in _RESERVED:
        return f"__{name}__"
    if "__" not in name and _IDENTIFIER.fullmatch(name):
        return name
    return _ESCAPED.sub(lambda found: _SYMBOLS[found[0]], name)
