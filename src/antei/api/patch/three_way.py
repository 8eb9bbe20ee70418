"""What `kubectl apply` sends: the new manifest, and the removal of what the last manifest had and the new one lacks.

Whatever neither manifest mentions (defaults, allocated ports, other people's fields) stays as it is.
Source: k8s.io/apimachinery/pkg/util/strategicpatch (CreateThreeWayMergePatch).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from antei.api.patch.list_keys import Field, fields_of

__all__ = ["three_way_patch"]


def three_way_patch(
    last_applied: Mapping[str, Any], modified: Mapping[str, Any], struct_type: type[Any] | None
) -> dict[str, Any]:
    """A strategic merge patch where `struct_type` is known, else (None, custom resources) a JSON merge patch."""
    fields = fields_of(struct_type) if struct_type is not None else {}  # type: ignore[arg-type]
    patch: dict[str, Any] = {}
    for name, value in modified.items():
        patch[name] = _value_patch(last_applied.get(name), value, fields.get(name))
    for name, value in last_applied.items():
        if name not in modified and value is not None:
            patch[name] = None
    return patch


def _value_patch(last: Any, new: Any, field: Field | None) -> Any:
    struct = field.struct if field is not None else None
    if isinstance(new, Mapping):
        return three_way_patch(last if isinstance(last, Mapping) else {}, new, struct)
    if not isinstance(new, list) or field is None or not field.strategy.merge or not isinstance(last, list):
        return new
    key = field.strategy.key
    if not key:
        return new  # a list of scalars that merges: what was removed from it stays, as kubectl's own patch cannot tell
    before = {item.get(key): item for item in last if isinstance(item, Mapping)}
    patch: list[Any] = []
    for item in new:
        known = before.pop(item.get(key), None) if isinstance(item, Mapping) else None
        patch.append(_value_patch(known, item, Field(field.strategy, struct)) if known is not None else item)
    patch += [{key: gone, "$patch": "delete"} for gone in before if gone is not None]
    return patch
