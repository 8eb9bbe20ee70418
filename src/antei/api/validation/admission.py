"""Webhook configurations and admission policies: what all of them have (rules, selectors, expressions), and webhooks.

Kubernetes: pkg/apis/admissionregistration/validation/validation.go, apiserver/pkg/util/webhook/validation.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

from antei.api import names
from antei.api.admission_expressions import compile_expression
from antei.api.cel import CelError
from antei.api.errors import FieldError, FieldErrorType
from antei.api.validation.fields import duplicate, invalid, messages, not_supported, required
from antei.api.validation.metadata import label_selector

__all__ = ["expression", "match_conditions", "mutating_webhooks", "rule_with_operations", "validating_webhooks"]

FAILURE_POLICIES = ("Fail", "Ignore")
MATCH_POLICIES = ("Equivalent", "Exact")
REINVOCATION_POLICIES = ("IfNeeded", "Never")
_SIDE_EFFECTS = ("None", "NoneOnDryRun")
_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_SCOPES = ("*", "Cluster", "Namespaced")
_REVIEW_VERSIONS = ("v1", "v1beta1")
_MOST_CONDITIONS = 64
_URL_FORM = "; desired format: https://host[/path]"


def mutating_webhooks(obj: Any) -> list[FieldError]:
    errors = _webhooks(obj)
    for index, hook in enumerate(obj.webhooks or ()):
        if hook.reinvocationPolicy not in REINVOCATION_POLICIES:
            path = f"webhooks[{index}].reinvocationPolicy"
            errors.append(not_supported(path, hook.reinvocationPolicy, REINVOCATION_POLICIES))
    return errors


def validating_webhooks(obj: Any) -> list[FieldError]:
    return _webhooks(obj)


def _webhooks(obj: Any) -> list[FieldError]:
    errors: list[FieldError] = []
    known: set[str] = set()
    for index, hook in enumerate(obj.webhooks or ()):
        path = f"webhooks[{index}]"
        errors += _webhook(hook, path)
        errors += _review_versions(hook.admissionReviewVersions or [], f"{path}.admissionReviewVersions")
        if hook.name and hook.name in known:
            errors.append(duplicate(f"{path}.name", hook.name))
        known.add(hook.name)
    return errors


def _webhook(hook: Any, path: str) -> list[FieldError]:
    errors = _fully_qualified_name(hook.name, f"{path}.name")
    for index, rule in enumerate(hook.rules or ()):
        errors += rule_with_operations(rule, f"{path}.rules[{index}]")
    errors += policies(hook, path, ("failurePolicy", FAILURE_POLICIES), ("matchPolicy", MATCH_POLICIES))
    if not hook.sideEffects:
        errors.append(required(f"{path}.sideEffects", f"must specify one of {', '.join(_SIDE_EFFECTS)}"))
    elif hook.sideEffects not in _SIDE_EFFECTS:
        errors.append(not_supported(f"{path}.sideEffects", hook.sideEffects, _SIDE_EFFECTS))
    if hook.timeoutSeconds is not None and not 1 <= hook.timeoutSeconds <= 30:
        detail = "the timeout value must be between 1 and 30 seconds"
        errors.append(invalid(f"{path}.timeoutSeconds", hook.timeoutSeconds, detail))
    for field in ("namespaceSelector", "objectSelector"):
        errors += label_selector(f"{path}.{field}", getattr(hook, field))
    errors += client_config(hook.clientConfig, f"{path}.clientConfig")
    return errors + match_conditions(hook.matchConditions, f"{path}.matchConditions", is_policy=False)


def _fully_qualified_name(name: str, path: str) -> list[FieldError]:
    if not name:
        return [required(path)]
    errors = messages(path, name, names.dns1123_subdomain(name))
    if errors:
        return errors
    if len(name.split(".")) < 3:
        return [invalid(path, name, "should be a domain with at least three segments separated by dots")]
    return []


def _review_versions(versions: Sequence[str], path: str) -> list[FieldError]:
    known = ", ".join(_REVIEW_VERSIONS)
    if not versions:
        return [required(path, f"must specify one of {known}")]
    errors: list[FieldError] = []
    for index, version in enumerate(versions):
        if version in versions[:index]:
            errors.append(invalid(f"{path}[{index}]", version, "duplicate version"))
        else:
            errors += messages(f"{path}[{index}]", version, names.dns1123_label(version))
    if not any(version in _REVIEW_VERSIONS for version in versions):
        errors.append(invalid(path, list(versions), f"must include at least one of {known}"))
    return errors


def client_config(config: Any, path: str) -> list[FieldError]:
    """Of a webhook: a URL or a Service."""
    if config is None or (config.url is None) == (config.service is None):
        return [required(path, "exactly one of url or service is required")]
    if config.url is not None:
        return _url(config.url, f"{path}.url")
    return _service(config.service, f"{path}.service")


def _url(text: str, path: str) -> list[FieldError]:
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError as error:
        return [required(path, f"url must be a valid URL: {error}{_URL_FORM}")]
    errors = []
    if url.scheme != "https":
        errors.append(invalid(path, url.scheme, f"'https' is the only allowed URL scheme{_URL_FORM}"))
    if not url.hostname:
        errors.append(invalid(path, url.netloc, f"host must be specified{_URL_FORM}"))
    if url.username is not None:
        errors.append(invalid(path, url.netloc.rpartition("@")[0], "user information is not permitted in the URL"))
    if url.fragment:
        errors.append(invalid(path, url.fragment, "fragments are not permitted in the URL"))
    if url.query:
        errors.append(invalid(path, url.query, "query parameters are not permitted in the URL"))
    return errors


def _service(service: Any, path: str) -> list[FieldError]:
    errors = []
    if not service.name:
        errors.append(required(f"{path}.name", "service name is required"))
    if not service.namespace:
        errors.append(required(f"{path}.namespace", "service namespace is required"))
    for problem in names.port_number(service.port) if service.port is not None else ():
        errors.append(invalid(f"{path}.port", service.port, f"port is not valid: {problem}"))
    if service.path is not None:
        errors += _service_path(service.path, f"{path}.path")
    return errors


def _service_path(text: str, path: str) -> list[FieldError]:
    if text in ("", "/"):
        return []
    if text == "//":
        return [invalid(path, text, "segment[0] may not be empty")]
    errors = [] if text.startswith("/") else [invalid(path, text, "must start with a '/'")]
    for index, segment in enumerate(text.removeprefix("/").removesuffix("/").split("/")):
        if not segment:
            errors.append(invalid(path, text, f"segment[{index}] may not be empty"))
            continue
        for problem in names.dns1123_subdomain(segment):
            errors.append(invalid(path, text, f"segment[{index}]: {problem}"))
    return errors


def policies(of: Any, path: str, *known: tuple[str, Sequence[str]]) -> list[FieldError]:
    """Fields that have one of a few values, and default to one."""
    return [
        not_supported(f"{path}.{field}", getattr(of, field), values)
        for field, values in known
        if getattr(of, field) is not None and getattr(of, field) not in values
    ]


def rule_with_operations(rule: Any, path: str) -> list[FieldError]:
    operations = rule.operations or []
    errors = _listed(operations, f"{path}.operations", "operations", item_check=_operation)
    errors += _listed(rule.apiGroups or [], f"{path}.apiGroups", "API groups")
    errors += _listed(rule.apiVersions or [], f"{path}.apiVersions", "API versions", item_check=_not_empty)
    errors += _resources(rule.resources or [], f"{path}.resources")
    return errors + policies(rule, path, ("scope", _SCOPES))


def _listed(
    values: Sequence[str],
    path: str,
    what: str,
    item_check: Callable[[str, str], Iterable[FieldError]] = lambda path, value: (),
) -> list[FieldError]:
    """Something, and `*` only alone."""
    errors = [] if values else [required(path)]
    if len(values) > 1 and "*" in values:
        errors.append(invalid(path, list(values), f"if '*' is present, must not specify other {what}"))
    for index, value in enumerate(values):
        errors += item_check(f"{path}[{index}]", value)
    return errors


def _operation(path: str, value: str) -> Iterable[FieldError]:
    return () if value in _OPERATIONS else (not_supported(path, value, _OPERATIONS),)


def _not_empty(path: str, value: str) -> Iterable[FieldError]:
    return () if value else (required(path),)


def _resources(resources: Sequence[str], path: str) -> list[FieldError]:
    errors = [] if resources else [required(path)]
    whole: set[str] = set()  # x of x/*
    everywhere: set[str] = set()  # x of */x
    for index, named in enumerate(resources):
        plural, slash, subresource = named.partition("/")
        if not named:
            errors.append(required(f"{path}[{index}]"))
        if not slash:
            continue
        if plural in whole:
            detail = f"if '{plural}/*' is present, must not specify {named}"
            errors.append(invalid(f"{path}[{index}]", named, detail))
        if subresource in everywhere:
            detail = f"if '*/{subresource}' is present, must not specify {named}"
            errors.append(invalid(f"{path}[{index}]", named, detail))
        if subresource == "*":
            whole.add(plural)
        if plural == "*":
            everywhere.add(subresource)
    if len(resources) > 1 and "*/*" in resources:
        errors.append(invalid(path, list(resources), "if '*/*' is present, must not specify other resources"))
    if "*" in resources and any("/" not in named and named != "*" for named in resources):
        detail = "if '*' is present, must not specify other resources without subresources"
        errors.append(invalid(path, list(resources), detail))
    return errors


def match_conditions(
    conditions: Sequence[Any] | None, path: str, *, is_policy: bool, has_params: bool = False
) -> list[FieldError]:
    errors: list[FieldError] = []
    known: set[str] = set()
    if conditions is not None and len(conditions) > _MOST_CONDITIONS:
        detail = f"must have at most {_MOST_CONDITIONS} items"
        errors.append(FieldError(FieldErrorType.TOO_MANY, path, len(conditions), detail))
    for index, condition in enumerate(conditions or ()):
        at = f"{path}[{index}]"
        errors += expression(
            condition.expression, f"{at}.expression", is_policy=is_policy, has_params=has_params, result="bool"
        )
        if not condition.name:
            errors.append(required(f"{at}.name"))
            continue
        errors += messages(f"{at}.name", condition.name, names.qualified_name(condition.name))
        if condition.name in known:
            errors.append(duplicate(f"{at}.name", condition.name))
        known.add(condition.name)
    return errors


def expression(text: str, path: str, *, detail: str = "", **declared: Any) -> list[FieldError]:
    """One that is there and compiles; `declared` as for `compile_expression`."""
    if not text.strip():
        return [required(path, detail)]
    try:
        compile_expression(text, **declared)
    except CelError as error:
        return [invalid(path, text, str(error))]
    return []
