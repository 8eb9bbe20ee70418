"""HorizontalPodAutoscaler of autoscaling/v2beta1, whose metrics were flat.

Source: pkg/apis/autoscaling/v2beta1/conversion.go of Kubernetes 1.24.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["v2_from_v2beta1", "v2beta1_from_v2"]


def v2_from_v2beta1(obj: dict[str, Any]) -> dict[str, Any]:
    return _with_metrics(obj, _metric_to_v2)


def v2beta1_from_v2(obj: dict[str, Any]) -> dict[str, Any]:
    converted = _with_metrics(obj, _metric_from_v2)
    if isinstance(converted.get("spec"), dict):
        converted["spec"] = {name: value for name, value in converted["spec"].items() if name != "behavior"}
    return converted


def _with_metrics(obj: dict[str, Any], convert: Callable[[dict[str, Any], str], dict[str, Any]]) -> dict[str, Any]:
    converted = dict(obj)
    for part, list_name, value_name in (("spec", "metrics", "target"), ("status", "currentMetrics", "current")):
        section = obj.get(part)
        if isinstance(section, dict) and isinstance(section.get(list_name), list):
            converted[part] = {**section, list_name: [convert(metric, value_name) for metric in section[list_name]]}
    return converted


#: (type in v2beta1's field names) prefix + name → v2's type and field
_VALUES = {
    "AverageUtilization": ("Utilization", "averageUtilization"),
    "AverageValue": ("AverageValue", "averageValue"),
    "Value": ("Value", "value"),
}


def _metric_to_v2(metric: dict[str, Any], value_name: str) -> dict[str, Any]:
    """`value_name` is `target` in a spec and `current` in a status, which is also the prefix of v2beta1's fields."""
    section = _section_of(metric)
    if section is None or not isinstance(metric.get(section), dict):
        return metric
    source = dict(metric[section])
    if section == "object":
        described = source.pop("target", None)
        if described is not None:
            source["describedObject"] = described
    value: dict[str, Any] = {}
    for suffix, (value_type, v2_name) in _VALUES.items():
        names = [value_name + suffix]
        if section == "object" and suffix == "AverageValue":
            names.append("averageValue")
        for name in names:
            if name in source:
                value[v2_name] = source.pop(name)
                if value_name == "target":
                    value["type"] = value_type
    if "metricName" in source:
        source["metric"] = {"name": source.pop("metricName")}
        selector = source.pop("metricSelector" if section == "external" else "selector", None)
        if selector is not None:
            source["metric"]["selector"] = selector
    return {**metric, section: {**source, value_name: value}}


def _metric_from_v2(metric: dict[str, Any], value_name: str) -> dict[str, Any]:
    section = _section_of(metric)
    if section is None or not isinstance(metric.get(section), dict):
        return metric
    source = dict(metric[section])
    value = source.pop(value_name, None) or {}
    for suffix, (_, v2_name) in _VALUES.items():
        if value.get(v2_name) is not None:
            is_plain = section == "object" and suffix == "AverageValue"
            source["averageValue" if is_plain else value_name + suffix] = value[v2_name]
    identifier = source.pop("metric", None)
    if identifier is not None:
        source["metricName"] = identifier.get("name")
        if identifier.get("selector") is not None:
            source["metricSelector" if section == "external" else "selector"] = identifier["selector"]
    if section == "object" and "describedObject" in source:
        source["target"] = source.pop("describedObject")
    return {**metric, section: source}


def _section_of(metric: dict[str, Any]) -> str | None:
    return {
        "Resource": "resource",
        "ContainerResource": "containerResource",
        "Pods": "pods",
        "Object": "object",
        "External": "external",
    }.get(str(metric.get("type")))
