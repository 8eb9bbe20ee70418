"""What a pod's claims say about where it can run.

Source: pkg/scheduler/framework/plugins/volumebinding (binder.go, volume_binding.go).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lightkube.resources.core_v1 import Node, PersistentVolume, PersistentVolumeClaim, Pod
from lightkube.resources.storage_v1 import StorageClass

from antei.api.objects import is_terminating, meta, name_of, namespace_of
from antei.api.pods import ephemeral_misfit
from antei.control.node_match import selects_node

__all__ = ["SELECTED_NODE", "PodVolumes", "VolumeLookup", "claim_names", "is_bound", "volumes_of"]

SELECTED_NODE = "volume.kubernetes.io/selected-node"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
#: Kubernetes: pkg/scheduler/framework/plugins/volumerestrictions.
TAKEN = (
    "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"
)
NODE_CONFLICT = "node(s) didn't match PersistentVolume's node affinity"


@dataclass(frozen=True, slots=True)
class VolumeLookup:
    claim: Callable[[str, str], PersistentVolumeClaim | None]  # namespace, name
    volume: Callable[[str], PersistentVolume | None]
    storage_class: Callable[[str], StorageClass | None]


@dataclass(frozen=True, slots=True)
class PodVolumes:
    """`problem` keeps the pod from every node; `waiting` are claims that get a volume once a node is chosen.

    `exclusive` are claims for one pod alone (ReadWriteOncePod); `is_taken`: another pod has one of them.
    """

    bound: tuple[PersistentVolume, ...] = ()
    waiting: tuple[PersistentVolumeClaim, ...] = ()
    problem: str = ""
    exclusive: tuple[str, ...] = ()
    is_taken: bool = False

    def rejects(self, node: Node) -> str | None:
        if self.is_taken:
            return TAKEN
        for volume in self.bound:
            affinity = volume.spec.nodeAffinity if volume.spec else None
            if affinity is not None and affinity.required is not None and not selects_node(affinity.required, node):
                return NODE_CONFLICT
        return None

    def chosen_node(self) -> str | None:
        """The node for which a volume is being made already."""
        for claim in self.waiting:
            selected = (meta(claim).annotations or {}).get(SELECTED_NODE)
            if selected:
                return selected
        return None


def claim_names(pod: Pod) -> tuple[str, ...]:
    """The claims the pod mounts, those of its generic ephemeral volumes included."""
    names = []
    for volume in (pod.spec.volumes if pod.spec else None) or ():
        if volume.persistentVolumeClaim is not None:
            names.append(volume.persistentVolumeClaim.claimName)
        elif volume.ephemeral is not None:
            names.append(f"{name_of(pod)}-{volume.name}")
    return tuple(names)


def _ephemeral_names(pod: Pod) -> set[str]:
    volumes = (pod.spec.volumes if pod.spec else None) or ()
    return {f"{name_of(pod)}-{volume.name}" for volume in volumes if volume.ephemeral is not None}


def is_bound(claim: PersistentVolumeClaim) -> bool:
    return bool(claim.spec and claim.spec.volumeName) and BIND_COMPLETED in (meta(claim).annotations or {})


def volumes_of(pod: Pod, lookup: VolumeLookup) -> PodVolumes:
    bound: list[PersistentVolume] = []
    waiting: list[PersistentVolumeClaim] = []
    exclusive: list[str] = []
    own = _ephemeral_names(pod)
    for name in claim_names(pod):
        claim = lookup.claim(namespace_of(pod), name)
        if claim is None and name in own:
            what = f'persistentvolumeclaim "{name}"'
            return PodVolumes(problem=f"waiting for ephemeral volume controller to create the {what}")
        if claim is not None and name in own and (misfit := ephemeral_misfit(pod, claim)):
            return PodVolumes(problem=misfit)
        if claim is None:
            return PodVolumes(problem=f'persistentvolumeclaim "{name}" not found')
        if claim.status is not None and claim.status.phase == "Lost":
            volume_name = claim.spec.volumeName if claim.spec else None
            problem = f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{volume_name}"'
            return PodVolumes(problem=problem)
        if is_terminating(claim):
            return PodVolumes(problem=f'persistentvolumeclaim "{name}" is being deleted')
        if claim.spec is not None and "ReadWriteOncePod" in (claim.spec.accessModes or ()):
            exclusive.append(name)
        if is_bound(claim):
            volume_name = (claim.spec.volumeName if claim.spec else None) or ""
            volume = lookup.volume(volume_name)
            if volume is None:
                return PodVolumes(problem="node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)")
            bound.append(volume)
        elif _waits_for_consumer(claim, lookup):
            waiting.append(claim)
        else:
            return PodVolumes(problem="pod has unbound immediate PersistentVolumeClaims")
    return PodVolumes(tuple(bound), tuple(waiting), exclusive=tuple(exclusive))


def _waits_for_consumer(claim: PersistentVolumeClaim, lookup: VolumeLookup) -> bool:
    if claim.spec is None or claim.spec.volumeName or not claim.spec.storageClassName:
        return False
    storage_class = lookup.storage_class(claim.spec.storageClassName)
    return storage_class is not None and storage_class.volumeBindingMode == "WaitForFirstConsumer"
