"""Pods (Kubernetes: pkg/registry/core/pod/strategy.go)."""

from __future__ import annotations

from lightkube.models.core_v1 import PodCondition, PodStatus
from lightkube.resources.core_v1 import Pod

from antei.api.objects import meta, replace, replace_meta, to_time
from antei.api.pods import is_terminal, qos_class
from antei.server.strategies.generic import Context, Strategy

__all__ = ["PodStrategy"]


class PodStrategy(Strategy):
    has_generation = True

    def prepare_create(self, obj: Pod, context: Context) -> Pod:
        status = PodStatus(phase="Pending", qosClass=qos_class(obj))
        if obj.spec is not None and obj.spec.schedulingGates:
            gated = PodCondition(
                type="PodScheduled",
                status="False",
                reason="SchedulingGated",
                message="Scheduling is blocked due to non-empty scheduling gates",
                lastTransitionTime=to_time(context.world.clock.now()),
            )
            status = replace(status, conditions=[gated])
        return replace(obj, status=status)

    def prepare_status(self, new: Pod, old: Pod, context: Context) -> Pod:
        changed: Pod = super().prepare_status(new, old, context)
        changed = replace_meta(changed, ownerReferences=meta(old).ownerReferences)
        status, known = changed.status or PodStatus(), old.status or PodStatus()
        return replace(
            changed,
            status=replace(
                status,
                qosClass=status.qosClass or known.qosClass,
                observedGeneration=status.observedGeneration or known.observedGeneration,
            ),
        )

    def prepare_subresource(self, subresource: str, new: Pod, old: Pod, context: Context) -> Pod:
        if subresource == "binding":
            return new
        if subresource != "ephemeralcontainers" or new.spec is None or old.spec is None:
            return super().prepare_subresource(subresource, new, old, context)
        changed = replace(old, spec=replace(old.spec, ephemeralContainers=new.spec.ephemeralContainers))
        return self.counted(replace_meta(changed, resourceVersion=meta(new).resourceVersion), old)

    def grace_seconds(self, obj: Pod, requested: int | None) -> int | None:
        spec = obj.spec
        if spec is None or not spec.nodeName or is_terminal(obj):
            return 0
        seconds = requested if requested is not None else spec.terminationGracePeriodSeconds or 0
        return seconds if seconds >= 0 else 1
