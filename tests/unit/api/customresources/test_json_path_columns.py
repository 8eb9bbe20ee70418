"""JSON paths as definitions have them, the cells that they make, and what decoding tells of a custom object."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from custom_kinds import crd, version

from antei.api.customresources import custom_kind
from antei.api.customresources.json_path import JsonPathError, field_names, values_at
from antei.api.decode import decode, decode_data
from antei.api.errors import ApiError
from antei.api.printing import columns, row
from antei.api.resources import Resource

DATA = {
    "spec": {"replicas": 3, "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 443}], "a.b": "dotted"},
    "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Synced", "status": "False"}]},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.replicas", [3]),
        ("{.spec.replicas}", [3]),
        (".spec.ports[0].port", [80]),
        (".spec.ports[-1].name", ["b"]),
        (".spec.ports[*].name", ["a", "b"]),
        (".spec.ports[0:1].name", ["a"]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        (".spec.ports[?(@.port > 100)].name", ["b"]),
        (".spec['a.b']", ["dotted"]),
        (r".spec.a\.b", ["dotted"]),
        (".spec.none.more", []),
        (".spec.replicas.more", []),
    ],
)
def test_a_path_finds_what_is_there(path: str, found: list[Any]) -> None:
    assert values_at(DATA, path) == found


@pytest.mark.parametrize("path", [".spec.[", ".spec[?(@.a ~ 1)]", ".spec..replicas", "{range .items}"])
def test_what_is_no_path_is_told(path: str) -> None:
    with pytest.raises(JsonPathError):
        values_at(DATA, path)


def test_paths_of_fields_alone_are_known() -> None:
    assert field_names(".spec.replicas") == ["spec", "replicas"]
    assert field_names(".spec.ports[0]") is None


def resource_with(*given: dict[str, Any]) -> Resource:
    return custom_kind(crd(version(additionalPrinterColumns=list(given)))).served[0]


def cells(resource: Resource, data: dict[str, Any]) -> list[Any]:
    metadata = {"name": "x", "creationTimestamp": "2024-01-01T00:00:00Z"}
    now = datetime(2024, 1, 1, 2, tzinfo=UTC)
    return row(resource, resource.type.of({**data, "metadata": metadata}), now).cells


def test_columns_are_the_definitions_and_cells_are_of_their_type() -> None:
    resource = resource_with(
        {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
        {"name": "Ports", "type": "string", "jsonPath": ".spec.ports[*].name"},
        {"name": "Flag", "type": "boolean", "jsonPath": ".spec.replicas", "priority": 1},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {"name": "Odd", "type": "date", "jsonPath": ".spec.replicas"},
        {"name": "Gone", "type": "string", "jsonPath": ".spec.none"},
    )
    assert [(column.name, column.type, column.priority) for column in columns(resource)][:4] == [
        ("Name", "string", 0),
        ("Replicas", "integer", 0),
        ("Ports", "string", 0),
        ("Flag", "boolean", 1),
    ]
    assert cells(resource, DATA) == ["x", 3, "a b", None, "120m", "<invalid>", None]


def test_a_kind_without_columns_shows_its_age() -> None:
    resource = custom_kind(crd()).served[0]
    assert [column.name for column in columns(resource)] == ["Name", "Age"]
    assert cells(resource, {}) == ["x", "120m"]


def test_decoding_tells_of_unknown_and_duplicate_fields_or_refuses_them() -> None:
    resource = custom_kind(crd()).served[0]
    body = b'{"metadata":{"name":"a","foo":1},"spec":{"cron":"*","cron":"1","bar":{"x":1}},"more":1}'
    told = ['duplicate field "spec.cron"', 'unknown field "metadata.foo"', 'unknown field "spec.bar"']
    decoded = decode(body, resource.type)
    assert decoded.warnings == [*told, 'unknown field "more"']
    assert decoded.object["spec"]["cron"] == "1"
    assert decode(body, resource.type, field_validation="Ignore").warnings == []
    with pytest.raises(ApiError) as refusal:
        decode(body, resource.type, field_validation="Strict")
    assert refusal.value.message == (
        'CronTab in version "v1" cannot be handled as a CronTab: strict decoding error: '
        + ", ".join([*told, 'unknown field "more"'])
    )


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"kind": "Other"}, "the object provided is unrecognized (must be of type CronTab): Other"),
        (
            {"apiVersion": "example.com/v9"},
            "the API version in the data (example.com/v9) does not match the expected API version (example.com/v1)",
        ),
        (
            {"metadata": []},
            'CronTab in version "v1" cannot be handled as a CronTab: json: cannot unmarshal array into Go struct '
            "field .metadata of type v1.ObjectMeta",
        ),
        (
            {"metadata": {"labels": {"a": 1}}},
            'CronTab in version "v1" cannot be handled as a CronTab: json: cannot unmarshal number into Go struct '
            "field ObjectMeta.metadata.labels of type string",
        ),
    ],
)
def test_what_is_no_such_object_is_refused(data: dict[str, Any], told: str) -> None:
    resource = custom_kind(crd()).served[0]
    with pytest.raises(ApiError) as refusal:
        decode_data(data, resource.type)
    assert refusal.value.message == told


def test_an_object_is_replaced_and_never_changed() -> None:
    resource = custom_kind(crd()).served[0]
    obj = decode_data({"metadata": {"name": "a"}, "spec": {"cron": "*"}}, resource.type).object
    with pytest.raises(TypeError):
        obj["spec"] = {}
    with pytest.raises(TypeError):
        obj.update(spec={})
    assert obj.replaced({"spec": None}) == {name: obj[name] for name in obj if name != "spec"}
