"""What one rule of a role allows, and whether some rules hold all that others would grant. Pure.

Kubernetes: pkg/apis/rbac/v1/evaluation_helpers.go, component-helpers/auth/rbac/validation/policy_comparator.go,
pkg/registry/rbac/validation/policy_compact.go.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from lightkube.models.rbac_v1 import PolicyRule

from antei.server.authorization.attributes import Attributes

__all__ = ["allows", "describe", "quoted_list", "uncovered"]


def allows(rule: PolicyRule, wanted: Attributes) -> bool:
    verbs = rule.verbs or ()
    if wanted.verb not in verbs and "*" not in verbs:
        return False
    if wanted.path:
        return any(_url_covers(url, wanted.path) for url in rule.nonResourceURLs or ())
    groups = rule.apiGroups or ()
    if wanted.group not in groups and "*" not in groups:
        return False
    if not _names_resource(rule.resources or (), wanted):
        return False
    names = rule.resourceNames
    return not names or wanted.name in names


def _names_resource(resources: Sequence[str], wanted: Attributes) -> bool:
    if "*" in resources or wanted.full_resource in resources:
        return True
    return bool(wanted.subresource) and f"*/{wanted.subresource}" in resources


def _url_covers(url: str, path: str) -> bool:
    return url in ("*", path) or (url.endswith("*") and path.startswith(url.rstrip("*")))


def uncovered(held: Sequence[PolicyRule], granted: Iterable[PolicyRule]) -> list[PolicyRule]:
    """What the granted rules allow and no held one does, a verb on a resource each."""
    return [
        single for rule in granted for single in _singles(rule) if not any(_covers(holding, single) for holding in held)
    ]


def _singles(rule: PolicyRule) -> Iterable[PolicyRule]:
    """The rule in its smallest parts, each of which one rule covers or does not."""
    for group in rule.apiGroups or ():
        for resource in rule.resources or ():
            for verb in rule.verbs or ():
                if not rule.resourceNames:
                    yield PolicyRule(verbs=[verb], apiGroups=[group], resources=[resource])
                for name in rule.resourceNames or ():
                    yield PolicyRule(verbs=[verb], apiGroups=[group], resources=[resource], resourceNames=[name])
    for url in rule.nonResourceURLs or ():
        for verb in rule.verbs or ():
            yield PolicyRule(verbs=[verb], nonResourceURLs=[url])


def _covers(held: PolicyRule, single: PolicyRule) -> bool:
    if single.verbs[0] not in held.verbs and "*" not in held.verbs:
        return False
    if single.nonResourceURLs:
        return any(_url_covers(url, single.nonResourceURLs[0]) for url in held.nonResourceURLs or ())
    group, resource = (single.apiGroups or [""])[0], (single.resources or [""])[0]
    if group not in (held.apiGroups or ()) and "*" not in (held.apiGroups or ()):
        return False
    resources = held.resources or ()
    below = resource.partition("/")[2]
    if not ("*" in resources or resource in resources or (below and f"*/{below}" in resources)):
        return False
    if not held.resourceNames:
        return True
    return bool(single.resourceNames) and (single.resourceNames or [""])[0] in held.resourceNames


def describe(missing: Iterable[PolicyRule]) -> str:
    """One line a resource, its verbs together, sorted."""
    simple: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    lines = set()
    for rule in missing:
        if rule.nonResourceURLs:
            lines.add(_line(rule))
            continue
        key = ((rule.apiGroups or [""])[0], (rule.resources or [""])[0], tuple(rule.resourceNames or ()))
        simple.setdefault(key, []).extend(rule.verbs)
    for (group, resource, names), verbs in simple.items():
        merged = PolicyRule(verbs=verbs, apiGroups=[group], resources=[resource], resourceNames=list(names) or None)
        lines.add(_line(merged))
    return "\n".join(sorted(lines))


def _line(rule: PolicyRule) -> str:
    parts = [
        ("APIGroups", rule.apiGroups),
        ("Resources", rule.resources),
        ("NonResourceURLs", rule.nonResourceURLs),
        ("ResourceNames", rule.resourceNames),
        ("Verbs", rule.verbs),
    ]
    return "{" + ", ".join(f"{name}:{quoted_list(values)}" for name, values in parts if values) + "}"


def quoted_list(values: Iterable[str]) -> str:
    """As Go's %q prints a slice of strings."""
    return "[" + " ".join(json.dumps(value, ensure_ascii=False) for value in values) + "]"
