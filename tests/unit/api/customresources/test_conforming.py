"""Unknown fields go, nulls that mean nothing go, defaults come."""

from __future__ import annotations

from typing import Any

import pytest

from antei.api.customresources.conforming import defaulted, pruned, unknown_fields
from antei.api.customresources.structure import structure_of

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "known": {"type": "string"},
                "open": {
                    "type": "object",
                    "x-kubernetes-preserve-unknown-fields": True,
                    "properties": {
                        "inner": {"type": "object", "properties": {"a": {"type": "string"}}},
                    },
                },
                "map": {
                    "type": "object",
                    "additionalProperties": {
                        "type": "object",
                        "properties": {"a": {"type": "string"}},
                    },
                },
                "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
                "template": {
                    "type": "object",
                    "x-kubernetes-embedded-resource": True,
                    "properties": {
                        "spec": {"type": "object", "properties": {"a": {"type": "string"}}},
                    },
                },
                "empty": {"type": "object"},
            },
        },
    },
}


@pytest.mark.parametrize(
    ("spec", "kept", "unknown"),
    [
        ({"known": "a", "other": 1}, {"known": "a"}, ["spec.other"]),
        ({"open": {"x": {"y": 1}}}, {"open": {"x": {"y": 1}}}, []),
        ({"open": {"inner": {"a": "1", "b": 2}}}, {"open": {"inner": {"a": "1"}}}, ["spec.open.inner.b"]),
        ({"map": {"k": {"a": "1", "b": 2}}}, {"map": {"k": {"a": "1"}}}, ["spec.map.k.b"]),
        ({"list": [{"a": "1"}, {"b": 2}]}, {"list": [{"a": "1"}, {}]}, ["spec.list[1].b"]),
        (
            {"template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"x": 1}, "spec": {"a": "1", "b": 2}, "z": 1}},
            {"template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"x": 1}, "spec": {"a": "1"}}},
            ["spec.template.spec.b", "spec.template.z"],
        ),
        ({"empty": {"a": 1}}, {"empty": {}}, ["spec.empty.a"]),
    ],
)
def test_fields_that_the_schema_does_not_have_go(spec: Any, kept: Any, unknown: list[str]) -> None:
    data = {"apiVersion": "v1", "kind": "K", "metadata": {"name": "a"}, "spec": spec}
    assert pruned(data, structure_of(SCHEMA)) == {**data, "spec": kept}
    assert unknown_fields(data, structure_of(SCHEMA)) == unknown


def test_an_object_of_an_open_schema_keeps_everything() -> None:
    node = structure_of({"type": "object", "x-kubernetes-preserve-unknown-fields": True})
    data = {"kind": "K", "spec": {"a": [{"b": None}]}, "more": 1}
    assert pruned(data, node) == data
    assert unknown_fields(data, node) == []


DEFAULTS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "a": {"type": "integer", "default": 1},
        "b": {"type": "object", "default": {}, "properties": {"c": {"type": "string", "default": "x"}}},
        "d": {"type": "object", "properties": {"e": {"type": "string", "default": "y"}}},
        "f": {"type": "string", "nullable": True},
        "g": {"type": "string"},
        "h": {"type": "array", "items": {"type": "object", "properties": {"i": {"type": "integer", "default": 2}}}},
        "j": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "properties": {
                    "k": {"type": "boolean", "default": False},
                },
            },
        },
        "l": {"type": "string", "nullable": True, "default": "z"},
    },
}


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ({}, {"a": 1, "b": {"c": "x"}, "l": "z"}),
        ({"a": None, "l": None}, {"a": 1, "l": None, "b": {"c": "x"}}),
        ({"d": {}}, {"d": {"e": "y"}, "a": 1, "b": {"c": "x"}, "l": "z"}),
        ({"f": None, "g": None}, {"f": None, "a": 1, "b": {"c": "x"}, "l": "z"}),
        ({"h": [{}, {"i": 3}]}, {"h": [{"i": 2}, {"i": 3}], "a": 1, "b": {"c": "x"}, "l": "z"}),
        ({"j": {"n": {}}}, {"j": {"n": {"k": False}}, "a": 1, "b": {"c": "x"}, "l": "z"}),
    ],
)
def test_defaults_come_and_nulls_go(value: Any, result: Any) -> None:
    assert defaulted(value, structure_of(DEFAULTS)) == result


def test_what_is_handed_in_stays_as_it_is() -> None:
    value: dict[str, Any] = {"b": {}, "h": [{}]}
    defaulted(value, structure_of(DEFAULTS))
    pruned({"spec": value}, structure_of(SCHEMA))
    assert value == {"b": {}, "h": [{}]}
