"""ValidatingAdmissionPolicies, MutatingAdmissionPolicies and their bindings.

Kubernetes: pkg/apis/admissionregistration/validation/validation.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from antei.api import names
from antei.api.errors import FieldError, FieldErrorType
from antei.api.validation.admission import (
    FAILURE_POLICIES,
    MATCH_POLICIES,
    REINVOCATION_POLICIES,
    expression,
    match_conditions,
    policies,
    rule_with_operations,
)
from antei.api.validation.fields import dns_subdomain, duplicate, invalid, messages, not_supported, one_of, required
from antei.api.validation.metadata import label_selector

__all__ = ["mutating_binding", "mutating_policy", "validating_binding", "validating_policy"]

_ACTIONS = ("Audit", "Deny", "Warn")
_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")
_PATCH_TYPES = ("ApplyConfiguration", "JSONPatch")
_NOT_FOUND_ACTIONS = ("Allow", "Deny")
_MOST_AUDIT_ANNOTATIONS = 20
_MOST_VALUE_EXPRESSION_BYTES = 5 * 1024
_IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_RESERVED = frozenset(
    ("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import")
) | {"let", "loop", "package", "namespace", "return", "var", "void", "while"}


def validating_policy(obj: Any) -> list[FieldError]:
    spec = obj.spec
    if spec is None:
        return [required("spec")]
    errors = _policy(spec)
    declared = {"has_params": spec.paramKind is not None, "has_variables": bool(spec.variables)}
    if not spec.validations and not spec.auditAnnotations:
        detail = "validations or auditAnnotations must contain at least one item"
        return [*errors, required("spec.validations", detail), required("spec.auditAnnotations", detail)]
    for index, validation in enumerate(spec.validations or ()):
        errors += _validation(validation, f"spec.validations[{index}]", declared)
    return errors + _audit_annotations(obj, declared)


def _policy(spec: Any) -> list[FieldError]:
    """What both kinds of policies have."""
    errors = one_of("spec.failurePolicy", spec.failurePolicy, FAILURE_POLICIES)
    if spec.paramKind is not None:
        errors += _param_kind(spec.paramKind, "spec.paramKind")
    if spec.matchConstraints is None:
        errors.append(required("spec.matchConstraints"))
    else:
        errors += _match_resources(spec.matchConstraints, "spec.matchConstraints")
        if not spec.matchConstraints.resourceRules:
            errors.append(required("spec.matchConstraints.resourceRules"))
    has_params = spec.paramKind is not None
    errors += match_conditions(spec.matchConditions, "spec.matchConditions", is_policy=True, has_params=has_params)
    for index, variable in enumerate(spec.variables or ()):
        path = f"spec.variables[{index}]"
        if not variable.name.strip():
            errors.append(required(f"{path}.name", "name is not specified"))
        elif not _IDENTIFIER.fullmatch(variable.name) or variable.name in _RESERVED:
            errors.append(invalid(f"{path}.name", variable.name, "name is not a valid CEL identifier"))
        errors += expression(
            variable.expression,
            f"{path}.expression",
            detail="expression is not specified",
            has_params=has_params,
            has_variables=True,
        )
    return errors


def _param_kind(kind: Any, path: str) -> list[FieldError]:
    errors = []
    version = kind.apiVersion or ""
    if not version:
        errors.append(required(f"{path}.apiVersion"))
    elif version.count("/") > 1:
        errors.append(invalid(f"{path}.apiVersion", version, f"unexpected GroupVersion string: {version}"))
    else:
        group, _, name = version.rpartition("/")
        if group:
            errors += dns_subdomain(f"{path}.apiVersion", group)
        if not name:
            errors.append(invalid(f"{path}.apiVersion", version, "version must be specified"))
    if not kind.kind:
        errors.append(required(f"{path}.kind"))
    else:
        for problem in names.dns1123_label(kind.kind.lower()):
            detail = f"may have mixed case, but should otherwise match: {problem}"
            errors.append(invalid(f"{path}.kind", kind.kind, detail))
    return errors


def _match_resources(resources: Any, path: str) -> list[FieldError]:
    errors = one_of(f"{path}.matchPolicy", resources.matchPolicy, MATCH_POLICIES)
    for field in ("namespaceSelector", "objectSelector"):
        selector = getattr(resources, field)
        errors += [required(f"{path}.{field}")] if selector is None else label_selector(f"{path}.{field}", selector)
    for field in ("resourceRules", "excludeResourceRules"):
        for index, rule in enumerate(getattr(resources, field) or ()):
            at = f"{path}.{field}[{index}]"
            given = rule.resourceNames or []
            for number, name in enumerate(given):
                errors += messages(f"{at}.resourceNames[{number}]", name, names.path_segment(name))
                if name in given[:number]:
                    errors.append(duplicate(f"{at}.resourceNames[{number}]", name))
            errors += rule_with_operations(rule, at)
    return errors


def _validation(validation: Any, path: str, declared: Mapping[str, Any]) -> list[FieldError]:
    errors = expression(
        validation.expression, f"{path}.expression", detail="expression is not specified", result="bool", **declared
    )
    text = validation.messageExpression
    if text and not text.strip():
        errors.append(invalid(f"{path}.messageExpression", text, "must be non-empty if specified"))
    elif text:
        errors += expression(text, f"{path}.messageExpression", result="string", **declared)
    message = validation.message
    if message and not message.strip():
        errors.append(invalid(f"{path}.message", message, "message must be non-empty if specified"))
    elif message and "\n" in message.strip():
        errors.append(invalid(f"{path}.message", message, "message must not contain line breaks"))
    if validation.reason is not None and validation.reason not in _REASONS:
        errors.append(not_supported(f"{path}.reason", validation.reason, _REASONS))
    return errors


def _audit_annotations(obj: Any, declared: dict[str, bool]) -> list[FieldError]:
    annotations = obj.spec.auditAnnotations or []
    errors: list[FieldError] = []
    if len(annotations) > _MOST_AUDIT_ANNOTATIONS:
        detail = f"must not have more than {_MOST_AUDIT_ANNOTATIONS} auditAnnotations"
        errors.append(invalid("spec.auditAnnotations", annotations, detail))
    known: set[str] = set()
    for index, annotation in enumerate(annotations):
        path = f"spec.auditAnnotations[{index}]"
        name = obj.metadata.name or ""
        if not annotation.key:
            errors.append(required(f"{path}.key", "key is required"))
        else:
            key = f"{name}/{annotation.key}" if name else annotation.key
            errors += messages(f"{path}.key", key, names.qualified_name(key))
        text = annotation.valueExpression
        errors += expression(text, f"{path}.valueExpression", detail="valueExpression is not specified", **declared)
        if len(text.encode()) > _MOST_VALUE_EXPRESSION_BYTES:
            errors.append(
                FieldError(
                    FieldErrorType.REQUIRED,
                    f"{path}.valueExpression",
                    detail=f"must not exceed {_MOST_VALUE_EXPRESSION_BYTES} bytes in length",
                )
            )
        if annotation.key in known:
            errors.append(duplicate(f"{path}.key", annotation.key))
        known.add(annotation.key)
    return errors


def validating_binding(obj: Any) -> list[FieldError]:
    spec = obj.spec
    if spec is None:
        return [required("spec")]
    errors = _binding(spec)
    path = "spec.validationActions"
    actions = spec.validationActions or []
    for index, action in enumerate(actions):
        if action not in _ACTIONS:
            errors.append(not_supported(f"{path}[{index}]", action, _ACTIONS))
        if action in actions[:index]:
            errors.append(duplicate(f"{path}[{index}]", action))
    if "Deny" in actions and "Warn" in actions:
        detail = (
            "must not contain both Deny and Warn (repeating the same validation failure information in the API "
            "response and headers serves no purpose)"
        )
        errors.append(invalid(path, actions, detail))
    if not actions:
        errors.append(required(path, "at least one validation action is required"))
    return errors


def _binding(spec: Any) -> list[FieldError]:
    errors = dns_subdomain("spec.policyName", spec.policyName) if spec.policyName else [required("spec.policyName")]
    if spec.paramRef is not None:
        errors += _param_ref(spec.paramRef, "spec.paramRef")
    if spec.matchResources is not None:
        errors += _match_resources(spec.matchResources, "spec.matchResources")
    return errors


def _param_ref(reference: Any, path: str) -> list[FieldError]:
    errors = []
    if reference.name:
        errors += messages(f"{path}.name", reference.name, names.path_segment(reference.name))
        if reference.selector is not None:
            detail = "name and selector are mutually exclusive"
            errors.append(FieldError(FieldErrorType.FORBIDDEN, f"{path}.name", "", detail))
    elif reference.selector is not None:
        errors += label_selector(f"{path}.selector", reference.selector)
    else:
        errors.append(required(path, "one of name or selector must be specified"))
    action = reference.parameterNotFoundAction
    if not action:
        errors.append(required(f"{path}.parameterNotFoundAction"))
    elif action not in _NOT_FOUND_ACTIONS:
        errors.append(not_supported(f"{path}.parameterNotFoundAction", action, _NOT_FOUND_ACTIONS))
    return errors


def mutating_policy(obj: Any) -> list[FieldError]:
    spec = obj.spec
    if spec is None:
        return [required("spec")]
    errors = _policy(spec)
    errors += policies(spec, "spec", ("reinvocationPolicy", REINVOCATION_POLICIES))
    if not spec.reinvocationPolicy:
        errors.append(required("spec.reinvocationPolicy"))
    if not spec.mutations:
        errors.append(required("spec.mutations", "mutations must contain at least one item"))
    declared = {"has_params": spec.paramKind is not None, "has_variables": bool(spec.variables)}
    for index, mutation in enumerate(spec.mutations or ()):
        errors += _mutation(mutation, f"spec.mutations[{index}]", declared)
    return errors


def _mutation(mutation: Any, path: str, declared: dict[str, bool]) -> list[FieldError]:
    errors = one_of(f"{path}.patchType", mutation.patchType, _PATCH_TYPES)
    if errors:
        return errors
    field = "jsonPatch" if mutation.patchType == "JSONPatch" else "applyConfiguration"
    other = "applyConfiguration" if field == "jsonPatch" else "jsonPatch"
    if getattr(mutation, other) is not None:
        detail = f"must not be set when patchType is {mutation.patchType}"
        errors.append(FieldError(FieldErrorType.FORBIDDEN, f"{path}.{other}", "", detail))
    given = getattr(mutation, field)
    if given is None:
        errors.append(required(f"{path}.{field}", f"must be specified when patchType is {mutation.patchType}"))
    else:
        errors += expression(
            given.expression or "",
            f"{path}.{field}.expression",
            detail="expression is not specified",
            is_mutation=True,
            **declared,
        )
    return errors


def mutating_binding(obj: Any) -> list[FieldError]:
    return [required("spec")] if obj.spec is None else _binding(obj.spec)
