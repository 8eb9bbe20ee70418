"""ValidatingAdmissionWebhook: all that are concerned are asked at once, and one that refuses is enough.

Kubernetes: apiserver/pkg/admission/plugin/webhook/validating/dispatcher.go.
"""

from __future__ import annotations

import asyncio
import logging

from antei.api.errors import ApiError
from antei.api.resources import Resource
from antei.server.admission.in_version import InVersion
from antei.server.admission.matching import Versions
from antei.server.admission.request import Request
from antei.server.admission.webhooks.asking import CallFailed, ask, failed
from antei.server.admission.webhooks.hooks import Hook, Hooks
from antei.server.admission.webhooks.review import denied
from antei.server.webhooks import WebhookCaller
from antei.store import Store
from antei.world import Chance

__all__ = ["ValidatingWebhooks"]

_LOG = logging.getLogger(__name__)


class ValidatingWebhooks:
    def __init__(
        self, store: Store, caller: WebhookCaller, chance: Chance, versions: Versions, in_version: InVersion
    ) -> None:
        self._store = store
        self._in_version = in_version
        self._caller = caller
        self._chance = chance
        self._versions = versions
        self._hooks = Hooks(store, "admissionregistration.k8s.io/validatingwebhookconfigurations")

    async def validate(self, request: Request) -> None:
        """Raises the refusal of the first by name."""
        concerned: list[tuple[Hook, Resource, Request]] = []
        for hook in self._hooks.all():
            matched = hook.concerns(request, self._store, self._versions)
            if matched is not None:
                seen = await self._in_version(request, matched)
                if hook.conditions_hold(seen, matched):
                    concerned.append((hook, matched, seen))
        if not concerned:
            return
        calls = [asyncio.create_task(self._ask(seen, hook, matched)) for hook, matched, seen in concerned]
        try:
            await asyncio.wait(calls)
        finally:
            for call in calls:
                call.cancel()
        for refusal in [call.result() for call in calls]:
            if refusal is not None:
                raise refusal

    async def _ask(self, request: Request, hook: Hook, resource: Resource) -> ApiError | None:
        try:
            verdict = await ask(hook, request, resource, self._caller, self._chance, is_mutating=False)
        except ApiError as error:
            return error
        except CallFailed as error:
            if not hook.ignores_failure:
                return failed(hook, error)
            _LOG.warning("failed calling webhook, failing open %s: %s", hook.name, error)
            return None
        return None if verdict.is_allowed else denied(hook.name, verdict.result)
