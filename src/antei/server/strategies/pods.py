"""Pods (Kubernetes: pkg/registry/core/pod/strategy.go)."""

from __future__ import annotations

from lightkube.models.core_v1 import Container, PodCondition, PodStatus
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
        if subresource == "resize":
            return self.counted(_resized(new, old), old)
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


def _resized(new: Pod, old: Pod) -> Pod:
    """The old pod with the new one's resources and resize policies.

    Where containers were added, removed or renamed they stay as they are asked for, for validation to refuse them.
    """
    if new.spec is None or old.spec is None:
        return new
    containers = _with_resources(new.spec.containers, old.spec.containers)
    init_containers = _with_resources(new.spec.initContainers, old.spec.initContainers)
    spec = replace(old.spec, containers=containers, initContainers=init_containers)
    return replace_meta(replace(old, spec=spec), resourceVersion=meta(new).resourceVersion)


def _with_resources(new: list[Container] | None, old: list[Container] | None) -> list[Container] | None:
    if [container.name for container in new or ()] != [container.name for container in old or ()]:
        return new
    if new is None or old is None:
        return old
    return [
        replace(before, resources=after.resources, resizePolicy=after.resizePolicy)
        for after, before in zip(new, old, strict=True)
    ]
