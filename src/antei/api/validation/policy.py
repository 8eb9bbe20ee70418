"""PodDisruptionBudgets (Kubernetes: pkg/apis/policy/validation/validation.go)."""

from __future__ import annotations

from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api.errors import FieldError
from antei.api.validation.fields import at_most_100_percent, invalid, not_supported, positive_int_or_percent
from antei.api.validation.metadata import label_selector

__all__ = ["pod_disruption_budget"]

_EVICTION_POLICIES = ("AlwaysAllow", "IfHealthyBudget")


def pod_disruption_budget(obj: PodDisruptionBudget) -> list[FieldError]:
    spec = obj.spec
    if spec is None:
        return []
    errors: list[FieldError] = []
    if spec.minAvailable is not None and spec.maxUnavailable is not None:
        errors.append(invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set"))
    for name in ("minAvailable", "maxUnavailable"):
        value = getattr(spec, name)
        if value is not None:
            errors += positive_int_or_percent(f"spec.{name}", value)
            errors += at_most_100_percent(f"spec.{name}", value)
    errors += label_selector("spec.selector", spec.selector)
    policy = spec.unhealthyPodEvictionPolicy
    if policy is not None and policy not in _EVICTION_POLICIES:
        errors.append(not_supported("spec.unhealthyPodEvictionPolicy", policy, _EVICTION_POLICIES))
    return errors
