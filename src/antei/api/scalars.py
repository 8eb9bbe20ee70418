"""Values that hold no others, as Go's decoder takes or refuses them, in its words.

Kubernetes: sigs.k8s.io/json decode.go; the UnmarshalJSON of apimachinery's Quantity, Time and IntOrString.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from antei.api import quantity
from antei.api.schema import Kind, StructSchema, ValueSchema

__all__ = ["SCALARS", "Unreadable", "json_type", "mismatch"]

_INT32 = range(-(2**31), 2**31)
_INT64 = range(-(2**63), 2**63)


class Unreadable(Exception):
    """What cannot be handled: the message, and each place (path, text) that it speaks of."""

    def __init__(self, message: str, places: list[tuple[str, str]]) -> None:
        super().__init__(message)
        self.message = message
        self.places = places


def json_type(value: Any) -> str:
    """What Go calls a JSON value in its errors."""
    match value:
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "object"
        case _:
            return "null"


def mismatch(
    value: Any, expected: ValueSchema, schema: StructSchema, path: str, key: str, item: str = "", shown: str = ""
) -> Unreadable:
    """Go's UnmarshalTypeError: it names the innermost struct, and the path without indices or keys of maps."""
    place = f"{path}.{key}" if path else key
    go_path = re.sub(r"\[\d+\]", "", place)
    text = (
        f"json: cannot unmarshal {shown or json_type(value)} into Go struct field "
        f"{schema.go_name}.{go_path} of type {expected.go_type}"
    )
    return Unreadable(text, [(place + item, text)])


def _integer(value: Any, expected: ValueSchema, schema: StructSchema, path: str, key: str) -> Any:
    if type(value) is int and value in (_INT32 if expected.kind is Kind.INT32 else _INT64):
        return value
    shown = f"number {value}" if type(value) in (int, float) else ""
    raise mismatch(value, expected, schema, path, key, shown=shown)


def _boolean(value: Any, expected: ValueSchema, schema: StructSchema, path: str, key: str) -> Any:
    if type(value) is not bool:
        raise mismatch(value, expected, schema, path, key)
    return value


def _string(value: Any, expected: ValueSchema, schema: StructSchema, path: str, key: str) -> Any:
    if type(value) is not str:
        raise mismatch(value, expected, schema, path, key)
    return value


def _number(value: Any, expected: ValueSchema, schema: StructSchema, path: str, key: str) -> Any:
    if type(value) not in (int, float):
        raise mismatch(value, expected, schema, path, key)
    return float(value)


def _int_or_string(value: Any, expected: ValueSchema, schema: StructSchema, path: str, key: str) -> Any:
    return value if type(value) is str else _integer(value, ValueSchema(Kind.INT32, "int32"), schema, path, key)


def _quantity(value: Any, expected: ValueSchema, schema: StructSchema, path: str, key: str) -> Any:
    """Its canonical text; a bare number will do. Go's own error does not say where; the cause does."""
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return quantity.canonical("?")
        text = value.strip() if isinstance(value, str) else repr(value)
        return quantity.canonical(text)
    except ValueError as error:
        place = f"{path}.{key}" if path else key
        raise Unreadable(str(error), [(place, str(error))]) from error


def _time(value: Any, expected: ValueSchema, schema: StructSchema, path: str, key: str) -> Any:
    place = f"{path}.{key}" if path else key
    if type(value) is not str:
        text = f"json: cannot unmarshal {json_type(value)} into Go value of type string"
        raise Unreadable(text, [(place, text)])
    try:
        moment = msgspec.convert(value, datetime)
    except msgspec.ValidationError:
        moment = None
    if moment is None or moment.tzinfo is None:
        text = f'parsing time "{value}" as "2006-01-02T15:04:05Z07:00": cannot parse "{value}" as "2006"'
        raise Unreadable(text, [(place, text)])
    return value


def _bytes(value: Any, expected: ValueSchema, schema: StructSchema, path: str, key: str) -> Any:
    if type(value) is not str:
        raise mismatch(value, expected, schema, path, key)
    text = value.replace("\n", "").replace("\r", "")
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        found = re.search(r"[^A-Za-z0-9+/]", text)
        at = found.start() if found else len(text) - len(text) % 4
        message = f"illegal base64 data at input byte {at}"
        place = f"{path}.{key}" if path else key
        raise Unreadable(message, [(place, message)]) from error
    return text


SCALARS: Mapping[Kind, Callable[[Any, ValueSchema, StructSchema, str, str], Any]] = {
    Kind.STRING: _string,
    Kind.INT32: _integer,
    Kind.INT64: _integer,
    Kind.BOOL: _boolean,
    Kind.FLOAT: _number,
    Kind.QUANTITY: _quantity,
    Kind.INT_OR_STRING: _int_or_string,
    Kind.TIME: _time,
    Kind.BYTES: _bytes,
}
