"""autoscaling/v1 Scale, as `NAME/scale` answers with it, of whatever has replicas."""

from __future__ import annotations

from lightkube.models.autoscaling_v1 import Scale, ScaleSpec, ScaleStatus
from lightkube.models.meta_v1 import ObjectMeta

from antei.api.objects import Object, meta

__all__ = ["scale_with"]


def scale_with(obj: Object, *, wanted: int | None, current: int, selector: str | None) -> Scale:
    """The object's Scale, with the object's resourceVersion."""
    metadata = meta(obj)
    return Scale(
        apiVersion="autoscaling/v1",
        kind="Scale",
        metadata=ObjectMeta(
            name=metadata.name,
            namespace=metadata.namespace,
            uid=metadata.uid,
            resourceVersion=metadata.resourceVersion,
            creationTimestamp=metadata.creationTimestamp,
        ),
        spec=ScaleSpec(replicas=wanted),
        status=ScaleStatus(replicas=current, selector=selector),
    )
