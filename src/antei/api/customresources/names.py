"""The names that a CRD asks for, which it gets, and what its status says of it.

    asked for (spec.names) ──► taken by another CRD of its group? ──► acceptedNames, NamesAccepted ──► Established

A kind that was established once is served for good under the names that it got.
Kubernetes: apiextensions-apiserver/pkg/controller/{status/naming_controller,establish,apiapproval}.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from lightkube.models.apiextensions_v1 import (
    CustomResourceConversion,
    CustomResourceDefinitionCondition,
    CustomResourceDefinitionNames,
    CustomResourceDefinitionStatus,
)
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition

from antei.api.objects import meta, replace, to_time

__all__ = ["APPROVAL", "definition_status", "is_protected_group", "with_condition", "with_defaults"]

APPROVAL = "api-approved.kubernetes.io"
_CONFLICTS = {
    "plural": "PluralConflict",
    "singular": "SingularConflict",
    "shortNames": "ShortNamesConflict",
    "kind": "KindConflict",
    "listKind": "ListKindConflict",
}


def with_defaults(crd: CustomResourceDefinition) -> CustomResourceDefinition:
    """Kubernetes: pkg/apis/apiextensions/v1/defaults.go."""
    names = crd.spec.names
    completed = replace(
        names,
        singular=names.singular or names.kind.lower() or None,
        listKind=names.listKind or (f"{names.kind}List" if names.kind else None),
    )
    conversion = crd.spec.conversion or CustomResourceConversion(strategy="None")
    return replace(crd, spec=replace(crd.spec, names=completed, conversion=conversion))


def is_protected_group(group: str) -> bool:
    return any(group == suffix or group.endswith(f".{suffix}") for suffix in ("k8s.io", "kubernetes.io"))


def definition_status(
    crd: CustomResourceDefinition, others: Iterable[CustomResourceDefinition], now: datetime
) -> CustomResourceDefinitionStatus:
    """The status of the CRD among the `others`, itself not one of them."""
    status = crd.status or CustomResourceDefinitionStatus()
    accepted, problem = _accepted(crd, [other for other in others if other.spec.group == crd.spec.group])
    conditions: Sequence[CustomResourceDefinitionCondition] = status.conditions or ()
    if problem is None:
        conditions = with_condition(conditions, now, "NamesAccepted", "True", "NoConflicts", "no conflicts found")
        if _status_of(conditions, "Established") != "True":
            text = "the initial names have been accepted"
            conditions = with_condition(conditions, now, "Established", "True", "InitialNamesAccepted", text)
    else:
        field, text = problem
        conditions = with_condition(conditions, now, "NamesAccepted", "False", _CONFLICTS[field], text)
        if _status_of(conditions, "Established") != "True":
            text = "not all names are accepted"
            conditions = with_condition(conditions, now, "Established", "False", "NotAccepted", text)
    conditions = _approval(crd, conditions, now)
    stored = list(status.storedVersions or ())
    storage = next((version.name for version in crd.spec.versions if version.storage), None)
    if storage is not None and storage not in stored:
        stored.append(storage)
    return replace(status, acceptedNames=accepted, conditions=list(conditions), storedVersions=stored)


def _accepted(
    crd: CustomResourceDefinition, others: Sequence[CustomResourceDefinition]
) -> tuple[CustomResourceDefinitionNames, tuple[str, str] | None]:
    """The names that it has from now on, and the first of those it asks for that it cannot have."""
    resources, kinds = _used(others)
    names = crd.spec.names
    got = (crd.status.acceptedNames if crd.status else None) or CustomResourceDefinitionNames(kind="", plural="")
    problem: tuple[str, str] | None = None
    found: dict[str, object] = {"categories": names.categories}
    wanted: Mapping[str, tuple[str, frozenset[str]]] = {
        "plural": (names.plural, resources),
        "singular": (names.singular or "", resources),
        "kind": (names.kind, kinds),
        "listKind": (names.listKind or "", kinds),
    }
    for field in _CONFLICTS:
        if field == "shortNames":
            taken = [name for name in names.shortNames or () if name in resources]
            if taken:
                problem = problem or (field, ", ".join(f'"{name}" is already in use' for name in taken))
            else:
                found[field] = names.shortNames
            continue
        name, used = wanted[field]
        if name in used and name != getattr(got, field):
            problem = problem or (field, f'"{name}" is already in use')
        else:
            found[field] = name
    return replace(got, **found), problem


def _used(others: Sequence[CustomResourceDefinition]) -> tuple[frozenset[str], frozenset[str]]:
    resources: set[str] = set()
    kinds: set[str] = set()
    for other in others:
        got = other.status.acceptedNames if other.status else None
        if got is None:
            continue
        resources.update(name for name in (got.plural, got.singular, *(got.shortNames or ())) if name)
        kinds.update(name for name in (got.kind, got.listKind) if name)
    return frozenset(resources), frozenset(kinds)


def _status_of(conditions: Iterable[CustomResourceDefinitionCondition], condition_type: str) -> str:
    return next((condition.status for condition in conditions if condition.type == condition_type), "Unknown")


def with_condition(
    conditions: Sequence[CustomResourceDefinitionCondition],
    now: datetime,
    condition_type: str,
    status: str,
    reason: str,
    message: str,
) -> list[CustomResourceDefinitionCondition]:
    """The conditions with this one; its time moves when its status does."""
    since = to_time(now)
    result = []
    found = False
    for condition in conditions:
        if condition.type == condition_type:
            found = True
            moment = condition.lastTransitionTime if condition.status == status else since
            condition = replace(condition, status=status, reason=reason, message=message, lastTransitionTime=moment)
        result.append(condition)
    if not found:
        result.append(
            CustomResourceDefinitionCondition(
                type=condition_type, status=status, reason=reason, message=message, lastTransitionTime=since
            )
        )
    return result


def _approval(
    crd: CustomResourceDefinition, conditions: Sequence[CustomResourceDefinitionCondition], now: datetime
) -> Sequence[CustomResourceDefinitionCondition]:
    if not is_protected_group(crd.spec.group):
        return conditions
    value = (meta(crd).annotations or {}).get(APPROVAL, "")
    name = "KubernetesAPIApprovalPolicyConformant"
    if value.startswith("unapproved"):
        return with_condition(conditions, now, name, "False", "UnapprovedAnnotation", f'not approved: "{value}"')
    return with_condition(conditions, now, name, "True", "ApprovedAnnotation", f"approved in {value}")
