"""What a patch makes of an object. Pure.

A merge patch says which of the object's own fields (metadata, spec, status …) it changes: the others stay the Structs
that they are, and are neither merged nor read again. So a node that patches a status does not pay for the spec.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from antei.api.decode import Decoded, decode_data
from antei.api.objects import replace
from antei.api.patch import MERGE_PATCH, STRATEGIC_MERGE_PATCH, apply_patch
from antei.store import Stored

__all__ = ["patched"]


def patched(
    patch_type: str, seen: Stored, patch: Any, kind: type[Any], field_validation: str, *, merges_by_key: bool
) -> Decoded[Any]:
    """`seen` is the object in the version that was asked for, which is of `kind`.

    `merges_by_key`: whether it is known what lists of the kind merge by, as it is not of custom kinds.
    Raises ApiError as `apply_patch` and `decode` do.
    """
    merged_by = kind if merges_by_key else None
    named = _named_fields(patch_type, patch, seen.object)
    if named is None:
        data = apply_patch(patch_type, msgspec.json.decode(seen.data), patch, merged_by)
        return decode_data(data, kind, field_validation=field_validation)
    known = {field: getattr(seen.object, name) for field, name in named.items()}
    part = msgspec.to_builtins({field: value for field, value in known.items() if value is not None})
    decoded = decode_data(apply_patch(patch_type, part, patch, merged_by), kind, field_validation=field_validation)
    changes = {name: getattr(decoded.object, name) for name in named.values()}
    return Decoded(replace(seen.object, **changes), decoded.warnings)


def _named_fields(patch_type: str, patch: Any, obj: Any) -> Mapping[str, str] | None:
    """The fields of the object that a patch names, apiVersion and kind always, as JSON and as the Struct call them.

    None where it may concern all of them: a JSON patch, a directive on the object as a whole, a custom object.
    """
    if patch_type not in (MERGE_PATCH, STRATEGIC_MERGE_PATCH) or not isinstance(patch, dict):
        return None
    if not isinstance(obj, msgspec.Struct) or any(name.startswith("$") for name in patch):
        return None
    names = zip(obj.__struct_encode_fields__, obj.__struct_fields__, strict=True)
    return {field: name for field, name in names if field in patch or field in ("apiVersion", "kind")}
