"""Resource quotas: how much is used of each, counted anew when something that counts goes, ends or changes its size.

    quota, or what it counts, changed ──► count all that is in its scope ──► status.hard, status.used

What is created is charged by admission as it is created. Here is counted what only shows afterwards: objects that are
gone, pods that have ended, quotas that are new or changed. A count never gives away what admission has just charged:
the API server corrects a status that says too little. (Kubernetes: pkg/controller/resourcequota.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from lightkube.models.core_v1 import ResourceQuotaStatus
from lightkube.resources.core_v1 import ResourceQuota

from antei.api.errors import ApiError
from antei.api.objects import key_of, namespace_of, replace
from antei.api.pods import is_terminal
from antei.api.quota import Amounts, amounts_of, is_in_scope, mask, plus, texts_of, tracked, usage_of
from antei.api.resources import Resource, all_resources
from antei.client import Client
from antei.client.events import EventRecorder
from antei.client.informer import Informer, Informers
from antei.control.controller import Key, Requeue, WorkQueue
from antei.control.custom_kinds import CustomKinds
from antei.world import World

__all__ = ["ResourceQuotaController", "counted"]

#: However many things go at once, a quota is counted once (Kubernetes batches by its rate-limited queue).
_SETTLING_SECONDS = 0.1
#: Pods that should have ended, and what was missed (Kubernetes: --resource-quota-sync-period).
_RESYNC_SECONDS = 300.0
_NOT_COUNTED = {"/events", "events.k8s.io/events"}


def counted(
    quota: ResourceQuota, objects: Iterable[tuple[Resource, Iterable[Any]]], now: datetime
) -> ResourceQuotaStatus:
    """The status of a quota, given the objects of its namespace by kind. Raises ValueError for a bad quantity."""
    hard = (quota.spec.hard if quota.spec is not None else None) or {}
    total: Amounts = {}
    is_tracked: set[str] = set()
    for resource, found in objects:
        names = tracked(resource, hard)
        is_tracked.update(names)
        for obj in found if names else ():
            if is_in_scope(quota, resource, obj):
                total = plus(total, mask(usage_of(resource, obj, now), names))
    known = mask(amounts_of(quota.status.used if quota.status is not None else None), hard)
    unknown = {name: amount for name, amount in known.items() if name not in is_tracked}
    zero = amounts_of(dict.fromkeys(is_tracked, "0"))
    return ResourceQuotaStatus(hard=hard or None, used=texts_of({**unknown, **zero, **total}) or None)


class ResourceQuotaController:
    """Keys are quotas."""

    name = "resourcequota-controller"

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder, world: World) -> None:
        self._client = client
        self._world = world
        self._informers = informers
        self._quotas: Informer[ResourceQuota] = informers.of(ResourceQuota)
        self._custom = CustomKinds(informers)
        self._followed: set[str] = set()  # buckets of the custom kinds that some quota is about
        self._queue: WorkQueue | None = None
        self._kinds: list[tuple[Resource, Informer[Any]]] = [
            (resource, informers.of(resource.type))
            for resource in all_resources()
            if resource.namespaced
            and resource.is_stored
            and resource.is_storage_version
            and resource.bucket not in _NOT_COUNTED
        ]

    def setup(self, informers: Informers, queue: WorkQueue) -> None:
        def changed(old: ResourceQuota | None, new: ResourceQuota | None) -> None:
            # Charges change only what is used, and are right as they are.
            if new is not None and (old is None or old.spec != new.spec):
                queue.add(key_of(new))

        def gone(resource: Resource) -> None:
            if resource.bucket in self._followed:
                self._followed.discard(resource.bucket)
                informers.drop(resource.type)

        self._queue = queue
        self._quotas.add_handler(changed)
        self._custom.setup(gone=gone)
        for resource, informer in self._kinds:
            informer.add_handler(self._handler(resource, queue))

    def _handler(self, resource: Resource, queue: WorkQueue) -> Callable[[Any, Any], None]:
        def handler(old: Any, new: Any) -> None:
            if old is None or not has_shrunk(resource, old, new):
                return
            for quota in self._quotas.items(namespace_of(old)):
                queue.add_after(key_of(quota), _SETTLING_SECONDS)

        return handler

    async def reconcile(self, key: Key) -> Requeue | None:
        quota = self._quotas.get(*key)
        if quota is None:
            return None
        names = (quota.spec.hard if quota.spec is not None else None) or {}
        in_namespace: list[tuple[Resource, Iterable[Any]]] = [
            (resource, informer.items(key[0])) for resource, informer in self._kinds if tracked(resource, names)
        ]
        for resource in self._custom.resources():
            if resource.namespaced and tracked(resource, names):
                self._follow(resource)
                in_namespace.append((resource, (await self._client.list(resource.type, key[0])).items))
        status = counted(quota, in_namespace, self._world.clock.now())
        if status != quota.status:
            try:
                await self._client.update(replace(quota, status=status), "status")
            except ApiError as error:
                if error.code not in (404, 409):
                    raise
                # Charged meanwhile: the informer is about to say so.
                return Requeue(_SETTLING_SECONDS) if error.code == 409 else None
        return Requeue(_RESYNC_SECONDS)

    def _follow(self, resource: Resource) -> None:
        """Custom kinds are watched only where a quota is about them."""
        if resource.bucket not in self._followed and self._queue is not None:
            self._followed.add(resource.bucket)
            self._informers.of(resource.type).add_handler(self._handler(resource, self._queue))


def has_shrunk(resource: Resource, old: Any, new: Any) -> bool:
    """Whether less may be used than before: what grows is charged as it grows."""
    if new is None:
        return True
    match resource.bucket:
        case "/pods":
            return is_terminal(new) and not is_terminal(old)
        case "/persistentvolumeclaims" | "/services":
            return bool(old.spec != new.spec)
    return False
