"""Decides by the Roles, ClusterRoles and bindings in the store.

Bindings are indexed by whom they name, a namespace at a time, and again only after one of them has changed; roles are
looked up as they are now. So a decision costs as much as the caller has rules, however many others there are.
Kubernetes: plugin/pkg/auth/authorizer/rbac/rbac.go, pkg/registry/rbac/validation/rule.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lightkube.models.rbac_v1 import PolicyRule, RoleRef, Subject
from lightkube.resources.rbac_authorization_v1 import ClusterRole, ClusterRoleBinding, Role, RoleBinding

from antei.api.objects import meta
from antei.api.resources import Resource, resource_of
from antei.server.authorization.attributes import Attributes, refusal
from antei.server.authorization.rules import allows
from antei.server.caller import MASTERS, User
from antei.store import Key, Store, Stored

__all__ = ["Decision", "Rbac", "Rules"]

#: Namespaces whose bindings are kept indexed.
_MOST_INDEXES = 4096

_Index = Mapping[tuple[str, str], tuple[tuple[Any, Subject], ...]]


@dataclass(frozen=True, slots=True)
class Decision:
    allowed: bool
    reason: str = ""  # which binding allows it; what could not be resolved where nothing does


@dataclass(frozen=True, slots=True)
class Rules:
    """All that somebody may do in a namespace; `errors` name roles that are bound but do not exist."""

    rules: tuple[PolicyRule, ...]
    errors: tuple[str, ...]


class Rbac:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._roles = resource_of(Role).bucket
        self._cluster_roles = resource_of(ClusterRole).bucket
        self._bindings = resource_of(RoleBinding).bucket
        self._cluster_bindings = resource_of(ClusterRoleBinding).bucket
        self._indexes: dict[str, tuple[tuple[Stored, ...], _Index]] = {}  # "": bindings of the whole cluster

    def decide(self, user: User, attributes: Attributes) -> Decision:
        if MASTERS in user.groups:
            return Decision(True)
        errors = []
        for binding, subject, rules, error in self._granted(user, attributes.namespace):
            if error:
                errors.append(error)
            elif any(allows(rule, attributes) for rule in rules):
                return Decision(True, f"RBAC: allowed by {_described(binding, subject)}")
        return Decision(False, f"RBAC: {_joined(errors)}" if errors else "")

    def require(self, user: User, attributes: Attributes) -> None:
        """Raises 403 for what is not allowed."""
        if MASTERS in user.groups:
            return
        decision = self.decide(user, attributes)
        if not decision.allowed:
            raise refusal(user, attributes, decision.reason)

    def require_create(self, user: User, resource: Resource, namespace: str, name: str) -> None:
        """For an update or an apply that turns out to create: it needs the right to create as well."""
        if MASTERS not in user.groups:
            within = namespace if resource.namespaced else ""
            self.require(
                user, Attributes("create", resource.group, resource.version, resource.plural, "", within, name)
            )

    def rules_for(self, user: User, namespace: str) -> Rules:
        if MASTERS in user.groups:
            everything = PolicyRule(verbs=["*"], apiGroups=["*"], resources=["*"])
            return Rules((everything, PolicyRule(verbs=["*"], nonResourceURLs=["*"])), ())
        found: list[PolicyRule] = []
        errors = []
        for _, _, rules, error in self._granted(user, namespace):
            found += rules
            if error:
                errors.append(error)
        return Rules(tuple(found), tuple(errors))

    def rules_of(self, reference: RoleRef, namespace: str) -> tuple[PolicyRule, ...] | None:
        """The rules of the role that a binding in that namespace refers to; None where it does not exist."""
        if reference.kind == "ClusterRole":
            stored = self._store.get(Key(self._cluster_roles, "", reference.name))
        else:
            stored = self._store.get(Key(self._roles, namespace, reference.name))
        return None if stored is None else tuple(stored.object.rules or ())

    def _granted(self, user: User, namespace: str) -> Iterator[tuple[Any, Subject, tuple[PolicyRule, ...], str]]:
        """(binding, whom of it the user is, the rules, what is wrong with it), cluster-wide bindings first."""
        for scope in ("", namespace) if namespace else ("",):
            index = self._index(scope)
            if not index:
                continue
            seen: set[str] = set()
            for subject_key in (("User", user.name), *(("Group", group) for group in user.groups)):
                for binding, subject in index.get(subject_key, ()):
                    name = meta(binding).name or ""
                    if name in seen:
                        continue
                    seen.add(name)
                    rules = self.rules_of(binding.roleRef, scope)
                    if rules is None:
                        reference = binding.roleRef
                        error = f'{reference.kind.lower()}.rbac.authorization.k8s.io "{reference.name}" not found'
                        yield binding, subject, (), error
                    else:
                        yield binding, subject, rules, ""

    def _index(self, namespace: str) -> _Index:
        bucket = self._bindings if namespace else self._cluster_bindings
        items = self._store.list(bucket, namespace).items
        known = self._indexes.get(namespace)
        # The store hands out the same tuple as long as nothing has changed.
        if known is not None and known[0] is items:
            return known[1]
        if len(self._indexes) >= _MOST_INDEXES:
            self._indexes.clear()
        index = _indexed(items, namespace)
        self._indexes[namespace] = (items, index)
        return index


def _indexed(bindings: tuple[Stored, ...], namespace: str) -> _Index:
    found: dict[tuple[str, str], list[tuple[Any, Subject]]] = {}
    for stored in bindings:
        for subject in stored.object.subjects or ():
            key = (subject.kind, subject.name)
            if subject.kind == "ServiceAccount":
                # In a namespace an account without one is that namespace's own.
                of = subject.namespace or namespace
                if not of:
                    continue
                key = ("User", f"system:serviceaccount:{of}:{subject.name}")
            found.setdefault(key, []).append((stored.object, subject))
    return {key: tuple(values) for key, values in found.items()}


def _described(binding: Any, subject: Subject) -> str:
    metadata, reference = meta(binding), binding.roleRef
    name = f"{metadata.name}/{metadata.namespace}" if metadata.namespace else metadata.name
    whom = subject.name
    if subject.kind == "ServiceAccount":
        whom = f"{subject.name}/{subject.namespace or metadata.namespace}"
    kind = "RoleBinding" if metadata.namespace else "ClusterRoleBinding"
    return f'{kind} "{name}" of {reference.kind} "{reference.name}" to {subject.kind} "{whom}"'


def _joined(errors: list[str]) -> str:
    unique = list(dict.fromkeys(errors))
    return unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]"
