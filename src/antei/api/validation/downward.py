"""Fields of a pod that its containers can be told (Kubernetes: validateObjectFieldSelector and
validateContainerResourceFieldSelector in pkg/apis/core/validation/validation.go, pkg/apis/core/pods/helpers.go)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lightkube.models.core_v1 import ObjectFieldSelector, ResourceFieldSelector

from antei.api import names
from antei.api.errors import FieldError
from antei.api.quantity import to_decimal
from antei.api.validation.fields import invalid, messages, not_supported, required

__all__ = ["ENVIRONMENT_FIELDS", "VOLUME_FIELDS", "object_field", "resource_field"]

ENVIRONMENT_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
VOLUME_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_KNOWN_FIELDS = {
    *ENVIRONMENT_FIELDS,
    *VOLUME_FIELDS,
    "spec.restartPolicy",
    "spec.schedulerName",
    "status.phase",
    "spec.host",
}
_RESOURCES = (
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
)
_BYTE_DIVISORS = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")


def object_field(path: str, selector: ObjectFieldSelector, allowed: Sequence[str]) -> list[FieldError]:
    if not selector.apiVersion:
        return [required(f"{path}.apiVersion")]
    if not selector.fieldPath:
        return [required(f"{path}.fieldPath")]
    field = selector.fieldPath
    found = re.fullmatch(r"(.*)\['(.*)'\]", field)
    base, key = (found.group(1), found.group(2)) if found else (field, None)
    if base not in _KNOWN_FIELDS or selector.apiVersion != "v1":
        detail = f"error converting fieldPath: field label not supported: {base}"
        if selector.apiVersion != "v1":
            detail = f"error converting fieldPath: unsupported pod version: {selector.apiVersion}"
        return [invalid(f"{path}.fieldPath", field, detail)]
    if key is not None:
        if base == "metadata.annotations":
            return messages(path, key.lower(), names.qualified_name(key.lower()))
        if base == "metadata.labels":
            return messages(path, key, names.qualified_name(key))
        # The converter refuses the label with its subscript before anything else can.
        return [
            invalid(
                f"{path}.fieldPath",
                field,
                f"error converting fieldPath: field label does not support subscript: {field}",
            )
        ]
    if base not in allowed:
        return [not_supported(f"{path}.fieldPath", base, sorted(allowed))]
    return []


def resource_field(path: str, selector: ResourceFieldSelector, *, in_volume: bool = False) -> list[FieldError]:
    errors: list[FieldError] = []
    resource = selector.resource
    if in_volume and not selector.containerName:
        errors.append(required(f"{path}.containerName"))
    elif not resource:
        errors.append(required(f"{path}.resource"))
    elif resource not in _RESOURCES and not resource.startswith(("requests.hugepages-", "limits.hugepages-")):
        errors.append(not_supported(f"{path}.resource", resource, _RESOURCES))
    return errors + _divisor(path, resource, selector.divisor)


def _divisor(path: str, resource: str, divisor: str | None) -> list[FieldError]:
    if divisor is None or to_decimal(divisor) == 0:
        return []
    if resource in ("limits.cpu", "requests.cpu"):
        allowed: tuple[str, ...] = ("1m", "1")
        what = "divisor's values 1m and 1 are supported with the cpu resource"
    else:
        allowed = _BYTE_DIVISORS
        kind = "memory"
        if resource.endswith("ephemeral-storage"):
            kind = "local ephemeral storage"
        elif "hugepages-" in resource:
            kind = "hugepages"
        what = f"divisor's values {', '.join(allowed)} are supported with the {kind} resource"
    return [] if divisor in allowed else [invalid(f"{path}.divisor", resource, f"only {what}")]
