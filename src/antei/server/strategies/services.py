"""Services (Kubernetes: pkg/registry/core/service/strategy.go)."""

from __future__ import annotations

from collections.abc import Callable

from lightkube.models.core_v1 import LoadBalancerStatus, ServiceStatus
from lightkube.resources.core_v1 import Service

from antei.api.objects import replace
from antei.server.allocation import with_allocations_kept
from antei.server.strategies.generic import Context, Strategy

__all__ = ["ServiceStrategy"]


class ServiceStrategy(Strategy):
    def prepare_update(self, new: Service, old: Service, context: Context) -> Service:
        if new.spec is not None and old.spec is not None:
            new = replace(new, spec=with_allocations_kept(new.spec, old.spec))
        changed: Service = super().prepare_update(new, old, context)
        was_balanced = old.spec is not None and old.spec.type == "LoadBalancer"
        if was_balanced and not (new.spec is not None and new.spec.type == "LoadBalancer"):
            return replace(changed, status=ServiceStatus(loadBalancer=LoadBalancerStatus()))
        return changed

    def allocate(
        self, new: Service, old: Service | None, context: Context
    ) -> tuple[Service, Callable[[], None] | None]:
        return context.allocator.allocate(new)
