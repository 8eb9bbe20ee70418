"""metrics.k8s.io/v1beta1: what pods and nodes use. lightkube has no models of these kinds.

Kubernetes: k8s.io/metrics/pkg/apis/metrics/v1beta1/types.go.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from lightkube.models.meta_v1 import ObjectMeta

__all__ = ["METRICS_GROUP", "ContainerMetrics", "NodeMetrics", "PodMetrics"]

METRICS_GROUP = "metrics.k8s.io"


class ContainerMetrics(msgspec.Struct, omit_defaults=True):
    name: str
    usage: dict[str, str]


class NodeMetrics(msgspec.Struct, omit_defaults=True):
    timestamp: datetime
    window: str
    usage: dict[str, str]
    apiVersion: str | None = None
    kind: str | None = None
    metadata: ObjectMeta | None = None


class PodMetrics(msgspec.Struct, omit_defaults=True):
    timestamp: datetime
    window: str
    containers: list[ContainerMetrics]
    apiVersion: str | None = None
    kind: str | None = None
    metadata: ObjectMeta | None = None
