"""What schemas refuse, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from antei.api.customresources.structure import structure_of
from antei.api.customresources.validation import list_type_errors, schema_errors

SPEC: dict[str, Any] = {
    "type": "object",
    "required": ["cron"],
    "properties": {
        "cron": {"type": "string", "pattern": "^[*0-9 ]+$", "minLength": 2, "maxLength": 9},
        "replicas": {"type": "integer", "minimum": 1, "maximum": 10, "multipleOf": 2},
        "ratio": {"type": "number", "minimum": 0, "exclusiveMinimum": True, "exclusiveMaximum": True, "maximum": 1},
        "policy": {"type": "string", "enum": ["Allow", "Forbid"]},
        "hosts": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "string"}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 2},
        "port": {"x-kubernetes-int-or-string": True},
        "when": {"type": "string", "format": "date-time"},
        "pace": {"type": "string", "format": "duration"},
        "address": {"type": "string", "format": "ipv4"},
        "maybe": {"type": "string", "nullable": True},
        "on": {"type": "boolean"},
        "count": {"type": "integer", "format": "int32"},
        "either": {
            "type": "object",
            "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
            "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
        },
        "never": {"type": "string", "not": {"enum": ["no"]}},
        "all": {"type": "integer", "allOf": [{"minimum": 3}, {"maximum": 5}]},
        "any": {"type": "string", "anyOf": [{"pattern": "^a"}, {"pattern": "^b"}]},
    },
}
SCHEMA = {"type": "object", "properties": {"spec": SPEC}}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, []),
        ({"cron": None}, ['spec.cron: Invalid value: "null": spec.cron in body must be of type string: "null"']),
        ({"cron": "*x*"}, ["spec.cron: Invalid value: \"*x*\": spec.cron in body should match '^[*0-9 ]+$'"]),
        ({"cron": "*"}, ['spec.cron: Invalid value: "*": spec.cron in body should be at least 2 chars long']),
        ({"cron": "*" * 10}, ["spec.cron: Too long: may not be more than 9 bytes"]),
        ({"cron": 3}, ['spec.cron: Invalid value: "integer": spec.cron in body must be of type string: "integer"']),
        (
            {"replicas": 12},
            ["spec.replicas: Invalid value: 12: spec.replicas in body should be less than or equal to 10"],
        ),
        (
            {"replicas": 0},
            ["spec.replicas: Invalid value: 0: spec.replicas in body should be greater than or equal to 1"],
        ),
        ({"replicas": 3}, ["spec.replicas: Invalid value: 3: spec.replicas in body should be a multiple of 2"]),
        (
            {"replicas": "x"},
            ['spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string"'],
        ),
        ({"replicas": 4.0}, []),
        (
            {"replicas": 4.5},
            [
                'spec.replicas: Invalid value: "number": spec.replicas in body must be of type integer: "number"',
                "spec.replicas: Invalid value: 4.5: spec.replicas in body should be a multiple of 2",
            ],
        ),
        ({"ratio": 1}, ["spec.ratio: Invalid value: 1: spec.ratio in body should be less than 1"]),
        ({"ratio": 0}, ["spec.ratio: Invalid value: 0: spec.ratio in body should be greater than 0"]),
        ({"policy": "x"}, ['spec.policy: Unsupported value: "x": supported values: "Allow", "Forbid"']),
        ({"hosts": []}, ["spec.hosts: Invalid value: 0: spec.hosts in body should have at least 1 items"]),
        ({"hosts": ["a", "b", "c"]}, ["spec.hosts: Too many: 3: must have at most 2 items"]),
        (
            {"hosts": ["a", 1]},
            ['spec.hosts[1]: Invalid value: "integer": spec.hosts[1] in body must be of type string: "integer"'],
        ),
        (
            {"labels": {"a": 1}},
            ['spec.labels.a: Invalid value: "integer": spec.labels.a in body must be of type string: "integer"'],
        ),
        ({"labels": {"a": "", "b": "", "c": ""}}, ["spec.labels: Too many: 3: must have at most 2 items"]),
        ({"port": 1}, []),
        ({"port": "http"}, []),
        (
            {"port": True},
            ['spec.port: Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean"'],
        ),
        ({"when": "2024-01-01T00:00:00Z"}, []),
        (
            {"when": "today"},
            ['spec.when: Invalid value: "today": spec.when in body must be of type date-time: "today"'],
        ),
        ({"pace": "1h30m"}, []),
        ({"pace": "soon"}, ['spec.pace: Invalid value: "soon": spec.pace in body must be of type duration: "soon"']),
        (
            {"address": "1.2.3"},
            ['spec.address: Invalid value: "1.2.3": spec.address in body must be of type ipv4: "1.2.3"'],
        ),
        ({"maybe": None}, []),
        ({"on": "yes"}, ['spec.on: Invalid value: "string": spec.on in body must be of type boolean: "string"']),
        ({"count": 2**31}, [f"spec.count: Invalid value: {2**31}: spec.count in body must be of type int32: {2**31}"]),
        (
            {"either": {}},
            [
                '<nil>: Invalid value: "": "spec.either" must validate one and only one schema (oneOf). '
                "Found none valid",
                "spec.either.a: Required value",
            ],
        ),
        (
            {"either": {"a": "", "b": ""}},
            [
                '<nil>: Invalid value: "": "spec.either" must validate one and only one schema (oneOf). '
                "Found 2 valid alternatives"
            ],
        ),
        ({"never": "no"}, ['<nil>: Invalid value: "": "spec.never" must not validate the schema (not)']),
        (
            {"all": 9},
            [
                '<nil>: Invalid value: "": "spec.all" must validate all the schemas (allOf)',
                "spec.all: Invalid value: 9: spec.all in body should be less than or equal to 5",
            ],
        ),
        (
            {"any": "c"},
            [
                '<nil>: Invalid value: "": "spec.any" must validate at least one schema (anyOf)',
                "spec.any: Invalid value: \"c\": spec.any in body should match '^a'",
            ],
        ),
    ],
)
def test_a_value_is_refused_in_kubernetes_words(fields: dict[str, Any], told: list[str]) -> None:
    assert [str(error) for error in schema_errors({"spec": {"cron": "* *", **fields}}, SCHEMA)] == told


def test_a_required_field_that_is_missing_is_told() -> None:
    assert [str(error) for error in schema_errors({"spec": {}}, SCHEMA)] == ["spec.cron: Required value"]


def test_what_has_not_changed_is_not_held_against_an_update() -> None:
    old = {"spec": {"cron": "wrong", "replicas": 4}}
    assert schema_errors({"spec": {"cron": "wrong", "replicas": 6}}, SCHEMA, old=old) == []
    changed = schema_errors({"spec": {"cron": "wronger", "replicas": 6}}, SCHEMA, old=old)
    assert [error.path for error in changed] == ["spec.cron"]


LISTS = {
    "type": "object",
    "properties": {
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "map": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name", "port"],
            "items": {"type": "object", "properties": {"name": {"type": "string"}, "port": {"type": "integer"}}},
        },
        "plain": {"type": "array", "items": {"type": "string"}},
    },
}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"set": ["a", "b", "a"]}, ['set[2]: Duplicate value: "a"']),
        ({"plain": ["a", "a"]}, []),
        (
            {"map": [{"name": "a", "port": 1}, {"name": "a", "port": 2}, {"port": 1, "name": "a"}]},
            ['map[2]: Duplicate value: {"name":"a","port":1}'],
        ),
    ],
)
def test_items_of_sets_and_maps_are_there_once(value: dict[str, Any], told: list[str]) -> None:
    assert [str(error) for error in list_type_errors(value, structure_of(LISTS))] == told


def test_a_pattern_cannot_keep_the_server_busy() -> None:
    schema = {"type": "string", "pattern": "^(a+)+$"}
    assert len(schema_errors("a" * 100_000 + "b", schema, "spec")) == 1
