"""Volumes, claims and ingresses: kinds whose creation the default admission plug-ins complete.

Kubernetes: pkg/registry/{core/persistentvolume,core/persistentvolumeclaim,networking/ingress}/strategy.go.
"""

from __future__ import annotations

from lightkube.models.core_v1 import PersistentVolumeClaimStatus, PersistentVolumeStatus
from lightkube.resources.core_v1 import PersistentVolume, PersistentVolumeClaim
from lightkube.resources.networking_v1 import Ingress

from antei.api.objects import replace
from antei.server.admission import admit_claim, admit_ingress, admit_volume
from antei.server.strategies.generic import Context, Strategy

__all__ = ["ClaimStrategy", "IngressStrategy", "VolumeStrategy"]


class VolumeStrategy(Strategy):
    def admit(self, obj: PersistentVolume, context: Context) -> PersistentVolume:
        return admit_volume(obj, context.store)

    def prepare_create(self, obj: PersistentVolume, context: Context) -> PersistentVolume:
        return replace(obj, status=PersistentVolumeStatus(phase="Pending"))


class ClaimStrategy(Strategy):
    def admit(self, obj: PersistentVolumeClaim, context: Context) -> PersistentVolumeClaim:
        return admit_claim(obj, context.store)

    def prepare_create(self, obj: PersistentVolumeClaim, context: Context) -> PersistentVolumeClaim:
        return replace(obj, status=PersistentVolumeClaimStatus(phase="Pending"))


class IngressStrategy(Strategy):
    has_generation = True

    def admit(self, obj: Ingress, context: Context) -> Ingress:
        return admit_ingress(obj, context.store)
