"""The three ways to change an object without sending all of it: JSON patch, merge patch, strategic merge patch.

All work on plain JSON values (dicts, lists, scalars) and never change what they are handed. A fourth, server-side
apply, goes by who owns what (`api.managed_fields`) and has no more than its media type here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from antei.api.errors import bad_request, unsupported_media_type
from antei.api.patch.json_patch import apply_json_patch
from antei.api.patch.merge import apply_merge_patch
from antei.api.patch.strategic import apply_strategic_merge_patch

__all__ = [
    "APPLY_PATCH",
    "MERGE_PATCH",
    "PATCH_MEDIA_TYPES",
    "STRATEGIC_MERGE_PATCH",
    "apply_patch",
    "check_patch_type",
]

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
PATCH_MEDIA_TYPES = (APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH)


def check_patch_type(patch_type: str) -> None:
    """Raises 415 for a media type that no patch has."""
    if patch_type not in PATCH_MEDIA_TYPES:
        raise unsupported_media_type(
            f"the body of the request was in an unknown format - accepted media types include: "
            f"{', '.join(PATCH_MEDIA_TYPES)}"
        )


def apply_patch(
    patch_type: str, current: Mapping[str, Any], patch: Any, struct_type: type[Any] | None
) -> dict[str, Any]:
    """The object that results from one of the three patches; `struct_type` is the Struct whose list-map keys count.

    Raises ApiError: 415 for a patch type that is not served (strategic merge without a Struct included), 400 for a
    patch of the wrong form, 422 for one that cannot be applied (Kubernetes:
    apiserver/pkg/endpoints/handlers/patch.go).
    """
    check_patch_type(patch_type)
    if patch_type == APPLY_PATCH:
        raise unsupported_media_type("server-side apply cannot be worked out without the owners of fields")
    if patch_type == JSON_PATCH:
        return apply_json_patch(current, patch)
    if not isinstance(patch, dict):
        raise bad_request(f"error decoding patch: a JSON object is expected, not {_json_name(patch)}")
    if patch_type == MERGE_PATCH:
        merged = apply_merge_patch(current, patch)
        assert isinstance(merged, dict)  # a patch that is an object makes an object
        return merged
    if struct_type is None:
        raise unsupported_media_type(
            f"the body of the request was in an unknown format - accepted media types include: "
            f"{JSON_PATCH}, {MERGE_PATCH}, {APPLY_PATCH}"
        )
    return apply_strategic_merge_patch(current, patch, struct_type)


def _json_name(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, list):
        return "an array"
    return "a boolean" if isinstance(value, bool) else "a string" if isinstance(value, str) else "a number"
