"""JSON patch (RFC 6902), by the `jsonpatch` library, with Kubernetes' limits and errors.

Source: apiserver/pkg/endpoints/handlers/patch.go (jsonPatcher.applyJSPatch).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonpatch
from jsonpointer import JsonPointerException
from lightkube.models.meta_v1 import Status, StatusCause, StatusDetails

from antei.api.errors import ApiError, bad_request, request_entity_too_large

__all__ = ["apply_json_patch"]

_MOST_OPERATIONS = 10_000


def apply_json_patch(current: Mapping[str, Any], patch: Any) -> dict[str, Any]:
    """Raises 400 for what is no patch, 413 for more than 10,000 operations, 422 for one that does not apply."""
    if not isinstance(patch, list) or not all(isinstance(operation, dict) for operation in patch):
        raise bad_request("error decoding patch: a JSON patch is an array of operations")
    if len(patch) > _MOST_OPERATIONS:
        raise request_entity_too_large(
            f"The allowed maximum operations in a JSON patch is {_MOST_OPERATIONS}, got {len(patch)}"
        )
    try:
        patched = jsonpatch.JsonPatch(patch).apply(current, in_place=False)
    except (jsonpatch.JsonPatchConflict, jsonpatch.JsonPatchTestFailed, JsonPointerException) as error:
        raise _does_not_apply(str(error)) from error
    except (jsonpatch.InvalidJsonPatch, jsonpatch.JsonPatchException, TypeError, KeyError) as error:
        raise bad_request(f"error decoding patch: {error}") from error
    if not isinstance(patched, dict):
        raise _does_not_apply("the patched document is not an object")
    return patched


def _does_not_apply(detail: str) -> ApiError:
    """Kubernetes says no more than the first sentence; the cause names the operation."""
    return ApiError(
        Status(
            status="Failure",
            code=422,
            reason="Invalid",
            message="the server rejected our request due to an error in our request",
            details=StatusDetails(causes=[StatusCause(reason="FieldValueInvalid", message=detail)]),
            metadata={},  # type: ignore[arg-type]
        )
    )
