"""What default plug-ins add to volumes, claims and ingresses: finalizers that protect, and the default class.

Kubernetes: plugin/pkg/admission/{storage/storageobjectinuseprotection,storage/storageclass/setdefault,
storage/persistentvolume/resize,network/defaultingressclass}.
"""

from __future__ import annotations

from typing import Any, ClassVar

from lightkube.resources.core_v1 import PersistentVolumeClaim
from lightkube.resources.networking_v1 import Ingress, IngressClass
from lightkube.resources.storage_v1 import StorageClass

from antei.api.objects import meta, replace, replace_meta
from antei.api.quantity import to_bytes
from antei.api.resources import resource_of
from antei.server.admission.request import Operation, Plugin, Request
from antei.store import Key, Store

__all__ = ["DefaultIngressClass", "DefaultStorageClass", "StorageObjectInUseProtection", "VolumeClaimResize"]

_DEFAULT_STORAGE_CLASS = "storageclass.kubernetes.io/is-default-class"
_DEFAULT_STORAGE_CLASS_BETA = "storageclass.beta.kubernetes.io/is-default-class"
_STORAGE_CLASS_BETA = "volume.beta.kubernetes.io/storage-class"
_DEFAULT_INGRESS_CLASS = "ingressclass.kubernetes.io/is-default-class"
_INGRESS_CLASS = "kubernetes.io/ingress.class"
_PROTECTIONS = {
    "/persistentvolumeclaims": "kubernetes.io/pvc-protection",
    "/persistentvolumes": "kubernetes.io/pv-protection",
}


class DefaultStorageClass(Plugin):
    """The default class for a claim that names none; an empty name means "no class" and stays."""

    handles: ClassVar = {Operation.CREATE: frozenset({"/persistentvolumeclaims"})}

    def __init__(self, store: Store) -> None:
        self._store = store

    def admit(self, request: Request) -> Any:
        claim: PersistentVolumeClaim = request.object
        spec = claim.spec
        if spec is None or spec.storageClassName is not None or _STORAGE_CLASS_BETA in (meta(claim).annotations or {}):
            return claim
        default = _default_class(self._store, StorageClass, (_DEFAULT_STORAGE_CLASS, _DEFAULT_STORAGE_CLASS_BETA))
        return claim if default is None else replace(claim, spec=replace(spec, storageClassName=default))


class StorageObjectInUseProtection(Plugin):
    """The finalizer that keeps a claim while pods use it, and a volume while it is bound."""

    handles: ClassVar = {Operation.CREATE: frozenset(_PROTECTIONS)}

    def admit(self, request: Request) -> Any:
        finalizer = _PROTECTIONS[request.resource.bucket]
        finalizers = meta(request.object).finalizers or []
        if finalizer in finalizers:
            return request.object
        return replace_meta(request.object, finalizers=[*finalizers, finalizer])


class VolumeClaimResize(Plugin):
    """A claim grows only where its class lets volumes grow."""

    handles: ClassVar = {Operation.UPDATE: frozenset({"/persistentvolumeclaims"})}

    def __init__(self, store: Store) -> None:
        self._store = store

    def validate(self, request: Request) -> None:
        new, old = _asked_bytes(request.object), _asked_bytes(request.old_object)
        if new <= old:
            return
        status = request.old_object.status
        if status is None or status.phase != "Bound":
            raise request.forbidden("Only bound persistent volume claims can be expanded")
        name = request.object.spec.storageClassName
        stored = self._store.get(Key(resource_of(StorageClass).bucket, "", name)) if name else None
        if stored is None or not stored.object.allowVolumeExpansion:
            raise request.forbidden(
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must "
                "support resize"
            )


def _asked_bytes(claim: PersistentVolumeClaim) -> int:
    spec = claim.spec
    requests = spec.resources.requests if spec is not None and spec.resources is not None else None
    return to_bytes((requests or {}).get("storage", "0"))


class DefaultIngressClass(Plugin):
    handles: ClassVar = {Operation.CREATE: frozenset({"networking.k8s.io/ingresses"})}

    def __init__(self, store: Store) -> None:
        self._store = store

    def admit(self, request: Request) -> Any:
        ingress: Ingress = request.object
        spec = ingress.spec
        if spec is None or spec.ingressClassName is not None or _INGRESS_CLASS in (meta(ingress).annotations or {}):
            return ingress
        default = _default_class(self._store, IngressClass, (_DEFAULT_INGRESS_CLASS,))
        return ingress if default is None else replace(ingress, spec=replace(spec, ingressClassName=default))


def _default_class(store: Store, kind: type[Any], annotations: tuple[str, ...]) -> str | None:
    """The class annotated as the default; of several the newest, then the first by name."""
    found = [
        stored.object
        for stored in store.list(resource_of(kind).bucket).items
        if any((meta(stored.object).annotations or {}).get(name) == "true" for name in annotations)
    ]
    if not found:
        return None
    newest = max(str(meta(candidate).creationTimestamp) for candidate in found)
    return next(meta(candidate).name for candidate in found if str(meta(candidate).creationTimestamp) == newest)
