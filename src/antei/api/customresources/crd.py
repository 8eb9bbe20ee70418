"""Whether a CustomResourceDefinition may be stored: names, versions, conversion, columns, subresources, schemas.

What makes a schema structural is in `schema_rules`.
Kubernetes: apiextensions-apiserver/pkg/apis/apiextensions/validation/validation.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from lightkube.models.apiextensions_v1 import CustomResourceConversion, CustomResourceDefinitionVersion
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition

from antei.api import names
from antei.api.customresources.definition import condition_of
from antei.api.customresources.json_path import JsonPathError, compile_json_path, field_names
from antei.api.customresources.names import APPROVAL, is_protected_group
from antei.api.customresources.schema_rules import schema_rule_errors
from antei.api.errors import FieldError
from antei.api.objects import meta, name_of
from antei.api.validation.fields import duplicate, forbidden, immutable, invalid, messages, one_of, required

__all__ = ["definition_errors", "definition_update_errors"]

_DNS1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_DNS1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_MOST_SELECTABLE_FIELDS = 8
_NOT_APPROVED = (
    f'protected groups must have approval annotation "{APPROVAL}", see '
    "https://github.com/kubernetes/enhancements/pull/1111"
)


def definition_errors(crd: CustomResourceDefinition) -> list[FieldError]:
    """What is wrong with a new definition, or with one as it is to be."""
    spec = crd.spec
    errors: list[FieldError] = []
    name = name_of(crd)
    if name != f"{spec.names.plural}.{spec.group}":
        errors.append(invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    errors += _group_errors(crd)
    errors += one_of("spec.scope", spec.scope, ("Cluster", "Namespaced"))
    errors += _version_errors(spec.versions)
    errors += _name_errors(crd)
    if spec.preserveUnknownFields:
        text = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        errors.append(invalid("spec.preserveUnknownFields", True, text))
    errors += _conversion_errors(spec.conversion)
    for index, version in enumerate(spec.versions):
        errors += _column_errors(version, f"spec.versions[{index}].additionalPrinterColumns")
        errors += _subresource_errors(version, f"spec.versions[{index}].subresources")
        errors += _selectable_errors(version, f"spec.versions[{index}].selectableFields")
    errors += _schema_errors(spec.versions)
    return errors


def definition_update_errors(new: CustomResourceDefinition, old: CustomResourceDefinition) -> list[FieldError]:
    errors = definition_errors(new)
    if condition_of(old, "Established") == "True":
        errors += immutable("spec.scope", new.spec.scope, old.spec.scope)
        errors += immutable("spec.names.kind", new.spec.names.kind, old.spec.names.kind)
    errors += immutable("spec.group", new.spec.group, old.spec.group)
    errors += immutable("spec.names.plural", new.spec.names.plural, old.spec.names.plural)
    present = {version.name for version in new.spec.versions}
    for index, stored in enumerate((old.status.storedVersions if old.status else None) or ()):
        if stored not in present:
            text = (
                f"missing from spec.versions; {stored} was previously a storage version, and must remain in "
                f"spec.versions until a storage migration ensures no data remains persisted in {stored} and removes "
                f"{stored} from status.storedVersions"
            )
            errors.append(invalid(f"status.storedVersions[{index}]", stored, text))
    return errors


def _dns1035(path: str, value: str) -> list[FieldError]:
    if len(value) > 63:
        return [invalid(path, value, names.max_length_message(63))]
    return [] if _DNS1035.fullmatch(value) else [invalid(path, value, _DNS1035_TEXT)]


def _group_errors(crd: CustomResourceDefinition) -> Iterator[FieldError]:
    group = crd.spec.group
    if not group:
        yield required("spec.group")
        return
    found = names.dns1123_subdomain(group)
    yield from messages("spec.group", group, found)
    if not found and "." not in group:
        yield invalid("spec.group", group, "should be a domain with at least one dot")
    if is_protected_group(group):
        value = (meta(crd).annotations or {}).get(APPROVAL, "")
        path = f"metadata.annotations[{APPROVAL}]"
        if not value:
            yield required(path, _NOT_APPROVED)
        elif not value.startswith("unapproved") and not re.match(r"https?://[^/]+", value):
            text = (
                f'protected groups must have approval annotation "{APPROVAL}" with either a URL or a reason '
                'starting with "unapproved", see https://github.com/kubernetes/enhancements/pull/1111'
            )
            yield invalid(path, value, text)


def _version_errors(versions: Sequence[CustomResourceDefinitionVersion]) -> Iterator[FieldError]:
    shown = [msgspec.to_builtins(version) for version in versions]
    seen: set[str] = set()
    unique = True
    for index, version in enumerate(versions):
        path = f"spec.versions[{index}]"
        unique = unique and version.name not in seen
        seen.add(version.name)
        yield from _dns1035(f"{path}.name", version.name)
        if version.schema is None or version.schema.openAPIV3Schema is None:
            yield required(f"{path}.schema.openAPIV3Schema", "schemas are required")
        if version.deprecationWarning is not None:
            if not version.deprecated:
                text = "can only be set for deprecated versions"
                yield invalid(f"{path}.deprecationWarning", version.deprecationWarning, text)
            if not version.deprecationWarning or len(version.deprecationWarning) > 256:
                text = "must be between 1 and 256 characters long"
                yield invalid(f"{path}.deprecationWarning", version.deprecationWarning, text)
    if not unique:
        yield invalid("spec.versions", shown, "must contain unique version names")
    if sum(version.storage for version in versions) != 1:
        yield invalid("spec.versions", shown, "must have exactly one version marked as storage version")


def _name_errors(crd: CustomResourceDefinition) -> Iterator[FieldError]:
    given = crd.spec.names
    path = "spec.names"
    for field in ("plural", "singular"):
        value = getattr(given, field) or ""
        if not value:
            yield required(f"{path}.{field}")
        else:
            yield from _dns1035(f"{path}.{field}", value)
    for field in ("kind", "listKind"):
        value = getattr(given, field) or ""
        if not value:
            yield required(f"{path}.{field}")
        else:
            for error in _dns1035(f"{path}.{field}", value.lower()):
                yield invalid(error.path, value, f"may have mixed case, but should otherwise match: {error.detail}")
    for field in ("shortNames", "categories"):
        for index, value in enumerate(getattr(given, field) or ()):
            yield from _dns1035(f"{path}.{field}[{index}]", value)
    if given.kind and given.kind == given.listKind:
        yield invalid(f"{path}.listKind", given.listKind, "kind and listKind may not be the same")


def _conversion_errors(conversion: CustomResourceConversion | None) -> Iterator[FieldError]:
    if conversion is None:
        return
    path = "spec.conversion"
    yield from one_of(f"{path}.strategy", conversion.strategy, ("None", "Webhook"))
    webhook = conversion.webhook
    if conversion.strategy != "Webhook":
        if webhook is not None:
            text = "may not be specified when strategy is not set to Webhook"
            yield forbidden(f"{path}.webhook", text)
        return
    if webhook is None or webhook.clientConfig is None:
        yield required(f"{path}.webhookClientConfig", "required when strategy is set to Webhook")
        return
    config = webhook.clientConfig
    if (config.url is None) == (config.service is None):
        yield required(f"{path}.webhookClientConfig", "exactly one of url or service is required")
    elif config.url is not None and not config.url.startswith("https://"):
        text = f"'https' is the only allowed URL scheme{_URL_EXAMPLE}"
        yield invalid(f"{path}.webhookClientConfig.url", config.url.partition(":")[0], text)
    versions = webhook.conversionReviewVersions
    if not versions:
        yield required(f"{path}.conversionReviewVersions")
    elif not {"v1", "v1beta1"} & set(versions):
        text = "must include at least one of v1, v1beta1"
        yield invalid(f"{path}.conversionReviewVersions", versions, text)
    elif "v1" not in versions:
        # Kubernetes still speaks v1beta1 here; antei speaks v1 alone (docs/limits.md).
        yield invalid(f"{path}.conversionReviewVersions", versions, "must include v1")


_URL_EXAMPLE = "; desired format: https://host[/path]"


def _column_errors(version: CustomResourceDefinitionVersion, path: str) -> Iterator[FieldError]:
    for index, column in enumerate(version.additionalPrinterColumns or ()):
        at = f"{path}[{index}]"
        if not column.name:
            yield required(f"{at}.name")
        if not column.type:
            yield required(f"{at}.type", f"must be one of {','.join(_COLUMN_TYPES)}")
        elif column.type not in _COLUMN_TYPES:
            yield invalid(f"{at}.type", column.type, f"must be one of {','.join(_COLUMN_TYPES)}")
        if column.format and column.format not in _COLUMN_FORMATS:
            yield invalid(f"{at}.format", column.format, f"must be one of {','.join(_COLUMN_FORMATS)}")
        if not column.jsonPath:
            yield required(f"{at}.jsonPath")
        else:
            yield from _path_errors(f"{at}.jsonPath", column.jsonPath)


def _path_errors(path: str, value: str) -> Iterator[FieldError]:
    try:
        compile_json_path(value)
    except JsonPathError as error:
        yield invalid(path, value, str(error))


def _subresource_errors(version: CustomResourceDefinitionVersion, path: str) -> Iterator[FieldError]:
    scale = version.subresources.scale if version.subresources else None
    if scale is None:
        return
    for field, root in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
        value = getattr(scale, field)
        if not value:
            yield required(f"{path}.scale.{field}")
        elif field_names(value) is None or not value.startswith(root):
            yield invalid(f"{path}.scale.{field}", value, f"should be a json path under {root[:-1]}")
    selector = scale.labelSelectorPath
    if selector and (field_names(selector) is None or not selector.startswith((".spec.", ".status."))):
        text = "should be a json path under either .spec or .status"
        yield invalid(f"{path}.scale.labelSelectorPath", selector, text)


def _selectable_errors(version: CustomResourceDefinitionVersion, path: str) -> Iterator[FieldError]:
    fields = version.selectableFields or ()
    if len(fields) > _MOST_SELECTABLE_FIELDS:
        yield invalid(path, len(fields), f"must have at most {_MOST_SELECTABLE_FIELDS} items")
    schema = _plain_schema(version)
    seen: set[str] = set()
    for index, field in enumerate(fields):
        at = f"{path}[{index}].jsonPath"
        found = field_names(field.jsonPath)
        if not field.jsonPath:
            yield required(at)
        elif found is None:
            yield invalid(at, field.jsonPath, "is an invalid path: must be a simple JSON path of fields")
        elif found[0] == "metadata":
            yield invalid(at, field.jsonPath, "must not point to fields in metadata")
        else:
            kind = _type_at(schema, found)
            if kind is None:
                yield invalid(at, field.jsonPath, "is an invalid path: does not refer to a valid field")
            elif kind not in ("string", "integer", "boolean"):
                text = "must point to a field of type string, boolean or integer. Enum string fields and strings with "
                yield invalid(at, field.jsonPath, f"{text}formats are allowed.")
        if field.jsonPath in seen:
            yield duplicate(at, field.jsonPath)
        seen.add(field.jsonPath)


def _type_at(schema: Mapping[str, Any], path: Sequence[str]) -> str | None:
    node: Any = schema
    for name in path:
        node = (node.get("properties") or {}).get(name)
        if not isinstance(node, Mapping):
            return None
    return str(node.get("type") or "")


def _plain_schema(version: CustomResourceDefinitionVersion) -> Mapping[str, Any]:
    schema = version.schema.openAPIV3Schema if version.schema else None
    return msgspec.to_builtins(schema) if schema is not None else {}


def _schema_errors(versions: Sequence[CustomResourceDefinitionVersion]) -> Iterator[FieldError]:
    """Where all versions have one schema Kubernetes tells of it as `spec.validation`."""
    schemas = [_plain_schema(version) for version in versions]
    given = [version.schema is not None and version.schema.openAPIV3Schema is not None for version in versions]
    if schemas and all(given) and all(schema == schemas[0] for schema in schemas):
        yield from schema_rule_errors(schemas[0], "spec.validation.openAPIV3Schema")
        return
    for index, schema in enumerate(schemas):
        if given[index]:
            yield from schema_rule_errors(schema, f"spec.versions[{index}].schema.openAPIV3Schema")
