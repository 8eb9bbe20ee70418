"""Claims, volumes and classes (Kubernetes: ValidatePersistentVolume, ValidatePersistentVolumeClaim in
pkg/apis/core/validation/validation.go, pkg/apis/storage/validation/validation.go)."""

from __future__ import annotations

from typing import Any

from lightkube.models.core_v1 import PersistentVolumeClaimSpec
from lightkube.resources.core_v1 import PersistentVolume, PersistentVolumeClaim
from lightkube.resources.storage_v1 import StorageClass

from antei.api import names
from antei.api.errors import FieldError
from antei.api.objects import replace
from antei.api.quantity import to_decimal
from antei.api.validation.fields import (
    dns_subdomain,
    forbidden,
    immutable,
    invalid,
    messages,
    not_supported,
    one_of,
    required,
)
from antei.api.validation.metadata import label_selector
from antei.api.validation.scheduling import node_selector

__all__ = ["claim", "claim_spec", "claim_update", "storage_class", "storage_class_update", "volume", "volume_update"]

_ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_VOLUME_MODES = ("Block", "Filesystem")
_RECLAIM_POLICIES = ("Delete", "Recycle", "Retain")
_NOT_SOURCES = {
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
}


def claim(obj: PersistentVolumeClaim) -> list[FieldError]:
    return claim_spec("spec", obj.spec)


def claim_spec(path: str, spec: PersistentVolumeClaimSpec | None) -> list[FieldError]:
    spec = spec or PersistentVolumeClaimSpec()
    errors = _access_modes(f"{path}.accessModes", spec.accessModes)
    errors += label_selector(f"{path}.selector", spec.selector)
    # Kubernetes leaves `requests` out of this path.
    requests = (spec.resources.requests if spec.resources else None) or {}
    if "storage" not in requests:
        errors.append(required(f"{path}.resources[storage]"))
    elif to_decimal(requests["storage"]) <= 0:
        detail = "must be greater than zero"
        errors.append(invalid(f"{path}.resources[storage]", requests["storage"], detail))
    if spec.storageClassName:
        errors += dns_subdomain(f"{path}.storageClassName", spec.storageClassName)
    if spec.volumeMode is not None and spec.volumeMode not in _VOLUME_MODES:
        errors.append(not_supported(f"{path}.volumeMode", spec.volumeMode, _VOLUME_MODES))
    return errors


def _access_modes(path: str, modes: list[str] | None) -> list[FieldError]:
    if not modes:
        return [required(path, "at least 1 access mode is required")]
    errors = [not_supported(path, mode, _ACCESS_MODES) for mode in modes if mode not in _ACCESS_MODES]
    if "ReadWriteOncePod" in modes and len(set(modes)) > 1:
        detail = "may not use ReadWriteOncePod with other access modes"
        errors.append(forbidden(path, detail))
    return errors


def claim_update(new: PersistentVolumeClaim, old: PersistentVolumeClaim) -> list[FieldError]:
    """The volume may be named once, and a bound claim may grow."""
    errors = claim(new)
    after, before = new.spec, old.spec
    if after is None or before is None:
        return errors
    kept: dict[str, Any] = {}
    if not before.volumeName:
        kept["volumeName"] = before.volumeName
    if before.storageClassName is None and after.storageClassName is not None:
        kept["storageClassName"] = None
    if new.status is not None and new.status.phase == "Bound":
        kept["resources"] = before.resources
        kept["volumeAttributesClassName"] = before.volumeAttributesClassName
    if replace(after, **kept) != before:
        detail = (
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
        )
        errors.append(forbidden("spec", detail))
    if _storage(after) < _storage(before):
        capacity = ((old.status.capacity if old.status else None) or {}).get("storage")
        if _storage(after) <= to_decimal(capacity):
            place = "spec.resources.requests.storage"
            errors.append(forbidden(place, "field can not be less than status.capacity"))
    return errors


def _storage(spec: PersistentVolumeClaimSpec) -> Any:
    return to_decimal(((spec.resources.requests if spec.resources else None) or {}).get("storage"))


def volume(obj: PersistentVolume) -> list[FieldError]:
    spec = obj.spec
    if spec is None:
        return [required("spec.accessModes"), required("spec.capacity")]
    errors: list[FieldError] = []
    if not spec.accessModes:
        errors.append(required("spec.accessModes"))
    else:
        errors += _access_modes("spec.accessModes", spec.accessModes)
    if not spec.capacity:
        errors.append(required("spec.capacity"))
    else:
        if "storage" not in spec.capacity or len(spec.capacity) > 1:
            errors.append(not_supported("spec.capacity", spec.capacity, ("storage",)))
        for name, amount in sorted(spec.capacity.items()):
            if to_decimal(amount) <= 0:
                errors.append(invalid(f"spec.capacity[{name}]", amount, "must be greater than zero"))
    policy = spec.persistentVolumeReclaimPolicy
    if policy and policy not in _RECLAIM_POLICIES:
        errors.append(not_supported("spec.persistentVolumeReclaimPolicy", policy, _RECLAIM_POLICIES))
    if spec.nodeAffinity is not None and spec.nodeAffinity.required is not None:
        errors += node_selector("spec.nodeAffinity.required", spec.nodeAffinity.required)
    errors += _volume_source(spec)
    if spec.storageClassName:
        errors += dns_subdomain("spec.storageClassName", spec.storageClassName)
    if spec.volumeMode is not None and spec.volumeMode not in _VOLUME_MODES:
        errors.append(not_supported("spec.volumeMode", spec.volumeMode, _VOLUME_MODES))
    return errors


def _volume_source(spec: Any) -> list[FieldError]:
    sources = [n for n in spec.__struct_fields__ if n not in _NOT_SOURCES and getattr(spec, n) is not None]
    if not sources:
        return [required("spec", "must specify a volume type")]
    errors = [forbidden(f"spec.{name}", "may not specify more than 1 volume type") for name in sources[1:]]
    source = getattr(spec, sources[0])
    place = f"spec.{sources[0]}"
    if sources[0] in ("hostPath", "local", "nfs") and not source.path:
        errors.append(required(f"{place}.path"))
    if sources[0] == "nfs":
        if not source.server:
            errors.append(required(f"{place}.server"))
        if source.path and not source.path.startswith("/"):
            errors.append(invalid(f"{place}.path", source.path, "must be an absolute path"))
    if sources[0] == "local" and spec.nodeAffinity is None:
        errors.append(required("spec.nodeAffinity", "Local volume requires node affinity"))
    return errors


def volume_update(new: PersistentVolume, old: PersistentVolume) -> list[FieldError]:
    errors = volume(new)
    if new.spec is None or old.spec is None:
        return errors
    sources = [n for n in old.spec.__struct_fields__ if n not in _NOT_SOURCES]
    if any(getattr(new.spec, name) != getattr(old.spec, name) for name in sources):
        errors.append(
            forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation")
        )
    return errors + immutable("spec.volumeMode", new.spec.volumeMode, old.spec.volumeMode)


def storage_class(obj: StorageClass) -> list[FieldError]:
    errors: list[FieldError] = []
    if not obj.provisioner:
        errors.append(required("provisioner", obj.provisioner or ""))
    else:
        errors += messages("provisioner", obj.provisioner, _provisioner_messages(obj.provisioner))
    if "" in (obj.parameters or {}):
        errors.append(invalid("parameters", len(obj.parameters or {}), "field must not contain empty keys"))
    if obj.reclaimPolicy and obj.reclaimPolicy not in ("Delete", "Retain"):
        errors.append(not_supported("reclaimPolicy", obj.reclaimPolicy, ("Delete", "Retain")))
    errors += one_of("volumeBindingMode", obj.volumeBindingMode, ("Immediate", "WaitForFirstConsumer"))
    return errors


def _provisioner_messages(provisioner: str) -> list[str]:
    return names.qualified_name(provisioner.lower())


def storage_class_update(new: StorageClass, old: StorageClass) -> list[FieldError]:
    errors = storage_class(new)
    if new.parameters != old.parameters:
        errors.append(forbidden("parameters", "updates to parameters are forbidden."))
    if new.provisioner != old.provisioner:
        errors.append(forbidden("provisioner", "updates to provisioner are forbidden."))
    if new.reclaimPolicy != old.reclaimPolicy:
        errors.append(forbidden("reclaimPolicy", "updates to reclaimPolicy are forbidden."))
    return errors + immutable("volumeBindingMode", new.volumeBindingMode, old.volumeBindingMode)
