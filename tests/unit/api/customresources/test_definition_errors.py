"""Which CustomResourceDefinitions are refused, where and why."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition

from antei.api.customresources.crd import definition_errors, definition_update_errors
from antei.api.decode import decode_data
from antei.api.defaults import apply_defaults
from antei.api.errors import ApiError

VERSION: dict[str, Any] = {
    "name": "v1",
    "served": True,
    "storage": True,
    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}},
}
CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "crontabs.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "crontabs", "kind": "CronTab"},
        "versions": [VERSION],
    },
    "status": {"storedVersions": ["v1"], "conditions": [{"type": "Established", "status": "True"}]},
}
ROOT = "spec.validation.openAPIV3Schema"


def definition(**changes: Any) -> CustomResourceDefinition:
    data = copy.deepcopy(CRD)
    for path, value in changes.items():
        node: Any = data
        *steps, last = path.split("__")
        for step in steps:
            node = node[int(step)] if isinstance(node, list) else node[step]
        node[last] = value
    return apply_defaults(decode_data(data, CustomResourceDefinition).object)


def told(crd: CustomResourceDefinition) -> list[str]:
    return [str(error) for error in definition_errors(crd)]


def of_schema(schema: dict[str, Any]) -> list[str]:
    return told(definition(spec__versions=[{**VERSION, "schema": {"openAPIV3Schema": schema}}]))


def test_a_definition_like_those_of_the_books_is_valid() -> None:
    assert told(definition()) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"metadata__name": "x"},
            ['metadata.name: Invalid value: "x": must be spec.names.plural+"."+spec.group'],
        ),
        (
            {"spec__scope": "Everywhere"},
            ['spec.scope: Unsupported value: "Everywhere": supported values: "Cluster", "Namespaced"'],
        ),
        (
            {"spec__group": "example", "metadata__name": "crontabs.example"},
            ['spec.group: Invalid value: "example": should be a domain with at least one dot'],
        ),
        (
            {"spec__group": "cron.k8s.io", "metadata__name": "crontabs.cron.k8s.io"},
            [
                "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval "
                'annotation "api-approved.kubernetes.io", see https://github.com/kubernetes/enhancements/pull/1111'
            ],
        ),
        (
            {"spec__names__listKind": "CronTab"},
            ['spec.names.listKind: Invalid value: "CronTab": kind and listKind may not be the same'],
        ),
        (
            {"spec__preserveUnknownFields": True},
            [
                "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set "
                "x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
            ],
        ),
        (
            {"spec__versions__0__additionalPrinterColumns": [{"name": "A", "type": "text", "jsonPath": ".spec.a"}]},
            [
                'spec.versions[0].additionalPrinterColumns[0].type: Invalid value: "text": '
                "must be one of boolean,date,integer,number,string"
            ],
        ),
        (
            {"spec__versions__0__subresources": {"scale": {"specReplicasPath": ".status.a", "statusReplicasPath": ""}}},
            [
                'spec.versions[0].subresources.scale.specReplicasPath: Invalid value: ".status.a": '
                "should be a json path under .spec",
                "spec.versions[0].subresources.scale.statusReplicasPath: Required value",
            ],
        ),
        (
            {"spec__versions__0__selectableFields": [{"jsonPath": ".spec.none"}]},
            [
                'spec.versions[0].selectableFields[0].jsonPath: Invalid value: ".spec.none": '
                "is an invalid path: does not refer to a valid field"
            ],
        ),
        (
            {"spec__conversion": {"strategy": "Webhook"}},
            ["spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook"],
        ),
    ],
)
def test_a_definition_is_refused_where_it_is_wrong(changes: dict[str, Any], expected: list[str]) -> None:
    assert told(definition(**changes)) == expected


def test_exactly_one_version_is_stored_and_names_are_unique() -> None:
    none = told(definition(spec__versions=[{**VERSION, "storage": False}]))
    assert len(none) == 1
    assert none[0].endswith("must have exactly one version marked as storage version")
    twice = told(definition(spec__versions=[VERSION, VERSION]))
    assert [text.rpartition(": ")[2] for text in twice] == [
        "must contain unique version names",
        "must have exactly one version marked as storage version",
    ]


def test_versions_with_different_schemas_are_told_apart() -> None:
    other = {**VERSION, "name": "v2", "storage": False, "schema": {"openAPIV3Schema": {"type": "array"}}}
    assert [text.partition(":")[0] for text in told(definition(spec__versions=[VERSION, other]))] == [
        "spec.versions[1].schema.openAPIV3Schema.type",
        "spec.versions[1].schema.openAPIV3Schema.items",
    ]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (
            {"type": "array", "items": {"type": "string"}},
            f'{ROOT}.type: Invalid value: "array": must be object at the root',
        ),
        (
            {"type": "object", "properties": {"a": {}}},
            f"{ROOT}.properties[a].type: Required value: must not be empty for specified object fields",
        ),
        (
            {"type": "object", "properties": {"a": {"type": "array", "items": {}}}},
            f"{ROOT}.properties[a].items.type: Required value: must not be empty for specified array items",
        ),
        (
            {"type": "object", "properties": {"a": {"type": "array"}}},
            f"{ROOT}.properties[a].items: Required value: must be specified",
        ),
        (
            {
                "type": "object",
                "properties": {
                    "a": {
                        "type": "object",
                        "properties": {"b": {"type": "string"}},
                        "additionalProperties": {"type": "string"},
                    }
                },
            },
            f"{ROOT}.properties[a].additionalProperties: Forbidden: "
            "additionalProperties and properties are mutual exclusive",
        ),
        (
            {
                "type": "object",
                "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}},
            },
            f"{ROOT}.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but "
            "metadata is implicitly specified",
        ),
        (
            {"type": "object", "properties": {"a": {"type": "integer", "default": "x"}}},
            f'{ROOT}.properties[a].default: Invalid value: "x": {ROOT}.properties[a].default in body must be of type '
            'integer: "string"',
        ),
        (
            {"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}},
            f'{ROOT}.properties[a].pattern: Invalid value: "(": must be a valid regular expression, but isn\'t: '
            "error parsing regexp: missing ): (",
        ),
        (
            {"type": "object", "anyOf": [{"properties": {"b": {"minLength": 1}}}]},
            f"{ROOT}.properties[b]: Required value: because it is defined in {ROOT}.anyOf[0].properties[b]",
        ),
        (
            {"type": "object", "properties": {"b": {"type": "string", "anyOf": [{"type": "string"}]}}},
            f"{ROOT}.properties[b].anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            {"type": "object", "properties": {"a": {"type": "string", "x-kubernetes-preserve-unknown-fields": False}}},
            f"{ROOT}.properties[a].x-kubernetes-preserve-unknown-fields: "
            "Invalid value: false: must be true or undefined",
        ),
        (
            {
                "type": "object",
                "properties": {
                    "a": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "sorted"},
                },
            },
            f'{ROOT}.properties[a].x-kubernetes-list-type: Unsupported value: "sorted": '
            'supported values: "atomic", "set", "map"',
        ),
        (
            {
                "type": "object",
                "properties": {
                    "a": {
                        "type": "array",
                        "items": {"type": "object", "properties": {"n": {"type": "string"}}},
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["n"],
                    },
                },
            },
            f"{ROOT}.properties[a].items.properties[n].default: Required value: this property is in "
            "x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ),
        (
            {"type": "object", "x-kubernetes-validations": [{"rule": "1 + 1"}]},
            f'{ROOT}.x-kubernetes-validations[0].rule: Invalid value: {{"rule":"1 + 1"}}: must evaluate to bool',
        ),
        (
            {"type": "object", "x-kubernetes-validations": [{"rule": "true", "reason": "Because"}]},
            f'{ROOT}.x-kubernetes-validations[0].reason: Unsupported value: "Because": supported values: '
            '"FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired", "FieldValueDuplicate"',
        ),
        (
            {"type": "object", "properties": {"a": {"$ref": "#/x", "type": "string"}}},
            f"{ROOT}.properties[a].$ref: Forbidden: $ref is not supported",
        ),
    ],
)
def test_a_schema_is_structural(schema: dict[str, Any], expected: str) -> None:
    assert of_schema(schema) == [expected]


def test_a_rule_that_does_not_compile_is_refused_with_its_place() -> None:
    schema = {"type": "object", "x-kubernetes-validations": [{"rule": "self.spec ==", "message": "m"}]}
    (found,) = of_schema(schema)
    assert found.startswith(f"{ROOT}.x-kubernetes-validations[0].rule: Invalid value: ")
    assert "compilation failed: ERROR: <input>:1:13: Syntax error" in found


def test_what_was_stored_must_stay_and_names_do_not_change() -> None:
    version = {**VERSION, "name": "v2"}
    changed = definition(spec__versions=[version], spec__names={"plural": "crontabs", "kind": "Other"})
    assert [str(error) for error in definition_update_errors(changed, definition())] == [
        'spec.names.kind: Invalid value: "Other": field is immutable',
        'status.storedVersions[0]: Invalid value: "v1": missing from spec.versions; v1 was previously a storage '
        "version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 "
        "and removes v1 from status.storedVersions",
    ]


SPEC = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "a-b": {"type": "string"},
        "ports": {"type": "array", "items": {"type": "object", "properties": {"port": {"type": "integer"}}}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("self.name == 'self.none'", None),
        ("has(self.nme)", "nme"),
        ("self.name == oldSelf.nme", "nme"),
        ("self.ports[0].port > 1 && self.ports[0].prt > 1", "prt"),
        ("self.ports.all(p, p.whatever > 1)", None),
        ("self.labels.anything == 'x' && self.open.any.thing", None),
        ("self.?nme.orValue('') == ''", None),
        ("self.name.startsWith('a') && self.a__dash__b == 'x'", None),
        ("self\n.none == 1", "none"),
    ],
)
def test_a_rule_names_no_field_that_is_not_there(rule: str, name: str | None) -> None:
    told_of = of_schema(
        {
            "type": "object",
            "properties": {"spec": {**SPEC, "x-kubernetes-validations": [{"rule": rule, "message": "m"}]}},
        }
    )
    assert [f"undefined field '{name}'" in text for text in told_of] == ([True] if name else [])


def test_a_schema_is_not_nested_without_end() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(150):
        schema = {"type": "object", "properties": {"a": schema}}
    assert of_schema(schema) == [f'{ROOT}: Invalid value: "": must not be nested more than 200 levels']


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"items": {"type": "string", "enum": "x"}}, "of type []interface {}"),
        ({"items": {"type": "string", "maxLength": "3"}}, "of type int64"),
        ({"items": "x"}, "of type v1.JSONSchemaProps"),
        ({"items": {"items": {"properties": ["a"]}}}, "of type map[string]v1.JSONSchemaProps"),
        ({"additionalProperties": {"nullable": "yes"}}, "of type bool"),
        ({"additionalProperties": 3}, "of type v1.JSONSchemaProps"),
        ({"items": {"x-kubernetes-validations": ["a"]}}, "of type v1.ValidationRule"),
        ({"allOf": {"a": 1}}, "of type []v1.JSONSchemaProps"),
        ({"not": []}, "of type v1.JSONSchemaProps"),
        ({"required": "a"}, "of type []string"),
    ],
)
def test_what_is_no_schema_is_not_decoded(schema: dict[str, Any], problem: str) -> None:
    with pytest.raises(ApiError) as refusal:
        of_schema({"type": "object", "properties": {"a": {"type": "array", **schema}}})
    assert "json: cannot unmarshal" in refusal.value.message
    assert refusal.value.message.endswith(problem)


def test_unknown_fields_of_schemas_are_told() -> None:
    item = {"type": "string", "fomat": "x"}
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": item}}}
    data = copy.deepcopy(CRD)
    data["spec"]["versions"] = [{**VERSION, "schema": {"openAPIV3Schema": schema}}]
    assert decode_data(data, CustomResourceDefinition).warnings == [
        'unknown field "spec.versions[0].schema.openAPIV3Schema.properties.a.items.fomat"'
    ]
