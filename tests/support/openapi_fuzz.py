"""Requests that our OpenAPI documents promise, made up by Schemathesis and asked of the application in this process.

Most of what is made up means something: kinds are named rightly, names are those of objects that exist, patches look
like the objects that they change. What would wait (a watch, a log that is followed) or reach out (proxies) is left out.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.core.result import Err, Ok

__all__ = ["CHECKS", "SAMPLES", "Asked", "ask", "operations", "requests_of"]

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
_STREAMS = ("proxy", "exec", "attach", "portforward")
_NAMES = st.sampled_from(["x", "x", "default", "y"])
_NAMESPACES = st.sampled_from(["default", "default", "default", "x"])
#: In seven of eight draws; Hypothesis' integers would be 0 far more often.
_MOSTLY = st.sampled_from([True, True, True, True, True, True, True, False])
_SELDOM = st.sampled_from([False, False, False, True])
_LIKELY = {
    "dryRun": "All",
    "fieldManager": "me",
    "fieldValidation": "Strict",
    "fieldSelector": "metadata.name=x",
    "labelSelector": "a=b",
    "limit": 2,
}
_KEPT_METADATA = ("annotations", "labels", "generateName")
#: A revision that is still to come is waited for, and answered with 504, as Kubernetes does.
_REVISIONS = st.sampled_from(["0", "1", "2", "abc", "-1"])
_OMITTED = ("watch", "follow", "sendInitialEvents", "allowWatchBookmarks", "timeoutSeconds")


_POD = {"containers": [{"name": "a", "image": "nginx"}]}
_TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": _POD}
_SELECTED = {"selector": {"matchLabels": {"a": "b"}}, "template": _TEMPLATE}
_ONCE = {"template": {"spec": {**_POD, "restartPolicy": "Never"}}}
_ROLE = [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]
_CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
_BOAT = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"length": {"type": "integer"}}}}}
#: Valid objects, whose names are their places' own; they exist as `x` when the questions begin.
SAMPLES: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("v1", "Namespace"): {},
    ("v1", "Node"): {},
    ("v1", "Pod"): {"spec": _POD},
    ("v1", "Service"): {"spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}},
    ("v1", "ConfigMap"): {"data": {"a": "b"}},
    ("v1", "Secret"): {"stringData": {"a": "b"}},
    ("v1", "ServiceAccount"): {},
    ("v1", "PersistentVolumeClaim"): {"spec": _CLAIM},
    ("v1", "PersistentVolume"): {
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/a"}}
    },
    ("v1", "ReplicationController"): {"spec": {"selector": {"a": "b"}, "template": _TEMPLATE}},
    ("apps/v1", "DaemonSet"): {"spec": _SELECTED},
    ("apps/v1", "Deployment"): {"spec": _SELECTED},
    ("apps/v1", "ReplicaSet"): {"spec": _SELECTED},
    ("apps/v1", "StatefulSet"): {"spec": {**_SELECTED, "serviceName": "x"}},
    ("batch/v1", "Job"): {"spec": _ONCE},
    ("batch/v1", "CronJob"): {"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": _ONCE}}},
    ("autoscaling/v2", "HorizontalPodAutoscaler"): {
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}}
    },
    ("policy/v1", "PodDisruptionBudget"): {"spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}},
    ("networking.k8s.io/v1", "Ingress"): {
        "spec": {"defaultBackend": {"service": {"name": "x", "port": {"number": 80}}}}
    },
    ("networking.k8s.io/v1", "NetworkPolicy"): {"spec": {"podSelector": {}}},
    ("rbac.authorization.k8s.io/v1", "Role"): {"rules": _ROLE},
    ("rbac.authorization.k8s.io/v1", "ClusterRole"): {"rules": _ROLE},
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "x"}
    },
    ("storage.k8s.io/v1", "StorageClass"): {"provisioner": "a.example.com/b"},
    ("scheduling.k8s.io/v1", "PriorityClass"): {"value": 7},
    ("coordination.k8s.io/v1", "Lease"): {"spec": {"holderIdentity": "x"}},
    ("discovery.k8s.io/v1", "EndpointSlice"): {"addressType": "IPv4", "endpoints": []},
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"): {
        "spec": {
            "group": "harbour.example.com",
            "scope": "Namespaced",
            "names": {"plural": "boats", "singular": "boat", "kind": "Boat", "listKind": "BoatList"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": _BOAT}}],
        }
    },
    ("harbour.example.com/v1", "Boat"): {"spec": {"length": 3}},
}


@dataclass(frozen=True, slots=True)
class Asked:
    """An operation of a document, and the one whose body its patches look like."""

    operation: Any
    like: Any | None


def operations(documents: Mapping[str, Mapping[str, Any]]) -> list[Asked]:
    """Of all documents, in an order that spreads kinds and verbs."""
    found = []
    for document in documents.values():
        loaded = schemathesis.openapi.from_dict(dict(document))
        results = list(loaded.get_all_operations())
        assert not [result.err() for result in results if isinstance(result, Err)]
        mine = [result.ok() for result in results if isinstance(result, Ok)]
        by_place = {(operation.path, operation.method.lower()): operation for operation in mine}
        for operation in mine:
            if operation.path.rstrip("/").rpartition("/")[2] in _STREAMS or "/proxy/" in operation.path:
                continue
            like = by_place.get((operation.path, "put")) if operation.method.lower() == "patch" else None
            found.append(Asked(operation, like))
    return found


def requests_of(asked: Asked) -> st.SearchStrategy[Any]:
    """Cases of one operation; both what fits the schemas and what does not."""
    modes = st.sampled_from([GenerationMode.POSITIVE, GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
    return modes.flatmap(lambda mode: _cases(asked, mode))


@st.composite
def _cases(draw: st.DrawFn, asked: Asked, mode: GenerationMode) -> Any:
    operation = asked.operation
    if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query):
        mode = GenerationMode.POSITIVE
    case = draw(operation.as_strategy(generation_mode=mode))
    takes_fields = case.media_type != "application/json-patch+json" and mode is GenerationMode.POSITIVE
    if asked.like is not None and takes_fields and draw(st.booleans()):
        case.body = draw(asked.like.as_strategy(generation_mode=mode)).body
    parameters = case.path_parameters
    if isinstance(parameters, dict):
        for name, likely in (("name", _NAMES), ("namespace", _NAMESPACES)):
            if name in parameters and draw(_MOSTLY):
                parameters[name] = draw(likely)
    _adjust_query(draw, case)
    if isinstance(case.body, dict) and draw(_MOSTLY):
        body = {**case.body, **_identity(draw, operation, case.body, parameters)}
        valid = SAMPLES.get((str(body.get("apiVersion")), str(body.get("kind"))))
        case.body = _mixed(draw, valid, body) if valid is not None and draw(_MOSTLY) else body
    return case


def _adjust_query(draw: st.DrawFn, case: Any) -> None:
    query = case.query
    is_apply = case.media_type == "application/apply-patch+yaml"
    if is_apply and draw(_MOSTLY):
        query = case.query = {**(query or {}), "fieldManager": "me", "force": draw(st.sampled_from(["true", "false"]))}
    if not query:
        return
    for name in _OMITTED:
        query.pop(name, None)
    if not is_apply and draw(_MOSTLY):
        query.pop("force", None)
    if "resourceVersion" in query:
        query["resourceVersion"] = draw(_REVISIONS)
    if "continue" in query and draw(_MOSTLY):
        del query["continue"]
    for name, value in _LIKELY.items():
        if name in query and draw(_MOSTLY):
            query[name] = value
        if name in query and draw(st.booleans()):
            del query[name]
    if is_apply:
        query.setdefault("fieldManager", "me")


def _mixed(draw: st.DrawFn, valid: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """A valid object with a few fields of another one."""
    found = {**valid, **{name: body[name] for name in ("apiVersion", "kind", "metadata") if name in body}}
    for name, value in body.items():
        if isinstance(value, dict) and isinstance(found.get(name), dict) and name not in ("metadata",):
            found[name] = {**found[name], **{key: one for key, one in value.items() if draw(_SELDOM)}}
        elif name not in found and draw(_SELDOM):
            found[name] = value
    return found


def _identity(draw: st.DrawFn, operation: Any, body: Mapping[str, Any], parameters: Any) -> dict[str, Any]:
    kind = operation.definition.raw.get("x-kubernetes-group-version-kind")
    if kind is None or operation.method.lower() == "delete":
        return {}
    metadata = body.get("metadata")
    given = (parameters or {}).get("name")
    named = {"name": given} if given else draw(st.sampled_from([{"generateName": "g-"}] * 3 + [{"name": "x"}]))
    group_version = f"{kind['group']}/{kind['version']}" if kind["group"] else kind["version"]
    known = metadata if isinstance(metadata, dict) else {}
    if draw(_MOSTLY):
        known = {key: value for key, value in known.items() if key in _KEPT_METADATA and draw(_SELDOM)}
    return {"apiVersion": group_version, "kind": kind["kind"], "metadata": {**known, **named}}


async def ask(application: Any, case: Any, token: str) -> Any:
    """Schemathesis' own Response to a case, with the request that it was."""
    arguments = case.as_transport_kwargs(base_url="https://127.0.0.1")
    prepared = requests.Request(
        **{
            name: value
            for name, value in arguments.items()
            if name in ("method", "url", "headers", "params", "json", "data", "cookies", "files")
        }
    ).prepare()
    prepared.headers["Authorization"] = f"Bearer {token}"
    body = prepared.body or b""
    assert isinstance(body, str | bytes)
    body = body.encode() if isinstance(body, str) else body
    parts = urlsplit(str(prepared.url))
    scope = {
        "type": "http",
        "method": prepared.method,
        "path": unquote(parts.path),
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "headers": list(_headers(prepared.headers)),
        "client": ("127.0.0.1", 1),
        "scheme": "https",
    }
    received = iter([{"type": "http.request", "body": body, "more_body": False}])
    sent: list[Mapping[str, Any]] = []

    async def receive() -> Any:
        message = next(received, None)
        if message is None:
            await asyncio.Event().wait()  # the client stays until it has its answer
        return message

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    await application(scope, receive, send)
    start = next(message for message in sent if message["type"] == "http.response.start")
    content = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
    headers: dict[str, list[str]] = {}
    for name, value in start["headers"]:
        headers.setdefault(name.decode(), []).append(value.decode("utf-8", "replace"))
    elapsed = datetime.timedelta().total_seconds()
    return schemathesis.Response(start["status"], headers, content, prepared, elapsed, verify=False)


def _headers(headers: Iterable[Any]) -> Iterator[tuple[bytes, bytes]]:
    for name, value in dict(headers).items():
        raw = value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
        yield name.lower().encode(), raw
