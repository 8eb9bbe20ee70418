"""OpenAPI documents as protobuf: gnostic's messages, which is how client-go and old kubectls ask for them.

`gnostic.json` has the messages' fields; what a JSON document becomes follows from a few rules (github.com/google/
gnostic-models: openapiv2/OpenAPIv2.go, openapiv3/OpenAPIv3.go): objects with any keys are lists of name and value,
`x-` keys are extensions whose value is YAML, alternatives are chosen by what is in them.
"""

from __future__ import annotations

import importlib.resources
import re
import struct
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import msgspec

__all__ = ["encode"]

_Message = Mapping[str, tuple[int, str]]
_VARINT, _FIXED64, _BYTES = 0, 1, 2
_EXTENSIONS = ("vendor_extension", "specification_extension")
#: What takes the keys that have no field of their own.
_COLLECTIONS = ("additional_properties", "path", "response_code", "response_or_reference")
_REFERENCES = ("?Reference", "?JsonReference")
_OF_PLACE = {
    "body": "?BodyParameter",
    "formData": "?FormDataParameterSubSchema",
    "header": "?HeaderParameterSubSchema",
    "path": "?PathParameterSubSchema",
    "query": "?QueryParameterSubSchema",
}


def encode(version: str, document: Mapping[str, Any]) -> bytes:
    """`version` is v2 (Swagger 2.0) or v3. What the messages have no field for is left out."""
    return _Encoder(_messages()[version]).message("Document", document)


@cache
def _messages() -> Mapping[str, Mapping[str, _Message]]:
    text = importlib.resources.files(__package__).joinpath("gnostic.json").read_bytes()
    return msgspec.json.decode(text, type=dict[str, dict[str, dict[str, tuple[int, str]]]])


class _Encoder:
    def __init__(self, messages: Mapping[str, _Message]) -> None:
        self._messages = messages

    def message(self, name: str, value: Any) -> bytes:
        return b"".join(self._parts(self._messages[name], value))

    def _parts(self, fields: _Message, value: Any) -> Iterator[bytes]:
        if next(iter(fields)).startswith("?"):
            choice = _choice(fields, value)
            if choice is not None:
                yield self._field(fields[choice], value)
        elif "yaml" in fields:
            yield self._field(fields["yaml"], msgspec.json.encode(value).decode())
        elif len(fields) == 1 and "additional_properties" not in fields:
            (only,) = fields.values()  # a list, which JSON may have as its one item
            for item in value if isinstance(value, list) else [value]:
                yield self._field(only, item)
        else:
            yield from self._object(fields, value)

    def _object(self, fields: _Message, value: Mapping[str, Any]) -> Iterator[bytes]:
        extensions = next((fields[name] for name in _EXTENSIONS if name in fields), None)
        named = (fields[name] for name in _COLLECTIONS if name in fields)
        collection = next((field for field in named if field[1].startswith("[]Named")), None)
        for key, item in value.items():
            field = fields.get(_snake(key))
            if key.startswith("x-") and extensions is not None:
                yield self._field(extensions, {"name": key, "value": item})
            elif field is not None and collection != field:
                for one in item if field[1].startswith("[]") and isinstance(item, list) else [item]:
                    yield self._field(field, one)
            elif collection is not None:
                yield self._named(collection, key, item)

    def _named(self, field: tuple[int, str], name: str, value: Any) -> bytes:
        """Its value may have a key `name`, too, so it is not mixed up with the message's own."""
        number, kind = field
        fields = self._messages[kind.removeprefix("[]")]
        content = self._field(fields["name"], name) + self._field(fields["value"], value)
        return _tag(number, _BYTES) + _varint(len(content)) + content

    def _field(self, field: tuple[int, str], value: Any) -> bytes:
        number, kind = field
        match kind.removeprefix("[]"):
            case "string":
                content = str(value).encode()
            case "bool":
                return _tag(number, _VARINT) + _varint(int(bool(value)))
            case "int64":
                return _tag(number, _VARINT) + _varint(int(value) & 0xFFFF_FFFF_FFFF_FFFF)
            case "float64":
                return _tag(number, _FIXED64) + struct.pack("<d", float(value))
            case message:
                if message.startswith("Named") and set(value) == {"name", "value"}:
                    return self._named(field, value["name"], value["value"])
                content = self.message(message, value)
        return _tag(number, _BYTES) + _varint(len(content)) + content


def _choice(fields: _Message, value: Any) -> str | None:
    """Which of a oneof's alternatives a value is; None where none can say it (a default that is an object)."""
    if isinstance(value, bool):
        return "?Boolean" if "?Boolean" in fields else None
    if isinstance(value, str | int | float):
        wanted = "?String_" if isinstance(value, str) else "?Number"
        return wanted if wanted in fields else None
    if not isinstance(value, dict):
        return None
    if "$ref" in value:
        found = next((name for name in _REFERENCES if name in fields), None)
        if found is not None:
            return found
    place = _OF_PLACE.get(str(value.get("in")), "")
    if place in fields:
        return place
    if "?NonBodyParameter" in fields:
        return "?NonBodyParameter"
    if "?ApiKeySecurity" in fields:
        return "?ApiKeySecurity"
    scalars = ("?Boolean", "?String_", "?Number")
    return next((name for name in fields if name not in (*_REFERENCES, *scalars)), None)


@cache
def _snake(key: str) -> str:
    if key == "$ref":
        return "_ref"
    return re.sub(r"[A-Z]", lambda found: "_" + found[0].lower(), key)


def _tag(number: int, wire: int) -> bytes:
    return _varint(number << 3 | wire)


def _varint(number: int) -> bytes:
    if number < 0x80:
        return _SMALL[number]
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


_SMALL = tuple(bytes((number,)) for number in range(0x80))
