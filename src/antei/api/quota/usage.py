"""What one object counts for: itself, and for pods, claims and Services also what they ask for.

Kubernetes: pkg/quota/v1/evaluator/core/{pods,persistent_volume_claims,services}.go,
apiserver/pkg/quota/v1/generic/evaluator.go (objectCountEvaluator).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from decimal import ROUND_UP, Decimal
from typing import Any

from lightkube.models.core_v1 import Container, PodSpec
from lightkube.resources.core_v1 import PersistentVolumeClaim, Pod, Service

from antei.api.objects import meta
from antei.api.pods import is_sidecar, is_terminal
from antei.api.quantity import Format, Quantity
from antei.api.quota.amounts import ONE, ZERO, Amounts, amounts_of, plus
from antei.api.resources import Resource

__all__ = ["missing_requirements", "tracked", "usage_of"]

_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_POD_NAMES = frozenset(
    ("pods", *_COMPUTE, *(f"requests.{name}" for name in _COMPUTE), *(f"limits.{name}" for name in _COMPUTE))
)
_SERVICE_NAMES = frozenset(("services", "services.loadbalancers", "services.nodeports"))
_CLAIM_NAMES = ("persistentvolumeclaims", "requests.storage")
_OF_CLASS = ".storageclass.storage.k8s.io/"
#: Names that these kinds had before there was `count/`.
_OLD_NAMES = {
    "/configmaps": "configmaps",
    "/replicationcontrollers": "replicationcontrollers",
    "/resourcequotas": "resourcequotas",
    "/secrets": "secrets",
}
#: A quota of these asks every container to say how much it wants (Kubernetes keeps that mistake, and adds no more).
_MUST_BE_SPECIFIED = ("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory")


def tracked(resource: Resource, names: Iterable[str]) -> list[str]:
    """Which of a quota's resources an object of this kind may count for."""
    own = _TRACKED.get(resource.bucket)
    count = _count_name(resource)
    old = _OLD_NAMES.get(resource.bucket)
    return [name for name in names if name in (count, old) or (own is not None and own(name))]


def _count_name(resource: Resource) -> str:
    return f"count/{resource.group_resource}"


def usage_of(resource: Resource, obj: Any, now: datetime) -> Amounts:
    usage = {_count_name(resource): ONE}
    if resource.bucket in _OLD_NAMES:
        usage[_OLD_NAMES[resource.bucket]] = ONE
    match resource.bucket:
        case "/pods":
            return plus(usage, _pod_usage(obj, now))
        case "/services":
            return plus(usage, _service_usage(obj))
        case "/persistentvolumeclaims":
            return plus(usage, _claim_usage(obj))
    return usage


# Pods


def _tracks_of_pods(name: str) -> bool:
    if name in _POD_NAMES or name.startswith(("hugepages-", "requests.hugepages-")):
        return True
    return name.startswith("requests.") and _is_extended(name.removeprefix("requests."))


def _is_extended(name: str) -> bool:
    """Of a node, but not Kubernetes' own: "nvidia.com/gpu"."""
    return "/" in name and "kubernetes.io/" not in name and not name.startswith("requests.")


def _pod_usage(pod: Pod, now: datetime) -> Amounts:
    """A pod that has ended, or should have by now, is only counted as an object."""
    metadata = meta(pod)
    if is_terminal(pod):
        return {}
    grace_seconds = metadata.deletionGracePeriodSeconds
    if (
        metadata.deletionTimestamp is not None
        and grace_seconds is not None
        and now > metadata.deletionTimestamp + timedelta(seconds=grace_seconds)
    ):
        return {}
    spec = pod.spec or PodSpec(containers=[])
    return _compute(_of_pod(spec, "requests"), _of_pod(spec, "limits"))


def _compute(requests: Mapping[str, Quantity], limits: Mapping[str, Quantity]) -> Amounts:
    """Under the names that quotas have for them."""
    usage = {"pods": ONE}
    for name in _COMPUTE:
        if name in requests:
            usage[name] = usage[f"requests.{name}"] = requests[name]
        if name in limits:
            usage[f"limits.{name}"] = limits[name]
    for name, amount in requests.items():
        if name.startswith("hugepages-"):
            usage[name] = usage[f"requests.{name}"] = amount
        elif _is_extended(name):
            usage[f"requests.{name}"] = amount
    return usage


def _of_pod(spec: PodSpec, part: str) -> Amounts:
    """The pod's requests or limits: the larger of all containers with sidecars and of starting, and the overhead."""
    total: Amounts = {}
    for container in spec.containers:
        total = plus(total, _of_container(container, part))
    sidecars: Amounts = {}
    largest_start: Amounts = {}
    for container in spec.initContainers or ():
        own = _of_container(container, part)
        if is_sidecar(container):
            total = plus(total, own)
            sidecars = plus(sidecars, own)
            own = sidecars
        else:
            own = plus(own, sidecars)
        largest_start = _larger(largest_start, own)
    total = _larger(total, largest_start)
    if spec.resources is not None:
        total |= amounts_of(getattr(spec.resources, part))
    overhead = amounts_of(spec.overhead)
    if part == "limits":
        overhead = {name: amount for name, amount in overhead.items() if name in total}
    return plus(total, overhead)


def _of_container(container: Container, part: str) -> Amounts:
    return amounts_of(getattr(container.resources, part)) if container.resources is not None else {}


def _larger(left: Mapping[str, Quantity], right: Mapping[str, Quantity]) -> Amounts:
    found = dict(left)
    for name, amount in right.items():
        if name not in found or found[name].amount < amount.amount:
            found[name] = amount
    return found


def missing_requirements(pod: Pod, names: Iterable[str]) -> str:
    """What containers leave out that a quota of these resources asks for ("limits.cpu for: web"); empty for nothing."""
    wanted = sorted(set(names) & set(_MUST_BE_SPECIFIED))
    missing: dict[str, list[str]] = {}
    spec = pod.spec or PodSpec(containers=[])
    for container in (*spec.containers, *(spec.initContainers or ())):
        given = _compute(_of_container(container, "requests"), _of_container(container, "limits"))
        for name in wanted:
            if name not in given:
                missing.setdefault(name, []).append(container.name)
    return "; ".join(f"{name} for: {','.join(sorted(set(missing[name])))}" for name in sorted(missing))


# Services and claims


def _service_usage(service: Service) -> Amounts:
    spec = service.spec
    usage = {"services": ONE, "services.loadbalancers": ZERO, "services.nodeports": ZERO}
    ports = (spec.ports if spec is not None else None) or []
    kind = spec.type if spec is not None else None
    if kind == "LoadBalancer":
        usage["services.loadbalancers"] = ONE
        if spec is not None and spec.allocateLoadBalancerNodePorts is False:
            ports = [port for port in ports if port.nodePort]
    if kind in ("NodePort", "LoadBalancer"):
        usage["services.nodeports"] = Quantity(Decimal(len(ports)), Format.DECIMAL_SI)
    return usage


def _tracks_of_claims(name: str) -> bool:
    return name in _CLAIM_NAMES or any(name.endswith(_OF_CLASS + own) for own in _CLAIM_NAMES)


def _claim_usage(claim: PersistentVolumeClaim) -> Amounts:
    spec, status = claim.spec, claim.status
    usage = {"persistentvolumeclaims": ONE}
    requested = amounts_of(spec.resources.requests if spec is not None and spec.resources is not None else None)
    allocated = amounts_of(status.allocatedResources if status is not None else None)
    if "storage" in requested:
        storage = _larger(requested, {n: a for n, a in allocated.items() if n == "storage"})["storage"]
        whole = storage.amount.to_integral_value(ROUND_UP)
        usage["requests.storage"] = Quantity(whole, storage.format)
    annotations = meta(claim).annotations or {}
    of_class = annotations.get("volume.beta.kubernetes.io/storage-class")
    of_class = of_class if of_class is not None else (spec.storageClassName if spec is not None else None)
    if of_class:
        usage |= {f"{of_class}{_OF_CLASS}{name}": amount for name, amount in usage.items()}
    return usage


_TRACKED: Mapping[str, Callable[[str], bool]] = {
    "/persistentvolumeclaims": _tracks_of_claims,
    "/pods": _tracks_of_pods,
    "/services": _SERVICE_NAMES.__contains__,
}
