"""Tolerations, affinity and spread (Kubernetes: ValidateTolerations, validateAffinity and
validateTopologySpreadConstraints in pkg/apis/core/validation/validation.go)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightkube.models.core_v1 import Affinity, NodeSelectorTerm, Toleration, TopologySpreadConstraint

from antei.api import names
from antei.api.errors import FieldError
from antei.api.validation.fields import duplicate, forbidden, invalid, messages, not_supported, one_of, required
from antei.api.validation.metadata import label_name, label_selector

__all__ = ["affinity", "node_selector", "taint_effect", "tolerations", "topology_spread"]

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def taint_effect(path: str, effect: str) -> list[FieldError]:
    return one_of(path, effect, _EFFECTS)


def tolerations(path: str, given: Sequence[Toleration]) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, toleration in enumerate(given):
        place = f"{path}[{index}]"
        if toleration.key:
            errors += label_name(f"{place}.key", toleration.key)
        elif toleration.operator != "Exists":
            detail = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            errors.append(invalid(f"{place}.operator", toleration.operator or "", detail))
        if toleration.tolerationSeconds is not None and toleration.effect != "NoExecute":
            detail = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            errors.append(invalid(f"{place}.effect", toleration.effect or "", detail))
        match toleration.operator or "Equal":
            case "Equal":
                found = names.label_value(toleration.value or "")
                if found:
                    errors.append(invalid(f"{place}.operator", toleration.value, ";".join(found)))
            case "Exists":
                if toleration.value:
                    detail = "value must be empty when `operator` is 'Exists'"
                    errors.append(invalid(f"{place}.operator", toleration.value, detail))
            case _:
                errors.append(not_supported(f"{place}.operator", toleration.operator, ("Equal", "Exists")))
        if toleration.effect:
            errors += taint_effect(f"{place}.effect", toleration.effect)
    return errors


def affinity(path: str, given: Affinity | None) -> list[FieldError]:
    errors: list[FieldError] = []
    if given is None:
        return errors
    node = given.nodeAffinity
    if node is not None:
        place = f"{path}.nodeAffinity"
        if node.requiredDuringSchedulingIgnoredDuringExecution is not None:
            required_place = f"{place}.requiredDuringSchedulingIgnoredDuringExecution"
            errors += node_selector(required_place, node.requiredDuringSchedulingIgnoredDuringExecution)
        for index, term in enumerate(node.preferredDuringSchedulingIgnoredDuringExecution or ()):
            preferred = f"{place}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
            errors += _weight(preferred, term.weight)
            errors += _node_term(f"{preferred}.preference", term.preference)
    for name in ("podAffinity", "podAntiAffinity"):
        pods: Any = getattr(given, name)
        if pods is None:
            continue
        for index, term in enumerate(pods.requiredDuringSchedulingIgnoredDuringExecution or ()):
            errors += _pod_term(f"{path}.{name}.requiredDuringSchedulingIgnoredDuringExecution[{index}]", term)
        for index, term in enumerate(pods.preferredDuringSchedulingIgnoredDuringExecution or ()):
            preferred = f"{path}.{name}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
            errors += _weight(preferred, term.weight)
            errors += _pod_term(f"{preferred}.podAffinityTerm", term.podAffinityTerm)
    return errors


def _weight(path: str, weight: int) -> list[FieldError]:
    return [] if 1 <= weight <= 100 else [invalid(f"{path}.weight", weight, "must be in the range 1-100")]


def node_selector(path: str, selector: Any) -> list[FieldError]:
    if not selector.nodeSelectorTerms:
        return [required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")]
    errors: list[FieldError] = []
    for index, term in enumerate(selector.nodeSelectorTerms):
        errors += _node_term(f"{path}.nodeSelectorTerms[{index}]", term)
    return errors


def _node_term(path: str, term: NodeSelectorTerm) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, requirement in enumerate(term.matchExpressions or ()):
        errors += _node_requirement(f"{path}.matchExpressions[{index}]", requirement)
    for index, requirement in enumerate(term.matchFields or ()):
        place = f"{path}.matchFields[{index}]"
        if requirement.operator not in ("In", "NotIn"):
            errors.append(invalid(f"{place}.operator", requirement.operator, "not a valid selector operator"))
        elif len(requirement.values or ()) != 1:
            detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            errors.append(required(f"{place}.values", detail))
        if requirement.key != "metadata.name":
            errors.append(invalid(f"{place}.key", requirement.key, "not a valid field selector key"))
    return errors


def _node_requirement(path: str, requirement: Any) -> list[FieldError]:
    errors: list[FieldError] = []
    values = requirement.values or ()
    match requirement.operator:
        case "In" | "NotIn":
            if not values:
                errors.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
        case "Exists" | "DoesNotExist":
            if values:
                detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                errors.append(forbidden(f"{path}.values", detail))
        case "Gt" | "Lt":
            if len(values) != 1:
                detail = "must be specified single value when `operator` is 'Lt' or 'Gt'"
                errors.append(required(f"{path}.values", detail))
        case _:
            errors.append(invalid(f"{path}.operator", requirement.operator, "not a valid selector operator"))
    errors += label_name(f"{path}.key", requirement.key)
    for index, value in enumerate(values):
        errors += messages(f"{path}.values[{index}]", value, names.label_value(value))
    return errors


def _pod_term(path: str, term: Any) -> list[FieldError]:
    errors = label_selector(f"{path}.labelSelector", term.labelSelector)
    errors += label_selector(f"{path}.namespaceSelector", term.namespaceSelector)
    for index, namespace in enumerate(term.namespaces or ()):
        errors += messages(f"{path}.namespaces[{index}]", namespace, names.dns1123_label(namespace))
    if not term.topologyKey:
        return [*errors, required(f"{path}.topologyKey", "can not be empty")]
    return errors + label_name(f"{path}.topologyKey", term.topologyKey)


def topology_spread(path: str, given: Sequence[TopologySpreadConstraint]) -> list[FieldError]:
    errors: list[FieldError] = []
    taken: set[tuple[str, str]] = set()
    for index, constraint in enumerate(given):
        place = f"{path}[{index}]"
        if constraint.maxSkew <= 0:
            errors.append(invalid(f"{place}.maxSkew", constraint.maxSkew, "must be greater than zero"))
        if not constraint.topologyKey:
            errors.append(required(f"{place}.topologyKey", "can not be empty"))
        else:
            errors += label_name(f"{place}.topologyKey", constraint.topologyKey)
        supported = ("DoNotSchedule", "ScheduleAnyway")
        if constraint.whenUnsatisfiable not in supported:
            errors.append(not_supported(f"{place}.whenUnsatisfiable", constraint.whenUnsatisfiable, supported))
        key = (constraint.topologyKey, constraint.whenUnsatisfiable)
        if key in taken:
            errors.append(duplicate(f"{place}.{{topologyKey, whenUnsatisfiable}}", f"{{{key[0]}, {key[1]}}}"))
        taken.add(key)
        if constraint.minDomains is not None:
            if constraint.minDomains <= 0:
                errors.append(invalid(f"{place}.minDomains", constraint.minDomains, "must be greater than zero"))
            if constraint.whenUnsatisfiable != "DoNotSchedule":
                detail = (
                    f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {constraint.whenUnsatisfiable}"
                )
                errors.append(invalid(f"{place}.minDomains", constraint.minDomains, detail))
        errors += label_selector(f"{place}.labelSelector", constraint.labelSelector)
    return errors
