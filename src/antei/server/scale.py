"""`NAME/scale`: replicas and the selector of whatever has them, as autoscaling/v1 Scale.

Kubernetes: pkg/registry/apps/{deployment,replicaset,statefulset}/storage/storage.go (ScaleREST).
"""

from __future__ import annotations

from typing import Any

from lightkube.models.autoscaling_v1 import Scale
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta

from antei.api.customresources import CustomObject
from antei.api.customresources.scaling import custom_scale, with_replicas
from antei.api.errors import FieldError, FieldErrorType, bad_request, invalid
from antei.api.objects import meta, replace, replace_meta
from antei.api.resources import Resource
from antei.api.scale import scale_with
from antei.api.selectors import selector_of, selector_of_map

__all__ = ["scale_of", "scaled"]


def scale_of(obj: Any) -> Scale:
    """The object's Scale, with the object's resourceVersion."""
    if isinstance(obj, CustomObject):
        return custom_scale(obj)
    selector = obj.spec.selector
    parsed = selector_of(selector) if isinstance(selector, LabelSelector) else selector_of_map(selector)
    # Go leaves out zeroes here, too: omitempty on both.
    current = (obj.status.replicas or 0) if obj.status else 0
    return scale_with(obj, wanted=obj.spec.replicas, current=current, selector=str(parsed) or None)


def scaled(resource: Resource, obj: Any, scale: Scale, name: str) -> Any:
    """The object with the Scale's replicas; it keeps the Scale's resourceVersion, so that the write compares it.

    Raises 400 for another object's Scale and 422 for negative replicas.
    """
    metadata = scale.metadata or ObjectMeta()
    if metadata.name != name:
        raise bad_request(f"the name of the object ({metadata.name or ''}) does not match the name on the URL ({name})")
    if metadata.namespace and metadata.namespace != meta(obj).namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    replicas = (scale.spec.replicas if scale.spec else None) or 0
    if replicas < 0:
        detail = "must be greater than or equal to 0"
        raise invalid(
            "Scale", name, [FieldError(FieldErrorType.INVALID, "spec.replicas", replicas, detail)], "autoscaling"
        )
    changed = (
        with_replicas(obj, replicas)
        if isinstance(obj, CustomObject)
        else replace(obj, spec=replace(obj.spec, replicas=replicas))
    )
    return replace_meta(
        changed,
        resourceVersion=metadata.resourceVersion,
        uid=metadata.uid or meta(obj).uid,
    )
