"""Claims of generic ephemeral volumes: made for a pod from its template, owned by it, collected with it.

(Kubernetes: pkg/controller/volume/ephemeral/controller.go, component-helpers/storage/ephemeral.)
"""

from __future__ import annotations

from lightkube.models.core_v1 import Volume
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference
from lightkube.resources.core_v1 import PersistentVolumeClaim, Pod

from antei.api.errors import ApiError
from antei.api.objects import is_terminating, key_of, name_of, namespace_of, uid_of
from antei.api.pods import ephemeral_misfit
from antei.client import Client
from antei.client.events import EventRecorder
from antei.client.informer import Informer, Informers
from antei.control.controller import Key, Requeue, WorkQueue
from antei.control.persistentvolume.protection import index_pods_by_claim
from antei.world import World

__all__ = ["EphemeralVolumeController", "ephemeral_claim"]

#: After a claim could not be made, or is somebody else's.
_RETRY_SECONDS = 15.0


class EphemeralVolumeController:
    """Keys are pods."""

    name = "ephemeral-volume-controller"

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder, world: World) -> None:
        self._client = client
        self._recorder = recorder
        self._pods: Informer[Pod] = informers.of(Pod)
        self._claims: Informer[PersistentVolumeClaim] = informers.of(PersistentVolumeClaim)

    def setup(self, informers: Informers, queue: WorkQueue) -> None:
        index_pods_by_claim(self._pods)

        def pod_changed(old: Pod | None, new: Pod | None) -> None:
            if new is not None and (old is None or uid_of(old) != uid_of(new)) and _ephemeral(new):
                queue.add(key_of(new))

        def claim_changed(old: PersistentVolumeClaim | None, new: PersistentVolumeClaim | None) -> None:
            """A claim that somebody deleted is made again for the pod that names it."""
            if new is None and old is not None:
                for pod in self._pods.by_index("claim", "/".join(key_of(old))):
                    queue.add(key_of(pod))

        self._pods.add_handler(pod_changed)
        self._claims.add_handler(claim_changed)

    async def reconcile(self, key: Key) -> Requeue | None:
        pod = self._pods.get(*key)
        if pod is None or is_terminating(pod):
            return None
        problems = [problem for volume in _ephemeral(pod) if (problem := await self._provide(pod, volume))]
        for problem in problems:
            self._recorder.event(pod, "Warning", "FailedBinding", problem)
        return Requeue(_RETRY_SECONDS) if problems else None

    async def _provide(self, pod: Pod, volume: Volume) -> str:
        """Why the pod has no claim of its own yet; empty when it has one. Another's of that name is not taken over."""
        claim = ephemeral_claim(pod, volume)
        known = self._claims.get(namespace_of(pod), name_of(claim))
        try:
            if known is None:
                known = await self._client.create(claim)
        except ApiError as error:
            return f"ephemeral volume {volume.name}: create PVC {name_of(claim)}: {error}"
        misfit = ephemeral_misfit(pod, known)
        return f"ephemeral volume {volume.name}: {misfit}" if misfit else ""


def _ephemeral(pod: Pod) -> list[Volume]:
    return [volume for volume in (pod.spec.volumes if pod.spec else None) or () if volume.ephemeral is not None]


def ephemeral_claim(pod: Pod, volume: Volume) -> PersistentVolumeClaim:
    """The claim POD-VOLUME, with the template's labels, annotations and spec."""
    template = volume.ephemeral.volumeClaimTemplate if volume.ephemeral is not None else None
    if template is None:
        raise ValueError(f"volume {volume.name} has no claim template")
    given = template.metadata or ObjectMeta()
    return PersistentVolumeClaim(
        apiVersion="v1",
        kind="PersistentVolumeClaim",
        metadata=ObjectMeta(
            name=f"{name_of(pod)}-{volume.name}",
            namespace=namespace_of(pod),
            labels=given.labels,
            annotations=given.annotations,
            ownerReferences=[
                OwnerReference(
                    apiVersion="v1",
                    kind="Pod",
                    name=name_of(pod),
                    uid=uid_of(pod),
                    controller=True,
                    blockOwnerDeletion=True,
                )
            ],
        ),
        spec=template.spec,
    )
