"""The end of a CustomResourceDefinition: all objects of its kind are deleted, and when none is left it goes.

    Terminating ──► delete every object ──► some left (they have finalizers): look again soon
                                       └──► none left: the finalizer is removed

Kubernetes: apiextensions-apiserver/pkg/controller/finalizer/crd_finalizer.go.
"""

from __future__ import annotations

from lightkube.models.apiextensions_v1 import CustomResourceDefinitionStatus
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition

from antei.api.customresources.definition import condition_of, custom_kind
from antei.api.customresources.names import with_condition
from antei.api.errors import ApiError
from antei.api.objects import is_terminating, meta, name_of, namespace_of, replace, replace_meta
from antei.client import Client
from antei.client.events import EventRecorder
from antei.client.informer import Informer, Informers
from antei.control.controller import Key, Requeue, WorkQueue, enqueue_key
from antei.world import World

__all__ = ["CustomResourceCleanupController"]

_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
#: How soon a definition with objects left is looked at again.
_AGAIN_SECONDS = 0.5


class CustomResourceCleanupController:
    """Keys are definitions."""

    name = "customresource-cleanup-controller"

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder, world: World) -> None:
        self._client = client
        self._world = world
        self._definitions: Informer[CustomResourceDefinition] = informers.of(CustomResourceDefinition)

    def setup(self, informers: Informers, queue: WorkQueue) -> None:
        self._definitions.add_handler(enqueue_key(queue))

    async def reconcile(self, key: Key) -> Requeue | None:
        known = self._definitions.get(*key)
        if known is None or not is_terminating(known) or _FINALIZER not in (meta(known).finalizers or ()):
            return None
        try:
            # The informer may be behind what this controller wrote itself.
            crd = await self._client.get(CustomResourceDefinition, name_of(known))
            if _FINALIZER not in (meta(crd).finalizers or ()):
                return None
            if condition_of(crd, "Established") == "True" and await self._left(crd):
                text = "CustomResource deletion is in progress"
                await self._tell(crd, "True", "InstanceDeletionInProgress", text)
                return Requeue(_AGAIN_SECONDS)
            crd = await self._tell(crd, "False", "InstanceDeletionCompleted", "removed all instances")
            left = [finalizer for finalizer in meta(crd).finalizers or () if finalizer != _FINALIZER]
            await self._client.update(replace_meta(crd, finalizers=left or None))
        except ApiError as error:
            if error.code != 404:
                raise
        return None

    async def _left(self, crd: CustomResourceDefinition) -> int:
        """Deletes the objects that are there; how many are still to go."""
        served = custom_kind(crd).served
        if not served:
            return 0
        kind = served[0].type
        for obj in (await self._client.list(kind)).items:
            if is_terminating(obj):
                continue
            try:
                await self._client.delete(kind, name_of(obj), namespace_of(obj), uid=meta(obj).uid)
            except ApiError as error:
                if error.code not in (404, 409):
                    raise
        return len((await self._client.list(kind)).items)

    async def _tell(
        self, crd: CustomResourceDefinition, status: str, reason: str, message: str
    ) -> CustomResourceDefinition:
        known = crd.status or CustomResourceDefinitionStatus()
        now = self._world.clock.now()
        conditions = with_condition(known.conditions or (), now, "Terminating", status, reason, message)
        if conditions == known.conditions:
            return crd
        return await self._client.update(replace(crd, status=replace(known, conditions=conditions)), "status")
