"""Volumes and claims (Kubernetes: pkg/registry/core/{persistentvolume,persistentvolumeclaim}/strategy.go)."""

from __future__ import annotations

from lightkube.models.core_v1 import PersistentVolumeClaimStatus, PersistentVolumeStatus
from lightkube.resources.core_v1 import PersistentVolume, PersistentVolumeClaim

from antei.api.objects import replace
from antei.server.strategies.generic import Context, Strategy

__all__ = ["ClaimStrategy", "VolumeStrategy"]


class VolumeStrategy(Strategy):
    def prepare_create(self, obj: PersistentVolume, context: Context) -> PersistentVolume:
        return replace(obj, status=PersistentVolumeStatus(phase="Pending"))


class ClaimStrategy(Strategy):
    def prepare_create(self, obj: PersistentVolumeClaim, context: Context) -> PersistentVolumeClaim:
        return replace(obj, status=PersistentVolumeClaimStatus(phase="Pending"))
