"""Roles and their bindings (Kubernetes: pkg/apis/rbac/validation/validation.go)."""

from __future__ import annotations

from typing import Any

from antei.api import names
from antei.api.errors import FieldError
from antei.api.validation.fields import dns_subdomain, forbidden, invalid, messages, not_supported, required

__all__ = ["cluster_role", "cluster_role_binding", "role", "role_binding", "role_ref_update"]

_GROUP = "rbac.authorization.k8s.io"


def role(obj: Any) -> list[FieldError]:
    return _rules(obj, is_namespaced=True)


def cluster_role(obj: Any) -> list[FieldError]:
    return _rules(obj, is_namespaced=False)


def _rules(obj: Any, *, is_namespaced: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, rule in enumerate(obj.rules or ()):
        place = f"rules[{index}]"
        if not rule.verbs:
            errors.append(required(f"{place}.verbs", "verbs must contain at least one value"))
        if rule.nonResourceURLs:
            if is_namespaced:
                detail = "namespaced rules cannot apply to non-resource URLs"
                errors.append(invalid(f"{place}.nonResourceURLs", rule.nonResourceURLs, detail))
            if rule.apiGroups or rule.resources or rule.resourceNames:
                detail = "rules cannot apply to both regular resources and non-resource URLs"
                errors.append(invalid(f"{place}.nonResourceURLs", rule.nonResourceURLs, detail))
            continue
        if not rule.apiGroups:
            detail = "resource rules must supply at least one api group"
            errors.append(required(f"{place}.apiGroups", detail))
        if not rule.resources:
            detail = "resource rules must supply at least one resource"
            errors.append(required(f"{place}.resources", detail))
    return errors


def role_binding(obj: Any) -> list[FieldError]:
    return _binding(obj, ("ClusterRole", "Role"), is_namespaced=True)


def cluster_role_binding(obj: Any) -> list[FieldError]:
    return _binding(obj, ("ClusterRole",), is_namespaced=False)


def _binding(obj: Any, kinds: tuple[str, ...], *, is_namespaced: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    reference = obj.roleRef
    if reference.apiGroup != _GROUP:
        errors.append(not_supported("roleRef.apiGroup", reference.apiGroup, (_GROUP,)))
    if reference.kind not in kinds:
        errors.append(not_supported("roleRef.kind", reference.kind, kinds))
    if not reference.name:
        errors.append(required("roleRef.name"))
    else:
        errors += messages("roleRef.name", reference.name, names.path_segment(reference.name))
    for index, subject in enumerate(obj.subjects or ()):
        errors += _subject(f"subjects[{index}]", subject, is_namespaced=is_namespaced)
    return errors


def _subject(path: str, subject: Any, *, is_namespaced: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    if not subject.name:
        errors.append(required(f"{path}.name"))
    match subject.kind:
        case "ServiceAccount":
            if subject.name:
                errors += dns_subdomain(f"{path}.name", subject.name)
            if subject.apiGroup:
                errors.append(not_supported(f"{path}.apiGroup", subject.apiGroup, ("",)))
            if not is_namespaced and not subject.namespace:
                errors.append(required(f"{path}.namespace"))
        case "User" | "Group":
            if subject.apiGroup != _GROUP:
                errors.append(not_supported(f"{path}.apiGroup", subject.apiGroup, (_GROUP,)))
            if subject.namespace:
                errors.append(forbidden(f"{path}.namespace", f"may not be set for kind {subject.kind}"))
        case _:
            supported = ("ServiceAccount", "User", "Group")
            errors.append(not_supported(f"{path}.kind", subject.kind, supported))
    return errors


def role_ref_update(new: Any, old: Any) -> list[FieldError]:
    if new.roleRef == old.roleRef:
        return []
    return [invalid("roleRef", new.roleRef, "cannot change roleRef")]
