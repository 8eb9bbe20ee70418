"""Whether this node takes a pod that was bound to it: pure (Kubernetes: pkg/kubelet/lifecycle/predicate.go)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal

from lightkube.resources.core_v1 import Pod

from antei.api.pods import is_terminal, pod_requests
from antei.api.quantity import to_decimal
from antei.node.security import forbidden_sysctl, wants_apparmor

__all__ = ["missing", "rejection", "resize_refusal"]

_CHECKED = ("cpu", "memory", "ephemeral-storage")


def rejection(pod: Pod, others: Iterable[Pod], allocatable: Mapping[str, str]) -> tuple[str, str] | None:
    """(reason, message) of a pod that does not fit beside `others`, the pods that are on the node; None: it fits."""
    if pod.spec is not None and pod.spec.os is not None and pod.spec.os.name not in (None, "", "linux"):
        return "PodOSNotSupported", "Pod was rejected: Failed to admit pod as the OS field doesn't match node OS"
    sysctl = forbidden_sysctl(pod)
    if sysctl is not None:
        return "SysctlForbidden", f'Pod was rejected: forbidden sysctl: "{sysctl}" not allowlisted'
    if wants_apparmor(pod):
        return "AppArmor", "Pod was rejected: Cannot enforce AppArmor: AppArmor is not enabled on the host"
    for name, wanted, used, capacity in _shortages(pod, others, allocatable):
        return _out_of(name, wanted, used, capacity)
    return None


def missing(pod: Pod, others: Iterable[Pod], allocatable: Mapping[str, str]) -> dict[str, Decimal]:
    """How much more of each resource the pod would need than is left beside `others`."""
    shortages = _shortages(pod, others, allocatable)
    return {name: wanted + used - capacity for name, wanted, used, capacity in shortages}


def _shortages(
    pod: Pod, others: Iterable[Pod], allocatable: Mapping[str, str]
) -> Iterator[tuple[str, Decimal, Decimal, Decimal]]:
    """Each resource that is too little: its name, what is wanted, what is in use and what there is."""
    running = [other for other in others if not is_terminal(other)]
    if "pods" in allocatable and len(running) + 1 > to_decimal(allocatable["pods"]):
        yield "pods", Decimal(1), Decimal(len(running)), to_decimal(allocatable["pods"])
    wanted = pod_requests(pod)
    used: dict[str, Decimal] = {}
    for other in running:
        for name, amount in pod_requests(other).items():
            used[name] = used.get(name, Decimal(0)) + amount
    for name in _CHECKED:
        amount = wanted.get(name, Decimal(0))
        capacity = to_decimal(allocatable.get(name))
        if amount > 0 and used.get(name, Decimal(0)) + amount > capacity:
            yield name, amount, used.get(name, Decimal(0)), capacity


def resize_refusal(pod: Pod, others: Iterable[Pod], allocatable: Mapping[str, str]) -> tuple[str, str] | None:
    """(Infeasible or Deferred, message) of a pod whose new size does not fit beside `others`; None: it does.

    Kubernetes: pkg/kubelet/allocation/allocation_manager.go (canResizePod).
    """
    wanted = pod_requests(pod)
    for name in ("cpu", "memory"):
        amount, capacity = wanted.get(name, Decimal(0)), to_decimal(allocatable.get(name))
        if amount > capacity:
            factor = 1000 if name == "cpu" else 1
            numbers = f"requested: {int(amount * factor)}, capacity: {int(capacity * factor)}"
            return "Infeasible", f"Node didn't have enough capacity: {name}, {numbers}"
    refused = rejection(pod, others, {name: allocatable[name] for name in ("cpu", "memory") if name in allocatable})
    return ("Deferred", refused[1].removeprefix("Pod was rejected: ")) if refused is not None else None


def _out_of(name: str, wanted: Decimal, used: Decimal, capacity: Decimal) -> tuple[str, str]:
    """CPU is counted in thousandths, as the kubelet's message has it."""
    factor = 1000 if name == "cpu" else 1
    numbers = (int(amount * factor) for amount in (wanted, used, capacity))
    needed = "Pod was rejected: Node didn't have enough resource: {}, requested: {}, used: {}, capacity: {}"
    return f"OutOf{name}", needed.format(name, *numbers)
