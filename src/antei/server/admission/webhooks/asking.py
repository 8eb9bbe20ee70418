"""One webhook asked about one request: what both kinds of them have in common."""

from __future__ import annotations

from antei.api.errors import ApiError, bad_request, internal_error
from antei.api.resources import Resource
from antei.server.admission.request import Request
from antei.server.admission.webhooks.hooks import Hook
from antei.server.admission.webhooks.review import Verdict, review_of, verdict_of
from antei.server.caller import annotate, warn
from antei.server.webhooks import WebhookCaller, WebhookError
from antei.world import Chance

__all__ = ["CallFailed", "ask", "failed"]

_WITHOUT_SIDE_EFFECTS = ("None", "NoneOnDryRun")
_DEFAULT_SECONDS = 10


class CallFailed(Exception):
    """The webhook gave no verdict; its failure policy says what that means."""


async def ask(
    hook: Hook, request: Request, resource: Resource, caller: WebhookCaller, chance: Chance, *, is_mutating: bool
) -> Verdict:
    """Raises CallFailed, and ApiError 400 for a dry run of one that has side effects."""
    if request.dry_run and hook.spec.sideEffects not in _WITHOUT_SIDE_EFFECTS:
        raise bad_request(f'admission webhook "{hook.name}" does not support dry run')
    seconds = hook.spec.timeoutSeconds or _DEFAULT_SECONDS
    try:
        review = review_of(request, resource, chance.uid(), hook.spec.admissionReviewVersions)
    except WebhookError as error:
        raise CallFailed(f"could not create admission objects: {error}") from error
    try:
        answer = await caller.call(hook.spec.clientConfig, review, timeout_seconds=seconds)
    except WebhookError as error:
        raise CallFailed(f"failed to call webhook: {error}") from error
    try:
        verdict = verdict_of(answer, review, is_mutating=is_mutating)
    except WebhookError as error:
        raise CallFailed(f"received invalid webhook response: {error}") from error
    for key, value in verdict.audit_annotations.items():
        annotate(f"{hook.name}/{key}", value)
    for warning in verdict.warnings:
        warn(warning)
    return verdict


def failed(hook: Hook, error: CallFailed) -> ApiError:
    return internal_error(f'failed calling webhook "{hook.name}": {error}')
