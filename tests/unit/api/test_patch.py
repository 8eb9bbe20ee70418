"""JSON, merge and strategic merge patches, as Kubernetes applies them."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Pod, Service
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api.errors import ApiError
from antei.api.patch import apply_patch

JSON = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


def pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": list(containers), **spec}}


MERGE_CASES = {
    "null removes": ({"a": 1, "b": 2}, {"a": None}, {"b": 2}),
    "objects merge deeply": ({"a": {"b": 1, "c": 2}}, {"a": {"c": None, "d": 3}}, {"a": {"b": 1, "d": 3}}),
    "lists are replaced": ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
    "an object replaces a scalar, without its nulls": ({"a": 1}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}),
}


@pytest.mark.parametrize(("current", "patch", "expected"), MERGE_CASES.values(), ids=MERGE_CASES.keys())
def test_merge_patch(current: dict[str, Any], patch: dict[str, Any], expected: dict[str, Any]) -> None:
    assert apply_patch(MERGE, current, patch, Pod) == expected


STRATEGIC_CASES: dict[str, tuple[type[Any], dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "a container merges by its name": (
        Pod,
        pod({"name": "a", "image": "x"}, {"name": "b", "image": "y"}),
        pod({"name": "b", "image": "z"}),
        pod({"name": "a", "image": "x"}, {"name": "b", "image": "z"}),
    ),
    "a new container comes first, for the patch does not say where": (
        Pod,
        pod({"name": "a"}),
        pod({"name": "b"}),
        pod({"name": "b"}, {"name": "a"}),
    ),
    "a container is deleted by its key": (
        Pod,
        pod({"name": "a"}, {"name": "b"}),
        pod({"name": "a", "$patch": "delete"}),
        pod({"name": "b"}),
    ),
    "a list is replaced by directive": (
        Pod,
        pod({"name": "a"}, {"name": "b"}),
        pod({"name": "c"}, {"$patch": "replace"}),
        pod({"name": "c"}),
    ),
    "a map is replaced by directive": (
        Pod,
        {"metadata": {"labels": {"a": "1"}}},
        {"metadata": {"labels": {"b": "2", "$patch": "replace"}}},
        {"metadata": {"labels": {"b": "2"}}},
    ),
    "an atomic list is replaced": (
        Pod,
        pod(tolerations=[{"key": "a"}]),
        {"spec": {"tolerations": [{"key": "b"}]}},
        pod(tolerations=[{"key": "b"}]),
    ),
    "environment variables merge inside a container": (
        Pod,
        pod({"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]}),
        pod({"name": "a", "env": [{"name": "Y", "value": "3"}]}),
        pod({"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "3"}]}),
    ),
    "element order is set, what only the server has keeps its place": (
        Pod,
        pod({"name": "a"}, {"name": "injected"}, {"name": "b"}),
        {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}},
        pod({"name": "injected"}, {"name": "b"}, {"name": "a"}),
    ),
    "finalizers are a set": (
        Pod,
        {"metadata": {"finalizers": ["a", "b"]}},
        {"metadata": {"finalizers": ["b", "c"]}},
        {"metadata": {"finalizers": ["a", "b", "c"]}},
    ),
    "items are deleted from a list of scalars": (
        Pod,
        {"metadata": {"finalizers": ["a", "b"]}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}},
        {"metadata": {"finalizers": ["b"]}},
    ),
    "retainKeys drops the other members of a union": (
        Deployment,
        {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}},
        {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}},
        {"spec": {"strategy": {"type": "Recreate"}}},
    ),
    "a volume changes its source": (
        Pod,
        pod(volumes=[{"name": "v", "emptyDir": {}}]),
        {"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}},
        pod(volumes=[{"name": "v", "hostPath": {"path": "/x"}}]),
    ),
    "service ports merge by port": (
        Service,
        {"spec": {"ports": [{"port": 80, "name": "a"}]}},
        {"spec": {"ports": [{"port": 80, "targetPort": 8080}]}},
        {"spec": {"ports": [{"port": 80, "name": "a", "targetPort": 8080}]}},
    ),
    "a budget's selector is replaced": (
        PodDisruptionBudget,
        {"spec": {"selector": {"matchLabels": {"a": "1"}}}},
        {"spec": {"selector": {"matchLabels": {"b": "2"}}}},
        {"spec": {"selector": {"matchLabels": {"b": "2"}}}},
    ),
    "null removes a field, and is not written into a new one": (
        Pod,
        {"spec": {"nodeName": "x"}},
        {"spec": {"nodeName": None, "affinity": {"podAffinity": None}}},
        {"spec": {"affinity": {}}},
    ),
    "a list that is new keeps no directive": (
        Pod,
        {"spec": {}},
        pod({"name": "a"}, {"name": "b", "$patch": "delete"}),
        pod({"name": "a"}),
    ),
}


@pytest.mark.parametrize(
    ("struct", "current", "patch", "expected"), STRATEGIC_CASES.values(), ids=STRATEGIC_CASES.keys()
)
def test_strategic_merge_patch(
    struct: type[Any], current: dict[str, Any], patch: dict[str, Any], expected: dict[str, Any]
) -> None:
    before = repr(current)
    assert apply_patch(STRATEGIC, current, patch, struct) == expected
    assert repr(current) == before, "the object that others share was changed"


def test_json_patch_adds_replaces_and_removes() -> None:
    operations = [
        {"op": "test", "path": "/metadata/name", "value": "x"},
        {"op": "add", "path": "/metadata/labels", "value": {"a~b/c": "1"}},
        {"op": "replace", "path": "/metadata/labels/a~0b~1c", "value": "2"},
        {"op": "add", "path": "/spec/list/-", "value": 3},
        {"op": "remove", "path": "/spec/list/0"},
    ]
    current = {"metadata": {"name": "x"}, "spec": {"list": [1, 2]}}
    assert apply_patch(JSON, current, operations, Pod) == {
        "metadata": {"name": "x", "labels": {"a~b/c": "2"}},
        "spec": {"list": [2, 3]},
    }
    assert current["spec"] == {"list": [1, 2]}


FAILURES: dict[str, tuple[str, Any, int, str]] = {
    "a test that fails": (JSON, [{"op": "test", "path": "/a", "value": 2}], 422, "the server rejected our request"),
    "a removal of nothing": (JSON, [{"op": "remove", "path": "/nothing"}], 422, "the server rejected our request"),
    "an operation without a name": (JSON, [{"path": "/a"}], 400, "error decoding patch"),
    "an unknown operation": (JSON, [{"op": "frob", "path": "/a"}], 400, "error decoding patch"),
    "an object in place of operations": (JSON, {"a": 1}, 400, "array of operations"),
    "the whole document removed": (JSON, [{"op": "replace", "path": "", "value": 1}], 422, "rejected"),
    "too many operations": (JSON, [{"op": "test", "path": "/a", "value": 1}] * 10_001, 413, "maximum operations"),
    "a list as merge patch": (MERGE, [1], 400, "JSON object is expected"),
    "an unknown directive": (STRATEGIC, {"$patch": "frob"}, 400, "unknown patch type: frob in map: map[$patch:frob]"),
    "no merge key": (STRATEGIC, {"spec": {"containers": [{"image": "x"}]}}, 400, "declared merge key: name"),
    "server-side apply": ("application/apply-patch+yaml", {}, 415, "without the owners of fields"),
    "server-side apply in CBOR": ("application/apply-patch+cbor", {}, 415, "accepted media types include"),
    "an unknown media type": ("text/plain", {}, 415, "accepted media types include"),
}


@pytest.mark.parametrize(("patch_type", "patch", "code", "message"), FAILURES.values(), ids=FAILURES.keys())
def test_a_bad_patch_gets_kubernetes_error(patch_type: str, patch: Any, code: int, message: str) -> None:
    current = {"a": 1, "spec": {"containers": [{"name": "a"}]}}
    with pytest.raises(ApiError) as raised:
        apply_patch(patch_type, current, patch, Pod)
    assert raised.value.code == code
    assert message in raised.value.message
