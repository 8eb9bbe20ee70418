"""What a schema must be so that objects can be pruned and defaulted by it: structural, of what is supported alone.

Kubernetes: apiextensions-apiserver/pkg/apiserver/schema/{validation,complete}.go, schema/defaulting/validation.go,
pkg/apis/apiextensions/validation/validation.go (ValidateCustomResourceDefinitionOpenAPISchema).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from antei.api.cel import CelError, check_pattern
from antei.api.customresources.conforming import defaulted, pruned, unknown_fields
from antei.api.customresources.json_path import field_names
from antei.api.customresources.rule_fields import undefined_field
from antei.api.customresources.rules import compiled, compiled_message
from antei.api.customresources.structure import Rule, structure_of
from antei.api.customresources.validation import schema_errors
from antei.api.errors import FieldError
from antei.api.validation.fields import forbidden, invalid, not_supported, required

__all__ = ["schema_rule_errors"]

Schema = Mapping[str, Any]

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_UNSUPPORTED = {
    "definitions": "definitions is not supported",
    "dependencies": "dependencies is not supported",
    "id": "id is not supported",
    "additionalItems": "additionalItems is not supported",
    "patternProperties": "patternProperties is not supported",
}
_REASONS = ("FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired", "FieldValueDuplicate")
#: Of objects and lists in the schema's JSON. Kubernetes has no such limit; the deepest known schemas have 40.
_MOST_LEVELS = 200
#: What a schema inside of allOf, anyOf, oneOf or not may not say, for the structure is said outside.
_STRUCTURAL_FIELDS = ("description", "type", "default", "title", "nullable")
_STRUCTURAL_EXTENSIONS = (
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
)
_JUNCTORS = ("allOf", "anyOf", "oneOf")


def schema_rule_errors(schema: Schema, path: str) -> list[FieldError]:
    """What is wrong with the schema of whole objects, at that path."""
    if _is_too_deep(schema):
        return [invalid(path, "", f"must not be nested more than {_MOST_LEVELS} levels")]
    errors: list[FieldError] = []
    if schema.get("type") != "object":
        if not schema.get("type"):
            errors.append(required(f"{path}.type", "must not be empty at the root"))
        else:
            errors.append(invalid(f"{path}.type", schema["type"], "must be object at the root"))
    if schema.get("nullable"):
        errors.append(forbidden(f"{path}.nullable", "nullable cannot be true at the root"))
    errors += _metadata_errors(schema, path)
    errors += _node_errors(schema, path, is_root=True)
    if not errors:
        errors += _default_errors(schema, path)
    return errors


def _is_too_deep(schema: Any) -> bool:
    """Whoever walks along a schema goes as deep as it is."""
    level = [schema]
    for _ in range(_MOST_LEVELS):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, Mapping) else node)
            if isinstance(child, Mapping | list)
        ]
        if not level:
            return False
    return True


def _metadata_errors(schema: Schema, path: str) -> Iterator[FieldError]:
    metadata = (schema.get("properties") or {}).get("metadata")
    if not isinstance(metadata, Mapping):
        return
    extra = {name for name in metadata if name not in ("type", "properties", "description")}
    named = set(metadata.get("properties") or ())
    if extra or named - {"name", "generateName"}:
        text = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        yield forbidden(f"{path}.properties[metadata]", text)


def _node_errors(schema: Schema, path: str, *, is_root: bool = False, place: str = "") -> Iterator[FieldError]:
    """`place` says where the node is ("specified object fields"), which the message of a missing type tells."""
    int_or_string = bool(schema.get("x-kubernetes-int-or-string"))
    given = schema.get("type") or ""
    if not is_root and not given and not int_or_string and not schema.get("x-kubernetes-preserve-unknown-fields"):
        yield required(f"{path}.type", f"must not be empty for {place}")
    if given and given not in _TYPES:
        yield not_supported(f"{path}.type", given, _TYPES)
    yield from _unsupported_errors(schema, path)
    yield from _extension_errors(schema, path, given, int_or_string)
    yield from _value_errors(schema, path)
    yield from _rule_errors(schema, path, is_root)
    properties = schema.get("properties") or {}
    for name, child in properties.items():
        if isinstance(child, Mapping):
            inner = f"{path}.properties[{name}]"
            if is_root and name == "metadata":
                continue
            yield from _node_errors(child, inner, place="specified object fields")
    values = schema.get("additionalProperties")
    if values is False:
        yield forbidden(f"{path}.additionalProperties", "additionalProperties cannot be set to false")
    elif values is not None:
        if properties:
            text = "additionalProperties and properties are mutual exclusive"
            yield forbidden(f"{path}.additionalProperties", text)
        if is_root:
            yield forbidden(f"{path}.additionalProperties", "must not be used at the root")
        if isinstance(values, Mapping):
            at = f"{path}.additionalProperties"
            yield from _node_errors(values, at, place="specified object fields")
    items = schema.get("items")
    if isinstance(items, Sequence) and not isinstance(items, str):
        yield forbidden(f"{path}.items", "items must be a schema object and not an array")
    elif isinstance(items, Mapping):
        yield from _node_errors(items, f"{path}.items", place="specified array items")
    elif given == "array":
        yield required(f"{path}.items", "must be specified")
    yield from _junctor_errors(schema, path, schema)


def _unsupported_errors(schema: Schema, path: str) -> Iterator[FieldError]:
    if schema.get("$ref"):
        yield forbidden(f"{path}.$ref", "$ref is not supported")
    for name, text in _UNSUPPORTED.items():
        if schema.get(name):
            yield forbidden(f"{path}.{name}", text)
    if schema.get("uniqueItems"):
        text = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield forbidden(f"{path}.uniqueItems", text)


def _extension_errors(schema: Schema, path: str, given: str, int_or_string: bool) -> Iterator[FieldError]:
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        yield invalid(f"{path}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined")
    if int_or_string and given:
        yield forbidden(f"{path}.type", "must be empty if x-kubernetes-int-or-string is true")
    if schema.get("x-kubernetes-embedded-resource"):
        if given != "object":
            text = "must be object if x-kubernetes-embedded-resource is true"
            yield invalid(f"{path}.type", given, text) if given else required(f"{path}.type", text)
        if not schema.get("properties") and not schema.get("x-kubernetes-preserve-unknown-fields"):
            text = "must not be empty if x-kubernetes-embedded-resource is true without "
            yield required(f"{path}.properties", f"{text}x-kubernetes-preserve-unknown-fields")
    yield from _list_errors(schema, path, given)
    map_type = schema.get("x-kubernetes-map-type")
    if map_type is not None:
        if given != "object":
            text = "must be object if x-kubernetes-map-type is specified"
            yield invalid(f"{path}.type", given, text) if given else required(f"{path}.type", text)
        if map_type not in ("atomic", "granular"):
            yield not_supported(f"{path}.x-kubernetes-map-type", map_type, ("atomic", "granular"))


def _list_errors(schema: Schema, path: str, given: str) -> Iterator[FieldError]:
    list_type, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys")
    if list_type is None:
        if keys:
            text = "must not be set if x-kubernetes-list-type is not map"
            yield forbidden(f"{path}.x-kubernetes-list-map-keys", text)
        return
    if given != "array":
        text = "must be array if x-kubernetes-list-type is specified"
        yield invalid(f"{path}.type", given, text) if given else required(f"{path}.type", text)
    if list_type not in ("atomic", "set", "map"):
        yield not_supported(f"{path}.x-kubernetes-list-type", list_type, ("atomic", "set", "map"))
    items = schema.get("items") if isinstance(schema.get("items"), Mapping) else {}
    assert isinstance(items, Mapping)
    if list_type == "map":
        yield from _list_map_errors(items, keys or (), path)
    elif keys:
        text = "must not be set if x-kubernetes-list-type is not map"
        yield forbidden(f"{path}.x-kubernetes-list-map-keys", text)
    if list_type == "set":
        yield from _set_errors(items, path)


def _list_map_errors(items: Schema, keys: Sequence[str], path: str) -> Iterator[FieldError]:
    if not keys:
        yield required(f"{path}.x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map")
    if items.get("type") != "object":
        text = "items of lists of type map must be objects"
        yield invalid(f"{path}.items.type", items.get("type") or "", f"must be object: {text}")
    properties = items.get("properties") or {}
    for index, key in enumerate(keys):
        described = properties.get(key)
        if not isinstance(described, Mapping):
            text = "entries must all be names of item properties"
            yield invalid(f"{path}.x-kubernetes-list-map-keys[{index}]", key, text)
            continue
        if described.get("type") in ("array", "object"):
            text = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            yield invalid(f"{path}.items.properties[{key}].type", described.get("type"), text)
        if described.get("nullable"):
            text = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"
            yield forbidden(f"{path}.items.properties[{key}].nullable", text)
        if key not in (items.get("required") or ()) and described.get("default") is None:
            text = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            yield required(f"{path}.items.properties[{key}].default", text)
    if len(set(keys)) != len(keys):
        yield invalid(f"{path}.x-kubernetes-list-map-keys", list(keys), "must be unique")


def _set_errors(items: Schema, path: str) -> Iterator[FieldError]:
    if items.get("nullable"):
        yield forbidden(f"{path}.items.nullable", "cannot be nullable when x-kubernetes-list-type is set")
    if items.get("type") == "array" and (items.get("x-kubernetes-list-type") or "atomic") != "atomic":
        text = "must be atomic as item of a list with x-kubernetes-list-type=set"
        yield invalid(f"{path}.items.x-kubernetes-list-type", items.get("x-kubernetes-list-type"), text)
    if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
        text = "must be atomic as item of a list with x-kubernetes-list-type=set"
        yield invalid(f"{path}.items.x-kubernetes-map-type", items.get("x-kubernetes-map-type") or "", text)


def _value_errors(schema: Schema, path: str) -> Iterator[FieldError]:
    pattern = schema.get("pattern")
    if pattern:
        try:
            check_pattern(pattern)
        except ValueError as error:
            text = f"must be a valid regular expression, but isn't: {error}"
            yield invalid(f"{path}.pattern", pattern, text)


def _rule_errors(schema: Schema, path: str, is_root: bool) -> Iterator[FieldError]:
    for index, given in enumerate(schema.get("x-kubernetes-validations") or ()):
        rule = structure_of({"x-kubernetes-validations": [given]}).rules[0]
        at = f"{path}.x-kubernetes-validations[{index}]"
        yield from _one_rule_errors(schema, rule, given, at, is_root)


def _one_rule_errors(
    schema: Schema, rule: Rule, given: Mapping[str, Any], path: str, is_root: bool
) -> Iterator[FieldError]:
    if not rule.rule.strip():
        yield required(f"{path}.rule", "rule is not specified")
        return
    if given.get("message") and "\n" in rule.message:
        yield invalid(f"{path}.message", rule.message, "message must not contain line breaks")
    if given.get("message") is not None and not rule.message.strip():
        yield invalid(f"{path}.message", rule.message, "message must be non-empty if specified")
    if "\n" in rule.rule.strip() and not rule.message:
        yield required(f"{path}.message", "message must be specified if rule contains line breaks")
    if given.get("reason") and rule.reason not in _REASONS:
        yield not_supported(f"{path}.reason", rule.reason, _REASONS)
    if rule.field_path and not _is_field(schema, rule.field_path):
        text = f"fieldPath must be a valid path: does not refer to a valid field: {rule.field_path}"
        yield invalid(f"{path}.fieldPath", rule.field_path, text)
    try:
        compiled(rule)
        _check_fields(schema, rule.rule, rule, is_root)
    except CelError as error:
        yield invalid(f"{path}.rule", dict(given), str(error))
    if given.get("messageExpression") is not None:
        if not rule.message_expression.strip():
            yield required(f"{path}.messageExpression", "must be non-empty if specified")
            return
        try:
            compiled_message(rule)
            _check_fields(schema, rule.message_expression, rule, is_root)
        except CelError as error:
            yield invalid(f"{path}.messageExpression", dict(given), str(error))


def _check_fields(schema: Schema, expression: str, rule: Rule, is_root: bool) -> None:
    """Raises CelError for a field that the schema does not have."""
    is_resource = is_root or bool(schema.get("x-kubernetes-embedded-resource"))
    problem = undefined_field(expression, schema, is_resource=is_resource, is_optional_old=rule.optional_old_self)
    if problem is not None:
        raise CelError(problem)


def _is_field(schema: Schema, path: str) -> bool:
    found = field_names(path)
    node: Any = schema
    for name in found or ():
        if not isinstance(node, Mapping):
            return False
        values = node.get("additionalProperties")
        node = (node.get("properties") or {}).get(name, values if isinstance(values, Mapping) else None)
    return found is not None and isinstance(node, Mapping)


# Value validations: allOf, anyOf, oneOf, not


def _junctor_errors(schema: Schema, path: str, outside: Schema) -> Iterator[FieldError]:
    allows_types = bool(outside.get("x-kubernetes-int-or-string"))
    for junctor in _JUNCTORS:
        for index, part in enumerate(schema.get(junctor) or ()):
            if isinstance(part, Mapping):
                yield from _nested_errors(part, f"{path}.{junctor}[{index}]", outside, path, allows_types)
    refused = schema.get("not")
    if isinstance(refused, Mapping):
        yield from _nested_errors(refused, f"{path}.not", outside, path, allows_types)


def _nested_errors(
    part: Schema, path: str, outside: Schema, outside_path: str, allows_types: bool
) -> Iterator[FieldError]:
    for field in _STRUCTURAL_FIELDS:
        if part.get(field) and not (field == "type" and allows_types):
            yield forbidden(f"{path}.{field}", "must be empty to be structural")
    for field in _STRUCTURAL_EXTENSIONS:
        if part.get(field):
            yield forbidden(f"{path}.{field}", "must be false to be structural")
    yield from _value_errors(part, path)
    properties = outside.get("properties") or {}
    for name, child in (part.get("properties") or {}).items():
        below = properties.get(name)
        at = f"{path}.properties[{name}]"
        if not isinstance(below, Mapping):
            if not isinstance(outside.get("additionalProperties"), Mapping):
                yield required(f"{outside_path}.properties[{name}]", f"because it is defined in {at}")
            continue
        if isinstance(child, Mapping):
            inner = f"{outside_path}.properties[{name}]"
            yield from _nested_errors(child, at, below, inner, bool(below.get("x-kubernetes-int-or-string")))
    items = part.get("items")
    if isinstance(items, Mapping):
        below = outside.get("items")
        if not isinstance(below, Mapping):
            yield required(f"{outside_path}.items", f"because it is defined in {path}.items")
        else:
            yield from _nested_errors(items, f"{path}.items", below, f"{outside_path}.items", False)
    yield from _junctor_errors(part, path, outside)


# Defaults


def _default_errors(schema: Schema, path: str) -> Iterator[FieldError]:
    if schema.get("default") is not None:
        yield from _one_default_errors(schema, path)
    for name, child in (schema.get("properties") or {}).items():
        if isinstance(child, Mapping):
            yield from _default_errors(child, f"{path}.properties[{name}]")
    for field in ("items", "additionalProperties"):
        child = schema.get(field)
        if isinstance(child, Mapping):
            yield from _default_errors(child, f"{path}.{field}")


def _one_default_errors(schema: Schema, path: str) -> Iterator[FieldError]:
    at, default = f"{path}.default", schema["default"]
    node = structure_of(schema)
    if isinstance(default, dict):
        unknown = unknown_fields(default, node) if not node.is_embedded else []
        if unknown and pruned(default, node) != default:
            yield invalid(at, default, f"must not have unknown fields: {', '.join(unknown)}")
            return
    complete = defaulted(default, node)
    for error in schema_errors(complete, schema, at):
        yield invalid(at, default, error.detail or str(error))
