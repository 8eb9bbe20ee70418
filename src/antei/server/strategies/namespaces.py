"""Namespaces (Kubernetes: pkg/registry/core/namespace/strategy.go); how they end is in `server.deletion`."""

from __future__ import annotations

from lightkube.models.core_v1 import NamespaceSpec, NamespaceStatus
from lightkube.resources.core_v1 import Namespace

from antei.api.objects import meta, replace, replace_meta
from antei.server.strategies.generic import Context, Strategy

__all__ = ["NamespaceStrategy"]

_FINALIZER = "kubernetes"
_NAME_LABEL = "kubernetes.io/metadata.name"


class NamespaceStrategy(Strategy):
    def prepare_create(self, obj: Namespace, context: Context) -> Namespace:
        finalizers = (obj.spec.finalizers if obj.spec else None) or []
        if _FINALIZER not in finalizers:
            finalizers = [*finalizers, _FINALIZER]
        return replace(_named(obj), spec=NamespaceSpec(finalizers=finalizers), status=NamespaceStatus(phase="Active"))

    def prepare_update(self, new: Namespace, old: Namespace, context: Context) -> Namespace:
        return replace(_named(new), spec=old.spec, status=old.status)

    def prepare_subresource(self, subresource: str, new: Namespace, old: Namespace, context: Context) -> Namespace:
        if subresource != "finalize":
            return super().prepare_subresource(subresource, new, old, context)
        return replace(new, status=old.status)


def _named(namespace: Namespace) -> Namespace:
    """The label that lets selectors name a namespace (Kubernetes: SetDefaults_Namespace)."""
    labels = {**(meta(namespace).labels or {}), _NAME_LABEL: meta(namespace).name or ""}
    return replace_meta(namespace, labels=labels)
