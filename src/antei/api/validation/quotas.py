"""ResourceQuotas and LimitRanges (Kubernetes: pkg/apis/core/{validation/validation,helper/helpers}.go)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightkube.resources.core_v1 import LimitRange, ResourceQuota

from antei.api import names
from antei.api.errors import FieldError
from antei.api.quantity import Quantity, parse
from antei.api.validation.fields import IMMUTABLE_MESSAGE, duplicate, forbidden, invalid, messages, required
from antei.api.validation.requirements import quantity_value

__all__ = ["limit_range", "resource_quota", "resource_quota_update"]

_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_QUOTA_NAMES = frozenset(
    (*_COMPUTE, *(f"requests.{name}" for name in _COMPUTE), *(f"limits.{name}" for name in _COMPUTE))
) | {
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
}
_POD_SCOPES = ("BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass")
_SCOPES = frozenset((*_POD_SCOPES, "Terminating", "VolumeAttributesClass"))
_CONFLICTS = ({"BestEffort", "NotBestEffort"}, {"Terminating", "NotTerminating"})
_LIMIT_TYPES = ("Container", "PersistentVolumeClaim", "Pod")


def resource_quota(obj: ResourceQuota) -> list[FieldError]:
    spec = obj.spec
    if spec is None:
        return []
    errors: list[FieldError] = []
    for name, amount in sorted((spec.hard or {}).items()):
        path = f"spec.hard[{name}]"
        errors += _quota_name(path, name) + quantity_value(path, name, amount)
    scopes = spec.scopes or []
    for index, scope in enumerate(scopes):
        if scope not in _SCOPES:
            errors.append(invalid(f"spec.scopes[{index}]", scope, "unsupported scope"))
    if any(conflict <= set(scopes) for conflict in _CONFLICTS):
        errors.append(invalid("spec.scopes", sorted(scopes), "conflicting scopes"))
    requirements = spec.scopeSelector.matchExpressions if spec.scopeSelector is not None else None
    for index, requirement in enumerate(requirements or ()):
        errors += _scope_requirement(f"spec.scopeSelector.matchExpressions[{index}]", requirement)
    return errors


def _quota_name(path: str, name: str) -> list[FieldError]:
    found = messages(path, name, names.qualified_name(name))
    if not found and "/" not in name and name not in _QUOTA_NAMES and "hugepages-" not in name:
        return [invalid(path, name, "must be a standard resource for quota")]
    return found


def _scope_requirement(path: str, requirement: Any) -> list[FieldError]:
    if requirement.scopeName not in _SCOPES:
        return [invalid(f"{path}.scopeName", requirement.scopeName, "unsupported scope")]
    has_choice = requirement.scopeName in ("PriorityClass", "VolumeAttributesClass")
    if not has_choice and requirement.operator != "Exists":
        detail = (
            "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
        )
        detail += "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or "
        return [
            invalid(f"{path}.operator", requirement.operator, f"{detail}ResourceQuotaScopeCrossNamespacePodAffinity")
        ]
    values = requirement.values or []
    match requirement.operator:
        case "In" | "NotIn":
            detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
            return [] if values else [required(f"{path}.values", detail)]
        case "Exists" | "DoesNotExist":
            detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
            return [invalid(f"{path}.values", values, detail)] if values else []
    return [invalid(f"{path}.operator", requirement.operator, "not a valid selector operator")]


def resource_quota_update(new: ResourceQuota, old: ResourceQuota) -> list[FieldError]:
    errors = resource_quota(new)
    if new.spec is None or old.spec is None:
        return errors
    if sorted(new.spec.scopes or ()) != sorted(old.spec.scopes or ()):
        errors.append(invalid("spec.scopes", new.spec.scopes or [], IMMUTABLE_MESSAGE))
    if new.spec.scopeSelector != old.spec.scopeSelector:
        errors.append(invalid("spec.scopeSelector", new.spec.scopeSelector, IMMUTABLE_MESSAGE))
    return errors


def limit_range(obj: LimitRange) -> list[FieldError]:
    errors: list[FieldError] = []
    known: set[str] = set()
    for index, item in enumerate(obj.spec.limits if obj.spec is not None else ()):
        path = f"spec.limits[{index}]"
        if "/" not in item.type and item.type not in _LIMIT_TYPES:
            errors.append(invalid(f"{path}.type", item.type, "must be a standard limit type or fully qualified"))
        if item.type in known:
            errors.append(duplicate(f"{path}.type", item.type))
        known.add(item.type)
        errors += _limit(path, item)
    return errors


def _limit(path: str, item: Any) -> list[FieldError]:
    errors: list[FieldError] = []
    if item.type == "Pod":
        for field in ("default", "defaultRequest"):
            if getattr(item, field):
                errors.append(forbidden(f"{path}.{field}", "may not be specified when `type` is 'Pod'"))
    if item.type == "PersistentVolumeClaim" and not any("storage" in (bounds or {}) for bounds in (item.min, item.max)):
        detail = "either minimum or maximum storage value is required, but neither was provided"
        errors.append(required(f"{path}.limits", detail))
    low, high = _parsed(item.min), _parsed(item.max)
    default, request = _parsed(item.default), _parsed(item.defaultRequest)
    for field, one, other, text in (
        ("min", low, high, "min value {} is greater than max value {}"),
        ("defaultRequest", low, request, "min value {} is greater than default request value {}"),
        ("defaultRequest", request, high, "default request value {} is greater than max value {}"),
        ("defaultRequest", request, default, "default request value {} is greater than default limit value {}"),
        ("default", low, default, "min value {} is greater than default value {}"),
        ("default", default, high, "default value {} is greater than max value {}"),
    ):
        for name in sorted(one.keys() & other.keys()):
            if one[name].amount > other[name].amount:
                value = str(_parsed(getattr(item, field))[name])
                errors.append(invalid(f"{path}.{field}[{name}]", value, text.format(one[name], other[name])))
    for name, ratio in sorted(_parsed(item.maxLimitRequestRatio).items()):
        if ratio.amount < 1:
            where = f"{path}.maxLimitRequestRatio[{name}]"
            errors.append(invalid(where, str(ratio), f"ratio {ratio} is less than 1"))
    return errors


def _parsed(amounts: Mapping[str, str] | None) -> dict[str, Quantity]:
    return {name: parse(str(amount)) for name, amount in (amounts or {}).items()}
