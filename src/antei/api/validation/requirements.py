"""Resource names and amounts (Kubernetes: ValidateContainerResourceRequirements and its kin in
pkg/apis/core/validation/validation.go, pkg/apis/core/helper/helpers.go)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightkube.models.core_v1 import PodSpec

from antei.api import names
from antei.api.errors import FieldError
from antei.api.pods import container_requests
from antei.api.quantity import to_decimal, written
from antei.api.validation.fields import (
    NON_NEGATIVE_MESSAGE,
    forbidden,
    invalid,
    messages,
    not_supported,
    required,
)

__all__ = ["pod_requirements", "quantity_value", "resource_requirements"]

_STANDARD = {
    "cpu",
    "memory",
    "ephemeral-storage",
    "storage",
    "pods",
    "services",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "replicationcontrollers",
    "resourcequotas",
}
_OF_CONTAINERS = {"cpu", "memory", "ephemeral-storage"}
_OF_PODS = ("cpu", "hugepages-", "memory")


def pod_requirements(path: str, spec: PodSpec) -> list[FieldError]:
    """`spec.resources` (Kubernetes: validatePodResources, validatePodResourceConsistency)."""
    resources = spec.resources
    if resources is None:
        return []
    errors = resource_requirements(path, resources, _pod_name)
    if resources.claims:
        errors.append(forbidden(f"{path}.claims", "claims cannot be set for Resources at pod-level"))
    requests, limits = resources.requests or {}, resources.limits or {}
    for name, amount in sorted(container_requests(spec).items()):
        if name in requests and amount > to_decimal(requests[name]):
            detail = f"must be greater than or equal to aggregate container requests of {written(amount, name)}"
            errors.append(invalid(f"{path}.requests[{name}]", requests[name], detail))
    for index, container in enumerate(spec.containers):
        of_container = (container.resources.limits if container.resources is not None else None) or {}
        for name, amount in sorted(of_container.items()):
            if name in limits and to_decimal(amount) > to_decimal(limits[name]):
                detail = f"must be less than or equal to pod limits of {limits[name]}"
                errors.append(invalid(f"{path}.containers[{index}][{name}].limits", amount, detail))
    return errors


def _pod_name(path: str, name: str) -> list[FieldError]:
    if name in _OF_PODS or name.startswith("hugepages-"):
        return []
    return [not_supported(path, name, _OF_PODS)]


def resource_requirements(
    path: str, resources: Any, check_name: Callable[[str, str], list[FieldError]] | None = None
) -> list[FieldError]:
    errors: list[FieldError] = []
    if resources is None:
        return errors
    check = check_name or _name
    limits = resources.limits or {}
    requests = resources.requests or {}
    for name, amount in sorted(limits.items()):
        errors += check(f"{path}.limits[{name}]", name)
        errors += quantity_value(f"{path}.limits[{name}]", name, amount)
    for name, amount in sorted(requests.items()):
        errors += check(f"{path}.requests[{name}]", name)
        errors += quantity_value(f"{path}.requests[{name}]", name, amount)
        limit = limits.get(name)
        if limit is None:
            if not _may_be_overcommitted(name):
                errors.append(required(f"{path}.limits", "Limit must be set for non overcommitable resources"))
        elif to_decimal(amount) != to_decimal(limit) and not _may_be_overcommitted(name):
            detail = f"must be equal to {name} limit of {limit}"
            errors.append(invalid(f"{path}.requests", amount, detail))
        elif to_decimal(amount) > to_decimal(limit):
            detail = f"must be less than or equal to {name} limit of {limit}"
            errors.append(invalid(f"{path}.requests", amount, detail))
    return errors


def _name(path: str, name: str) -> list[FieldError]:
    found = names.qualified_name(name)
    if found:
        return messages(path, name, found)
    if "/" in name:
        return []
    is_huge_pages = name.startswith("hugepages-")
    if name not in _STANDARD and not is_huge_pages:
        return [
            invalid(path, name, "must be a standard resource type or fully qualified"),
            invalid(path, name, "must be a standard resource for containers"),
        ]
    if name not in _OF_CONTAINERS and not is_huge_pages:
        return [invalid(path, name, "must be a standard resource for containers")]
    return []


def _may_be_overcommitted(name: str) -> bool:
    """Kubernetes' own resources but huge pages; never an extended one."""
    is_native = "/" not in name or "kubernetes.io/" in name
    return is_native and not name.startswith("hugepages-")


def quantity_value(path: str, name: str, amount: str) -> list[FieldError]:
    value = to_decimal(amount)
    if value < 0:
        return [invalid(path, amount, NON_NEGATIVE_MESSAGE)]
    is_extended = "/" in name and "kubernetes.io/" not in name
    if (is_extended or name in ("pods", "services")) and value != value.to_integral_value():
        return [invalid(path, amount, "must be an integer")]
    return []
