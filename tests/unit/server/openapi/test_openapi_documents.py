"""OpenAPI documents of all that is built in: complete, true to the routes, and the same in every form."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any

import pytest

from antei.api.retired import served_versions
from antei.server.catalog import Catalog
from antei.server.http.discovery import versions_of
from antei.server.http.openapi.definitions import REFERENCE
from antei.server.http.openapi.documents import documents
from antei.server.http.openapi.gnostic import encode
from antei.server.http.openapi.swagger import swagger
from antei.server.http.routes import resolve
from antei.store.memory import MemoryStore

Json = Mapping[str, Any]


@cache
def _built() -> Mapping[str, Any]:
    found = documents(versions_of(served_versions()), lambda resource: None)
    return {name: document.build() for name, document in found.items()}


@cache
def _swagger() -> Json:
    return swagger("v1.37.0", _built().values())


def _schema(name: str, version: str = "v3") -> Any:
    if version == "v2":
        return _swagger()["definitions"][name]
    return next(d["components"]["schemas"][name] for d in _built().values() if name in d["components"]["schemas"])


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def _operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield path, method, operation


def test_every_reference_of_every_document_resolves() -> None:
    for name, document in _built().items():
        schemas = document["components"]["schemas"]
        missing = {r for r in _references(document) if r.removeprefix(REFERENCE) not in schemas}
        assert not missing, f"{name}: {missing}"
    assert all(r.removeprefix("#/definitions/") in _swagger()["definitions"] for r in _references(_swagger()))


def test_operations_have_names_of_their_own_and_paths_that_are_served() -> None:
    names: set[str] = set()
    catalog = Catalog(MemoryStore())
    for document in _built().values():
        for path, _, operation in _operations(document):
            assert operation["operationId"] not in names
            names.add(operation["operationId"])
            if "x-kubernetes-action" in operation:
                assert resolve(re.sub(r"{\w+}", "x", path), catalog) is not None, path
            for parameter in re.findall(r"{(\w+)}", path):
                assert parameter in {p["name"] for p in document["paths"][path]["parameters"] if p["in"] == "path"}
    assert {
        "listCoreV1NamespacedPod",
        "listCoreV1PodForAllNamespaces",
        "deleteAppsV1CollectionNamespacedDeployment",
        "patchAppsV1NamespacedDeploymentScale",
        "createCoreV1NamespacedPodEviction",
        "readCoreV1NamespacedPodLog",
        "connectCoreV1GetNamespacedPodExec",
        "replaceRbacAuthorizationV1ClusterRole",
    } <= names


@pytest.mark.parametrize(
    ("name", "field", "expected"),
    [
        ("Container", "name", {"type": "string", "default": ""}),
        ("Container", "image", {"type": "string"}),
        (
            "Container",
            "ports",
            {
                "type": "array",
                "items": {"allOf": [{"$ref": f"{REFERENCE}io.k8s.api.core.v1.ContainerPort"}], "default": {}},
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
                "x-kubernetes-patch-strategy": "merge",
                "x-kubernetes-patch-merge-key": "containerPort",
            },
        ),
        ("ContainerPort", "protocol", {"type": "string", "default": "TCP", "enum": ["SCTP", "TCP", "UDP"]}),
        ("ContainerPort", "containerPort", {"type": "integer", "format": "int32", "default": 0}),
        ("Probe", "terminationGracePeriodSeconds", {"type": "integer", "format": "int64"}),
        ("PodSpec", "securityContext", {"allOf": [{"$ref": f"{REFERENCE}io.k8s.api.core.v1.PodSecurityContext"}]}),
        (
            "PodSpec",
            "nodeSelector",
            {
                "type": "object",
                "additionalProperties": {"type": "string", "default": ""},
                "x-kubernetes-map-type": "atomic",
            },
        ),
        (
            "ServicePort",
            "targetPort",
            {"allOf": [{"$ref": f"{REFERENCE}io.k8s.apimachinery.pkg.util.intstr.IntOrString"}]},
        ),
        (
            "Pod",
            "metadata",
            {"allOf": [{"$ref": f"{REFERENCE}io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}], "default": {}},
        ),
        (
            "Secret",
            "data",
            {"type": "object", "additionalProperties": {"type": "string", "format": "byte"}},
        ),
    ],
)
def test_a_field_is_described_as_kubernetes_describes_it(name: str, field: str, expected: Json) -> None:
    described = dict(_schema(f"io.k8s.api.core.v1.{name}")["properties"][field])
    assert described.pop("description").strip()
    assert described == expected


def test_a_time_that_go_writes_as_null_may_be_null() -> None:
    assert _schema("io.k8s.api.events.v1.Event")["properties"]["eventTime"]["nullable"]
    assert _schema("io.k8s.api.events.v1.Event", "v2")["properties"]["eventTime"].keys() == {"$ref", "description"}
    assert "nullable" not in _schema("io.k8s.api.core.v1.Event")["properties"]["eventTime"]


def test_a_type_says_what_it_is_as_a_whole() -> None:
    pod = _schema("io.k8s.api.core.v1.Pod")
    assert pod["x-kubernetes-group-version-kind"] == [{"group": "", "version": "v1", "kind": "Pod"}]
    assert pod["description"].startswith("Pod is a collection of containers")
    assert _schema("io.k8s.api.core.v1.SecretKeySelector")["x-kubernetes-map-type"] == "atomic"
    assert _schema("io.k8s.api.core.v1.SeccompProfile")["x-kubernetes-unions"]
    assert _schema("io.k8s.api.core.v1.PodSpec")["required"] == ["containers"]
    kinds = _schema("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions")["x-kubernetes-group-version-kind"]
    assert {"group": "apps", "version": "v1", "kind": "DeleteOptions"} in kinds
    names = [name for document in _built().values() for name in document["components"]["schemas"]]
    assert "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService" in names
    assert "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps" in names


def test_an_operation_names_its_parameters_bodies_and_answers() -> None:
    paths = _built()["apis/apps/v1"]["paths"]
    collection = paths["/apis/apps/v1/namespaces/{namespace}/deployments"]
    item = paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]
    assert collection["get"]["x-kubernetes-action"] == "list"
    assert {p["name"] for p in collection["get"]["parameters"]} >= {"limit", "continue", "watch", "labelSelector"}
    assert {p["name"] for p in collection["post"]["parameters"]} == {"dryRun", "fieldManager", "fieldValidation"}
    assert {"200", "201", "202", "401", "default"} == collection["post"]["responses"].keys()
    assert item["patch"]["requestBody"]["content"].keys() == {
        "application/apply-patch+yaml",
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
    }
    assert item["put"]["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": f"{REFERENCE}io.k8s.api.apps.v1.Deployment"
    }


def test_a_retired_version_is_open_where_its_fields_were_others() -> None:
    same = _schema("io.k8s.api.batch.v1beta1.CronJob")
    other = _schema("io.k8s.api.extensions.v1beta1.Ingress")
    assert "x-kubernetes-preserve-unknown-fields" not in same
    assert other["x-kubernetes-preserve-unknown-fields"]
    assert other["properties"]["spec"] == {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def test_hashes_differ_by_document_and_stay_as_long_as_it_does() -> None:
    versions = versions_of(served_versions())
    first, again = (documents(versions, lambda resource: None) for _ in range(2))
    assert {name: d.digest for name, d in first.items()} == {name: d.digest for name, d in again.items()}
    assert len({document.digest for document in first.values()}) == len(first)
    fewer = {group: served for group, served in versions.items() if group != "batch"}
    assert documents(fewer, lambda resource: None)["apis/apps/v1"].digest != first["apis/apps/v1"].digest


def _keys(value: Any, of_schema: bool = True) -> Iterator[str]:
    """The keywords of schemas, without the names of properties."""
    for name, item in value.items():
        if of_schema:
            yield name
        if isinstance(item, dict):
            yield from _keys(item, of_schema=name != "properties")


def test_swagger_says_only_what_it_can() -> None:
    for schema in _swagger()["definitions"].values():
        assert not {"allOf", "anyOf", "oneOf", "not", "default", "nullable"} & set(_keys(schema))
    assert _schema("io.k8s.apimachinery.pkg.util.intstr.IntOrString", "v2")["type"] == "string"
    assert _schema("io.k8s.api.core.v1.PodSpec", "v2")["properties"]["affinity"].keys() == {"$ref", "description"}
    patch = _swagger()["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"]
    assert patch["parameters"][0]["in"] == "body"
    assert "application/apply-patch+yaml" in patch["consumes"]


class _Decoder:
    """Reads protobuf by the table that the encoder writes by, and by nothing else of it."""

    def __init__(self, version: str) -> None:
        text = resources.files("antei.server.http.openapi").joinpath("gnostic.json").read_text()
        self._messages = json.loads(text)[version]

    def message(self, name: str, data: bytes) -> Any:
        known = {number: (key, kind) for key, (number, kind) in self._messages[name].items()}
        found: dict[str, Any] = {}
        for number, raw in self._fields(data):
            key, kind = known[number]
            value = self._value(kind.removeprefix("[]"), raw)
            if kind.startswith("[]"):
                found.setdefault(key, []).append(value)
            else:
                found[key] = value
        return found

    def _value(self, kind: str, raw: Any) -> Any:
        if kind == "string":
            return raw.decode()
        return self.message(kind, raw) if kind in self._messages else raw

    def _fields(self, data: bytes) -> Iterator[tuple[int, Any]]:
        at = 0
        while at < len(data):
            tag, at = self._varint(data, at)
            if tag & 7 == 0:
                value, at = self._varint(data, at)
                yield tag >> 3, value
            elif tag & 7 == 1:
                yield tag >> 3, struct.unpack_from("<d", data, at)[0]
                at += 8
            else:
                assert tag & 7 == 2
                size, at = self._varint(data, at)
                assert at + size <= len(data)
                yield tag >> 3, data[at : at + size]
                at += size

    def _varint(self, data: bytes, at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            byte = data[at]
            value |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                return value, at


def test_version_3_is_the_same_as_protobuf() -> None:
    document = _built()["apis/apps/v1"]
    read = _Decoder("v3").message("Document", encode("v3", document))
    schemas = {one["name"]: one["value"]["?Schema"] for one in read["components"]["schemas"]["additional_properties"]}
    assert schemas.keys() == document["components"]["schemas"].keys()
    for name, schema in schemas.items():
        wanted = document["components"]["schemas"][name]
        fields = {one["name"] for one in schema.get("properties", {}).get("additional_properties", ())}
        assert fields == set(wanted.get("properties", ()))
        extensions = {one["name"]: one["value"]["yaml"] for one in schema.get("specification_extension", ())}
        assert {key: json.loads(value) for key, value in extensions.items()} == {
            key: value for key, value in wanted.items() if key.startswith("x-")
        }
    paths = {one["name"]: one["value"] for one in read["paths"]["path"]}
    assert paths.keys() == document["paths"].keys()
    patch = paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert patch["operation_id"] == "patchAppsV1NamespacedDeployment"
    assert len(patch["request_body"]["?RequestBody"]["content"]["additional_properties"]) == 4
    assert patch["responses"]["default"]["?Response"]["description"]


def test_version_2_is_the_same_as_protobuf() -> None:
    document = _swagger()
    read = _Decoder("v2").message("Document", encode("v2", document))
    assert read["swagger"] == "2.0"
    definitions = {one["name"]: one["value"] for one in read["definitions"]["additional_properties"]}
    assert definitions.keys() == document["definitions"].keys()
    properties = {
        one["name"]: one["value"]
        for one in definitions["io.k8s.api.core.v1.ResourceRequirements"]["properties"]["additional_properties"]
    }
    limits = properties["limits"]
    assert limits["type"]["value"] == ["object"]
    assert limits["additional_properties"]["?Schema"]["_ref"] == (
        "#/definitions/io.k8s.apimachinery.pkg.api.resource.Quantity"
    )
    paths = {one["name"]: one["value"] for one in read["paths"]["path"]}
    parameters = paths["/api/v1/namespaces/{namespace}/pods/{name}"]["parameters"]
    places = [next(iter(one["?Parameter"]["?NonBodyParameter"].values()))["in"] for one in parameters]
    assert places == ["path", "path", "query"]
