"""HorizontalPodAutoscalers (Kubernetes: pkg/apis/autoscaling/validation/validation.go)."""

from __future__ import annotations

from typing import Any

from lightkube.resources.autoscaling_v2 import HorizontalPodAutoscaler

from antei.api import names
from antei.api.errors import FieldError
from antei.api.quantity import to_decimal
from antei.api.validation.fields import forbidden, invalid, messages, not_supported, one_of, required

__all__ = ["horizontal_pod_autoscaler"]

_SOURCES = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}
_MAX_WINDOW_SECONDS = 3600
_MAX_PERIOD_SECONDS = 1800


def horizontal_pod_autoscaler(obj: HorizontalPodAutoscaler) -> list[FieldError]:
    spec = obj.spec
    errors: list[FieldError] = []
    least = spec.minReplicas
    if least is not None and least < 1:
        errors.append(invalid("spec.minReplicas", least, "must be greater than or equal to 1"))
    if spec.maxReplicas < 1:
        errors.append(invalid("spec.maxReplicas", spec.maxReplicas, "must be greater than 0"))
    if least is not None and spec.maxReplicas < least:
        errors.append(invalid("spec.maxReplicas", spec.maxReplicas, "must be greater than or equal to `minReplicas`"))
    for name in ("kind", "name"):
        value = getattr(spec.scaleTargetRef, name)
        if not value:
            errors.append(required(f"spec.scaleTargetRef.{name}"))
        else:
            errors += messages(f"spec.scaleTargetRef.{name}", value, names.path_segment(value))
    for index, metric in enumerate(spec.metrics or ()):
        errors += _metric(f"spec.metrics[{index}]", metric)
    if spec.behavior is not None:
        for name in ("scaleUp", "scaleDown"):
            rules = getattr(spec.behavior, name)
            if rules is not None:
                errors += _rules(f"spec.behavior.{name}", rules)
    return errors


def _metric(path: str, metric: Any) -> list[FieldError]:
    if metric.type not in _SOURCES:
        return one_of(f"{path}.type", metric.type, tuple(_SOURCES))
    expected = _SOURCES[metric.type]
    errors: list[FieldError] = []
    for name in _SOURCES.values():
        if name != expected and getattr(metric, name) is not None:
            detail = "must populate the given metric source only"
            errors.append(forbidden(f"{path}.{name}", detail))
    source = getattr(metric, expected)
    if source is None:
        detail = "must populate information for the given metric source"
        return [required(f"{path}.{expected}", detail), *errors]
    if expected in ("resource", "containerResource"):
        if not source.name:
            errors.append(required(f"{path}.{expected}.name", "must specify a resource name"))
        if expected == "containerResource" and not source.container:
            errors.append(required(f"{path}.{expected}.container", "must specify a container name"))
    elif not source.metric.name:
        errors.append(required(f"{path}.{expected}.metric.name", "must specify a metric name"))
    return errors + _target(f"{path}.{expected}.target", source.target)


def _target(path: str, target: Any) -> list[FieldError]:
    errors: list[FieldError] = []
    if not target.type:
        errors.append(required(f"{path}.type", "must specify a metric target type"))
    elif target.type not in ("Utilization", "Value", "AverageValue"):
        detail = "must be either Utilization, Value, or AverageValue"
        errors.append(invalid(f"{path}.type", target.type, detail))
    if target.averageUtilization is not None and target.averageUtilization < 1:
        errors.append(invalid(f"{path}.averageUtilization", target.averageUtilization, "must be greater than 0"))
    for name in ("value", "averageValue"):
        amount = getattr(target, name)
        if amount is not None and to_decimal(amount) <= 0:
            errors.append(invalid(f"{path}.{name}", amount, "must be positive"))
    if target.averageUtilization is None and target.averageValue is None and target.value is None:
        detail = "must set either a target raw value or a target utilization"
        errors.append(required(f"{path}.averageUtilization", detail))
    elif target.averageUtilization is not None and target.averageValue is not None:
        detail = "may not set both a target raw value and a target utilization"
        errors.append(forbidden(f"{path}.averageValue", detail))
    return errors


def _rules(path: str, rules: Any) -> list[FieldError]:
    errors: list[FieldError] = []
    window = rules.stabilizationWindowSeconds
    if window is not None:
        place = f"{path}.stabilizationWindowSeconds"
        if window < 0:
            errors.append(invalid(place, window, "must be greater than or equal to zero"))
        elif window > _MAX_WINDOW_SECONDS:
            errors.append(invalid(place, window, f"must be less than or equal to {_MAX_WINDOW_SECONDS}"))
    if rules.selectPolicy is not None and rules.selectPolicy not in ("Disabled", "Max", "Min"):
        errors.append(not_supported(f"{path}.selectPolicy", rules.selectPolicy, ("Disabled", "Max", "Min")))
    if not rules.policies:
        errors.append(required(f"{path}.policies", "must specify at least one Policy"))
    for index, policy in enumerate(rules.policies or ()):
        place = f"{path}.policies[{index}]"
        if policy.type not in ("Pods", "Percent"):
            errors.append(not_supported(f"{place}.type", policy.type, ("Percent", "Pods")))
        if policy.value <= 0:
            errors.append(invalid(f"{place}.value", policy.value, "must be greater than zero"))
        if policy.periodSeconds <= 0:
            errors.append(invalid(f"{place}.periodSeconds", policy.periodSeconds, "must be greater than zero"))
        elif policy.periodSeconds > _MAX_PERIOD_SECONDS:
            detail = f"must be less than or equal to {_MAX_PERIOD_SECONDS}"
            errors.append(invalid(f"{place}.periodSeconds", policy.periodSeconds, detail))
    return errors
