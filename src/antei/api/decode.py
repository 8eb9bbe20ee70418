"""From the JSON that a client sent to an object, as Go's decoder would read it.

Names of fields are case-sensitive, null means absent, a required field that is missing becomes Go's zero value (so
that validation, not decoding, reports it), quantities take their canonical form. A value of the wrong type is a 400
with Go's own wording; unknown and duplicate fields are ignored, warned of or refused, as `fieldValidation` asks.

Kubernetes: sigs.k8s.io/json, apimachinery/pkg/runtime/{error,codec}.go, apiserver/pkg/endpoints/handlers/create.go.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec
from lightkube.models.meta_v1 import ObjectMeta, StatusCause, StatusDetails

from antei.api.customresources import CustomObject
from antei.api.customresources.decoding import unknown_in
from antei.api.duplicates import all_duplicates, duplicates
from antei.api.errors import ApiError, bad_request
from antei.api.resources import resource_for_kind
from antei.api.scalars import SCALARS, Unreadable, json_type, mismatch
from antei.api.schema import Kind, StructSchema, ValueSchema, struct_schema

__all__ = ["Decoded", "decode", "decode_data"]

T = TypeVar("T")

_KEY = re.compile(rb'"[ \t\r\n]*:')
#: As many unknown or duplicate fields as are told of (sigs.k8s.io/json stops there too).
_STRICT_ERRORS_LIMIT = 100
_SUMMARY_BYTES = 30
#: Where a schema has schemas that lightkube's types do not tell of.
_SCHEMA_FIELDS = frozenset({"additionalItems", "additionalProperties", "items"})
#: What clients and their tests see of a real API server here.
_SCHEME = '"pkg/api/legacyscheme/scheme.go:30"'


@dataclass(frozen=True, slots=True)
class Decoded(Generic[T]):
    object: T
    warnings: list[str]


def decode(body: bytes, type: type[T], *, field_validation: str = "Warn") -> Decoded[T]:
    """The object in `body`, of one of lightkube's classes, with what there is to warn of.

    `field_validation` is Ignore, Warn or Strict. Raises ApiError 400 BadRequest; its causes name the field.
    """
    if issubclass(type, CustomObject):
        return _decode_custom(body, type, field_validation)
    kind, api_version = _expected(type)
    data = _parsed(body, kind)
    key_count = _check_identity(data, type, kind, api_version)
    try:
        return _decode_object(body, data, type, field_validation, key_count)
    except Unreadable as problem:
        message = f'{kind} in version "{_version(api_version)}" cannot be handled as a {kind}: {problem.message}'
        causes = [
            StatusCause(field=path, message=text, reason="FieldValueInvalid") for path, text in problem.places if path
        ]
        raise _with_causes(bad_request(message), causes) from problem


def _decode_custom(body: bytes, type: type[T], field_validation: str) -> Decoded[T]:
    """An object of a custom kind: the types of its fields are its schema's business, which validates them later."""
    assert issubclass(type, CustomObject)
    resource = type.resource
    assert resource is not None
    kind, api_version = resource.kind, resource.api_version
    data = _parsed(body, kind)
    key_count = _count_keys(data)
    _check_custom_identity(data, kind, api_version)
    try:
        metadata = data.get("metadata")
        walk = _Walk()
        if metadata is not None:
            if not isinstance(metadata, dict):
                text = (
                    f"json: cannot unmarshal {json_type(metadata)} into Go struct field .metadata of type v1.ObjectMeta"
                )
                raise Unreadable(text, [("metadata", text)])
            walk.struct(metadata, struct_schema(ObjectMeta), "metadata")
        obj = type.of(data)
        strict_errors: list[tuple[str, str]] = []
        if field_validation != "Ignore":
            repeated = all_duplicates(body) if len(_KEY.findall(body)) != key_count else []
            unknown = [*walk.unknown, *unknown_in(data, type)]
            strict_errors = [(path, f'duplicate field "{path}"') for path in repeated]
            strict_errors += [(path, f'unknown field "{path}"') for path in unknown]
            strict_errors = list(dict.fromkeys(strict_errors))[:_STRICT_ERRORS_LIMIT]
        if strict_errors and field_validation == "Strict":
            texts = ", ".join(text for _, text in strict_errors)
            raise Unreadable(f"strict decoding error: {texts}", strict_errors)
    except (Unreadable, RecursionError, msgspec.ValidationError) as problem:
        told = problem.message if isinstance(problem, Unreadable) else str(problem)
        message = f'{kind} in version "{_version(api_version)}" cannot be handled as a {kind}: {told}'
        raise bad_request(message) from problem
    return Decoded(obj, [text for _, text in strict_errors])


def _check_custom_identity(data: dict[str, Any], kind: str, api_version: str) -> None:
    for name, expected in (("kind", kind), ("apiVersion", api_version)):
        if data.get(name) in (None, ""):
            data[name] = expected
    if data["kind"] != kind:
        raise bad_request(f"the object provided is unrecognized (must be of type {kind}): {data['kind']}")
    if data["apiVersion"] != api_version:
        raise bad_request(
            f"the API version in the data ({data['apiVersion']}) does not match the expected API version "
            f"({api_version})"
        )


def decode_data(data: Any, type: type[T], *, field_validation: str = "Warn") -> Decoded[T]:
    """As `decode`, of plain data such as a YAML document, which stays as it is."""
    try:
        body = msgspec.json.encode(data)
    except (TypeError, ValueError, RecursionError) as error:
        raise bad_request(f"error converting YAML to JSON: {error}") from error
    return decode(body, type, field_validation=field_validation)


def _parsed(body: bytes, kind: str) -> dict[str, Any]:
    """The body as plain data. Raises what Kubernetes says when it cannot even tell the kind."""
    try:
        data = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        is_cut = not body.strip() or "truncated" in str(error)
        raise _unrecognized(kind, "unexpected end of JSON input" if is_cut else str(error), body) from error
    except RecursionError as error:
        raise _unrecognized(kind, "exceeded max depth", body) from error
    if not isinstance(data, dict):
        target = "value of type struct { APIVersion string; Kind string }"
        raise _unrecognized(kind, f"json: cannot unmarshal {json_type(data)} into Go {target}", body)
    for name in ("apiVersion", "kind"):
        if not isinstance(data.get(name, ""), str | None):
            text = f"json: cannot unmarshal {json_type(data[name])} into Go struct field .{name} of type string"
            raise _unrecognized(kind, text, body)
    return data


def _unrecognized(kind: str, problem: str, body: bytes) -> ApiError:
    """Ends with the start of the body, as it is if it looks like an object, else in hexadecimal."""
    if not body:
        summary = "<empty>"
    else:
        start = body[:_SUMMARY_BYTES]
        summary = start.decode(errors="replace") if start.startswith(b"{") else start.hex()
        summary += " ..." if len(body) > _SUMMARY_BYTES else ""
    return bad_request(
        f"the object provided is unrecognized (must be of type {kind}): "
        f"couldn't get version/kind; json parse error: {problem} ({summary})"
    )


def _with_causes(error: ApiError, causes: list[StatusCause]) -> ApiError:
    if causes:
        error.status = msgspec.structs.replace(error.status, details=StatusDetails(causes=causes))
    return error


def _decode_object(
    body: bytes, data: dict[str, Any], type: type[T], field_validation: str, filled_keys: int
) -> Decoded[T]:
    walk = _Walk(key_count=-filled_keys)
    try:
        walk.struct(data, struct_schema(type), "")  # type: ignore[arg-type]
        obj: T = msgspec.convert(data, type)
    except RecursionError as error:
        raise Unreadable("exceeded max depth", [("", "")]) from error
    except msgspec.ValidationError as error:
        raise Unreadable(f"json: {error}", [(_path_of(error), str(error))]) from error
    strict_errors: list[tuple[str, str]] = []
    if field_validation != "Ignore":
        strict_errors = [(path, f'unknown field "{path}"') for path in walk.unknown]
        if len(_KEY.findall(body)) != walk.key_count or walk.unknown:
            repeated = duplicates(body, struct_schema(type))  # type: ignore[arg-type]
            strict_errors = [(path, f'duplicate field "{path}"') for path in repeated] + strict_errors
        strict_errors = list(dict.fromkeys(strict_errors))[:_STRICT_ERRORS_LIMIT]
    if strict_errors and field_validation == "Strict":
        texts = ", ".join(text for _, text in strict_errors)
        raise Unreadable(f"strict decoding error: {texts}", strict_errors)
    return Decoded(obj, [text for _, text in strict_errors])


def _path_of(error: msgspec.ValidationError) -> str:
    found = re.search(r"at `\$\.?([^`]*)`", str(error))
    return found.group(1) if found else ""


def _expected(type: Any) -> tuple[str, str]:
    info = getattr(type, "_api_info", None)
    if info is None:
        module = type.__module__.rpartition(".")[2]
        return type.__name__, module.rpartition("_")[2] if "_" in module else "v1"
    group, version = info.resource.group, info.resource.version
    return info.resource.kind, f"{group}/{version}" if group else version


def _version(api_version: str) -> str:
    return api_version.rpartition("/")[2]


def _check_identity(data: dict[str, Any], type: Any, kind: str, api_version: str) -> int:
    """Fills in apiVersion and kind where the body has none, and tells how many; refuses another kind's."""
    if not hasattr(type, "_api_info"):
        return 0
    filled = 0
    for name, expected in (("kind", kind), ("apiVersion", api_version)):
        value = data.get(name)
        if value is None or value == "":
            filled += name not in data
            data[name] = expected
    given_kind, given_version = data["kind"], data["apiVersion"]
    if (given_kind, given_version) == (kind, api_version):
        return filled
    if resource_for_kind(given_version, given_kind) is None:
        where = f'no kind "{given_kind}" is registered for version "{given_version}" in scheme {_SCHEME}'
        version = _version(given_version)
        raise bad_request(f'{given_kind} in version "{version}" cannot be handled as a {kind}: {where}')
    if given_kind == kind:
        raise bad_request(
            f"the API version in the data ({given_version}) does not match the expected API version ({api_version})"
        )
    given, wanted = _version(given_version), _internal_package(api_version)
    raise bad_request(
        f'{given_kind} in version "{given}" cannot be handled as a {kind}: '
        f"converting ({given}.{given_kind}) to ({wanted}.{kind}): unknown conversion"
    )


def _internal_package(api_version: str) -> str:
    group = api_version.partition("/")[0] if "/" in api_version else "core"
    return group.partition(".")[0]


def _zero(value: ValueSchema) -> Any:
    """Go's zero value, as JSON has it."""
    match value.kind:
        case Kind.STRING | Kind.BYTES:
            return ""
        case Kind.INT32 | Kind.INT64 | Kind.FLOAT | Kind.INT_OR_STRING:
            return 0
        case Kind.BOOL:
            return False
        case Kind.QUANTITY:
            return "0"
        case Kind.TIME:
            return "0001-01-01T00:00:00Z"
        case Kind.LIST:
            return []
        case Kind.STRUCT:
            assert value.struct is not None
            return {required.name: _zero(required.value) for required in struct_schema(value.struct).required}
        case _:
            return {}


@dataclass(slots=True)
class _Walk:
    """Goes through freshly parsed data along the schema; completes and canonicalises it in place.

    `key_count` is how many keys of objects there are in all, which a body with duplicates exceeds.
    """

    unknown: list[str] = field(default_factory=list)
    key_count: int = 0

    def struct(self, data: dict[str, Any], schema: StructSchema, path: str) -> None:
        fields = schema.fields
        self.key_count += len(data)
        for key, value in data.items():
            known = fields.get(key)
            if known is None:
                self.unknown.append(f"{path}.{key}" if path else key)
                self.key_count += _count_keys(value)
            elif value is not None:
                kind = known.value.kind
                if kind is Kind.STRING:
                    if type(value) is not str:
                        raise mismatch(value, known.value, schema, path, key)
                elif kind is Kind.STRUCT and type(value) is dict:
                    inner = f"{path}.{key}" if path else key
                    self.struct(value, struct_schema(known.value.struct), inner)
                else:
                    replaced = self._value(value, known.value, schema, path, key)
                    if replaced is not value:
                        data[key] = replaced
        for required in schema.required:
            if data.get(required.name) is None:
                data[required.name] = _zero(required.value)

    def _value(self, value: Any, expected: ValueSchema, schema: StructSchema, path: str, key: str) -> Any:
        """The value as it is to be stored; `schema` and `path` are those of the Struct that it is in."""
        match expected.kind:
            case Kind.LIST:
                return self._list(value, expected, schema, path, key)
            case Kind.MAP:
                return self._map(value, expected, schema, path, key)
            case Kind.STRUCT:
                if type(value) is not dict:
                    raise mismatch(value, expected, schema, path, key)
                self.struct(value, struct_schema(expected.struct), f"{path}.{key}" if path else key)
                return value
            case Kind.ANY:
                if key in _SCHEMA_FIELDS and schema.go_name == "JSONSchemaProps":
                    return self._json_schema(value, schema, path, key)
                self.key_count += _count_keys(value)
                return value
            case _:
                return SCALARS[expected.kind](value, expected, schema, path, key)

    def _json_schema(self, value: Any, schema: StructSchema, path: str, key: str) -> Any:
        """A schema, or in its place a boolean (additionalProperties) or a list of schemas (items)."""
        if type(value) is dict:
            self.struct(value, schema, f"{path}.{key}" if path else key)
        elif type(value) is list and key == "items":
            for index, entry in enumerate(value):
                self._json_schema(entry, schema, path, f"{key}[{index}]")
        elif type(value) is not bool or key == "items":
            raise mismatch(value, ValueSchema(Kind.STRUCT, "v1.JSONSchemaProps"), schema, path, key)
        return value

    def _list(self, value: Any, expected: ValueSchema, schema: StructSchema, path: str, key: str) -> Any:
        if type(value) is not list:
            raise mismatch(value, expected, schema, path, key)
        item = expected.item
        assert item is not None
        if item.kind is Kind.STRUCT:
            assert item.struct is not None
            inner = struct_schema(item.struct)
            for index, entry in enumerate(value):
                if entry is None:
                    value[index] = _zero(item)
                elif type(entry) is not dict:
                    raise mismatch(entry, item, schema, path, key, f"[{index}]")
                else:
                    self.struct(entry, inner, f"{path}.{key}[{index}]" if path else f"{key}[{index}]")
            return value
        for index, entry in enumerate(value):
            if entry is None:
                value[index] = _zero(item)
            else:
                value[index] = self._value(entry, item, schema, path, f"{key}[{index}]")
        return value

    def _map(self, value: Any, expected: ValueSchema, schema: StructSchema, path: str, key: str) -> Any:
        if type(value) is not dict:
            raise mismatch(value, expected, schema, path, key)
        item = expected.item
        assert item is not None
        self.key_count += len(value)
        if item.kind is Kind.STRING:
            for name, entry in value.items():
                if type(entry) is not str:
                    if entry is None:
                        value[name] = ""
                    else:
                        raise mismatch(entry, item, schema, path, key, f".{name}")
            return value
        for name, entry in value.items():
            if entry is None:
                value[name] = _zero(item)
            else:
                value[name] = self._value(entry, item, schema, path, f"{key}.{name}")
        return value


def _count_keys(value: Any) -> int:
    if type(value) is dict:
        return len(value) + sum(map(_count_keys, value.values()))
    if type(value) is list:
        return sum(map(_count_keys, value))
    return 0
