"""What containers have been given of their node, beside what they want: pure.

Kubernetes: pkg/kubelet/allocation/allocation_manager.go, pkg/kubelet/events/resize.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from lightkube.models.core_v1 import Container, ContainerStatus, PodSpec, ResourceRequirements
from lightkube.resources.core_v1 import Pod

from antei.api.conditions import find
from antei.api.objects import meta, replace
from antei.api.pods import pod_requests, qos_class
from antei.api.quantity import to_decimal

__all__ = ["allocated_before", "resize_order", "resize_summary"]

_RESIZABLE = ("cpu", "memory")
_ZERO = Decimal(0)


def allocated_before(container: Container, status: ContainerStatus | None) -> Container:
    """The container as an earlier life of the node has published that it was given: that size holds until the node
    has found room for another one."""
    told = status.resources if status is not None else None
    if told is None:
        return container
    wanted = container.resources or ResourceRequirements()
    given = replace(
        wanted, requests=_with_size_of(wanted.requests, told.requests), limits=_with_size_of(wanted.limits, told.limits)
    )
    return container if _sizes(given) == _sizes(wanted) else replace(container, resources=given)


def _with_size_of(wanted: Mapping[str, str] | None, told: Mapping[str, str] | None) -> dict[str, str] | None:
    others = {name: amount for name, amount in (wanted or {}).items() if name not in _RESIZABLE}
    return {**others, **{name: amount for name, amount in (told or {}).items() if name in _RESIZABLE}} or None


def _sizes(resources: ResourceRequirements) -> list[dict[str, Decimal]]:
    return [
        {name: to_decimal(amount) for name, amount in (of or {}).items()}
        for of in (resources.requests, resources.limits)
    ]


def resize_order(pod: Pod, allocated: Pod) -> tuple[Any, ...]:
    """Sorts pods that want another size: who does not want more first, then by importance, then who waits longest."""
    before, after = pod_requests(allocated), pod_requests(pod)
    wants_more = any(after.get(name, _ZERO) > before.get(name, _ZERO) for name in _RESIZABLE)
    pending = find(pod.status.conditions if pod.status else None, "PodResizePending")
    since = pending.lastTransitionTime if pending is not None else None
    priority = (pod.spec.priority if pod.spec else None) or 0
    return wants_more, -priority, qos_class(pod) != "Guaranteed", since or datetime.max.replace(tzinfo=UTC)


def resize_summary(pod: Pod, error: str = "") -> str:
    """The sizes of all containers, as the events of a resize have them."""
    spec = pod.spec or PodSpec(containers=[])
    summary: dict[str, Any] = {}
    for kind in ("initContainers", "containers"):
        if getattr(spec, kind):
            summary[kind] = [{"name": each.name, "resources": _resources(each)} for each in getattr(spec, kind)]
    summary["generation"] = meta(pod).generation or 0
    if error:
        summary["error"] = error
    return msgspec.json.encode(summary).decode()


def _resources(container: Container) -> dict[str, dict[str, str]]:
    given = container.resources or ResourceRequirements()
    parts = {"limits": given.limits, "requests": given.requests}
    return {name: dict(sorted(amounts.items())) for name, amounts in parts.items() if amounts}
