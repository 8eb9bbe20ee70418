"""AdmissionReview: what a webhook is sent, and what it may answer.

Kubernetes: apiserver/pkg/admission/plugin/webhook/{request/admissionreview,errors/statuserror}.go.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from lightkube.models.meta_v1 import Status

from antei.api.errors import ApiError
from antei.api.resources import Resource
from antei.server.admission.request import Request
from antei.server.admission.views import request_view, shown
from antei.server.webhooks import WebhookError

__all__ = ["Verdict", "denied", "review_of", "verdict_of"]

_GROUP = "admission.k8s.io"
_KNOWN = ("v1", "v1beta1")


@dataclass(frozen=True, slots=True)
class Verdict:
    is_allowed: bool
    result: Mapping[str, Any] = field(default_factory=dict)  # a metav1.Status
    patch: Sequence[Any] = ()  # a JSON patch
    warnings: Sequence[str] = ()
    audit_annotations: Mapping[str, str] = field(default_factory=dict)


def review_of(request: Request, resource: Resource, uid: str, versions: Sequence[str]) -> dict[str, Any]:
    """The AdmissionReview in the first version that is known here; `resource` is the version that was matched.

    Raises WebhookError where none is.
    """
    version = next((version for version in versions if version in _KNOWN), None)
    if version is None:
        raise WebhookError("webhook does not accept known AdmissionReview versions (v1, v1beta1)")
    view = {"uid": uid, **request_view(request, resource)}
    view["object"] = None if request.object is None else shown(resource, request.object)
    view["oldObject"] = None if request.old_object is None else shown(resource, request.old_object)
    return {"kind": "AdmissionReview", "apiVersion": f"{_GROUP}/{version}", "request": view}


def verdict_of(answer: Any, sent: Mapping[str, Any], *, is_mutating: bool) -> Verdict:
    """What the answer to the review `sent` says. Raises WebhookError for what is no answer to it."""
    if not isinstance(answer, dict):
        raise WebhookError("couldn't get version/kind; json parse error: an object is expected")
    given, asked = _version_kind(answer), _version_kind(sent)
    response = answer.get("response")
    if not isinstance(response, dict):
        raise WebhookError("webhook response was absent")
    is_v1 = sent["apiVersion"] == f"{_GROUP}/v1"
    uid = sent["request"]["uid"]
    if is_v1 and response.get("uid") != uid:
        raise WebhookError(f'expected response.uid="{uid}", got "{response.get("uid") or ""}"')
    # v1beta1 webhooks could leave out what they answer with.
    if given != asked and (is_v1 or answer.get("kind") or answer.get("apiVersion")):
        raise WebhookError(f"expected webhook response of {asked}, got {given}")
    patch = _patch(response, is_v1=is_v1, is_mutating=is_mutating)
    result = response.get("status")
    try:
        return msgspec.convert(
            {
                "is_allowed": bool(response.get("allowed")),
                "result": result or {},
                "patch": patch,
                "warnings": response.get("warnings") or [],
                "audit_annotations": response.get("auditAnnotations") or {},
            },
            Verdict,
        )
    except msgspec.ValidationError as error:
        raise WebhookError(f"couldn't decode the response: {error}") from error


def _version_kind(review: Mapping[str, Any]) -> str:
    """As Go prints a GroupVersionKind."""
    return f"{review.get('apiVersion') or '/'}, Kind={review.get('kind') or ''}"


def _patch(response: Mapping[str, Any], *, is_v1: bool, is_mutating: bool) -> Sequence[Any]:
    encoded, kind = response.get("patch"), response.get("patchType")
    if is_v1 and not is_mutating:
        if encoded:
            raise WebhookError("validating webhook may not return response.patch")
        if kind is not None:
            raise WebhookError("validating webhook may not return response.patchType")
    if not is_mutating or (not encoded and kind is None):
        return ()
    if is_v1 and kind is None:
        raise WebhookError("webhook returned response.patch but not response.patchType")
    if not encoded:
        if is_v1:
            raise WebhookError("webhook returned response.patchType but not response.patch")
        return ()
    if kind not in (None, "JSONPatch"):
        raise WebhookError(f'unsupported patch type "{kind}"')
    try:
        patch = msgspec.json.decode(b64decode(encoded, validate=True))
    except (TypeError, Base64Error, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WebhookError(f"received undecodable patch in webhook response: {error}") from error
    if not isinstance(patch, list):
        raise WebhookError("received undecodable patch in webhook response: a JSON patch is an array of operations")
    return patch


def denied(webhook: str, result: Mapping[str, Any]) -> ApiError:
    """The refusal as the client is told it: with the webhook's code and reason, if they are those of a failure."""
    message, reason = result.get("message"), result.get("reason")
    by = f'admission webhook "{webhook}" denied the request'
    text = f"{by}: {message or reason}" if message or reason else f"{by} without explanation"
    code = result.get("code")
    fields = {
        **result,
        "message": text,
        "code": code if isinstance(code, int) and 400 <= code <= 599 else 400,
        "status": "Failure",
        "metadata": {},
    }
    try:
        return ApiError(msgspec.convert(fields, Status))
    except msgspec.ValidationError:
        # Details that are none: the refusal counts, not they.
        return ApiError(Status(status="Failure", message=text, code=fields["code"], metadata={}))  # type: ignore[arg-type]
