"""Policies with their bindings, compiled once for each change of either.

Kubernetes: apiserver/pkg/admission/plugin/policy/{generic/policy_source,matching/matching}.go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from antei.api.cel import CelError
from antei.api.errors import internal_error
from antei.api.objects import name_of
from antei.api.resources import Resource
from antei.server.admission.matching import Rule, Selection, Versions, matched_resource, rules_of
from antei.server.admission.request import Request
from antei.store import Store, Stored

__all__ = ["Binding", "Definition", "Definitions", "Matching"]

P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Matching:
    """matchConstraints of a policy, matchResources of a binding."""

    rules: tuple[Rule, ...]
    excluded: tuple[Rule, ...]
    selection: Selection
    match_policy: str | None

    @classmethod
    def of(cls, resources: Any) -> Matching:
        return cls(
            rules_of(resources.resourceRules),
            rules_of(resources.excludeResourceRules),
            Selection.of(resources),
            resources.matchPolicy,
        )

    def matches(self, request: Request, store: Store, versions: Versions) -> Resource | None:
        """The version in which it is meant. Raises ApiError 404 where the namespace is gone."""
        matched: Resource | None = request.resource
        if self.rules:
            matched = matched_resource(self.rules, request, self.match_policy, versions)
        if matched is None or matched_resource(self.excluded, request, self.match_policy, versions) is not None:
            return None
        if not self.selection.selects_object(request) or not self.selection.selects_namespace(request, store):
            return None
        return matched


@dataclass(frozen=True, slots=True)
class Binding:
    name: str
    spec: Any
    matching: Matching | None  # None: whatever the policy matches


@dataclass(frozen=True, slots=True)
class Definition(Generic[P]):
    name: str
    spec: Any
    matching: Matching
    bindings: tuple[Binding, ...]  # by name
    program: P

    @property
    def ignores_failure(self) -> bool:
        return bool(self.spec.failurePolicy == "Ignore")


class Definitions(Generic[P]):
    """The policies of one kind that are bound, by name."""

    def __init__(self, store: Store, plural: str, compiled: Callable[[Any], P]) -> None:
        """`compiled` makes of a policy's spec what evaluates it."""
        group = "admissionregistration.k8s.io"
        self._store = store
        self._policies = f"{group}/{plural}"
        self._bindings = f"{group}/{plural.removesuffix('ies')}ybindings"
        self._compiled = compiled
        self._seen: tuple[Sequence[Stored], Sequence[Stored]] = ((), ())
        self._definitions: tuple[Definition[P], ...] = ()
        self._programs: dict[str, tuple[Any, P]] = {}

    def all(self) -> tuple[Definition[P], ...]:
        bindings = self._store.list(self._bindings).items
        if not bindings:
            return ()
        policies = self._store.list(self._policies).items
        if bindings is not self._seen[0] or policies is not self._seen[1]:
            self._definitions = tuple(self._made(policies, bindings))
            self._seen = (bindings, policies)
        return self._definitions

    def _made(self, policies: Sequence[Stored], bindings: Sequence[Stored]) -> list[Definition[P]]:
        bound: dict[str, list[Binding]] = {}
        for stored in bindings:
            spec = stored.object.spec
            matching = Matching.of(spec.matchResources) if spec.matchResources is not None else None
            bound.setdefault(spec.policyName, []).append(Binding(stored.key.name, spec, matching))
        return [
            Definition(
                name_of(stored.object),
                stored.object.spec,
                Matching.of(stored.object.spec.matchConstraints),
                tuple(bound[stored.key.name]),
                self._program(stored.key.name, stored.object.spec),
            )
            for stored in policies
            if stored.key.name in bound
        ]

    def _program(self, name: str, spec: Any) -> P:
        """Compiling takes its time: a change of a status, or of a binding, does not make it necessary."""
        known = self._programs.get(name)
        if known is not None and known[0] == spec:
            return known[1]
        try:
            program = self._compiled(spec)
        except CelError as error:
            # Validation has compiled it: only another version of antei can have stored it.
            raise internal_error(f'admission policy "{name}": {error}') from error
        self._programs[name] = (spec, program)
        return program
