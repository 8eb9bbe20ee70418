"""Which requests the audit log tells of: a Policy of audit.k8s.io/v1. The first rule that matches decides. Pure.

Levels are None and Metadata: bodies are never written, so Request and RequestResponse are taken as Metadata.
Kubernetes: apiserver/pkg/audit/policy/checker.go, apiserver/pkg/apis/audit/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from antei.server.authorization import Attributes
from antei.server.caller import User

__all__ = ["METADATA", "AuditPolicy", "PolicyError", "parse_policy"]

_LEVELS = ("None", "Metadata", "Request", "RequestResponse")
_STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")
_VERSIONS = ("audit.k8s.io/v1", "audit.k8s.io/v1beta1")
_FIELDS = {
    "level",
    "users",
    "userGroups",
    "verbs",
    "resources",
    "namespaces",
    "nonResourceURLs",
    "omitStages",
    "omitManagedFields",
}


class PolicyError(Exception):
    """What is wrong with a policy, with the path of the field."""


@dataclass(frozen=True, slots=True)
class _Resources:
    group: str
    resources: frozenset[str]
    names: frozenset[str]

    def matches(self, wanted: Attributes) -> bool:
        if wanted.group != self.group:
            return False
        if not self.resources:
            return True
        if self.names and wanted.name not in self.names:
            return False
        spellings = {wanted.full_resource, "*"}
        if wanted.subresource:
            spellings |= {f"{wanted.resource}/*", f"*/{wanted.subresource}"}
        return bool(spellings & self.resources)


@dataclass(frozen=True, slots=True)
class _Rule:
    tells: bool
    users: frozenset[str]
    groups: frozenset[str]
    verbs: frozenset[str]
    namespaces: frozenset[str]
    resources: tuple[_Resources, ...]
    urls: tuple[str, ...]
    omitted_stages: frozenset[str]

    def matches(self, user: User | None, wanted: Attributes) -> bool:
        if self.users and (user is None or user.name not in self.users):
            return False
        if self.groups and (user is None or not self.groups & set(user.groups)):
            return False
        if self.verbs and wanted.verb not in self.verbs and "*" not in self.verbs:
            return False
        if wanted.path:
            if self.namespaces or self.resources:
                return False
            return not self.urls or any(_is_below(url, wanted.path) for url in self.urls)
        if self.urls:
            return False
        if self.namespaces and wanted.namespace not in self.namespaces:
            return False
        return not self.resources or any(resources.matches(wanted) for resources in self.resources)


@dataclass(frozen=True, slots=True)
class AuditPolicy:
    rules: tuple[_Rule, ...]
    omitted_stages: frozenset[str] = frozenset()
    #: What is written otherwise than the policy says.
    notes: tuple[str, ...] = ()

    def tells(self, user: User | None, wanted: Attributes, stage: str) -> bool:
        """What no rule matches is not told."""
        for rule in self.rules:
            if rule.matches(user, wanted):
                return rule.tells and stage not in rule.omitted_stages | self.omitted_stages
        return False


_NOTHING: frozenset[str] = frozenset()
#: Without a policy every request is told.
METADATA = AuditPolicy((_Rule(True, _NOTHING, _NOTHING, _NOTHING, _NOTHING, (), (), _NOTHING),))


def parse_policy(data: Any) -> AuditPolicy:
    """`data` is the file's document. Raises PolicyError."""
    if not isinstance(data, Mapping) or data.get("kind") != "Policy" or data.get("apiVersion") not in _VERSIONS:
        raise PolicyError("not a Policy of audit.k8s.io/v1")
    rules = data.get("rules")
    if not isinstance(rules, list) or not rules:
        raise PolicyError("rules: at least one is needed")
    parsed = tuple(_rule(rule, f"rules[{index}]") for index, rule in enumerate(rules))
    bodies = [index for index, rule in enumerate(rules) if rule["level"] in _LEVELS[2:]]
    notes = [f"audit policy: rules[{index}].level: bodies are not written; told as Metadata" for index in bodies]
    return AuditPolicy(parsed, _stages(data, ""), tuple(notes))


def _rule(data: Any, path: str) -> _Rule:
    if not isinstance(data, Mapping):
        raise PolicyError(f"{path}: not a rule")
    unknown = sorted(set(data) - _FIELDS)
    if unknown:
        raise PolicyError(f"{path}.{unknown[0]}: unknown field")
    if data.get("level") not in _LEVELS:
        raise PolicyError(f"{path}.level: {data.get('level')!r} is none of {', '.join(_LEVELS)}")
    urls = _texts(data, "nonResourceURLs", path)
    for url in urls:
        if url != "*" and (not url.startswith("/") or "*" in url[:-1]):
            raise PolicyError(f"{path}.nonResourceURLs: {url!r} must begin with / and may have * at its end only")
    groups = data.get("resources") or []
    if urls and (groups or data.get("namespaces")):
        raise PolicyError(f"{path}.nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs")
    if not isinstance(groups, list):
        raise PolicyError(f"{path}.resources: not a list")
    return _Rule(
        data["level"] != "None",
        frozenset(_texts(data, "users", path)),
        frozenset(_texts(data, "userGroups", path)),
        frozenset(_texts(data, "verbs", path)),
        frozenset(_texts(data, "namespaces", path)),
        tuple(_resources(entry, f"{path}.resources[{index}]") for index, entry in enumerate(groups)),
        tuple(urls),
        _stages(data, f"{path}."),
    )


def _resources(data: Any, path: str) -> _Resources:
    if not isinstance(data, Mapping):
        raise PolicyError(f"{path}: not a group of resources")
    resources, names = _texts(data, "resources", path), _texts(data, "resourceNames", path)
    if names and not resources:
        raise PolicyError(f"{path}.resourceNames: using resourceNames requires at least one resource")
    return _Resources(str(data.get("group") or ""), frozenset(resources), frozenset(names))


def _texts(data: Mapping[str, Any], field: str, path: str) -> Sequence[str]:
    found = data.get(field) or []
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise PolicyError(f"{path}.{field}: not a list of strings")
    return found


def _stages(data: Mapping[str, Any], path: str) -> frozenset[str]:
    stages = _texts(data, "omitStages", path.rstrip(".") or "policy")
    for stage in stages:
        if stage not in _STAGES:
            raise PolicyError(f"{path}omitStages: {stage!r} is none of {', '.join(_STAGES)}")
    return frozenset(stages)


def _is_below(url: str, path: str) -> bool:
    return url in ("*", path) or (url.endswith("*") and path.startswith(url[:-1]))
