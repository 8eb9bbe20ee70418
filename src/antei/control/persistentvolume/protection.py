"""Claims and volumes that are in use do not go: they keep a finalizer until they are not.

(Kubernetes: pkg/controller/volume/pvcprotection, pvprotection.)
"""

from __future__ import annotations

from collections.abc import Iterable

from lightkube.models.core_v1 import Volume
from lightkube.resources.core_v1 import PersistentVolume, PersistentVolumeClaim, Pod

from antei.api.errors import ApiError
from antei.api.objects import is_terminating, meta, name_of, namespace_of, replace_meta
from antei.client import Client
from antei.client.events import EventRecorder
from antei.client.informer import Informer, Informers
from antei.control.controller import Key, Requeue, WorkQueue, enqueue_key
from antei.world import World

__all__ = ["VolumeProtectionController", "claims_of", "index_pods_by_claim"]

CLAIM_FINALIZER = "kubernetes.io/pvc-protection"
VOLUME_FINALIZER = "kubernetes.io/pv-protection"


class VolumeProtectionController:
    """Keys are claims, and volumes, whose namespace is empty."""

    name = "volume-protection-controller"

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder, world: World) -> None:
        self._client = client
        self._claims: Informer[PersistentVolumeClaim] = informers.of(PersistentVolumeClaim)
        self._volumes: Informer[PersistentVolume] = informers.of(PersistentVolume)
        self._pods: Informer[Pod] = informers.of(Pod)

    def setup(self, informers: Informers, queue: WorkQueue) -> None:
        index_pods_by_claim(self._pods)
        self._claims.add_handler(enqueue_key(queue))
        self._volumes.add_handler(enqueue_key(queue))

        def pod_gone(old: Pod | None, new: Pod | None) -> None:
            if new is None and old is not None:
                for claim in claims_of(old):
                    queue.add((namespace_of(old), claim))

        self._pods.add_handler(pod_gone)

    async def reconcile(self, key: Key) -> Requeue | None:
        try:
            if key[0]:
                await self._reconcile_claim(key)
            else:
                await self._reconcile_volume(key[1])
        except ApiError as error:
            if error.code != 404:
                raise
        return None

    async def _reconcile_claim(self, key: Key) -> None:
        claim = self._claims.get(*key)
        if claim is None:
            return
        finalizers = meta(claim).finalizers or []
        if not is_terminating(claim):
            if CLAIM_FINALIZER not in finalizers:
                await self._client.update(replace_meta(claim, finalizers=[*finalizers, CLAIM_FINALIZER]))
            return
        if CLAIM_FINALIZER not in finalizers or self._uses(self._pods.by_index("claim", "/".join(key)), key):
            return
        # Asked of the API too: a pod that was created a moment ago may not have been seen.
        if not self._uses((await self._client.list(Pod, key[0])).items, key):
            await self._client.update(replace_meta(claim, finalizers=_without(finalizers, CLAIM_FINALIZER)))

    @staticmethod
    def _uses(pods: Iterable[Pod], key: Key) -> bool:
        """Whether one of the pods has a node and the claim; one without a node would not start any more."""
        return any(pod.spec and pod.spec.nodeName and key[1] in claims_of(pod) for pod in pods)

    async def _reconcile_volume(self, name: str) -> None:
        volume = self._volumes.get("", name)
        if volume is None:
            return
        finalizers = meta(volume).finalizers or []
        if not is_terminating(volume):
            if VOLUME_FINALIZER not in finalizers:
                await self._client.update(replace_meta(volume, finalizers=[*finalizers, VOLUME_FINALIZER]))
            return
        is_used = volume.status is not None and volume.status.phase == "Bound"
        if VOLUME_FINALIZER in finalizers and not is_used:
            await self._client.update(replace_meta(volume, finalizers=_without(finalizers, VOLUME_FINALIZER)))


def index_pods_by_claim(pods: Informer[Pod]) -> None:
    """Keeps pods findable by NAMESPACE/CLAIM as "claim"."""
    pods.add_index("claim", _claim_entries)


def claims_of(pod: Pod) -> tuple[str, ...]:
    volumes = (pod.spec.volumes if pod.spec else None) or ()
    return tuple(name for volume in volumes if (name := _claim_name(pod, volume)))


def _claim_name(pod: Pod, volume: Volume) -> str | None:
    if volume.persistentVolumeClaim is not None:
        return volume.persistentVolumeClaim.claimName
    return f"{name_of(pod)}-{volume.name}" if volume.ephemeral is not None else None


def _claim_entries(pod: Pod) -> Iterable[str]:
    return [f"{namespace_of(pod)}/{name}" for name in claims_of(pod)]


def _without(finalizers: list[str], gone: str) -> list[str] | None:
    return [finalizer for finalizer in finalizers if finalizer != gone] or None
