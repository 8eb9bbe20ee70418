"""MutatingAdmissionWebhook: one after the other, each sees what those before it made of the object.

    a changed it ──► built-in plug-ins once more ──► b, if it was asked before a and wants to be (reinvocationPolicy)

Kubernetes: apiserver/pkg/admission/plugin/webhook/mutating/{dispatcher,reinvocationcontext}.go.
"""

from __future__ import annotations

import logging

from antei.api.errors import internal_error
from antei.api.resources import Resource
from antei.server.admission.changes import check_namespace, patched
from antei.server.admission.in_version import InVersion
from antei.server.admission.matching import Versions
from antei.server.admission.reinvocation import Reinvocation
from antei.server.admission.request import Request
from antei.server.admission.webhooks.asking import CallFailed, ask, failed
from antei.server.admission.webhooks.hooks import Hook, Hooks
from antei.server.admission.webhooks.review import Verdict, denied
from antei.server.webhooks import WebhookCaller
from antei.store import Store
from antei.world import Chance

__all__ = ["MutatingWebhooks"]

_LOG = logging.getLogger(__name__)


class MutatingWebhooks:
    name = "MutatingAdmissionWebhook"

    def __init__(
        self, store: Store, caller: WebhookCaller, chance: Chance, versions: Versions, in_version: InVersion
    ) -> None:
        self._store = store
        self._in_version = in_version
        self._caller = caller
        self._chance = chance
        self._versions = versions
        self._hooks = Hooks(store, "admissionregistration.k8s.io/mutatingwebhookconfigurations")

    async def admit(self, request: Request, reinvocation: Reinvocation) -> None:
        """Changes the request's object. Raises ApiError for what is refused."""
        hooks = self._hooks.all()
        if not hooks:
            return
        turns = reinvocation.turns(self.name)
        turns.begin(request.object)
        for hook in hooks:
            matched = hook.concerns(request, self._store, self._versions)
            if matched is None or not turns.is_due(hook.identity):
                continue
            before = request.object
            seen = await self._in_version(request, matched)
            if not hook.conditions_hold(seen, matched):
                continue
            await self._ask(request, seen, hook, matched)
            turns.asked(
                hook.identity,
                has_changed=request.object is not before,
                is_reinvocable=hook.spec.reinvocationPolicy == "IfNeeded",
            )
        turns.end(request.object)

    async def _ask(self, request: Request, seen: Request, hook: Hook, resource: Resource) -> None:
        """`seen` is the request as the webhook is to see it."""
        try:
            verdict = await ask(hook, seen, resource, self._caller, self._chance, is_mutating=True)
        except CallFailed as error:
            if not hook.ignores_failure:
                raise failed(hook, error) from error
            _LOG.warning("failed calling webhook, failing open %s: %s", hook.name, error)
            return
        if not verdict.is_allowed:
            raise denied(hook.name, verdict.result)
        if verdict.patch:
            await self._patch(request, seen, hook, resource, verdict)

    async def _patch(self, request: Request, seen: Request, hook: Hook, resource: Resource, verdict: Verdict) -> None:
        if seen.object is None:
            raise internal_error(
                f'admission webhook "{hook.name}" attempted to modify the object, '
                "which is not supported for this operation"
            )
        changed = await self._in_version.back(request, patched(seen.object, resource, verdict.patch))
        if changed != request.object:
            check_namespace(request, changed)
            request.object = changed
