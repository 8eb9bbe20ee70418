"""The REST API as a plain HTTP client sees it: statuses, headers, forms of answers, errors."""

from __future__ import annotations

import asyncio
import io
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

if TYPE_CHECKING:
    from http_api import HttpApi

    from conftest import FakePodLogs

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def pod(name: str, *containers: str, **spec: Any) -> dict[str, Any]:
    listed = [{"name": container, "image": "image"} for container in containers or ("app",)]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": listed, **spec}}


async def test_no_token_gets_health_and_version_and_nothing_else(http_api: HttpApi) -> None:
    async with aiohttp.ClientSession() as anonymous:
        for path, expected in (("/livez", 200), ("/version", 200), ("/readyz?verbose", 200), ("/api/v1/pods", 401)):
            async with anonymous.get(http_api.server.url + path, ssl=False) as response:
                assert response.status == expected
                if expected == 401:
                    assert (await response.json())["reason"] == "Unauthorized"


async def test_a_wrong_token_is_refused(http_api: HttpApi) -> None:
    status = await http_api.json("GET", "/version", status=401, headers={"Authorization": "Bearer wrong"})
    assert status["message"] == "Unauthorized"


async def test_version_says_1_37(http_api: HttpApi) -> None:
    version = await http_api.json("GET", "/version")
    assert (version["major"], version["minor"]) == ("1", "37")
    assert version["gitVersion"].startswith("v1.37.0+antei")


async def test_an_object_is_created_read_replaced_and_deleted(http_api: HttpApi) -> None:
    created = await http_api.json("POST", CONFIG_MAPS, status=201, json=config_map("a", x="1"))
    assert created["kind"] == "ConfigMap"
    created["data"]["x"] = "2"
    replaced = await http_api.json("PUT", f"{CONFIG_MAPS}/a", json=created)
    assert int(replaced["metadata"]["resourceVersion"]) > int(created["metadata"]["resourceVersion"])
    stale = await http_api.json("PUT", f"{CONFIG_MAPS}/a", status=409, json=created)
    assert stale["reason"] == "Conflict"
    deleted = await http_api.json("DELETE", f"{CONFIG_MAPS}/a")
    assert (deleted["kind"], deleted["status"]) == ("Status", "Success")
    assert deleted["details"]["uid"] == created["metadata"]["uid"]
    missing = await http_api.json("GET", f"{CONFIG_MAPS}/a", status=404)
    assert missing["message"] == 'configmaps "a" not found'
    assert missing["details"] == {"name": "a", "kind": "configmaps"}


async def test_a_dry_run_stores_nothing(http_api: HttpApi) -> None:
    await http_api.json("POST", f"{CONFIG_MAPS}?dryRun=All", status=201, json=config_map("dry"))
    await http_api.json("GET", f"{CONFIG_MAPS}/dry", status=404)
    refused = await http_api.json("POST", f"{CONFIG_MAPS}?dryRun=Some", status=422, json=config_map("dry"))
    assert refused["details"]["causes"][0]["field"] == "dryRun"


async def test_bodies_and_answers_may_be_yaml(http_api: HttpApi) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: y}\ndata: {when: 2020-01-01}\n"
    headers = {"Content-Type": "application/yaml", "Accept": "application/yaml"}
    async with http_api.request("POST", CONFIG_MAPS, data=text, headers=headers) as response:
        assert response.status == 201
        assert response.headers["Content-Type"] == "application/yaml"
        assert "when: '2020-01-01'" in await response.text()


REFUSED = {
    "a body that is no JSON": ("POST", CONFIG_MAPS, "{", {}, 400, "BadRequest"),
    "another kind": ("POST", CONFIG_MAPS, '{"apiVersion":"v1","kind":"Secret"}', {}, 400, "BadRequest"),
    "an unknown media type": ("POST", CONFIG_MAPS, "x", {"Content-Type": "text/csv"}, 415, "UnsupportedMediaType"),
    "a body of 4 MiB": ("POST", CONFIG_MAPS, "x" * (4 << 20), {}, 413, "RequestEntityTooLarge"),
    "broken protobuf": (
        "POST",
        CONFIG_MAPS,
        "k8s\x00\x0a\x7f",
        {"Content-Type": "application/vnd.kubernetes.protobuf"},
        400,
        "BadRequest",
    ),
    "an unknown form": ("GET", CONFIG_MAPS, None, {"Accept": "text/html"}, 406, "NotAcceptable"),
    "an unknown path": ("GET", "/nowhere", None, {}, 404, "NotFound"),
    "an unknown resource": ("GET", "/api/v1/frobs", None, {}, 404, "NotFound"),
    "an unknown subresource": ("GET", f"{PODS}/x/nosuch", None, {}, 404, "NotFound"),
    "a namespace around a node": ("GET", "/api/v1/namespaces/default/nodes", None, {}, 404, "NotFound"),
    "a method that nobody has": ("PUT", CONFIG_MAPS, "{}", {}, 405, "MethodNotAllowed"),
    "a verb that the kind lacks": ("DELETE", "/api/v1/namespaces", None, {}, 405, "MethodNotAllowed"),
    "a bad limit": ("GET", f"{CONFIG_MAPS}?limit=x", None, {}, 400, "BadRequest"),
    "a bad continue token": ("GET", f"{CONFIG_MAPS}?continue=x", None, {}, 400, "BadRequest"),
    "a bad label selector": ("GET", f"{CONFIG_MAPS}?labelSelector=a+b+c", None, {}, 400, "BadRequest"),
    "a field that cannot be selected": ("GET", f"{CONFIG_MAPS}?fieldSelector=data.x=1", None, {}, 400, "BadRequest"),
    "a bad resourceVersion": ("GET", f"{CONFIG_MAPS}?resourceVersion=x", None, {}, 400, "BadRequest"),
    "a revision to come": ("GET", f"{CONFIG_MAPS}?resourceVersion=99999999", None, {}, 504, "Timeout"),
    "a match without a revision": (
        "GET",
        f"{CONFIG_MAPS}?resourceVersionMatch=Exact",
        None,
        {},
        422,
        "Invalid",
    ),
    "initial events of a list": (
        "GET",
        f"{CONFIG_MAPS}?sendInitialEvents=true",
        None,
        {},
        422,
        "Invalid",
    ),
    "a bad field validation": (
        "POST",
        f"{CONFIG_MAPS}?fieldValidation=Maybe",
        json.dumps(config_map("a")),
        {},
        422,
        "Invalid",
    ),
    "server-side apply in CBOR": (
        "PATCH",
        f"{CONFIG_MAPS}/a",
        "{}",
        {"Content-Type": "application/apply-patch+cbor"},
        415,
        "UnsupportedMediaType",
    ),
    "delete options of the wrong type": (
        "DELETE",
        f"{CONFIG_MAPS}/a",
        '{"gracePeriodSeconds":"soon"}',
        {},
        400,
        "BadRequest",
    ),
}


@pytest.mark.parametrize(("method", "path", "body", "headers", "code", "reason"), REFUSED.values(), ids=REFUSED.keys())
async def test_a_bad_request_gets_a_status(
    http_api: HttpApi, method: str, path: str, body: str | None, headers: dict[str, str], code: int, reason: str
) -> None:
    if body is not None:
        headers = {"Content-Type": "application/json", **headers}
    data = io.BytesIO(body.encode()) if body is not None else None
    status = await http_api.json(method, path, status=code, data=data, headers=headers)
    assert status["kind"] == "Status"
    assert (status["code"], status["reason"], status["status"]) == (code, reason, "Failure")


async def test_unknown_fields_follow_field_validation(http_api: HttpApi) -> None:
    body = {**config_map("u"), "extra": 1}
    async with http_api.request("POST", f"{CONFIG_MAPS}?dryRun=All", json=body) as response:
        assert response.headers["Warning"] == '299 - "unknown field \\"extra\\""'
    refused = await http_api.json("POST", f"{CONFIG_MAPS}?fieldValidation=Strict", status=400, json=body)
    assert 'unknown field "extra"' in refused["message"]
    async with http_api.request("POST", f"{CONFIG_MAPS}?fieldValidation=Ignore", json=body) as response:
        assert "Warning" not in response.headers


async def test_a_list_comes_in_chunks(http_api: HttpApi) -> None:
    for name in "abcde":
        await http_api.json("POST", CONFIG_MAPS, status=201, json=config_map(name))
    names, token = [], ""
    while True:
        page = await http_api.json("GET", f"{CONFIG_MAPS}?limit=2&continue={token}")
        names += [item["metadata"]["name"] for item in page["items"]]
        token = page["metadata"].get("continue", "")
        if not token:
            break
    assert names == list("abcde")
    assert page["kind"] == "ConfigMapList"


async def test_a_table_has_kubernetes_columns_and_partial_objects(http_api: HttpApi) -> None:
    await http_api.json("POST", PODS, status=201, json=pod("p", "a", "b"))
    table = await http_api.json("GET", PODS, headers={"Accept": TABLE})
    assert table["kind"] == "Table"
    assert [c["name"] for c in table["columnDefinitions"] if not c["priority"]] == [
        "Name",
        "Ready",
        "Status",
        "Restarts",
        "Age",
    ]
    assert table["rows"][0]["cells"][:4] == ["p", "0/2", "Pending", "0"]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    none = await http_api.json("GET", f"{PODS}?includeObject=None", headers={"Accept": TABLE})
    assert none["rows"][0]["object"] is None


async def test_metadata_alone_can_be_asked_for(http_api: HttpApi) -> None:
    await http_api.json("POST", CONFIG_MAPS, status=201, json=config_map("m", x="1"))
    accept = {"Accept": "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"}
    listed = await http_api.json("GET", CONFIG_MAPS, headers=accept)
    assert listed["kind"] == "PartialObjectMetadataList"
    assert "data" not in listed["items"][0]


async def test_protobuf_is_passed_over_for_json(http_api: HttpApi) -> None:
    accept = {"Accept": "application/vnd.kubernetes.protobuf,application/json"}
    assert (await http_api.json("GET", CONFIG_MAPS, headers=accept))["kind"] == "ConfigMapList"


PATCHES = {
    "application/merge-patch+json": {"data": {"x": "2", "y": None}},
    "application/strategic-merge-patch+json": {"data": {"x": "2", "y": None}},
    "application/json-patch+json": [
        {"op": "replace", "path": "/data/x", "value": "2"},
        {"op": "remove", "path": "/data/y"},
    ],
}


@pytest.mark.parametrize("patch_type", PATCHES)
async def test_patches_of_all_three_types(http_api: HttpApi, patch_type: str) -> None:
    await http_api.json("POST", CONFIG_MAPS, status=201, json=config_map("p", x="1", y="1", z="1"))
    body = json.dumps(PATCHES[patch_type])
    headers = {"Content-Type": patch_type}
    patched = await http_api.json("PATCH", f"{CONFIG_MAPS}/p", data=body, headers=headers)
    assert patched["data"] == {"x": "2", "z": "1"}


async def test_a_collection_is_deleted_by_selector(http_api: HttpApi) -> None:
    for name in ("a", "b"):
        body = config_map(name)
        body["metadata"]["labels"] = {"name": name}
        await http_api.json("POST", CONFIG_MAPS, status=201, json=body)
    gone = await http_api.json("DELETE", f"{CONFIG_MAPS}?labelSelector=name%3Da")
    assert [item["metadata"]["name"] for item in gone["items"]] == ["a"]
    left = await http_api.json("GET", CONFIG_MAPS)
    assert [item["metadata"]["name"] for item in left["items"]] == ["b"]


async def test_scale_is_a_resource_of_its_own(http_api: HttpApi) -> None:
    deployments = "/apis/apps/v1/namespaces/default/deployments"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}
    await http_api.json("POST", deployments, status=201, json=body)
    scale = await http_api.json("GET", f"{deployments}/d/scale")
    assert (scale["kind"], scale["apiVersion"], scale["spec"]["replicas"]) == ("Scale", "autoscaling/v1", 2)
    scale["spec"]["replicas"] = 5
    assert (await http_api.json("PUT", f"{deployments}/d/scale", json=scale))["spec"]["replicas"] == 5
    assert (await http_api.json("GET", f"{deployments}/d"))["spec"]["replicas"] == 5


async def test_an_eviction_is_refused_by_its_budget_with_429(http_api: HttpApi) -> None:
    body = pod("victim", nodeName="n")
    body["metadata"]["labels"] = {"app": "x"}
    await http_api.json("POST", PODS, status=201, json=body)
    running = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    headers = {"Content-Type": "application/merge-patch+json"}
    await http_api.json("PATCH", f"{PODS}/victim/status", data=json.dumps(running), headers=headers)
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}},
    }
    await http_api.json("POST", "/apis/policy/v1/namespaces/default/poddisruptionbudgets", status=201, json=budget)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "victim"}}
    refused = await http_api.json("POST", f"{PODS}/victim/eviction", status=429, json=eviction)
    assert refused["reason"] == "TooManyRequests"


# Logs


async def test_a_log_is_plain_text(http_api: HttpApi, pod_logs: FakePodLogs) -> None:
    await http_api.json("POST", PODS, status=201, json=pod("p", "a", nodeName="n"))
    query = "tailLines=3&timestamps=true&sinceSeconds=60&limitBytes=1000"
    async with http_api.request("GET", f"{PODS}/p/log?{query}") as response:
        assert response.headers["Content-Type"] == "text/plain"
        assert await response.text() == "a 0\na 1\na 2\n"
    asked = pod_logs.asked[-1]
    assert (asked.container, asked.tail_lines, asked.timestamps) == ("a", 3, True)
    assert (asked.since_seconds, asked.limit_bytes, asked.follow) == (60, 1000, False)


BAD_LOGS = {
    "": (400, "a container name must be specified for pod p, choose one of: [a b]"),
    "container=zz": (400, "container zz is not valid for pod p"),
    "container=a&previous=true": (400, 'previous terminated container "a" in pod "x" not found'),
    "container=a&sinceSeconds=0": (422, "sinceSeconds: Invalid value: 0: must be greater than 0"),
    "container=a&tailLines=-1": (422, "tailLines: Invalid value: -1"),
    "container=a&tailLines=many": (400, "invalid syntax"),
    "container=a&sinceTime=yesterday": (400, "parsing time"),
    "container=a&sinceSeconds=5&sinceTime=2026-01-01T00:00:00Z": (422, "at most one of"),
}


@pytest.mark.parametrize("query", BAD_LOGS)
async def test_a_bad_question_about_a_log(http_api: HttpApi, query: str) -> None:
    await http_api.json("POST", PODS, status=201, json=pod("p", "a", "b", nodeName="n"))
    code, message = BAD_LOGS[query]
    status = await http_api.json("GET", f"{PODS}/p/log?{query}", status=code)
    assert message in status["message"]


async def test_a_followed_log_goes_on_until_the_client_leaves(http_api: HttpApi, pod_logs: FakePodLogs) -> None:
    await http_api.json("POST", PODS, status=201, json=pod("p", "a", nodeName="n"))
    async with http_api.request("GET", f"{PODS}/p/log?follow=true") as response:
        assert await response.content.readline() == b"a 0\n"
        pod_logs.append(b"later\n")
        for expected in (b"a 1\n", b"a 2\n", b"later\n"):
            assert await response.content.readline() == expected
        assert pod_logs.open_readers == 1
        response.close()
    async with asyncio.timeout(5):
        while pod_logs.open_readers:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)


# Discovery and OpenAPI


async def test_aggregated_discovery_names_its_form_in_the_content_type(http_api: HttpApi) -> None:
    wanted = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    async with http_api.request("GET", "/apis", headers={"Accept": f"{wanted},application/json"}) as response:
        assert response.headers["Content-Type"] == wanted
        etag = response.headers["ETag"]
        groups = [item["metadata"]["name"] for item in (await response.json())["items"]]
    assert groups.index("apps") < groups.index("extensions")
    headers = {"Accept": wanted, "If-None-Match": etag}
    async with http_api.request("GET", "/apis", headers=headers) as response:
        assert response.status == 304
    assert (await http_api.json("GET", "/apis"))["kind"] == "APIGroupList"


async def test_discovery_lists_eviction_as_policy_v1_and_the_streams(http_api: HttpApi) -> None:
    listed = {entry["name"]: entry for entry in (await http_api.json("GET", "/api/v1"))["resources"]}
    eviction = listed["pods/eviction"]
    assert (eviction["group"], eviction["version"], eviction["kind"]) == ("policy", "v1", "Eviction")
    assert listed["pods/log"]["verbs"] == ["get"]
    assert {"pods/exec", "pods/attach", "pods/portforward", "pods/proxy"} <= set(listed)
    assert listed["pods"]["shortNames"] == ["po"]
    scale = {e["name"]: e for e in (await http_api.json("GET", "/apis/apps/v1"))["resources"]}["deployments/scale"]
    assert (scale["group"], scale["version"], scale["kind"]) == ("autoscaling", "v1", "Scale")


async def test_preferred_versions_are_todays(http_api: HttpApi) -> None:
    groups = {g["name"]: g for g in (await http_api.json("GET", "/apis"))["groups"]}
    assert groups["autoscaling"]["preferredVersion"]["version"] == "v2"
    assert groups["policy"]["preferredVersion"]["version"] == "v1"
    assert [v["version"] for v in groups["policy"]["versions"]] == ["v1", "v1beta1"]


async def test_openapi_has_merge_keys_and_every_reference_resolves(http_api: HttpApi) -> None:
    index = await http_api.json("GET", "/openapi/v3")
    assert "apis/apps/v1" in index["paths"]
    for name in ("api/v1", "apis/apps/v1", "apis/policy/v1", "apis/extensions/v1beta1"):
        document = await http_api.json("GET", f"/openapi/v3/{name}")
        schemas = document["components"]["schemas"]
        for reference in _references(document):
            assert reference.removeprefix("#/components/schemas/") in schemas
    spec = (await http_api.json("GET", "/openapi/v3/api/v1"))["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]
    assert spec["properties"]["containers"]["x-kubernetes-patch-merge-key"] == "name"
    assert spec["required"] == ["containers"]


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [reference for item in value.values() for reference in _references(item)]
    return [reference for item in value for reference in _references(item)] if isinstance(value, list) else []


# Retired versions


async def test_a_retired_version_is_converted_answered_in_kind_and_warned_of(http_api: HttpApi) -> None:
    path = "/apis/policy/v1beta1/namespaces/default/poddisruptionbudgets"
    body = {
        "apiVersion": "policy/v1beta1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "b"},
        "spec": {"maxUnavailable": 1, "selector": {}},
    }
    async with http_api.request("POST", path, json=body) as response:
        assert response.status == 201
        assert response.headers["Warning"] == (
            '299 - "policy/v1beta1 PodDisruptionBudget is deprecated in v1.21+, unavailable in v1.25+; '
            'use policy/v1 PodDisruptionBudget"'
        )
        assert (await response.json())["apiVersion"] == "policy/v1beta1"
    stored = await http_api.json("GET", "/apis/policy/v1/namespaces/default/poddisruptionbudgets/b")
    assert stored["spec"]["selector"]["matchExpressions"][0]["operator"] == "Exists"
    headers = {"Content-Type": "application/merge-patch+json"}
    patched = await http_api.json("PATCH", f"{path}/b", data='{"spec":{"maxUnavailable":2}}', headers=headers)
    assert patched["spec"] == {"maxUnavailable": 2, "selector": {}}
    wrong = await http_api.json("POST", path, status=400, json={**body, "apiVersion": "policy/v1"})
    assert "does not match the expected API version" in wrong["message"]


async def test_who_am_i_and_may_i_are_answered(http_api: HttpApi) -> None:
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    review = await http_api.json("POST", path, status=201, json=body)
    assert review["status"]["userInfo"]["username"] == "kubernetes-admin"
