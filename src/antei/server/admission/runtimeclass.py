"""RuntimeClass: what running in it costs, and where it can run, become part of the pod.

Kubernetes: plugin/pkg/admission/runtimeclass/admission.go.
"""

from __future__ import annotations

from typing import Any, ClassVar

from lightkube.models.core_v1 import PodSpec
from lightkube.resources.core_v1 import Pod
from lightkube.resources.node_v1 import RuntimeClass

from antei.api.objects import replace
from antei.api.quota import amounts_of
from antei.api.resources import resource_of
from antei.server.admission.request import Operation, Plugin, Request
from antei.store import Key, Store

__all__ = ["RuntimeClassAdmission"]


class RuntimeClassAdmission(Plugin):
    handles: ClassVar = {Operation.CREATE: frozenset({"/pods"})}

    def __init__(self, store: Store) -> None:
        self._store = store

    def admit(self, request: Request) -> Any:
        pod: Pod = request.object
        spec = pod.spec or PodSpec(containers=[])
        if not spec.runtimeClassName:
            return pod
        known = self._class_of(request, spec)
        if known.overhead is not None and not spec.overhead:
            spec = replace(spec, overhead=known.overhead.podFixed)
        scheduling = known.scheduling
        if scheduling is not None:
            wanted, given = scheduling.nodeSelector or {}, spec.nodeSelector or {}
            if any(given.get(name, value) != value for name, value in wanted.items()):
                raise request.forbidden("conflict: runtimeClass.scheduling.nodeSelector")
            tolerations = list(spec.tolerations or ())
            tolerations += [one for one in scheduling.tolerations or () if one not in tolerations]
            spec = replace(spec, nodeSelector={**given, **wanted} or None, tolerations=tolerations or None)
        return replace(pod, spec=spec)

    def validate(self, request: Request) -> None:
        spec = request.object.spec
        overhead = amounts_of(spec.overhead)
        if not spec.runtimeClassName:
            if overhead:
                raise request.forbidden("pod rejected: Pod overhead set without corresponding RuntimeClass Overhead")
            return
        known = self._class_of(request, spec).overhead
        if overhead != amounts_of(known.podFixed if known is not None else None):
            raise request.forbidden(
                "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
                if known is not None
                else "pod rejected: Pod overhead set without corresponding RuntimeClass Overhead"
            )

    def _class_of(self, request: Request, spec: PodSpec) -> RuntimeClass:
        name = spec.runtimeClassName or ""
        stored = self._store.get(Key(resource_of(RuntimeClass).bucket, "", name))
        if stored is None:
            raise request.forbidden(f'pod rejected: RuntimeClass "{name}" not found')
        found: RuntimeClass = stored.object
        return found
