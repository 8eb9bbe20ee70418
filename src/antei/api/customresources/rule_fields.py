"""Fields that a rule names and its schema does not have, which Kubernetes' type checker finds as a CRD is created.

Only chains that begin with `self` or `oldSelf` are followed (`self.spec.names[0].value`), as far as the schema tells;
what a macro binds is left to the evaluation.
Kubernetes: apiextensions-apiserver/pkg/apiserver/schema/cel/compilation.go, apiserver/pkg/cel/common/typeprovider.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["undefined_field"]

Schema = Mapping[str, Any]

_LITERAL = re.compile(r"[rR]?(\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*')", re.DOTALL)
_CHAIN = re.compile(r"(?<![\w.])(?:self|oldSelf)\b")
_STEP = re.compile(r"\s*(?:(\.\??)\s*([A-Za-z_]\w*)|\[([^\[\]]*)\])")
_STRING: Schema = {"type": "string"}
#: Of an object's metadata rules see the names alone.
_META: Mapping[str, Schema] = {
    "apiVersion": _STRING,
    "kind": _STRING,
    "metadata": {"type": "object", "properties": {"name": _STRING, "generateName": _STRING}},
}
_UNESCAPED = {"__underscores__": "__", "__dot__": ".", "__dash__": "-", "__slash__": "/"}


def undefined_field(expression: str, schema: Schema, *, is_resource: bool, is_optional_old: bool) -> str | None:
    """What the type checker says of the first such field; None where there is none."""
    bare = _LITERAL.sub(lambda found: '"' * len(found[0]), expression)
    for chain in _CHAIN.finditer(bare):
        if is_optional_old and chain[0] == "oldSelf":
            continue
        found = _followed(bare, chain.end(), schema, is_resource)
        if found is not None:
            position, name = found
            return f"compilation failed: {_told(expression, position, name)}"
    return None


def _followed(text: str, position: int, schema: Schema, is_resource: bool) -> tuple[int, str] | None:
    """(where the dot is, the name) of a field that is not there."""
    node: Schema | None = schema
    is_root = is_resource
    while node is not None:
        step = _STEP.match(text, position)
        if step is None or _is_open(node):
            return None
        if step[3] is not None:
            node = _element(node)
        else:
            if text[step.end() :].lstrip().startswith("(") or step[1] == ".?":
                return None  # a method, or a field that may be missing
            if node.get("type") not in ("object", None):
                return None  # the runtime tells of a field of a scalar
            known = _field(node, step[2], is_root or bool(node.get("x-kubernetes-embedded-resource")))
            if known is None:
                return step.start(1), step[2]
            node = known
        is_root = False
        position = step.end()
    return None


def _is_open(node: Schema) -> bool:
    return bool(
        node.get("x-open")
        or node.get("x-kubernetes-int-or-string")
        or node.get("x-kubernetes-preserve-unknown-fields")
        or (not node.get("type") and not node.get("properties"))
    )


def _element(node: Schema) -> Schema | None:
    items = node.get("items") if node.get("type") == "array" else node.get("additionalProperties")
    return items if isinstance(items, Mapping) else None


def _field(node: Schema, name: str, is_resource: bool) -> Schema | None:
    if is_resource and name in _META:
        return _META[name]
    values = node.get("additionalProperties")
    if isinstance(values, Mapping):
        return values
    if values is True:
        return {"x-open": True}
    properties = node.get("properties") or {}
    found = properties.get(name)
    if found is None:
        found = properties.get(_unescaped(name))
    return found if isinstance(found, Mapping) else None


def _unescaped(name: str) -> str:
    reserved = re.fullmatch(r"__([a-z]+)__", name)
    if reserved is not None and name not in _UNESCAPED:
        return reserved[1]
    for escape, symbol in _UNESCAPED.items():
        name = name.replace(escape, symbol)
    return name


def _told(expression: str, position: int, name: str) -> str:
    line_start = expression.rfind("\n", 0, position) + 1
    line_end = expression.find("\n", position)
    line = expression[line_start : line_end if line_end >= 0 else len(expression)]
    number, column = expression.count("\n", 0, position) + 1, position - line_start
    return f"ERROR: <input>:{number}:{column + 1}: undefined field '{name}'\n | {line}\n | {'.' * column}^"
