"""Volumes of pods (Kubernetes: ValidateVolumes and validateVolumeSource in pkg/apis/core/validation/validation.go)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lightkube.models.core_v1 import KeyToPath, Volume

from antei.api.errors import FieldError
from antei.api.quantity import to_decimal
from antei.api.validation.downward import VOLUME_FIELDS, object_field, resource_field
from antei.api.validation.fields import dns_label, duplicate, forbidden, invalid, not_supported, one_of, required
from antei.api.validation.storage import claim_spec

__all__ = ["PULL_POLICIES", "local_path", "volumes"]

_MODE_MESSAGE = "must be a number between 0 and 0777 (octal), both inclusive"
_HOST_PATH_TYPES = ("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")
_MIN_TOKEN_SECONDS = 600
PULL_POLICIES = ("Always", "IfNotPresent", "Never")


def volumes(path: str, given: Sequence[Volume]) -> tuple[list[FieldError], dict[str, Volume]]:
    """The errors, and the valid volumes by name, which mounts may refer to."""
    errors: list[FieldError] = []
    valid: dict[str, Volume] = {}
    for index, volume in enumerate(given):
        place = f"{path}[{index}]"
        found = _source(place, volume)
        if not volume.name:
            found.append(required(f"{place}.name"))
        else:
            found += dns_label(f"{place}.name", volume.name)
        if volume.name in valid:
            found.append(duplicate(f"{place}.name", volume.name))
        if found:
            errors += found
        else:
            valid[volume.name] = volume
    return errors, valid


def _source(path: str, volume: Volume) -> list[FieldError]:
    given = [name for name in volume.__struct_fields__ if name != "name" and getattr(volume, name) is not None]
    # The order in which Kubernetes looks at them decides which one is the forbidden second one.
    given.sort(key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))
    if not given:
        return [required(path, "must specify a volume type")]
    errors: list[FieldError] = []
    for index, name in enumerate(given):
        place = f"{path}.{name}"
        if index:
            errors.append(forbidden(place, "may not specify more than 1 volume type"))
        elif name in _SOURCES:
            errors += _SOURCES[name](place, getattr(volume, name))
    return errors


def _empty_dir(path: str, source: Any) -> list[FieldError]:
    if source.sizeLimit is not None and to_decimal(source.sizeLimit) < 0:
        return [forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")]
    return []


def _host_path(path: str, source: Any) -> list[FieldError]:
    if not source.path:
        return [required(f"{path}.path")]
    errors = _no_backsteps(f"{path}.path", source.path)
    if (source.type or "") not in _HOST_PATH_TYPES:
        errors.append(not_supported(f"{path}.type", source.type, _HOST_PATH_TYPES))
    return errors


def _mode(path: str, mode: int | None) -> list[FieldError]:
    return [invalid(path, mode, _MODE_MESSAGE)] if mode is not None and not 0 <= mode <= 0o777 else []


def _secret(path: str, source: Any) -> list[FieldError]:
    errors = [] if source.secretName else [required(f"{path}.secretName")]
    return errors + _mode(f"{path}.defaultMode", source.defaultMode) + _items(path, source.items)


def _config_map(path: str, source: Any) -> list[FieldError]:
    errors = [] if source.name else [required(f"{path}.name")]
    return errors + _mode(f"{path}.defaultMode", source.defaultMode) + _items(path, source.items)


def _items(path: str, items: Sequence[KeyToPath] | None) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, item in enumerate(items or ()):
        place = f"{path}.items[{index}]"
        if not item.key:
            errors.append(required(f"{place}.key"))
        if not item.path:
            errors.append(required(f"{place}.path"))
        errors += local_path(f"{place}.path", item.path, reserves_dots=True)
        errors += _mode(f"{place}.mode", item.mode)
    return errors


def local_path(path: str, value: str, *, reserves_dots: bool = False) -> list[FieldError]:
    """Relative and never upwards; `reserves_dots` also refuses names that start with two dots."""
    errors: list[FieldError] = []
    if value.startswith("/"):
        errors.append(invalid(path, value, "must be a relative path"))
    errors += _no_backsteps(path, value)
    if reserves_dots and value.startswith("..") and not value.startswith("../"):
        errors.append(invalid(path, value, "must not start with '..'"))
    return errors


def _no_backsteps(path: str, value: str) -> list[FieldError]:
    return [invalid(path, value, "must not contain '..'")] if ".." in value.split("/") else []


def _nfs(path: str, source: Any) -> list[FieldError]:
    errors = [] if source.server else [required(f"{path}.server")]
    if not source.path:
        errors.append(required(f"{path}.path"))
    elif not source.path.startswith("/"):
        errors.append(invalid(f"{path}.path", source.path, "must be an absolute path"))
    return errors


def _claim(path: str, source: Any) -> list[FieldError]:
    return [] if source.claimName else [required(f"{path}.claimName")]


def _csi(path: str, source: Any) -> list[FieldError]:
    return [] if source.driver else [required(f"{path}.driver")]


def _downward(path: str, source: Any) -> list[FieldError]:
    return _mode(f"{path}.defaultMode", source.defaultMode) + _downward_items(path, source.items)


def _downward_items(path: str, items: Sequence[Any] | None) -> list[FieldError]:
    errors: list[FieldError] = []
    for item in items or ():
        if not item.path:
            errors.append(required(f"{path}.path"))
        errors += local_path(f"{path}.path", item.path, reserves_dots=True)
        if item.fieldRef is not None:
            errors += object_field(f"{path}.fieldRef", item.fieldRef, VOLUME_FIELDS)
            if item.resourceFieldRef is not None:
                detail = "fieldRef and resourceFieldRef can not be specified simultaneously"
                errors.append(invalid(path, "resource", detail))
        elif item.resourceFieldRef is not None:
            errors += resource_field(f"{path}.resourceFieldRef", item.resourceFieldRef, in_volume=True)
        else:
            errors.append(required(path, "one of fieldRef and resourceFieldRef is required"))
        errors += _mode(f"{path}.mode", item.mode)
    return errors


def _projected(path: str, source: Any) -> list[FieldError]:
    errors = _mode(f"{path}.defaultMode", source.defaultMode)
    taken: set[str] = set()
    for index, projection in enumerate(source.sources or ()):
        place = f"{path}.sources[{index}]"
        given = [name for name in projection.__struct_fields__ if getattr(projection, name) is not None]
        for position, name in enumerate(given):
            if position:
                errors.append(forbidden(f"{place}.{name}", "may not specify more than 1 volume type"))
            else:
                errors += _projection(f"{place}.{name}", name, getattr(projection, name), taken)
        if not given:
            errors.append(
                required(place, "must specify one of `secret`, `configMap`, `downwardAPI`, `serviceAccountToken`")
            )
    return errors


def _projection(path: str, kind: str, source: Any, taken: set[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    paths: list[str] = []
    if kind in ("secret", "configMap"):
        errors += [] if source.name else [required(f"{path}.name")]
        errors += _items(path, source.items)
        paths = [item.path for item in source.items or ()]
    elif kind == "downwardAPI":
        errors += _downward_items(path, source.items)
        paths = [item.path for item in source.items or ()]
    elif kind == "serviceAccountToken":
        if source.expirationSeconds is not None and source.expirationSeconds < _MIN_TOKEN_SECONDS:
            detail = "may not specify a duration less than 10 minutes"
            errors.append(invalid(f"{path}.expirationSeconds", source.expirationSeconds, detail))
        errors += [] if source.path else [required(f"{path}.path")]
        paths = [source.path]
    for one in paths:
        if one and one in taken:
            errors.append(invalid(path, one, "conflicting duplicate paths"))
        taken.add(one)
    return errors


def _ephemeral(path: str, source: Any) -> list[FieldError]:
    if source.volumeClaimTemplate is None:
        return [required(f"{path}.volumeClaimTemplate")]
    return claim_spec(f"{path}.volumeClaimTemplate.spec", source.volumeClaimTemplate.spec)


def _image(path: str, source: Any) -> list[FieldError]:
    """The reference may be missing in a template (pod.py)."""
    return one_of(f"{path}.pullPolicy", source.pullPolicy, PULL_POLICIES)


_SOURCES: Mapping[str, Callable[[str, Any], list[FieldError]]] = {
    "emptyDir": _empty_dir,
    "hostPath": _host_path,
    "secret": _secret,
    "nfs": _nfs,
    "persistentVolumeClaim": _claim,
    "downwardAPI": _downward,
    "configMap": _config_map,
    "projected": _projected,
    "csi": _csi,
    "ephemeral": _ephemeral,
    "image": _image,
}
_ORDER: tuple[str, ...] = (
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
)
_ORDER += ("glusterfs", "persistentVolumeClaim", "rbd", "cinder", "cephfs", "flocker", "downwardAPI", "fc", "azureFile")
_ORDER += ("configMap", "vsphereVolume", "quobyte", "azureDisk", "storageos", "portworxVolume", "scaleIO", "projected")
_ORDER += ("csi", "ephemeral", "image")
