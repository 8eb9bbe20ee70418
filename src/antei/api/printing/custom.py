"""What `kubectl get` shows of a custom kind: its name, and the columns that its definition names.

Kubernetes: apiextensions-apiserver/pkg/registry/customresource/tableconvertor/tableconvertor.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from antei.api.customresources.definition import Definition
from antei.api.customresources.json_path import JsonPathError, values_at
from antei.api.formats import parse_time
from antei.api.objects import meta
from antei.api.printing.cells import AGE, NAME, Column, Row, duration_text

__all__ = ["custom_columns", "custom_row"]

_AGE = {"name": "Age", "type": "date", "description": AGE.description, "jsonPath": ".metadata.creationTimestamp"}
_UNKNOWN = "<unknown>"


def _given(definition: Definition) -> Sequence[Mapping[str, Any]]:
    return definition.columns or (_AGE,)


def custom_columns(definition: Definition) -> Sequence[Column]:
    described = [
        Column(
            column["name"],
            # A date is told as an age, so the cell is text; `kubectl --sort-by` and clients go by the type.
            column["type"],
            format=column.get("format") or "",
            description=column.get("description")
            or f"Custom resource definition column (in JSONPath format): {column['jsonPath']}",
            priority=column.get("priority") or 0,
        )
        for column in _given(definition)
    ]
    return (NAME, *described)


def custom_row(definition: Definition, obj: Any, now: datetime) -> Row:
    data = {**obj, "metadata": msgspec.to_builtins(meta(obj))}
    return Row([meta(obj).name or "", *(_cell(data, column, now) for column in _given(definition))])


def _cell(data: Mapping[str, Any], column: Mapping[str, Any], now: datetime) -> Any:
    """None where nothing is there, or not of the column's type."""
    try:
        found = values_at(data, column["jsonPath"])
    except JsonPathError:
        return None
    if not found:
        return None
    if column["type"] == "string":
        # Kubernetes prints what the path finds, several values one after the other.
        return " ".join(_text(value) for value in found) if len(found) > 1 else _text(found[0])
    value = found[0]
    match column["type"]:
        case "integer":
            return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
        case "number":
            return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case "date":
            return _age(value, now)
    return None


def _age(value: Any, now: datetime) -> str:
    try:
        return duration_text(now - parse_time(value)) if isinstance(value, str) else "<invalid>"
    except ValueError:
        return "<invalid>"


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()
