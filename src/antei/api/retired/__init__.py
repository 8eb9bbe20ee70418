"""The versions of kinds that Kubernetes has retired, beside those that it serves today.

Old tutorials speak `extensions/v1beta1` and `policy/v1beta1`. Such an object is accepted, converted to the version
that succeeded it, answered in the version that was asked for, and answered with the Warning that Kubernetes gave in
the years between deprecation and removal. Preferred versions are those that Kubernetes prefers today.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from antei.api.resources import Resource, all_resources, resource_named
from antei.api.retired import autoscaling, workloads
from antei.api.retired.networking import ingress_from_v1, ingress_to_v1, slice_from_v1, slice_to_v1
from antei.api.retired.policy import budget_from_v1, budget_to_v1

__all__ = ["Conversion", "ServedVersion", "served_versions"]

#: Takes an object's JSON without apiVersion in mind, returns that of the other version; may change what it is given.
Conversion = Callable[[dict[str, Any]], dict[str, Any]]


def _same(obj: dict[str, Any]) -> dict[str, Any]:
    return obj


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """A kind in a version that clients may name, and the resource of today that stands behind it."""

    group: str
    version: str
    resource: Resource
    stored: Resource  # the same kind in the version in which it is stored, which tables are made from
    warning: str = ""
    is_retired: bool = False
    to_successor: Conversion = field(default=_same, compare=False)
    from_successor: Conversion = field(default=_same, compare=False)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def kind(self) -> str:
        return self.resource.kind

    @property
    def plural(self) -> str:
        return self.resource.plural

    @property
    def has_same_fields(self) -> bool:
        """As the version that is stored behind it; then only apiVersion differs."""
        return self.to_successor is _same and self.from_successor is _same

    def upgraded(self, obj: Mapping[str, Any]) -> dict[str, Any]:
        """An object of this version in the version of `resource`; both are plain JSON."""
        converted = self.to_successor(dict(obj))
        return {**converted, "apiVersion": self.resource.api_version, "kind": self.kind}

    def downgraded(self, obj: Mapping[str, Any]) -> dict[str, Any]:
        converted = self.from_successor(dict(obj))
        return {**converted, "apiVersion": self.api_version, "kind": self.kind}


@dataclass(frozen=True, slots=True)
class _Retirement:
    """`deprecated` and `removed` are minor versions of Kubernetes 1 (the `APILifecycle*` functions of k8s.io/api)."""

    api_version: str
    plural: str
    successor: str
    deprecated: int
    removed: int
    to_successor: Conversion = _same
    from_successor: Conversion = _same
    names_successor: bool = True


_RETIRED = (
    _Retirement("apps/v1beta1", "controllerrevisions", "apps/v1", 8, 16),
    _Retirement("apps/v1beta1", "deployments", "apps/v1", 8, 16, workloads.apps_v1beta1_deployment),
    _Retirement("apps/v1beta1", "statefulsets", "apps/v1", 8, 16, workloads.apps_v1beta1_stateful_set),
    _Retirement("apps/v1beta2", "controllerrevisions", "apps/v1", 9, 16),
    _Retirement("apps/v1beta2", "daemonsets", "apps/v1", 9, 16),
    _Retirement("apps/v1beta2", "deployments", "apps/v1", 9, 16),
    _Retirement("apps/v1beta2", "replicasets", "apps/v1", 9, 16),
    _Retirement("apps/v1beta2", "statefulsets", "apps/v1", 9, 16),
    _Retirement(
        "autoscaling/v2beta1",
        "horizontalpodautoscalers",
        "autoscaling/v2",
        22,
        25,
        autoscaling.v2_from_v2beta1,
        autoscaling.v2beta1_from_v2,
    ),
    _Retirement("autoscaling/v2beta2", "horizontalpodautoscalers", "autoscaling/v2", 23, 26),
    _Retirement("batch/v1beta1", "cronjobs", "batch/v1", 21, 25),
    _Retirement("coordination.k8s.io/v1beta1", "leases", "coordination.k8s.io/v1", 19, 22),
    _Retirement(
        "discovery.k8s.io/v1beta1", "endpointslices", "discovery.k8s.io/v1", 21, 25, slice_to_v1, slice_from_v1
    ),
    _Retirement("events.k8s.io/v1beta1", "events", "events.k8s.io/v1", 22, 25, names_successor=False),
    _Retirement("extensions/v1beta1", "daemonsets", "apps/v1", 8, 16, workloads.extensions_daemon_set),
    _Retirement("extensions/v1beta1", "deployments", "apps/v1", 8, 16, workloads.extensions_deployment),
    _Retirement("extensions/v1beta1", "ingresses", "networking.k8s.io/v1", 14, 22, ingress_to_v1, ingress_from_v1),
    _Retirement("extensions/v1beta1", "networkpolicies", "networking.k8s.io/v1", 9, 16),
    _Retirement("extensions/v1beta1", "replicasets", "apps/v1", 8, 16, workloads.extensions_replica_set),
    _Retirement(
        "networking.k8s.io/v1beta1", "ingresses", "networking.k8s.io/v1", 19, 22, ingress_to_v1, ingress_from_v1
    ),
    _Retirement("networking.k8s.io/v1beta1", "ingressclasses", "networking.k8s.io/v1", 19, 22),
    _Retirement("policy/v1beta1", "poddisruptionbudgets", "policy/v1", 21, 25, budget_to_v1, budget_from_v1),
    _Retirement("rbac.authorization.k8s.io/v1beta1", "clusterrolebindings", "rbac.authorization.k8s.io/v1", 17, 22),
    _Retirement("rbac.authorization.k8s.io/v1beta1", "clusterroles", "rbac.authorization.k8s.io/v1", 17, 22),
    _Retirement("rbac.authorization.k8s.io/v1beta1", "rolebindings", "rbac.authorization.k8s.io/v1", 17, 22),
    _Retirement("rbac.authorization.k8s.io/v1beta1", "roles", "rbac.authorization.k8s.io/v1", 17, 22),
    _Retirement("scheduling.k8s.io/v1beta1", "priorityclasses", "scheduling.k8s.io/v1", 14, 22),
    _Retirement("storage.k8s.io/v1beta1", "storageclasses", "storage.k8s.io/v1", 19, 22),
)

#: Served today, and deprecated without a date of removal.
_DEPRECATED: Mapping[tuple[str, str], str] = {
    ("v1", "componentstatuses"): "v1 ComponentStatus is deprecated in v1.19+",
    ("v1", "endpoints"): "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
}


@cache
def served_versions() -> tuple[ServedVersion, ...]:
    """Every kind in every version: first those of today, in the order of `all_resources`, then the retired ones."""
    current = [
        ServedVersion(
            group=resource.group,
            version=resource.version,
            resource=resource,
            stored=_stored()[resource.bucket],
            warning=_DEPRECATED.get((resource.api_version, resource.plural), ""),
        )
        for resource in all_resources()
    ]
    return (*current, *(_retired(retirement) for retirement in _RETIRED))


@cache
def _stored() -> Mapping[str, Resource]:
    return {r.bucket: r for r in all_resources() if r.is_storage_version}


def _retired(retirement: _Retirement) -> ServedVersion:
    group, _, version = retirement.api_version.rpartition("/")
    successor_group, _, successor_version = retirement.successor.rpartition("/")
    resource = resource_named(successor_group, successor_version, retirement.plural)
    if resource is None:
        raise LookupError(f"{retirement.successor} has no {retirement.plural}")
    warning = (
        f"{retirement.api_version} {resource.kind} is deprecated in v1.{retirement.deprecated}+, "
        f"unavailable in v1.{retirement.removed}+"
    )
    if retirement.names_successor:
        warning += f"; use {retirement.successor} {resource.kind}"
    return ServedVersion(
        group=group,
        version=version,
        resource=resource,
        stored=_stored()[resource.bucket],
        warning=warning,
        is_retired=True,
        to_successor=retirement.to_successor,
        from_successor=retirement.from_successor,
    )
