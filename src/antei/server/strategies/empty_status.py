"""The status that an object has before anybody has told one.

Kubernetes' statuses are Go structs and no pointers: they are written even when they say nothing, with a zero for each
number that is not optional (k8s.io/api, the `json` tags of each Status). A client that reads `.status.replicas` of what
it has just made relies on it.
"""

from __future__ import annotations

from typing import Any, get_args

import msgspec
from lightkube.models.core_v1 import LoadBalancerStatus, ServiceStatus
from lightkube.models.networking_v1 import IngressLoadBalancerStatus, IngressStatus
from lightkube.models.policy_v1 import PodDisruptionBudgetStatus

__all__ = ["empty_status"]

#: Optional in the OpenAPI description, and written all the same.
_WRITTEN: dict[type, Any] = {
    IngressStatus: IngressStatus(loadBalancer=IngressLoadBalancerStatus()),
    PodDisruptionBudgetStatus: PodDisruptionBudgetStatus(
        currentHealthy=0, desiredHealthy=0, disruptionsAllowed=0, expectedPods=0
    ),
    ServiceStatus: ServiceStatus(loadBalancer=LoadBalancerStatus()),
}
#: Behind a pointer: not there until it is told.
_POINTERS = frozenset({"ResourcePoolStatusRequestStatus"})
_known: dict[type, Any | None] = {}


def empty_status(kind: type) -> Any | None:
    """Of a Struct that has a field `status`; None where Kubernetes writes none."""
    if kind not in _known:
        _known[kind] = _made(kind)
    return _known[kind]


def _made(kind: type) -> Any | None:
    types = {field.name: field.type for field in msgspec.structs.fields(kind)}
    found = next((t for t in get_args(types.get("status")) if isinstance(t, type) and t is not type(None)), None)
    if found is None or not issubclass(found, msgspec.Struct) or found.__name__ in _POINTERS:
        return None
    zeros = {f.name: f.type() for f in msgspec.structs.fields(found) if f.required and f.type in (int, bool, str)}
    return _WRITTEN.get(found) or found(**zeros)
