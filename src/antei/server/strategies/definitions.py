"""CustomResourceDefinitions: names and conditions with the write itself, and instances before the definition goes.

Kubernetes: apiextensions-apiserver/pkg/registry/customresourcedefinition/{strategy,etcd}.go.
"""

from __future__ import annotations

from typing import Any

from lightkube.models.apiextensions_v1 import CustomResourceDefinitionStatus

from antei.api.customresources.definition import CRD_BUCKET
from antei.api.customresources.names import definition_status, with_condition
from antei.api.objects import meta, name_of, replace, replace_meta
from antei.server.strategies.generic import Context, Strategy

__all__ = ["CLEANUP_FINALIZER", "DefinitionStrategy"]

CLEANUP_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"


class DefinitionStrategy(Strategy):
    def prepare_create(self, obj: Any, context: Context) -> Any:
        return _with_status(replace(obj, status=None), context)

    def prepare_update(self, new: Any, old: Any, context: Context) -> Any:
        return _with_status(super().prepare_update(new, old, context), context)

    def prepare_delete(self, obj: Any, context: Context) -> Any:
        """Instances go first: the finalizer holds the definition until they have (control.customresources)."""
        if meta(obj).deletionTimestamp is not None:
            return obj
        status = obj.status or CustomResourceDefinitionStatus()
        text = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
        conditions = with_condition(
            status.conditions or (), context.world.clock.now(), "Terminating", "True", "InstanceDeletionPending", text
        )
        finalizers = [*(meta(obj).finalizers or ())]
        if CLEANUP_FINALIZER not in finalizers:
            finalizers.append(CLEANUP_FINALIZER)
        return replace_meta(replace(obj, status=replace(status, conditions=conditions)), finalizers=finalizers)


def _with_status(obj: Any, context: Context) -> Any:
    items = context.store.list(CRD_BUCKET).items
    others = [stored.object for stored in items if stored.key.name != name_of(obj)]
    return replace(obj, status=definition_status(obj, others, context.world.clock.now()))
