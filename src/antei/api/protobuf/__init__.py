"""Reading Kubernetes' protobuf: Go clients write it, kubectl among them; antei answers in JSON, which they all read.

A body is `k8s\\0` and a runtime.Unknown: the kind's name and version, and the object's own bytes. `fields.json` says
which number each field has (the `protobuf` tags of k8s.io/api 1.37); the types come from lightkube's Structs. What
comes out is the object as JSON has it, so that everything behind it is the same for both.

    "core_v1.Volume": {"1": "name", "2": "+core_v1.VolumeSource"}     +: the fields of that message, inlined in JSON
    "core_v1.PodSpec": {"4": "terminationGracePeriodSeconds*", …}     *: a pointer in Go, whose zero is a value
"""

from __future__ import annotations

import base64
import importlib
import importlib.resources
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import msgspec

from antei.api.schema import Kind, ValueSchema, struct_schema

__all__ = ["MAGIC", "MalformedProtobuf", "decode_protobuf", "load", "values_in_go"]

MAGIC = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DEEPEST = 64
#: What Go leaves out of JSON (omitempty) when the field is no pointer.
_EMPTY: tuple[Any, ...] = ("", 0, False, None)


class MalformedProtobuf(ValueError):
    """The bytes are not what they claim to be, or of a kind that is not known."""


def load() -> None:
    """Reads the field numbers, which the first request would otherwise wait for."""
    _messages()


def decode_protobuf(body: bytes) -> dict[str, Any]:
    """The object in a body, as plain JSON values. Raises MalformedProtobuf."""
    if not body.startswith(MAGIC):
        raise MalformedProtobuf("provided data does not appear to be a protobuf message, expected prefix k8s")
    try:
        envelope = dict(_fields(memoryview(body)[len(MAGIC) :]))
        identity = dict(_fields(_bytes(envelope.get(1, b""))))
        api_version, kind = _text(identity.get(1, b"")), _text(identity.get(2, b""))
        model = _model(api_version, kind)
        decoded = _message(_bytes(envelope.get(2, b"")), _name(model), model, 0)
    except (IndexError, UnicodeDecodeError, OverflowError) as error:
        raise MalformedProtobuf(f"malformed protobuf: {error}") from error
    return {"apiVersion": api_version, "kind": kind, **decoded}


def values_in_go(model: type[Any]) -> frozenset[str]:
    """The JSON names of a model's fields that are values in Go, not pointers: they are never absent there."""
    return frozenset(_value_names(_name(model)))


def _value_names(message: str) -> Iterator[str]:
    for field in _messages().get(message, {}).values():
        if field.startswith("+"):
            yield from _value_names(field[1:])
        elif not field.endswith("*"):
            yield field


@cache
def _messages() -> Mapping[str, Mapping[int, str]]:
    text = importlib.resources.files(__package__).joinpath("fields.json").read_text()
    return {name: {int(number): field for number, field in fields.items()} for name, fields in json.loads(text).items()}


@cache
def _model(api_version: str, kind: str) -> type[Any]:
    group, _, version = api_version.rpartition("/")
    for module in (f"{group.partition('.')[0] if group else 'core'}_{version}", "meta_v1"):
        if f"{module}.{kind}" in _messages():
            model: type[Any] = getattr(importlib.import_module(f"lightkube.models.{module}"), kind)
            return model
    raise MalformedProtobuf(f'no kind "{kind}" is registered for version "{api_version}"')


def _name(model: type[Any]) -> str:
    return f"{model.__module__.rpartition('.')[2]}.{model.__name__}"


def _message(data: memoryview, name: str, model: type[Any], depth: int) -> dict[str, Any]:
    """The fields of a message as JSON; `model` is the Struct whose JSON it is, also for what is inlined in it."""
    if depth > _DEEPEST:
        raise MalformedProtobuf("malformed protobuf: exceeded max depth")
    numbers = _messages().get(name)
    if numbers is None:
        raise MalformedProtobuf(f"no field numbers are known for {name}")
    known = struct_schema(model).fields  # type: ignore[arg-type]
    found: dict[str, Any] = {}
    for number, raw in _fields(data):
        field = numbers.get(number, "")
        if field.startswith("+"):
            found.update(_message(_bytes(raw), field[1:], model, depth + 1))
            continue
        json_name = field.rstrip("*")
        schema = known.get(json_name)
        if schema is not None:  # else a field of a later version, which Go's decoder passes over, too
            _add(found, json_name, raw, schema.value, field.endswith("*"), depth)
    return found


def _add(found: dict[str, Any], name: str, raw: Any, schema: ValueSchema, is_pointer: bool, depth: int) -> None:
    if schema.kind is Kind.LIST:
        assert schema.item is not None
        found.setdefault(name, []).append(_value(raw, schema.item, depth))
        return
    if schema.kind is Kind.MAP:
        entry = dict(_fields(_bytes(raw)))
        item = schema.item
        value = entry.get(2, b"")
        found.setdefault(name, {})[_text(entry.get(1, b""))] = (
            _text(value) if item is None else _value(value, item, depth)
        )
        return
    value = _value(raw, schema, depth)
    if is_pointer or value not in _EMPTY:
        found[name] = value


def _value(raw: Any, schema: ValueSchema, depth: int) -> Any:
    match schema.kind:
        case Kind.STRING:
            return _text(raw)
        case Kind.INT32 | Kind.INT64:
            return _signed(raw)
        case Kind.BOOL:
            return bool(raw)
        case Kind.BYTES:
            return base64.b64encode(_bytes(raw)).decode()
        case Kind.STRUCT:
            assert schema.struct is not None
            return _message(_bytes(raw), _name(schema.struct), schema.struct, depth + 1)
        case Kind.TIME:
            return _time(raw)
        case Kind.QUANTITY:
            return _text(dict(_fields(_bytes(raw))).get(1, b""))
        case Kind.INT_OR_STRING:
            parts = dict(_fields(_bytes(raw)))
            return _text(parts.get(3, b"")) if parts.get(1) else _signed(parts.get(2, 0))
        case Kind.LIST:  # as a value of a map, in a message of its own
            assert schema.item is not None
            return [_value(item, schema.item, depth) for _, item in _fields(_bytes(raw))]
        case Kind.ANY:
            return _any(raw)
    raise MalformedProtobuf(f"malformed protobuf: a {schema.kind.name} is not expected")


def _any(raw: Any) -> Any:
    """A runtime.RawExtension or a FieldsV1: JSON in a field of its own."""
    content = bytes(_bytes(dict(_fields(_bytes(raw))).get(1, b"")))
    if not content:
        return None
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        raise MalformedProtobuf(f"malformed protobuf: {error}") from error


def _time(raw: Any) -> str | None:
    """A metav1.Time or MicroTime: seconds and nanoseconds; nothing is Go's zero time."""
    parts = dict(_fields(_bytes(raw)))
    if not parts:
        return None
    moment = _EPOCH + timedelta(seconds=_signed(parts.get(1, 0)), microseconds=_signed(parts.get(2, 0)) // 1000)
    return moment.isoformat().replace("+00:00", "Z")


def _signed(value: Any) -> int:
    if not isinstance(value, int):
        raise MalformedProtobuf("malformed protobuf: wrong wire type for an integer")
    return value - (1 << 64) if value >= 1 << 63 else value


def _bytes(value: Any) -> memoryview:
    if isinstance(value, int):
        raise MalformedProtobuf("malformed protobuf: wrong wire type for a message")
    return memoryview(value)


def _text(value: Any) -> str:
    return bytes(_bytes(value)).decode()


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """(number, value) of each field: an unsigned integer, or a view of bytes."""
    position, end = 0, len(data)
    while position < end:
        tag, position = _varint(data, position)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _VARINT:
            value, position = _varint(data, position)
            yield number, value
            continue
        if wire_type == _BYTES:
            size, position = _varint(data, position)
        elif wire_type in (_FIXED64, _FIXED32):
            size = 8 if wire_type == _FIXED64 else 4
        else:
            raise MalformedProtobuf(f"malformed protobuf: wire type {wire_type}")
        if position + size > end:
            raise MalformedProtobuf("malformed protobuf: unexpected EOF")
        yield number, data[position : position + size]
        position += size


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
        shift += 7
        if shift > 63:
            raise MalformedProtobuf("malformed protobuf: integer overflow")
