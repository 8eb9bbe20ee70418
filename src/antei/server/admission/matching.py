"""Which requests webhooks and admission policies are asked about: rules, and selectors of namespaces and objects.

Kubernetes: apiserver/pkg/admission/plugin/webhook/predicates/{rules,namespace,object},
apiserver/pkg/admission/plugin/policy/matching.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from antei.api.errors import not_found
from antei.api.objects import meta
from antei.api.resources import Resource
from antei.api.selectors import Selector, selector_of
from antei.server.admission.request import Operation, Request
from antei.server.caller import STARTING
from antei.store import Key, Store

__all__ = ["Rule", "Selection", "Versions", "is_exempt", "matched_resource", "rules_of"]

#: Every version in which a kind is served, by bucket.
Versions = Callable[[str], Sequence[Resource]]

#: What would lock itself out, were it sent to what it configures.
_EXEMPT = frozenset(
    f"admissionregistration.k8s.io/{plural}"
    for plural in (
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
        "mutatingwebhookconfigurations",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "validatingwebhookconfigurations",
    )
)


def is_exempt(request: Request) -> bool:
    return request.resource.bucket in _EXEMPT or request.user is STARTING


@dataclass(frozen=True, slots=True)
class Rule:
    operations: frozenset[str]
    groups: frozenset[str]
    versions: frozenset[str]
    resources: tuple[tuple[str, str], ...]  # (plural, subresource), each of them perhaps "*"
    scope: str
    names: frozenset[str] = frozenset()  # none: every name

    def matches(self, request: Request, resource: Resource) -> bool:
        """Whether it is meant, were the request one for `resource`, which is another version of the same kind."""
        return (
            self._in_scope(request)
            and ("*" in self.operations or request.operation in self.operations)
            and ("*" in self.groups or resource.group in self.groups)
            and ("*" in self.versions or resource.version in self.versions)
            and any(
                plural in ("*", resource.plural) and subresource in ("*", request.subresource)
                for plural, subresource in self.resources
            )
            and (not self.names or request.name in self.names)
        )

    def _in_scope(self, request: Request) -> bool:
        """A namespace is cluster-scoped, though a request for it carries its name as its namespace."""
        if self.scope == "*":
            return True
        is_cluster_scoped = request.resource.bucket == "/namespaces" or not request.namespace
        return is_cluster_scoped == (self.scope == "Cluster")


def rules_of(rules: Iterable[Any] | None) -> tuple[Rule, ...]:
    """From RuleWithOperations or NamedRuleWithOperations."""
    return tuple(
        Rule(
            frozenset(rule.operations or ()),
            frozenset(rule.apiGroups or ()),
            frozenset(rule.apiVersions or ()),
            tuple(_split(resource) for resource in rule.resources or ()),
            rule.scope or "*",
            frozenset(getattr(rule, "resourceNames", None) or ()),
        )
        for rule in rules or ()
    )


def _split(resource: str) -> tuple[str, str]:
    """`*/*` is everything, `*` every kind without subresources."""
    plural, _, subresource = resource.partition("/")
    return plural, subresource


def matched_resource(
    rules: Sequence[Rule], request: Request, match_policy: str | None, versions: Versions
) -> Resource | None:
    """The version in which a rule names the request's kind: its own, else, by Equivalent, the first of another."""
    own = request.resource
    if any(rule.matches(request, own) for rule in rules):
        return own
    if match_policy == "Exact":
        return None
    others = [other for other in versions(own.bucket) if other is not own]
    for rule in rules:
        for other in others:
            if rule.matches(request, other):
                return other
    return None


@dataclass(frozen=True, slots=True)
class Selection:
    """namespaceSelector and objectSelector; one that is not given selects everything."""

    namespaces: Selector
    objects: Selector

    @classmethod
    def of(cls, of: Any) -> Selection:
        namespaces, objects = of.namespaceSelector, of.objectSelector
        everything = Selector()
        return cls(
            everything if namespaces is None else selector_of(namespaces),
            everything if objects is None else selector_of(objects),
        )

    def selects_namespace(self, request: Request, store: Store) -> bool:
        """Raises 404 where the namespace is gone."""
        if self.namespaces.is_empty:
            return True
        labels = _namespace_labels(request, store)
        return labels is None or self.namespaces.matches(labels)

    def selects_object(self, request: Request) -> bool:
        """One of the object as it was and as it will be is enough."""
        if self.objects.is_empty:
            return True
        return any(
            metadata is not None and self.objects.matches(metadata.labels)
            for metadata in (getattr(request.object, "metadata", None), getattr(request.old_object, "metadata", None))
        )


def _namespace_labels(request: Request, store: Store) -> Mapping[str, str] | None:
    """None for what is in no namespace: selectors of namespaces exempt nothing of that."""
    is_namespace = request.resource.bucket == "/namespaces"
    if not request.namespace and not is_namespace:
        return None
    if is_namespace and not request.subresource and request.operation in (Operation.CREATE, Operation.UPDATE):
        return meta(request.object).labels or {}
    stored = store.get(Key("/namespaces", "", request.namespace))
    if stored is None:
        raise not_found("namespaces", request.namespace)
    return meta(stored.object).labels or {}
