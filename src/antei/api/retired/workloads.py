"""Workloads of the beta versions: their fields are today's, their defaults are not.

Sources: pkg/apis/extensions/v1beta1/defaults.go and pkg/apis/apps/v1beta1/defaults.go of Kubernetes 1.15.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "apps_v1beta1_deployment",
    "apps_v1beta1_stateful_set",
    "extensions_daemon_set",
    "extensions_deployment",
    "extensions_replica_set",
]

_NO_LIMIT = 2**31 - 1  # extensions/v1beta1 kept every revision and set no progress deadline


def extensions_deployment(obj: dict[str, Any]) -> dict[str, Any]:
    spec = _with_labels_as_selector(obj)
    spec.pop("rollbackTo", None)
    spec.setdefault("revisionHistoryLimit", _NO_LIMIT)
    spec.setdefault("progressDeadlineSeconds", _NO_LIMIT)
    strategy = dict(spec.get("strategy") or {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        strategy["rollingUpdate"] = {"maxUnavailable": 1, "maxSurge": 1, **(strategy.get("rollingUpdate") or {})}
    spec["strategy"] = strategy
    return _labelled({**obj, "spec": spec})


def extensions_replica_set(obj: dict[str, Any]) -> dict[str, Any]:
    return _labelled({**obj, "spec": _with_labels_as_selector(obj)})


def extensions_daemon_set(obj: dict[str, Any]) -> dict[str, Any]:
    spec = _with_labels_as_selector(obj)
    spec.pop("templateGeneration", None)
    spec["updateStrategy"] = {"type": "OnDelete", **(spec.get("updateStrategy") or {})}
    return _labelled({**obj, "spec": spec})


def apps_v1beta1_deployment(obj: dict[str, Any]) -> dict[str, Any]:
    spec = _with_labels_as_selector(obj)
    spec.pop("rollbackTo", None)
    spec.setdefault("revisionHistoryLimit", 2)
    return _labelled({**obj, "spec": spec})


def apps_v1beta1_stateful_set(obj: dict[str, Any]) -> dict[str, Any]:
    spec = _with_labels_as_selector(obj)
    spec["updateStrategy"] = {"type": "OnDelete", **(spec.get("updateStrategy") or {})}
    return _labelled({**obj, "spec": spec})


def _with_labels_as_selector(obj: dict[str, Any]) -> dict[str, Any]:
    """The spec with a selector: where none is given, the labels of the pod template."""
    spec = dict(obj.get("spec") or {})
    labels = _template_labels(spec)
    if not spec.get("selector") and labels:
        spec["selector"] = {"matchLabels": labels}
    return spec


def _labelled(obj: dict[str, Any]) -> dict[str, Any]:
    """An object without labels had those of its pod template."""
    metadata = dict(obj.get("metadata") or {})
    labels = _template_labels(obj.get("spec") or {})
    if not metadata.get("labels") and labels:
        metadata["labels"] = labels
    return {**obj, "metadata": metadata}


def _template_labels(spec: dict[str, Any]) -> dict[str, str]:
    template = spec.get("template")
    metadata = template.get("metadata") if isinstance(template, dict) else None
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    return dict(labels) if isinstance(labels, dict) else {}
