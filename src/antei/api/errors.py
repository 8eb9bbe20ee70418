"""Kubernetes' errors: a `metav1.Status` with its reason, code and causes, as an exception.

Source: k8s.io/apimachinery/pkg/api/errors/errors.go and pkg/util/validation/field/errors.go.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from lightkube.models.meta_v1 import Status, StatusCause, StatusDetails

__all__ = [
    "ApiError",
    "FieldError",
    "FieldErrorType",
    "already_exists",
    "bad_gateway",
    "bad_request",
    "conflict",
    "expired",
    "forbidden",
    "internal_error",
    "invalid",
    "method_not_supported",
    "not_acceptable",
    "not_found",
    "request_entity_too_large",
    "service_unavailable",
    "timeout",
    "too_many_requests",
    "unauthorized",
    "unsupported_media_type",
]


class ApiError(Exception):
    """An API call that failed, with the Status that a client is sent."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.message)
        self.status = status

    @property
    def code(self) -> int:
        return self.status.code or 500

    @property
    def reason(self) -> str:
        return self.status.reason or ""

    @property
    def message(self) -> str:
        return self.status.message or ""


class FieldErrorType(StrEnum):
    REQUIRED = "FieldValueRequired"
    INVALID = "FieldValueInvalid"
    NOT_SUPPORTED = "FieldValueNotSupported"
    DUPLICATE = "FieldValueDuplicate"
    FORBIDDEN = "FieldValueForbidden"
    TOO_LONG = "FieldValueTooLong"
    TOO_MANY = "FieldValueTooMany"
    TYPE_INVALID = "FieldValueTypeInvalid"
    NOT_FOUND = "FieldValueNotFound"


_PHRASES = {
    FieldErrorType.REQUIRED: "Required value",
    FieldErrorType.INVALID: "Invalid value",
    FieldErrorType.NOT_SUPPORTED: "Unsupported value",
    FieldErrorType.DUPLICATE: "Duplicate value",
    FieldErrorType.FORBIDDEN: "Forbidden",
    FieldErrorType.TOO_LONG: "Too long",
    FieldErrorType.TOO_MANY: "Too many",
    FieldErrorType.TYPE_INVALID: "Invalid value",
    FieldErrorType.NOT_FOUND: "Not found",
}
_WITHOUT_VALUE = {
    FieldErrorType.REQUIRED,
    FieldErrorType.FORBIDDEN,
    FieldErrorType.TOO_LONG,
    FieldErrorType.TOO_MANY,
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with one field; `path` is written as `spec.containers[0].name`."""

    type: FieldErrorType
    path: str
    value: Any = None
    detail: str = ""

    @property
    def body(self) -> str:
        """The error without its path, as Kubernetes puts it in a cause's message."""
        text = _PHRASES[self.type]
        if self.type not in _WITHOUT_VALUE:
            text += f": {_render(self.value)}"
        return f"{text}: {self.detail}" if self.detail else text

    def __str__(self) -> str:
        return f"{self.path}: {self.body}"


def _render(value: Any) -> str:
    """A value as Go's %q or %v prints it in a field error: strings quoted, the rest as JSON."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if value is None:
        return "null"
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    import msgspec

    return msgspec.json.encode(value).decode()


def _failure(
    code: int,
    reason: str,
    message: str,
    *,
    group: str = "",
    kind: str = "",
    name: str = "",
    uid: str = "",
    causes: Sequence[StatusCause] = (),
    retry_after_seconds: int | None = None,
) -> ApiError:
    details = None
    if group or kind or name or uid or causes or retry_after_seconds:
        details = StatusDetails(
            group=group or None,
            kind=kind or None,
            name=name or None,
            uid=uid or None,
            causes=list(causes) or None,
            retryAfterSeconds=retry_after_seconds,
        )
    return ApiError(
        Status(
            status="Failure",
            code=code,
            reason=reason,
            message=message,
            details=details,
            metadata={},  # type: ignore[arg-type]
        )
    )


def _qualified(plural: str, group: str) -> str:
    return f"{plural}.{group}" if group else plural


def not_found(plural: str, name: str, group: str = "") -> ApiError:
    """404; `plural` is the resource ("pods"), as Kubernetes names it in this message."""
    return _failure(
        404,
        "NotFound",
        f'{_qualified(plural, group)} "{name}" not found',
        group=group,
        kind=plural,
        name=name,
    )


def already_exists(plural: str, name: str, group: str = "") -> ApiError:
    return _failure(
        409,
        "AlreadyExists",
        f'{_qualified(plural, group)} "{name}" already exists',
        group=group,
        kind=plural,
        name=name,
    )


def conflict(plural: str, name: str, detail: str, group: str = "") -> ApiError:
    return _failure(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {_qualified(plural, group)} "{name}": {detail}',
        group=group,
        kind=plural,
        name=name,
    )


def invalid(kind: str, name: str, errors: Sequence[FieldError], group: str = "") -> ApiError:
    """422 with a cause for each field error; `kind` is the kind ("Pod"), as Kubernetes has it here."""
    texts = [str(error) for error in errors]
    joined = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    return _failure(
        422,
        "Invalid",
        f'{_qualified(kind, group)} "{name}" is invalid: {joined}',
        group=group,
        kind=kind,
        name=name,
        causes=[StatusCause(reason=e.type.value, message=e.body, field=e.path) for e in errors],
    )


def forbidden(plural: str, name: str, detail: str, group: str = "") -> ApiError:
    what = _qualified(plural, group) if plural else ""
    message = f'{what} "{name}" is forbidden: {detail}' if what and name else f"{what} is forbidden: {detail}"
    return _failure(403, "Forbidden", message if what else f"forbidden: {detail}", group=group, kind=plural, name=name)


def unauthorized(message: str = "Unauthorized") -> ApiError:
    return _failure(401, "Unauthorized", message)


def bad_request(message: str) -> ApiError:
    return _failure(400, "BadRequest", message)


def method_not_supported(plural: str, verb: str, group: str = "") -> ApiError:
    return _failure(
        405,
        "MethodNotAllowed",
        f"{verb} is not supported on resources of kind {json.dumps(_qualified(plural, group))}",
        group=group,
        kind=plural,
    )


def not_acceptable(message: str) -> ApiError:
    return _failure(406, "NotAcceptable", message)


def expired(message: str) -> ApiError:
    """410: the revision asked for is no longer kept; the client lists again."""
    return _failure(410, "Expired", message)


def request_entity_too_large(message: str) -> ApiError:
    return _failure(413, "RequestEntityTooLarge", message)


def unsupported_media_type(message: str) -> ApiError:
    return _failure(415, "UnsupportedMediaType", message)


def too_many_requests(
    message: str, *, retry_after_seconds: int | None = None, causes: Sequence[StatusCause] = ()
) -> ApiError:
    return _failure(429, "TooManyRequests", message, causes=causes, retry_after_seconds=retry_after_seconds)


def internal_error(message: str) -> ApiError:
    return _failure(500, "InternalError", f"Internal error occurred: {message}")


def bad_gateway(message: str) -> ApiError:
    """502: what a request was passed on to did not answer in HTTP."""
    return _failure(502, "BadGateway", message)


def service_unavailable(message: str) -> ApiError:
    return _failure(503, "ServiceUnavailable", message)


def timeout(message: str) -> ApiError:
    return _failure(504, "Timeout", f"Timeout: {message}")
