"""The scale of a custom object, by the paths that its definition names.

Kubernetes: apiextensions-apiserver/pkg/registry/customresource/etcd.go (ScaleREST, scaleFromCustomResource).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightkube.models.autoscaling_v1 import Scale

from antei.api.customresources.json_path import field_names
from antei.api.customresources.object import CustomObject
from antei.api.errors import ApiError, internal_error, not_found
from antei.api.objects import meta, replace
from antei.api.scale import scale_with

__all__ = ["custom_scale", "with_replicas"]


def custom_scale(obj: CustomObject) -> Scale:
    """Raises 500 where there is no number of replicas."""
    paths = _paths(obj)
    replicas = _at(obj, paths["specReplicasPath"])
    if replicas is None:
        raise _missing(f"the spec replicas field {paths['specReplicasPath']!r} does not exist")
    if isinstance(replicas, bool) or not isinstance(replicas, int):
        raise _missing(f"{paths['specReplicasPath']} accessor error: {replicas!r} is not an integer")
    current = _at(obj, paths["statusReplicasPath"])
    selector_path = paths.get("labelSelectorPath")
    selector = _at(obj, selector_path) if selector_path else None
    return scale_with(
        obj,
        wanted=replicas,
        current=current if isinstance(current, int) else 0,
        selector=selector if isinstance(selector, str) and selector else None,
    )


def with_replicas(obj: CustomObject, replicas: int) -> CustomObject:
    names = field_names(_paths(obj)["specReplicasPath"]) or []
    return replace(obj, **{names[0]: _set(obj.get(names[0]), names[1:], replicas)})


def _paths(obj: CustomObject) -> Mapping[str, str]:
    resource = type(obj).resource
    if resource is None or resource.definition is None or resource.definition.scale is None:
        raise not_found("", meta(obj).name or "")
    return resource.definition.scale


def _at(value: Any, path: str) -> Any:
    for name in field_names(path) or ():
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def _set(value: Any, names: Sequence[str], new: Any) -> Any:
    if not names:
        return new
    fields = value if isinstance(value, dict) else {}
    return {**fields, names[0]: _set(fields.get(names[0]), names[1:], new)}


def _missing(detail: str) -> ApiError:
    return internal_error(detail)
