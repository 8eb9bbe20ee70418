"""The kinds that are served, as `lightkube.resources` knows them: routes, discovery and REST mapping come from here.

Only short names, categories and the version that is stored are ours, for no package tells them
(Kubernetes: the `ShortNames` and `Categories` of pkg/registry/*/storage).
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import lightkube.resources
from lightkube.core import resource as lightkube_resource

if TYPE_CHECKING:
    from antei.api.customresources.definition import Definition

from antei.api.metrics_v1beta1 import METRICS_GROUP, NodeMetrics, PodMetrics

__all__ = [
    "Resource",
    "Subresource",
    "all_resources",
    "preference",
    "resource_for_kind",
    "resource_named",
    "resource_of",
]

_VERBS = {
    "post": "create",
    "delete": "delete",
    "deletecollection": "deletecollection",
    "get": "get",
    "list": "list",
    "patch": "patch",
    "put": "update",
    "watch": "watch",
}

_SHORT_NAMES: Mapping[str, tuple[str, ...]] = {
    "/componentstatuses": ("cs",),
    "/configmaps": ("cm",),
    "/endpoints": ("ep",),
    "/events": ("ev",),
    "/limitranges": ("limits",),
    "/namespaces": ("ns",),
    "/nodes": ("no",),
    "/persistentvolumeclaims": ("pvc",),
    "/persistentvolumes": ("pv",),
    "/pods": ("po",),
    "/replicationcontrollers": ("rc",),
    "/resourcequotas": ("quota",),
    "/serviceaccounts": ("sa",),
    "/services": ("svc",),
    "admissionregistration.k8s.io/validatingadmissionpolicies": ("vap",),
    "apiextensions.k8s.io/customresourcedefinitions": ("crd", "crds"),
    "apps/daemonsets": ("ds",),
    "apps/deployments": ("deploy",),
    "apps/replicasets": ("rs",),
    "apps/statefulsets": ("sts",),
    "autoscaling/horizontalpodautoscalers": ("hpa",),
    "batch/cronjobs": ("cj",),
    "certificates.k8s.io/certificatesigningrequests": ("csr",),
    "events.k8s.io/events": ("ev",),
    "networking.k8s.io/ingresses": ("ing",),
    "networking.k8s.io/ipaddresses": ("ip",),
    "networking.k8s.io/networkpolicies": ("netpol",),
    "policy/poddisruptionbudgets": ("pdb",),
    "scheduling.k8s.io/priorityclasses": ("pc",),
    "storage.k8s.io/storageclasses": ("sc",),
    "storage.k8s.io/volumeattributesclasses": ("vac",),
}

_CATEGORY_ALL = {
    "/pods",
    "/replicationcontrollers",
    "/services",
    "apps/daemonsets",
    "apps/deployments",
    "apps/replicasets",
    "apps/statefulsets",
    "autoscaling/horizontalpodautoscalers",
    "batch/cronjobs",
    "batch/jobs",
}
_CATEGORY_API_EXTENSIONS = {
    "admissionregistration.k8s.io/mutatingwebhookconfigurations",
    "admissionregistration.k8s.io/validatingwebhookconfigurations",
    "admissionregistration.k8s.io/validatingadmissionpolicies",
    "admissionregistration.k8s.io/validatingadmissionpolicybindings",
    "apiextensions.k8s.io/customresourcedefinitions",
    "apiregistration.k8s.io/apiservices",
}

_STREAM_VERBS = ("create", "get")
_PROXY_VERBS = ("create", "delete", "get", "patch", "update")
#: Subresources that connect the client to something, whose options are in the query; lightkube does not have them.
_CONNECTIONS: Mapping[str, Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "/nodes": {"proxy": ("NodeProxyOptions", _PROXY_VERBS)},
    "/pods": {
        "attach": ("PodAttachOptions", _STREAM_VERBS),
        "exec": ("PodExecOptions", _STREAM_VERBS),
        "portforward": ("PodPortForwardOptions", _STREAM_VERBS),
        "proxy": ("PodProxyOptions", _PROXY_VERBS),
    },
    "/services": {"proxy": ("ServiceProxyOptions", _PROXY_VERBS)},
}

#: One store for one thing that two groups serve.
_SHARED_BUCKETS = {"events.k8s.io/events": "/events"}
#: The stored version where it is not the highest one (Kubernetes: pkg/apis/autoscaling; core/v1 keeps Events).
_STORED_VERSIONS = {"autoscaling/horizontalpodautoscalers": "v2"}


@dataclass(frozen=True, slots=True)
class Subresource:
    """`kind`, `group` and `version` are those of what it takes, which may be another's (Scale, Eviction)."""

    name: str
    group: str
    version: str
    kind: str
    verbs: tuple[str, ...]
    type: type[Any]


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind in one version."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    verbs: tuple[str, ...]
    type: type[Any] = field(compare=False, repr=False)
    subresources: Mapping[str, Subresource] = field(compare=False, repr=False)
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    bucket: str = ""  # where the store keeps it; versions of one kind share it
    is_storage_version: bool = True
    definition: Definition | None = field(default=None, repr=False)  # of a custom kind

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_resource(self) -> str:
        """ "deployments.apps", as messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def is_computed(self) -> bool:
        """Whether it is only read, and kept nowhere (ComponentStatus, PodMetrics)."""
        return bool(self.verbs) and "create" not in self.verbs

    @property
    def list_kind(self) -> str:
        return self.definition.list_kind if self.definition is not None else f"{self.kind}List"

    @property
    def is_stored(self) -> bool:
        """False for what is only asked and answered (TokenReview) or computed (ComponentStatus)."""
        return "create" in self.verbs and "get" in self.verbs


def _version_rank(version: str) -> tuple[int, int, int]:
    """Orders versions as Kubernetes does: v2, v1, v1beta2, v1beta1, v1alpha3."""
    match = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    if match is None:
        return (-1, 0, 0)
    major, stage, minor = match.groups()
    return ({None: 2, "beta": 1, "alpha": 0}[stage], int(major), int(minor or 0))


def _classes() -> Iterable[type[Any]]:
    for module_info in pkgutil.iter_modules(lightkube.resources.__path__):
        module = importlib.import_module(f"lightkube.resources.{module_info.name}")
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ == module.__name__ and hasattr(value, "_api_info"):
                yield value


@cache
def all_resources() -> tuple[Resource, ...]:
    """Every kind in every version, sorted by group (the core group first), version (preferred first) and plural."""
    classes = list(_classes())
    subresources: dict[tuple[str, str, str], dict[str, Subresource]] = {}
    for cls in classes:
        info = cls._api_info
        if info.action is None:
            continue
        parent = info.parent or info.resource
        own = info.resource
        subresources.setdefault((parent.group, parent.version, info.plural), {})[info.action] = Subresource(
            name=info.action,
            group=own.group,
            version=own.version,
            kind=own.kind,
            verbs=tuple(sorted({_VERBS[v] for v in info.verbs if v in _VERBS})),
            type=cls,
        )
    for name, connections in _CONNECTIONS.items():
        for action, (kind, verbs) in connections.items():
            found_there = subresources.setdefault(("", "v1", name[1:]), {})
            found_there[action] = Subresource(action, "", "v1", kind, verbs, dict)
    mains = [cls for cls in classes if cls._api_info.action is None]
    best: dict[str, str] = {}
    for cls in mains:
        own = cls._api_info.resource
        bucket = f"{own.group}/{cls._api_info.plural}"
        if bucket not in best or _version_rank(own.version) > _version_rank(best[bucket]):
            best[bucket] = own.version
    found = []
    for cls in mains:
        info = cls._api_info
        own = info.resource
        name = f"{own.group}/{info.plural}"
        stored_version = _STORED_VERSIONS.get(name, best[name])
        categories = ("all",) if name in _CATEGORY_ALL else ()
        if name in _CATEGORY_API_EXTENSIONS:
            categories = ("api-extensions",)
        found.append(
            Resource(
                group=own.group,
                version=own.version,
                kind=own.kind,
                plural=info.plural,
                singular=own.kind.lower(),
                namespaced=not issubclass(cls, lightkube_resource.GlobalResource),
                verbs=tuple(sorted({_VERBS[v] for v in info.verbs if v in _VERBS})),
                type=cls,
                subresources=subresources.get((own.group, own.version, info.plural), {}),
                short_names=_SHORT_NAMES.get(name, ()),
                categories=categories,
                bucket=_SHARED_BUCKETS.get(name, name),
                is_storage_version=own.version == stored_version and name not in _SHARED_BUCKETS,
            )
        )
    found += _measured()
    found.sort(key=preference)
    return tuple(found)


def preference(resource: Resource) -> tuple[str, tuple[int, ...], str]:
    """The key that sorts kinds by group, version (preferred first) and plural."""
    return resource.group, tuple(-n for n in _version_rank(resource.version)), resource.plural


def _measured() -> list[Resource]:
    """What another server answers in most clusters (metrics-server): lightkube does not know these kinds."""
    kinds = (("NodeMetrics", "nodes", NodeMetrics), ("PodMetrics", "pods", PodMetrics))
    return [
        Resource(
            group=METRICS_GROUP,
            version="v1beta1",
            kind=kind,
            plural=plural,
            singular="",
            namespaced=plural == "pods",
            verbs=("get", "list"),
            type=struct,
            subresources={},
            bucket=f"{METRICS_GROUP}/{plural}",
        )
        for kind, plural, struct in kinds
    ]


@cache
def _indexes() -> tuple[
    dict[tuple[str, str, str], Resource], dict[tuple[str, str], Resource], dict[type[Any], Resource]
]:
    by_name = {(r.group, r.version, r.plural): r for r in all_resources()}
    by_kind = {(r.api_version, r.kind): r for r in all_resources()}
    by_type = {r.type: r for r in all_resources()}
    return by_name, by_kind, by_type


def resource_named(group: str, version: str, plural: str) -> Resource | None:
    return _indexes()[0].get((group, version, plural))


def resource_for_kind(api_version: str, kind: str) -> Resource | None:
    return _indexes()[1].get((api_version, kind))


def resource_of(kind: type[Any]) -> Resource:
    """The resource of one of lightkube's resource classes, or of a custom kind's. Raises KeyError for any other."""
    found = _indexes()[2].get(kind) or getattr(kind, "resource", None)
    if found is None:
        raise KeyError(kind)
    return found
