"""What a schema refuses, in the words of Kubernetes' OpenAPI validator.

Kubernetes: k8s.io/kube-openapi/pkg/validation/{validate,errors}, apiextensions-apiserver/pkg/apiserver/validation,
apiextensions-apiserver/pkg/apiserver/schema/listtype.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from antei.api.cel import matches
from antei.api.customresources.structure import Structure
from antei.api.errors import FieldError, FieldErrorType
from antei.api.formats import is_of_format
from antei.api.validation.fields import duplicate, invalid, not_supported, required

__all__ = ["ROOT", "child_path", "item_name", "items_by_name", "list_type_errors", "schema_errors"]

Schema = Mapping[str, Any]

#: What Go prints for the path of the object itself.
ROOT = "<nil>"
_JSON_TYPES = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}


def child_path(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


_canonical = msgspec.json.Encoder(order="sorted")
#: Where there is no old value to go by.
_UNTOLD = object()


def schema_errors(value: Any, schema: Schema, path: str = "", *, old: Any = _UNTOLD) -> list[FieldError]:
    """What is wrong with a value that the schema describes; `path` is where it is in the object.

    What is as it was in the `old` object is not held against it (Kubernetes: CRDValidationRatcheting).
    """
    if old is None:
        old = _UNTOLD
    if old is not _UNTOLD and _same(value, old):
        return []
    if value is None and (schema.get("nullable") or not schema.get("type")):
        return []
    errors = list(_type_errors(value, schema, path))
    errors += _combined_errors(value, schema, path)
    if isinstance(value, str):
        errors += _string_errors(value, schema, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        errors += _number_errors(value, schema, path)
    elif isinstance(value, list):
        errors += _array_errors(value, schema, path, old)
    if schema.get("enum") is not None and not any(_same(value, allowed) for allowed in schema["enum"]):
        errors.append(not_supported(path or ROOT, value, [_enum_text(allowed) for allowed in schema["enum"]]))
    if isinstance(value, dict):
        errors += _object_errors(value, schema, path, old)
    return errors


def _error(path: str, value: Any, text: str) -> FieldError:
    return invalid(path or ROOT, value, f"{path} in body {text}")


def _type_errors(value: Any, schema: Schema, path: str) -> Iterator[FieldError]:
    wanted = schema.get("type") or ""
    names = ("integer", "string") if schema.get("x-kubernetes-int-or-string") else (wanted,) if wanted else ()
    if not names:
        return
    actual = "null" if value is None else _JSON_TYPES[type(value)]
    if actual == "number" and float(value).is_integer():
        actual = "integer"
    if actual in names or (actual == "integer" and "number" in names):
        yield from _format_errors(value, schema, path)
        return
    detail = f'{path} in body must be of type {",".join(names)}: "{actual}"'
    yield FieldError(FieldErrorType.TYPE_INVALID, path or ROOT, actual, detail)


def _format_errors(value: Any, schema: Schema, path: str) -> Iterator[FieldError]:
    given = schema.get("format") or ""
    if isinstance(value, str) and given and not is_of_format(given, value):
        detail = f'{path} in body must be of type {given}: "{value}"'
        yield FieldError(FieldErrorType.TYPE_INVALID, path or ROOT, value, detail)
    elif isinstance(value, int) and not isinstance(value, bool) and given in ("int32", "int64"):
        bits = 31 if given == "int32" else 63
        if not -(2**bits) <= value < 2**bits:
            yield _error(path, value, f"must be of type {given}: {value}")


def _string_errors(value: str, schema: Schema, path: str) -> Iterator[FieldError]:
    most, least, pattern = schema.get("maxLength"), schema.get("minLength"), schema.get("pattern")
    if most is not None and len(value) > most:
        yield FieldError(FieldErrorType.TOO_LONG, path or ROOT, "", f"may not be more than {most} bytes")
    if least is not None and len(value) < least:
        yield _error(path, value, f"should be at least {least} chars long")
    if pattern and not matches(pattern, value):
        yield _error(path, value, f"should match '{pattern}'")


def _number_errors(value: int | float, schema: Schema, path: str) -> Iterator[FieldError]:
    factor, highest, lowest = schema.get("multipleOf"), schema.get("maximum"), schema.get("minimum")
    if factor and not _is_multiple(value, factor):
        yield _error(path, value, f"should be a multiple of {_number(factor)}")
    if highest is not None:
        if schema.get("exclusiveMaximum"):
            if value >= highest:
                yield _error(path, value, f"should be less than {_number(highest)}")
        elif value > highest:
            yield _error(path, value, f"should be less than or equal to {_number(highest)}")
    if lowest is not None:
        if schema.get("exclusiveMinimum"):
            if value <= lowest:
                yield _error(path, value, f"should be greater than {_number(lowest)}")
        elif value < lowest:
            yield _error(path, value, f"should be greater than or equal to {_number(lowest)}")


def _is_multiple(value: int | float, factor: int | float) -> bool:
    quotient = value / factor
    return math.isfinite(quotient) and abs(quotient - round(quotient)) < 1e-9


def _number(value: int | float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)


def _array_errors(value: Sequence[Any], schema: Schema, path: str, old: Any) -> Iterator[FieldError]:
    most, least = schema.get("maxItems"), schema.get("minItems")
    items = schema.get("items")
    if isinstance(items, Mapping):
        keys = schema.get("x-kubernetes-list-map-keys") if schema.get("x-kubernetes-list-type") == "map" else None
        known = items_by_name(old, keys) if keys and isinstance(old, list) else {}
        for index, item in enumerate(value):
            before = known.get(item_name(item, keys or ()), _UNTOLD)
            yield from schema_errors(item, items, f"{path}[{index}]", old=before)
    if least is not None and len(value) < least:
        yield _error(path, len(value), f"should have at least {least} items")
    if most is not None and len(value) > most:
        yield _too_many(path, len(value), most)
    if schema.get("uniqueItems") and any(_same(a, b) for i, a in enumerate(value) for b in value[:i]):
        yield _error(path, "", "shouldn't contain duplicates")


def item_name(item: Any, keys: Sequence[str]) -> bytes:
    """What an item of a list that is a map goes by; of one that is none, nothing."""
    return msgspec.json.encode([item.get(key) for key in keys]) if isinstance(item, dict) else b""


def items_by_name(items: Sequence[Any], keys: Sequence[str]) -> Mapping[bytes, Any]:
    """The first of those that go by the same name."""
    return {item_name(item, keys): item for item in reversed(items) if isinstance(item, dict)}


def _too_many(path: str, count: int, most: int) -> FieldError:
    return FieldError(FieldErrorType.TOO_MANY, path or ROOT, count, f"{count}: must have at most {most} items")


def _object_errors(value: Mapping[str, Any], schema: Schema, path: str, old: Any) -> Iterator[FieldError]:
    properties = schema.get("properties") or {}
    values = schema.get("additionalProperties")
    most, least = schema.get("maxProperties"), schema.get("minProperties")
    if least is not None and len(value) < least:
        yield _error(path, len(value), f"should have at least {least} properties")
    if most is not None and len(value) > most:
        yield _too_many(path, len(value), most)
    for name in schema.get("required") or ():
        if name not in value:
            yield required(child_path(path, name))
    is_told = isinstance(old, dict) and schema.get("x-kubernetes-map-type") != "atomic"
    for name, child in value.items():
        below = properties.get(name, values)
        if isinstance(below, Mapping):
            before = old.get(name, _UNTOLD) if is_told else _UNTOLD
            yield from schema_errors(child, below, child_path(path, name), old=before)


def _combined_errors(value: Any, schema: Schema, path: str) -> Iterator[FieldError]:
    """allOf, anyOf, oneOf and not; of alternatives that all fail, the errors of the one that comes nearest."""
    any_of, one_of, all_of = (schema.get(name) or () for name in ("anyOf", "oneOf", "allOf"))
    if any_of:
        failures = [schema_errors(value, part, path) for part in any_of]
        if all(failures):
            yield _composite(f'"{path}" must validate at least one schema (anyOf)')
            yield from min(failures, key=len)
    if one_of:
        failures = [schema_errors(value, part, path) for part in one_of]
        valid = sum(not failed for failed in failures)
        if valid != 1:
            found = "Found none valid" if not valid else f"Found {valid} valid alternatives"
            yield _composite(f'"{path}" must validate one and only one schema (oneOf). {found}')
            if not valid:
                yield from min(failures, key=len)
    if all_of:
        failures = [schema_errors(value, part, path) for part in all_of]
        if any(failures):
            valid = sum(not failed for failed in failures)
            more = ". None validated" if not valid else ""
            yield _composite(f'"{path}" must validate all the schemas (allOf){more}')
            for failed in failures:
                yield from failed
    refused = schema.get("not")
    if isinstance(refused, Mapping) and not schema_errors(value, refused, path):
        yield _composite(f'"{path}" must not validate the schema (not)')


def _composite(text: str) -> FieldError:
    return invalid(ROOT, "", text)


def _enum_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return _number(value) if isinstance(value, int | float) else str(value)


def _same(left: Any, right: Any) -> bool:
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


# Lists that are sets or maps


def list_type_errors(value: Any, node: Structure, path: str = "") -> Iterator[FieldError]:
    """Items of a list that name themselves as another one does."""
    if not node.has_list_types:
        return
    if isinstance(value, dict):
        for name, child in value.items():
            below = node.properties.get(name) or (node.values if isinstance(node.values, Structure) else None)
            if below is not None:
                yield from list_type_errors(child, below, child_path(path, name))
    elif isinstance(value, list):
        if node.list_type in ("set", "map"):
            yield from _duplicates(value, node, path)
        if node.items is not None:
            for index, item in enumerate(value):
                yield from list_type_errors(item, node.items, f"{path}[{index}]")


def _duplicates(items: Sequence[Any], node: Structure, path: str) -> Iterator[FieldError]:
    known: set[bytes] = set()
    for index, item in enumerate(items):
        if node.list_type == "map":
            if not isinstance(item, dict):
                continue
            name: Any = {key: item[key] for key in node.list_map_keys if key in item}
        else:
            name = item
        text = _canonical.encode(name)
        if text in known:
            yield duplicate(f"{path}[{index}]", name)
        known.add(text)
