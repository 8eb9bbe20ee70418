"""Which pods and claims a quota with scopes is about (Kubernetes: pkg/quota/v1/evaluator/core)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lightkube.models.core_v1 import PodSpec, ScopedResourceSelectorRequirement
from lightkube.resources.core_v1 import PersistentVolumeClaim, Pod, ResourceQuota

from antei.api.pods import qos_class
from antei.api.resources import Resource

__all__ = ["is_in_scope"]

_AFFINITIES = ("podAffinity", "podAntiAffinity")


def is_in_scope(quota: ResourceQuota, resource: Resource, obj: Any) -> bool:
    """All of the quota's scopes must hold; a quota with scopes is about no other kinds than pods and claims."""
    scopes = list(_scopes(quota))
    if not scopes:
        return True
    match resource.bucket:
        case "/pods":
            return all(_holds_for_pod(scope, obj) for scope in scopes)
        case "/persistentvolumeclaims":
            return all(_holds_for_claim(scope, obj) for scope in scopes)
    return False


def _scopes(quota: ResourceQuota) -> Iterator[ScopedResourceSelectorRequirement]:
    spec = quota.spec
    if spec is None:
        return
    for name in spec.scopes or ():
        yield ScopedResourceSelectorRequirement(operator="Exists", scopeName=name)
    if spec.scopeSelector is not None:
        yield from spec.scopeSelector.matchExpressions or ()


def _holds_for_pod(scope: ScopedResourceSelectorRequirement, pod: Pod) -> bool:
    spec = pod.spec or PodSpec(containers=[])
    match scope.scopeName:
        case "Terminating":
            return spec.activeDeadlineSeconds is not None and spec.activeDeadlineSeconds >= 0
        case "NotTerminating":
            return not (spec.activeDeadlineSeconds is not None and spec.activeDeadlineSeconds >= 0)
        case "BestEffort":
            return qos_class(pod) == "BestEffort"
        case "NotBestEffort":
            return qos_class(pod) != "BestEffort"
        case "PriorityClass":
            return _selects(scope, [spec.priorityClassName] if spec.priorityClassName else [])
        case "CrossNamespacePodAffinity":
            return _looks_beyond_its_namespace(spec)
    return False


def _selects(scope: ScopedResourceSelectorRequirement, names: list[str]) -> bool:
    values = scope.values or []
    match scope.operator:
        case "In":
            return any(name in values for name in names)
        case "NotIn":
            return any(name not in values for name in names) if names else True
        case "Exists":
            return bool(names)
        case "DoesNotExist":
            return not names
    return False


def _looks_beyond_its_namespace(spec: PodSpec) -> bool:
    for kind in _AFFINITIES:
        affinity = getattr(spec.affinity, kind, None)
        if affinity is None:
            continue
        terms = list(affinity.requiredDuringSchedulingIgnoredDuringExecution or ())
        weighted = affinity.preferredDuringSchedulingIgnoredDuringExecution or ()
        terms += [term.podAffinityTerm for term in weighted]
        if any(term.namespaces or term.namespaceSelector is not None for term in terms):
            return True
    return False


def _holds_for_claim(scope: ScopedResourceSelectorRequirement, claim: PersistentVolumeClaim) -> bool:
    if scope.scopeName != "VolumeAttributesClass":
        return False
    spec, status = claim.spec, claim.status
    modifying = status.modifyVolumeStatus if status is not None else None
    found = (
        spec.volumeAttributesClassName if spec is not None else None,
        status.currentVolumeAttributesClassName if status is not None else None,
        modifying.targetVolumeAttributesClassName if modifying is not None else None,
    )
    return _selects(scope, [name for name in found if name])
