"""Objects of a version that is served but not stored, to the stored version and back.

Where the fields are the same only the apiVersion changes. They differ in autoscaling/v1, which keeps what it has no
field for in annotations, and in events.k8s.io/v1, whose Events are stored as core/v1.

Kubernetes: pkg/apis/autoscaling/v1/conversion.go, pkg/apis/events/v1/conversion.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import msgspec

from antei.api.errors import bad_request
from antei.api.resources import Resource, all_resources
from antei.api.retired.autoscaling import v2_from_v2beta1, v2beta1_from_v2

__all__ = ["from_stored", "stored_resource", "to_stored"]

Json = dict[str, Any]

_ANNOTATION = "autoscaling.alpha.kubernetes.io/"


@cache
def _stored() -> Mapping[str, Resource]:
    return {resource.bucket: resource for resource in all_resources() if resource.is_storage_version}


def stored_resource(resource: Resource) -> Resource:
    """The version in which a kind is stored; itself for what has no other.

    A custom kind's versions are converted where they are read and written (`server.customresources.versions`): all
    between is done in the version that was asked for.
    """
    if resource.definition is not None:
        return resource
    return _stored().get(resource.bucket, resource)


def to_stored(resource: Resource, obj: Any) -> Any:
    """An object of `resource.type` as one of the stored version's type. Raises 400 for what does not convert."""
    stored = stored_resource(resource)
    if stored.type is resource.type:
        return obj
    data = _json(obj)
    convert = _CONVERSIONS.get((resource.api_version, resource.kind))
    if convert is not None:
        data = convert[0](data)
    try:
        return msgspec.convert({**data, "apiVersion": stored.api_version, "kind": stored.kind}, stored.type)
    except msgspec.ValidationError as error:
        raise bad_request(f"{resource.kind} in version {resource.version!r} cannot be converted: {error}") from error


def from_stored(resource: Resource, obj: Any) -> Any:
    """A stored object as one of `resource.type`."""
    if isinstance(obj, resource.type) or resource.definition is not None:
        return obj
    data = _json(obj)
    convert = _CONVERSIONS.get((resource.api_version, resource.kind))
    if convert is not None:
        data = convert[1](data)
    has_event_time = "eventTime" not in resource.type.__struct_fields__ or data.get("eventTime") is not None
    if has_event_time:
        return msgspec.convert({**data, "apiVersion": resource.api_version, "kind": resource.kind}, resource.type)
    # Events of core/v1 need no eventTime: those of events.k8s.io then show null.
    data["eventTime"] = "1970-01-01T00:00:00.000000Z"
    converted = msgspec.convert({**data, "apiVersion": resource.api_version, "kind": resource.kind}, resource.type)
    return msgspec.structs.replace(converted, eventTime=None)


def _json(obj: Any) -> Json:
    data: Json = msgspec.json.decode(msgspec.json.encode(obj))
    return data


def _autoscaler_v2_from_v1(obj: Json) -> Json:
    metadata = dict(obj.get("metadata") or {})
    annotations = dict(metadata.get("annotations") or {})
    kept = {
        name: _decoded(annotations.pop(_ANNOTATION + name, None))
        for name in ("metrics", "behavior", "current-metrics", "conditions")
    }
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    metrics = _metrics_v2(kept["metrics"], "metrics", "spec")
    target = spec.pop("targetCPUUtilizationPercentage", None)
    if target is not None:
        metrics.append(_cpu({"target": {"type": "Utilization", "averageUtilization": target}}))
    current = _metrics_v2(kept["current-metrics"], "currentMetrics", "status")
    utilization = status.pop("currentCPUUtilizationPercentage", None)
    if utilization is not None:
        current.append(_cpu({"current": {"averageUtilization": utilization}}))
    spec |= {"metrics": metrics or None, "behavior": kept["behavior"]}
    metadata["annotations"] = annotations or None
    converted = {**obj, "metadata": metadata, "spec": spec}
    if obj.get("status") is not None:
        status |= {"currentMetrics": current or None, "conditions": kept["conditions"]}
        converted["status"] = status
    return converted


def _autoscaler_v1_from_v2(obj: Json) -> Json:
    metadata = dict(obj.get("metadata") or {})
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    target, metrics = _split_cpu(spec.pop("metrics", None), "target")
    utilization, current = _split_cpu(status.pop("currentMetrics", None), "current")
    kept = {
        "metrics": _metrics_v1(metrics, "metrics", "spec"),
        "behavior": spec.pop("behavior", None),
        "current-metrics": _metrics_v1(current, "currentMetrics", "status"),
        "conditions": status.pop("conditions", None),
    }
    annotations = dict(metadata.get("annotations") or {})
    annotations |= {_ANNOTATION + name: msgspec.json.encode(value).decode() for name, value in kept.items() if value}
    metadata["annotations"] = annotations or None
    if target is not None:
        spec["targetCPUUtilizationPercentage"] = target
    converted = {**obj, "metadata": metadata, "spec": spec}
    if obj.get("status") is not None:
        if utilization is not None:
            status["currentCPUUtilizationPercentage"] = utilization
        converted["status"] = {"currentReplicas": 0, **status}  # optional in v2, always there in v1
    return converted


def _cpu(part: Json) -> Json:
    return {"type": "Resource", "resource": {"name": "cpu", **part}}


def _split_cpu(metrics: list[Json] | None, part: str) -> tuple[int | None, list[Json]]:
    """(the utilization that v1 has a field for, all other metrics)"""
    utilization, others = None, []
    for metric in metrics or ():
        resource = metric.get("resource") or {}
        value = (resource.get(part) or {}).get("averageUtilization")
        if utilization is None and resource.get("name") == "cpu" and value is not None:
            utilization = value
        else:
            others.append(metric)
    return utilization, others


def _metrics_v2(metrics: list[Json] | None, name: str, part: str) -> list[Json]:
    """Metrics as v1's annotations write them, in the shape that v2beta1 had."""
    return list(v2_from_v2beta1({part: {name: metrics or []}})[part][name])


def _metrics_v1(metrics: list[Json], name: str, part: str) -> list[Json]:
    return list(v2beta1_from_v2({part: {name: metrics}})[part][name])


def _decoded(annotation: str | None) -> Any:
    """Kubernetes ignores an annotation that cannot be read, too."""
    if annotation is None:
        return None
    try:
        return msgspec.json.decode(annotation)
    except msgspec.DecodeError:
        return None


_EVENT_NAMES = {
    "note": "message",
    "regarding": "involvedObject",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_CORE_EVENT_NAMES = {core: name for name, core in _EVENT_NAMES.items()}


#: What stands in a required field that was not given: Go's zero time, which is null.
_NO_TIME = "0001-01-01T00:00:00Z"


def _core_event(obj: Json) -> Json:
    obj = {name: value for name, value in obj.items() if value != _NO_TIME}
    if isinstance(obj.get("series"), dict):
        obj["series"] = {name: value for name, value in obj["series"].items() if value != _NO_TIME}
    return {"involvedObject": {}, "metadata": {}} | {_EVENT_NAMES.get(name, name): obj[name] for name in obj}


def _event_of_its_group(obj: Json) -> Json:
    return {_CORE_EVENT_NAMES.get(name, name): value for name, value in obj.items()}


#: (apiVersion, kind) → (to what is stored, from what is stored)
_CONVERSIONS: Mapping[tuple[str, str], tuple[Callable[[Json], Json], Callable[[Json], Json]]] = {
    ("autoscaling/v1", "HorizontalPodAutoscaler"): (_autoscaler_v2_from_v1, _autoscaler_v1_from_v2),
    ("events.k8s.io/v1", "Event"): (_core_event, _event_of_its_group),
}
