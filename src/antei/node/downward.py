"""What a pod can learn of itself: fieldRef and resourceFieldRef, in environments and volumes alike. Pure.

Kubernetes: pkg/fieldpath/fieldpath.go, pkg/api/v1/resource/helpers.go.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from lightkube.models.core_v1 import Container, ResourceFieldSelector
from lightkube.resources.core_v1 import Pod

from antei.api.objects import meta
from antei.api.quantity import to_decimal

__all__ = ["NodeFacts", "UnknownField", "field_value", "resource_value"]

_SUBSCRIPT = re.compile(r"(metadata\.(?:labels|annotations))\['(.*)'\]")


class UnknownField(ValueError):
    """A field path or resource that the downward API does not have."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a pod's own object does not tell, or not yet."""

    host_ip: str
    pod_ip: str
    allocatable: Mapping[str, str]


def field_value(pod: Pod, path: str, node: NodeFacts) -> str:
    """The value of a fieldRef. Raises UnknownField."""
    metadata = meta(pod)
    subscript = _SUBSCRIPT.fullmatch(path)
    if subscript is not None:
        of = metadata.labels if subscript.group(1) == "metadata.labels" else metadata.annotations
        return (of or {}).get(subscript.group(2), "")
    spec = pod.spec
    values = {
        "metadata.name": metadata.name,
        "metadata.namespace": metadata.namespace,
        "metadata.uid": metadata.uid,
        "metadata.labels": _format_map(metadata.labels or {}),
        "metadata.annotations": _format_map(metadata.annotations or {}),
        "spec.nodeName": spec.nodeName if spec else "",
        "spec.serviceAccountName": spec.serviceAccountName if spec else "",
        "status.hostIP": node.host_ip,
        "status.hostIPs": node.host_ip,
        "status.podIP": node.pod_ip,
        "status.podIPs": node.pod_ip,
    }
    if path not in values:
        raise UnknownField(f"unsupported fieldPath: {path}")
    return values[path] or ""


def _format_map(values: Mapping[str, str]) -> str:
    """`key="value"` a line, sorted (fieldpath.FormatMap)."""
    return "\n".join(f"{key}={json.dumps(values[key], ensure_ascii=False)}" for key in sorted(values))


def resource_value(container: Container, selector: ResourceFieldSelector, node: NodeFacts) -> str:
    """A limit or request in whole units of the divisor, rounded up; a missing limit is what the node can allocate."""
    kind, _, resource = selector.resource.partition(".")
    if kind not in ("limits", "requests") or not resource:
        raise UnknownField(f"unsupported container resource : {selector.resource}")
    given = container.resources
    limits = (given.limits if given else None) or {}
    requests = (given.requests if given else None) or {}
    if kind == "limits":
        amount = to_decimal(limits.get(resource) or node.allocatable.get(resource))
    else:
        amount = to_decimal(requests.get(resource) or limits.get(resource))
    divisor = to_decimal(selector.divisor) or Decimal(1)
    return str(math.ceil(amount / divisor))
