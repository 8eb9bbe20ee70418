"""Webhook configurations as they are asked: compiled once a revision, in the order in which they are called.

Kubernetes: apiserver/pkg/admission/{configuration,plugin/webhook/accessors.go,plugin/webhook/generic/webhook.go}.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from antei.api.cel import CelError
from antei.api.errors import internal_error
from antei.api.objects import name_of
from antei.api.resources import Resource
from antei.server.admission.authorizer import authorizer_value
from antei.server.admission.conditions import Conditions, ConditionsFailed
from antei.server.admission.matching import Rule, Selection, Versions, matched_resource, rules_of
from antei.server.admission.request import Request
from antei.server.admission.views import request_view, shown_data
from antei.store import Store, Stored

__all__ = ["Hook", "Hooks"]


@dataclass(frozen=True, slots=True)
class Hook:
    configuration: str
    index: int  # of several in one configuration
    spec: Any  # MutatingWebhook or ValidatingWebhook
    rules: tuple[Rule, ...]
    selection: Selection
    conditions: Conditions

    @property
    def name(self) -> str:
        return str(self.spec.name)

    @property
    def identity(self) -> tuple[str, int]:
        return self.configuration, self.index

    @property
    def ignores_failure(self) -> bool:
        return bool(self.spec.failurePolicy == "Ignore")

    def concerns(self, request: Request, store: Store, versions: Versions) -> Resource | None:
        """The version in which it is to be asked. Raises ApiError 404 where the namespace is gone."""
        matched = matched_resource(self.rules, request, self.spec.matchPolicy, versions)
        if (
            matched is None
            or not self.selection.selects_object(request)
            or not self.selection.selects_namespace(request, store)
        ):
            return None
        return matched

    def conditions_hold(self, request: Request, resource: Resource) -> bool:
        """Of the request in the version that was matched. Raises ApiError 403 for one that cannot be evaluated."""
        if not self.conditions:
            return True
        variables = {
            "object": shown_data(resource, request.object),
            "oldObject": shown_data(resource, request.old_object),
            "request": request_view(request, resource),
            "authorizer": authorizer_value(request),
        }
        try:
            return self.conditions.hold(variables)
        except ConditionsFailed as error:
            raise request.forbidden(str(error)) from error


class Hooks:
    """All webhooks of one kind of configuration."""

    def __init__(self, store: Store, bucket: str) -> None:
        self._store = store
        self._bucket = bucket
        self._seen: tuple[Stored, ...] = ()
        self._hooks: tuple[Hook, ...] = ()

    def all(self) -> Sequence[Hook]:
        """By name of the configuration, then as they are listed in it."""
        items = self._store.list(self._bucket).items
        if items is not self._seen:  # the store keeps a list until something in it changes
            self._hooks = tuple(hook for stored in items for hook in _compiled(stored))
            self._seen = items
        return self._hooks


def _compiled(stored: Stored) -> list[Hook]:
    configuration = stored.object
    hooks = []
    for index, spec in enumerate(configuration.webhooks or ()):
        try:
            conditions = Conditions(spec.matchConditions, fails_closed=spec.failurePolicy != "Ignore")
        except CelError as error:
            # Validation has compiled it: only another version of antei can have stored it.
            raise internal_error(f'webhook "{spec.name}": {error}') from error
        hooks.append(Hook(name_of(configuration), index, spec, rules_of(spec.rules), Selection.of(spec), conditions))
    return hooks
