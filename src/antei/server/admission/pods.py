"""What default plug-ins add to a new pod: tolerations and priority.

Kubernetes: plugin/pkg/admission/{defaulttolerationseconds,priority}.
"""

from __future__ import annotations

from typing import Any, ClassVar

from lightkube.models.core_v1 import PodSpec, Toleration
from lightkube.resources.core_v1 import Pod
from lightkube.resources.scheduling_v1 import PriorityClass

from antei.api.objects import meta, replace
from antei.api.resources import resource_of
from antei.server.admission.request import Operation, Plugin, Request
from antei.store import Key, Store

__all__ = ["SYSTEM_PRIORITY_CLASSES", "DefaultTolerationSeconds", "PodPriority"]

#: Kubernetes: pkg/apis/scheduling/types.go.
SYSTEM_PRIORITY_CLASSES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}

_DEFAULT_TOLERATION_SECONDS = 300
_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_NEW_PODS = {Operation.CREATE: frozenset({"/pods"})}


class PodPriority(Plugin):
    """The number behind a priority class's name; of the classes only one may be the default."""

    handles: ClassVar = {
        Operation.CREATE: frozenset({"/pods", "scheduling.k8s.io/priorityclasses"}),
        Operation.UPDATE: frozenset({"scheduling.k8s.io/priorityclasses"}),
    }

    def __init__(self, store: Store) -> None:
        self._store = store

    def admit(self, request: Request) -> Any:
        if request.resource.bucket != "/pods":
            return request.object
        pod: Pod = request.object
        spec = pod.spec or PodSpec(containers=[])
        name, priority, preemption = self._priority(request, spec)
        if spec.priority is not None and spec.priority != priority:
            raise request.forbidden(
                f"the integer value of priority ({spec.priority}) must not be provided in pod spec; "
                f"priority admission controller computed {priority} from the given PriorityClass name"
            )
        if spec.preemptionPolicy is not None and spec.preemptionPolicy != preemption:
            raise request.forbidden(
                f"the string value of PreemptionPolicy ({spec.preemptionPolicy}) must not be provided in pod spec; "
                f"priority admission controller computed {preemption} from the given PriorityClass name"
            )
        return replace(pod, spec=replace(spec, priorityClassName=name, priority=priority, preemptionPolicy=preemption))

    def validate(self, request: Request) -> None:
        """Raises 403 for a second default among the classes."""
        if request.resource.bucket == "/pods" or not request.object.globalDefault:
            return
        for stored in self._store.list(resource_of(PriorityClass).bucket).items:
            if stored.object.globalDefault and stored.key.name != request.name:
                raise request.forbidden(
                    f"PriorityClass {stored.key.name} is already marked as default. Only one default can exist"
                )

    def _priority(self, request: Request, spec: PodSpec) -> tuple[str | None, int, str]:
        """(class name, value, preemption policy)."""
        bucket = resource_of(PriorityClass).bucket
        name = spec.priorityClassName
        if not name:
            defaults = [stored.object for stored in self._store.list(bucket).items if stored.object.globalDefault]
            if not defaults:
                return None, 0, "PreemptLowerPriority"
            lowest = min(defaults, key=lambda found: found.value)
            return meta(lowest).name, lowest.value, lowest.preemptionPolicy or "PreemptLowerPriority"
        stored = self._store.get(Key(bucket, "", name))
        if stored is not None:
            return name, stored.object.value, stored.object.preemptionPolicy or "PreemptLowerPriority"
        if name in SYSTEM_PRIORITY_CLASSES:
            return name, SYSTEM_PRIORITY_CLASSES[name], "PreemptLowerPriority"
        raise request.forbidden(f"no PriorityClass with name {name} was found")


class DefaultTolerationSeconds(Plugin):
    """Tolerates a node that is not ready or unreachable for 300 s, unless the pod says otherwise."""

    handles: ClassVar = _NEW_PODS

    def admit(self, request: Request) -> Any:
        pod: Pod = request.object
        spec = pod.spec or PodSpec(containers=[])
        tolerations = spec.tolerations or []
        missing = [
            Toleration(key=taint, operator="Exists", effect="NoExecute", tolerationSeconds=_DEFAULT_TOLERATION_SECONDS)
            for taint in _TAINTS
            if not any(t.key in (taint, None, "") and t.effect in ("NoExecute", None, "") for t in tolerations)
        ]
        return replace(pod, spec=replace(spec, tolerations=[*tolerations, *missing])) if missing else pod
