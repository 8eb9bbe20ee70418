"""Strategic merge patch: a merge patch whose lists merge by key, with directives.

Directives: `$patch: replace|delete|merge` in an object or a list item, `$retainKeys`, `$deleteFromPrimitiveList/F`
and `$setElementOrder/F`. Source: apimachinery/pkg/util/strategicpatch/patch.go (mergeMap, mergeSlice,
normalizeElementOrder).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from antei.api.errors import bad_request
from antei.api.patch.list_keys import Field, MergeStrategy, fields_of

__all__ = ["apply_strategic_merge_patch"]

_PATCH = "$patch"
_RETAIN_KEYS = "$retainKeys"
_DELETE_PREFIX = "$deleteFromPrimitiveList/"
_ORDER_PREFIX = "$setElementOrder/"
_UNTYPED = Field(MergeStrategy(), None)


def apply_strategic_merge_patch(
    current: Mapping[str, Any], patch: Mapping[str, Any], struct: type[Any]
) -> dict[str, Any]:
    return _merge_map(_copied(current), _copied(patch), struct)


def _copied(value: Any) -> Any:
    """A copy of JSON's shapes; the rest never changes."""
    if isinstance(value, Mapping):
        return {name: _copied(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_copied(part) for part in value]
    return value


def _merge_map(original: dict[str, Any], patch: dict[str, Any], struct: type[Any] | None) -> dict[str, Any]:
    """Merges into `original`, which is this patch's own copy."""
    directive = patch.pop(_PATCH, None)
    if directive == "replace":
        return patch
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f"Unknown patch type found: {directive}")
    _retain_keys(original, patch)
    known = fields_of(struct) if struct is not None else {}  # type: ignore[arg-type]
    orders = _directives(patch, _ORDER_PREFIX)
    for name, removed in _directives(patch, _DELETE_PREFIX).items():
        if isinstance(original.get(name), list):
            original[name] = [item for item in original[name] if item not in removed]
    for name, value in patch.items():
        if value is None:
            original.pop(name, None)
        elif name not in original:
            original[name] = _without_directives(value)
        else:
            original[name] = _merge_value(original[name], value, known.get(name, _UNTYPED), orders.get(name))
    for name, order in orders.items():
        field = known.get(name, _UNTYPED)
        if isinstance(original.get(name), list) and field.strategy.merge:
            wanted = patch.get(name) or []
            original[name] = _in_order(original[name], order, field.strategy.key, wanted)
    return original


def _merge_value(original: Any, patch: Any, field: Field, order: Sequence[Any] | None) -> Any:
    if isinstance(original, dict) and isinstance(patch, dict):
        if field.strategy.replace:
            return _without_directives(patch)
        return _merge_map(original, patch, field.struct)
    if isinstance(original, list) and isinstance(patch, list) and field.strategy.merge:
        return _merge_list(original, patch, field)
    return _without_directives(patch)


def _merge_list(original: list[Any], patch: list[Any], field: Field) -> list[Any]:
    key = field.strategy.key
    if not key:
        return list(dict.fromkeys([*original, *patch]))
    merged = list(original)
    plain = []
    replaces = False
    for item in patch:
        if not isinstance(item, dict):
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        directive = item.get(_PATCH)
        if directive == "replace":
            replaces = True
            remaining = {name: value for name, value in item.items() if name != _PATCH}
            if remaining:
                plain.append(remaining)
        elif directive == "delete":
            wanted = _key_of(item, key)
            merged = [kept for kept in merged if not (isinstance(kept, dict) and kept.get(key) == wanted)]
        elif directive in (None, "merge"):
            plain.append({name: value for name, value in item.items() if name != _PATCH})
        else:
            raise bad_request(f"Unknown patch type found: {directive}")
    if replaces:
        return [_without_directives(item) for item in plain]
    for item in plain:
        wanted = _key_of(item, key)
        for index, kept in enumerate(merged):
            if isinstance(kept, dict) and kept.get(key) == wanted:
                merged[index] = _merge_map(kept, item, field.struct)
                break
        else:
            merged.append(_without_directives(item))
    return merged


def _key_of(item: Mapping[str, Any], key: str) -> Any:
    if key not in item:
        raise bad_request(f"map: {dict(item)} does not contain declared merge key: {key}")
    return item[key]


def _in_order(merged: list[Any], order: Sequence[Any], key: str, patch: Sequence[Any]) -> list[Any]:
    """What the patch orders goes in its order; what only the server has keeps its place among the others."""

    def identity(item: Any) -> Any:
        return item.get(key) if key and isinstance(item, dict) else item

    wanted = [identity(item) for item in order]
    place = {identity(item): index for index, item in enumerate(merged)}
    ordered = sorted((item for item in merged if identity(item) in wanted), key=lambda i: wanted.index(identity(i)))
    server_only = [item for item in merged if identity(item) not in wanted]
    result = []
    while ordered and server_only:
        if place[identity(server_only[0])] < place[identity(ordered[0])]:
            result.append(server_only.pop(0))
        else:
            result.append(ordered.pop(0))
    return [*result, *ordered, *server_only]


def _retain_keys(original: dict[str, Any], patch: dict[str, Any]) -> None:
    retained = patch.pop(_RETAIN_KEYS, None)
    if retained is None:
        return
    if not isinstance(retained, list):
        raise bad_request("invalid patch format of retainKeys")
    for name, value in patch.items():
        if value is not None and not name.startswith("$") and name not in retained:
            raise bad_request("invalid patch format of retainKeys")
    for name in [name for name in original if name not in retained]:
        del original[name]


def _directives(patch: dict[str, Any], prefix: str) -> dict[str, list[Any]]:
    """Takes the lists of one directive out of a patch, by the field that each is for."""
    found = {}
    for name in [name for name in patch if name.startswith(prefix)]:
        value = patch.pop(name)
        if not isinstance(value, list):
            raise bad_request(
                "invalid patch format of setElementOrder list"
                if prefix == _ORDER_PREFIX
                else "invalid patch format of primitive list"
            )
        found[name.removeprefix(prefix)] = value
    return found


def _without_directives(value: Any) -> Any:
    """A value that is new: directives in it have nothing to act on, items to be deleted are not there, nulls vanish."""
    if isinstance(value, list):
        return [
            _without_directives(item)
            for item in value
            if not (isinstance(item, dict) and item.get(_PATCH) in ("delete", "replace") and len(item) <= 2)
        ]
    if isinstance(value, dict):
        return {
            name: _without_directives(item)
            for name, item in value.items()
            if not name.startswith("$") and item is not None
        }
    return value
