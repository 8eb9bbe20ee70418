"""MutatingAdmissionWebhook: one after the other, each sees what those before it made of the object.

    a changed it ──► built-in plug-ins once more ──► b, if it was asked before a and wants to be (reinvocationPolicy)

Kubernetes: apiserver/pkg/admission/plugin/webhook/mutating/{dispatcher,reinvocationcontext}.go.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from antei.api.conversion import to_stored
from antei.api.decode import decode_data
from antei.api.defaults import apply_defaults
from antei.api.errors import ApiError, bad_request, internal_error
from antei.api.patch.json_patch import apply_json_patch
from antei.api.resources import Resource
from antei.server.admission.matching import Versions
from antei.server.admission.reinvocation import Reinvocation
from antei.server.admission.request import Request
from antei.server.admission.views import shown
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

    def __init__(self, store: Store, caller: WebhookCaller, chance: Chance, versions: Versions) -> None:
        self._store = store
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
            await self._ask(request, hook, matched)
            turns.asked(
                hook.identity,
                has_changed=request.object is not before,
                is_reinvocable=hook.spec.reinvocationPolicy == "IfNeeded",
            )
        turns.end(request.object)

    async def _ask(self, request: Request, hook: Hook, resource: Resource) -> None:
        try:
            verdict = await ask(hook, request, resource, self._caller, self._chance, is_mutating=True)
        except CallFailed as error:
            if not hook.ignores_failure:
                raise failed(hook, error) from error
            _LOG.warning("failed calling webhook, failing open %s: %s", hook.name, error)
            return
        if not verdict.is_allowed:
            raise denied(hook.name, verdict.result)
        if verdict.patch:
            self._patch(request, hook, resource, verdict)

    def _patch(self, request: Request, hook: Hook, resource: Resource, verdict: Verdict) -> None:
        if request.object is None:
            raise internal_error(
                f'admission webhook "{hook.name}" attempted to modify the object, '
                "which is not supported for this operation"
            )
        changed = patched(request.object, resource, verdict.patch)
        if changed != request.object:
            check_namespace(request, changed)
            request.object = changed


def patched(obj: Any, resource: Resource, patch: Any) -> Any:
    """The object with a JSON patch of its form in the version of `resource`, and the defaults of what that added.

    Raises ApiError 500, as for all that a webhook does wrong.
    """
    seen = shown(resource, obj)
    try:
        data = apply_json_patch(msgspec.json.decode(msgspec.json.encode(seen)), list(patch))
    except ApiError as error:
        causes = error.status.details.causes if error.status.details else None
        raise internal_error(causes[0].message or error.message if causes else error.message) from error
    return decoded(obj, seen, resource, data)


def decoded(obj: Any, seen: Any, resource: Resource, data: Any) -> Any:
    """Plain data, which was `obj` as `seen` in the version of `resource`, as a stored object. Raises ApiError 500."""
    if isinstance(seen, dict):
        return data
    try:
        changed = decode_data(data, type(seen), field_validation="Ignore").object
        if not isinstance(seen, resource.type):
            return changed  # a Scale, a command
        return apply_defaults(to_stored(resource, changed))
    except ApiError as error:
        raise internal_error(error.message) from error


def check_namespace(request: Request, changed: Any) -> None:
    """Raises 400 where an object would come to be elsewhere than it was asked for."""
    metadata = getattr(changed, "metadata", None)
    if metadata is None or not request.resource.namespaced:
        return
    if metadata.namespace != getattr(request.object.metadata, "namespace", None):
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
