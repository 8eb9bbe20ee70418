"""Defaults of webhooks and admission policies (Kubernetes: pkg/apis/admissionregistration/v1/defaults.go)."""

from __future__ import annotations

from typing import Any

from lightkube.models.meta_v1 import LabelSelector
from lightkube.resources.admissionregistration_v1 import MutatingWebhookConfiguration, ValidatingWebhookConfiguration

from antei.api.defaults.fill import change, fill, inside

__all__ = ["binding", "mutating_webhooks", "policy", "validating_webhooks"]


def mutating_webhooks(obj: MutatingWebhookConfiguration) -> MutatingWebhookConfiguration:
    hooks = [fill(_webhook(hook), reinvocationPolicy="Never") for hook in obj.webhooks or ()]
    return change(obj, webhooks=hooks) if obj.webhooks else obj


def validating_webhooks(obj: ValidatingWebhookConfiguration) -> ValidatingWebhookConfiguration:
    return change(obj, webhooks=[_webhook(hook) for hook in obj.webhooks]) if obj.webhooks else obj


def _webhook(hook: Any) -> Any:
    hook = fill(
        hook,
        failurePolicy="Fail",
        matchPolicy="Equivalent",
        namespaceSelector=LabelSelector(),
        objectSelector=LabelSelector(),
        timeoutSeconds=10,
    )
    hook = inside(hook, clientConfig=lambda config: inside(config, service=lambda service: fill(service, port=443)))
    return _scoped(hook, "rules")


def _scoped(of: Any, field: str) -> Any:
    rules = getattr(of, field)
    return change(of, **{field: [fill(rule, scope="*") for rule in rules]}) if rules else of


def policy(obj: Any) -> Any:
    """A validating or a mutating one."""
    return inside(obj, spec=lambda spec: inside(fill(spec, failurePolicy="Fail"), matchConstraints=_match_resources))


def binding(obj: Any) -> Any:
    return inside(obj, spec=lambda spec: inside(spec, matchResources=_match_resources))


def _match_resources(resources: Any) -> Any:
    resources = fill(
        resources, matchPolicy="Equivalent", namespaceSelector=LabelSelector(), objectSelector=LabelSelector()
    )
    return _scoped(_scoped(resources, "resourceRules"), "excludeResourceRules")
