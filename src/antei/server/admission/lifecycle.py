"""NamespaceLifecycle: nothing is created in a namespace that does not exist, or that is going.

Kubernetes: apiserver/pkg/admission/plugin/namespace/lifecycle.
"""

from __future__ import annotations

from typing import Any

from lightkube.models.meta_v1 import StatusCause

from antei.api.errors import ApiError, not_found
from antei.api.objects import meta, replace
from antei.server.admission.request import Operation, Plugin, Request
from antei.store import Key, Store

__all__ = ["SYSTEM_NAMESPACES", "NamespaceLifecycle"]

#: Every cluster has them: they count as existing even before `server.bootstrap` has stored them.
SYSTEM_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")


class NamespaceLifecycle(Plugin):
    """What may not be deleted at all is kept by `server.deletion`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def is_for(self, operation: Operation, target: str) -> bool:
        return operation is Operation.CREATE

    def admit(self, request: Request) -> Any:
        """Raises 404 for a namespace that does not exist and 403 for one that is going."""
        namespace = request.namespace
        if not namespace or not request.resource.namespaced:
            return request.object
        stored = self._store.get(Key("/namespaces", "", namespace))
        if stored is None:
            if namespace in SYSTEM_NAMESPACES:
                return request.object
            raise not_found("namespaces", namespace)
        phase = stored.object.status.phase if stored.object.status else None
        if meta(stored.object).deletionTimestamp is None and phase != "Terminating":
            return request.object
        raise _terminating(request)


def _terminating(request: Request) -> ApiError:
    namespace = request.namespace
    refusal = request.forbidden(f"unable to create new content in namespace {namespace} because it is being terminated")
    cause = StatusCause(
        reason="NamespaceTerminating", message=f"namespace {namespace} is being terminated", field="metadata.namespace"
    )
    assert refusal.status.details is not None
    return ApiError(replace(refusal.status, details=replace(refusal.status.details, causes=[cause])))
