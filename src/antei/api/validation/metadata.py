"""ObjectMeta, labels, annotations and label selectors of every kind.

Kubernetes: staging/src/k8s.io/apimachinery/pkg/api/validation/objectmeta.go,
pkg/apis/meta/v1/validation/validation.go; the form of names is each kind's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from lightkube.models.meta_v1 import LabelSelector, LabelSelectorRequirement, ObjectMeta, OwnerReference

from antei.api import names
from antei.api.errors import FieldError
from antei.api.resources import Resource
from antei.api.validation.fields import (
    dns_label,
    forbidden,
    immutable,
    invalid,
    messages,
    non_negative,
    required,
    too_long,
)

__all__ = ["annotation_errors", "label_name", "label_selector", "labels", "object_meta", "object_meta_update"]

_ANNOTATIONS_LIMIT_BYTES = 256 * 1024
_STANDARD_FINALIZERS = {"kubernetes", "orphan", "foregroundDeletion"}

#: What is not a DNS-1123 subdomain.
_NAME_RULES: Mapping[tuple[str, str], Callable[[str], list[str]]] = {
    ("", "Namespace"): names.dns1123_label,
    ("", "Service"): names.dns1123_label,  # since 1.37 (RelaxedServiceNameValidation); RFC 1035 before
    ("apps", "StatefulSet"): names.dns1123_label,
    ("rbac.authorization.k8s.io", "Role"): names.path_segment,
    ("rbac.authorization.k8s.io", "RoleBinding"): names.path_segment,
    ("rbac.authorization.k8s.io", "ClusterRole"): names.path_segment,
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): names.path_segment,
    ("networking.k8s.io", "IPAddress"): names.path_segment,
    ("policy", "PodDisruptionBudget"): names.path_segment,
}


def name_rule(resource: Resource) -> Callable[[str], list[str]]:
    return _NAME_RULES.get((resource.group, resource.kind), names.dns1123_subdomain)


def object_meta(resource: Resource, metadata: ObjectMeta) -> list[FieldError]:
    path = "metadata"
    rule = name_rule(resource)
    errors: list[FieldError] = []
    if metadata.generateName:
        prefix = metadata.generateName
        complete = f"{prefix[:-1]}a" if prefix.endswith("-") else prefix
        errors += messages(f"{path}.generateName", prefix, rule(complete))
    if metadata.name:
        errors += messages(f"{path}.name", metadata.name, rule(metadata.name))
    elif not metadata.generateName:
        errors.append(required(f"{path}.name", "name or generateName is required"))
    if not resource.namespaced:
        if metadata.namespace:
            errors.append(forbidden(f"{path}.namespace", "not allowed on this type"))
    elif not metadata.namespace:
        errors.append(required(f"{path}.namespace"))
    else:
        errors += dns_label(f"{path}.namespace", metadata.namespace)
    errors += non_negative(f"{path}.generation", metadata.generation)
    errors += labels(f"{path}.labels", metadata.labels)
    errors += annotation_errors(f"{path}.annotations", metadata.annotations)
    errors += _owner_references(f"{path}.ownerReferences", metadata.ownerReferences or ())
    errors += _finalizers(f"{path}.finalizers", resource, metadata.finalizers or ())
    return errors


def object_meta_update(new: ObjectMeta, old: ObjectMeta) -> list[FieldError]:
    """What an update may not change. The registry has filled in uid and creationTimestamp where they were absent."""
    errors: list[FieldError] = []
    if old.deletionTimestamp is not None:
        added = [finalizer for finalizer in new.finalizers or () if finalizer not in (old.finalizers or ())]
        if added:
            shown = ", ".join(f'"{finalizer}"' for finalizer in added)
            detail = "no new finalizers can be added if the object is being deleted, found new finalizers "
            detail += f"[]string{{{shown}}}"
            errors.append(forbidden("metadata.finalizers", detail))
    errors += immutable("metadata.name", new.name, old.name)
    errors += immutable("metadata.namespace", new.namespace or "", old.namespace or "")
    errors += immutable("metadata.uid", new.uid, old.uid) if new.uid else []
    if new.generation is not None and old.generation is not None and new.generation < old.generation:
        errors.append(invalid("metadata.generation", new.generation, "must not be decremented"))
    return errors


def label_name(path: str, key: str) -> list[FieldError]:
    return messages(path, key, names.qualified_name(key))


def labels(path: str, held: Mapping[str, str] | None) -> list[FieldError]:
    errors: list[FieldError] = []
    for key, value in sorted((held or {}).items()):
        errors += label_name(path, key)
        errors += messages(path, value, names.label_value(value))
    return errors


def annotation_errors(path: str, held: Mapping[str, str] | None) -> list[FieldError]:
    errors: list[FieldError] = []
    size = 0
    for key, value in sorted((held or {}).items()):
        errors += messages(path, key, names.qualified_name(key.lower()))
        size += len(key.encode()) + len(value.encode(errors="surrogatepass"))
    if size > _ANNOTATIONS_LIMIT_BYTES:
        errors.append(too_long(path, _ANNOTATIONS_LIMIT_BYTES))
    return errors


def _owner_references(path: str, references: Sequence[OwnerReference]) -> list[FieldError]:
    errors: list[FieldError] = []
    controller = ""
    for reference in references:
        errors += _owner_reference(path, reference)
        if not reference.controller:
            continue
        if controller:
            detail = (
                'Only one reference can have Controller set to true. Found "true" in references for '
                f"{controller} and {reference.name}"
            )
            errors.append(invalid(path, references, detail))
        controller = reference.name
    return errors


def _owner_reference(path: str, reference: OwnerReference) -> list[FieldError]:
    errors: list[FieldError] = []
    if not reference.apiVersion.rpartition("/")[2]:
        errors.append(invalid(f"{path}.apiVersion", reference.apiVersion, "version must not be empty"))
    for field in ("kind", "name", "uid"):
        if not getattr(reference, field):
            errors.append(
                invalid(
                    f"{path}.{field}", "", f"{'must not be empty' if field == 'kind' else f'{field} must not be empty'}"
                )
            )
    if reference.kind == "Event":
        errors.append(invalid(path, reference, f"{reference.apiVersion}, Kind=Event is disallowed from being an owner"))
    return errors


def _finalizers(path: str, resource: Resource, finalizers: Sequence[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    for finalizer in finalizers:
        found = names.qualified_name(finalizer)
        errors += messages(path, finalizer, found)
        if not found and not resource.group and "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
            detail = "name is neither a standard finalizer name nor is it fully qualified"
            errors.append(invalid(path, finalizer, detail))
    if {"orphan", "foregroundDeletion"} <= set(finalizers):
        detail = "finalizer orphan and foregroundDeletion cannot be both set"
        errors.append(invalid(path, list(finalizers), detail))
    return errors


def label_selector(path: str, selector: LabelSelector | None) -> list[FieldError]:
    if selector is None:
        return []
    errors = labels(f"{path}.matchLabels", selector.matchLabels)
    for index, requirement in enumerate(selector.matchExpressions or ()):
        errors += _requirement(f"{path}.matchExpressions[{index}]", requirement)
    return errors


def _requirement(path: str, requirement: LabelSelectorRequirement) -> list[FieldError]:
    errors: list[FieldError] = []
    match requirement.operator:
        case "In" | "NotIn":
            if not requirement.values:
                errors.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
        case "Exists" | "DoesNotExist":
            if requirement.values:
                detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                errors.append(forbidden(f"{path}.values", detail))
        case _:
            errors.append(invalid(f"{path}.operator", requirement.operator, "not a valid selector operator"))
    errors += label_name(f"{path}.key", requirement.key)
    for index, value in enumerate(requirement.values or ()):
        errors += messages(f"{path}.values[{index}]", value, names.label_value(value))
    return errors


def is_empty_selector(selector: LabelSelector | None) -> bool:
    return selector is not None and not selector.matchLabels and not selector.matchExpressions
