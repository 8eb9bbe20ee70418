"""Facts about a pod that follow from the object alone.

Kubernetes: pkg/api/v1/pod/util.go, pkg/apis/core/v1/helper/qos/qos.go,
staging/src/k8s.io/component-helpers/resource/helpers.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from lightkube.models.core_v1 import Container, PodSpec
from lightkube.resources.core_v1 import PersistentVolumeClaim, Pod

from antei.api import conditions
from antei.api.objects import is_terminating, meta, name_of, namespace_of, uid_of
from antei.api.quantity import to_decimal

__all__ = [
    "container_requests",
    "ephemeral_misfit",
    "find_container_port",
    "find_port",
    "is_active",
    "is_available",
    "is_ready",
    "is_sidecar",
    "is_terminal",
    "pod_requests",
    "qos_class",
]

_COMPUTE = ("cpu", "memory")


def is_ready(pod: Pod) -> bool:
    return pod.status is not None and conditions.is_true(pod.status.conditions, "Ready")


def is_available(pod: Pod, min_ready_seconds: int, now: datetime) -> bool:
    """Ready, and for at least `min_ready_seconds`."""
    ready = conditions.find(pod.status.conditions if pod.status else None, "Ready")
    if ready is None or ready.status != "True":
        return False
    if min_ready_seconds <= 0:
        return True
    since = ready.lastTransitionTime
    return since is not None and since + timedelta(seconds=min_ready_seconds) <= now


def is_terminal(pod: Pod) -> bool:
    return pod.status is not None and pod.status.phase in ("Succeeded", "Failed")


def is_active(pod: Pod) -> bool:
    """Neither ended nor being deleted: what a ReplicaSet counts."""
    return not is_terminal(pod) and not is_terminating(pod)


def ephemeral_misfit(pod: Pod, claim: PersistentVolumeClaim) -> str:
    """Why a claim is not that of the pod's generic ephemeral volume, in spite of its name; empty where it is.

    (component-helpers/storage/ephemeral, VolumeIsForPod.)
    """
    owners = meta(claim).ownerReferences or ()
    if any(owner.controller and owner.uid == uid_of(pod) for owner in owners):
        return ""
    where = f"{namespace_of(pod)}/{name_of(pod)}"
    return f"PVC {namespace_of(claim)}/{name_of(claim)} was not created for pod {where} (pod is not owner)"


def is_sidecar(container: Container) -> bool:
    """Whether an init container is one that keeps running (restartPolicy Always)."""
    return container.restartPolicy == "Always"


def _requests(container: Container) -> Mapping[str, Decimal]:
    requests = container.resources.requests if container.resources else None
    return {name: to_decimal(amount) for name, amount in (requests or {}).items()}


def _add(total: dict[str, Decimal], more: Mapping[str, Decimal]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, Decimal(0)) + amount


def _raise_to(total: dict[str, Decimal], least: Mapping[str, Decimal]) -> None:
    for name, amount in least.items():
        total[name] = max(total.get(name, amount), amount)


def pod_requests(pod: Pod) -> dict[str, Decimal]:
    """What a pod needs of each resource (cpu in cores, memory in bytes): the larger of what its containers with its
    sidecars need and of what its init containers need one after the other, plus the pod's overhead."""
    spec = pod.spec
    if spec is None:
        return {}
    total = container_requests(spec)
    if spec.resources is not None:
        for name, amount in (spec.resources.requests or {}).items():
            total[name] = to_decimal(amount)
    _add(total, {name: to_decimal(amount) for name, amount in (spec.overhead or {}).items()})
    return total


def container_requests(spec: PodSpec) -> dict[str, Decimal]:
    """The first half of `pod_requests`: what the containers need without what the pod itself says."""
    total: dict[str, Decimal] = {}
    for container in spec.containers:
        _add(total, _requests(container))
    sidecars: dict[str, Decimal] = {}
    largest_start: dict[str, Decimal] = {}
    for container in spec.initContainers or ():
        needed = dict(_requests(container))
        if is_sidecar(container):
            _add(total, needed)
            _add(sidecars, needed)
            needed = dict(sidecars)
        else:
            _add(needed, sidecars)
        _raise_to(largest_start, needed)
    _raise_to(total, largest_start)
    return total


def qos_class(pod: Pod) -> str:
    """Guaranteed, Burstable or BestEffort, by the CPU and memory of containers, or of the pod where it has its own."""
    spec = pod.spec
    if spec is None:
        return "BestEffort"
    if spec.resources is not None and (spec.resources.requests or spec.resources.limits):
        bounds = [(spec.resources.requests, spec.resources.limits)]
    else:
        bounds = [
            (container.resources.requests, container.resources.limits) if container.resources else (None, None)
            for container in _all_containers(spec)
        ]
    requests: dict[str, Decimal] = {}
    limits: dict[str, Decimal] = {}
    is_guaranteed = True
    for wanted, bounded in bounds:
        _add(requests, _positive_compute(wanted))
        bounded_compute = _positive_compute(bounded)
        _add(limits, bounded_compute)
        is_guaranteed = is_guaranteed and len(bounded_compute) == len(_COMPUTE)
    if not requests and not limits:
        return "BestEffort"
    if is_guaranteed and requests == limits:
        return "Guaranteed"
    return "Burstable"


def _positive_compute(resources: Mapping[str, str] | None) -> dict[str, Decimal]:
    amounts = {name: to_decimal((resources or {}).get(name)) for name in _COMPUTE}
    return {name: amount for name, amount in amounts.items() if amount > 0}


def _all_containers(spec: PodSpec) -> Iterator[Container]:
    yield from spec.containers
    yield from spec.initContainers or ()


def find_port(pod: Pod, port: int | str, protocol: str = "TCP") -> int | None:
    """The number of a port given by number or by the name that a container (or sidecar) gives it; None if none does."""
    if isinstance(port, int):
        return port
    if pod.spec is None:
        return None
    sidecars = [container for container in pod.spec.initContainers or () if is_sidecar(container)]
    return _named_port([*pod.spec.containers, *sidecars], port, protocol)


def find_container_port(container: Container, port: int | str) -> int | None:
    """As `find_port`, of one container and of any protocol: what a probe or a hook names (its name may be a number)."""
    if isinstance(port, int):
        return port
    number = _named_port([container], port, None)
    if number is None and port.isdigit():
        return int(port)
    return number


def _named_port(containers: Iterable[Container], name: str, protocol: str | None) -> int | None:
    for container in containers:
        for port in container.ports or ():
            if port.name == name and protocol in (None, port.protocol or "TCP"):
                return port.containerPort
    return None
