"""Strategic merge patch: a merge patch whose lists merge by key, with directives.

    $patch: replace | delete           in an object: of the object; in a list's item: of the list, or of the item
    $retainKeys: […]                   the object keeps these fields alone
    $setElementOrder/F: […]            the order of list F
    $deleteFromPrimitiveList/F: […]    what goes from list F

What is new is taken as it is, but for nulls and for objects with a `$patch`, which have nothing to act on; an item
that is added to a list that merges, a list that does not merge and what `$patch: replace` puts in are taken whole.
Source: apimachinery/pkg/util/strategicpatch/patch.go (mergeMap, mergePatchIntoOriginal, mergeSlice,
normalizeElementOrder); `tests/conformance/test_strategic_merge_kubectl.py` compares the two.
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
_NOTHING = object()


def apply_strategic_merge_patch(
    current: Mapping[str, Any], patch: Mapping[str, Any], struct: type[Any]
) -> dict[str, Any]:
    """Raises 400 for a patch that cannot be what it says."""
    return _merge_map(_copied(current), _copied(patch), struct)


def _copied(value: Any) -> Any:
    """A copy of JSON's shapes; the rest never changes."""
    if isinstance(value, dict):
        return {name: _copied(part) if isinstance(part, dict | list) else part for name, part in value.items()}
    if isinstance(value, list):
        return [_copied(part) if isinstance(part, dict | list) else part for part in value]
    return value


def _merge_map(original: dict[str, Any], patch: dict[str, Any], struct: type[Any] | None) -> dict[str, Any]:
    """Merges into `original`; both are this patch's own copies."""
    if _PATCH in patch:
        directive = patch[_PATCH]
        if directive == "replace":
            return {name: value for name, value in patch.items() if name != _PATCH}
        if directive == "delete":
            return {}
        raise bad_request(f"unknown patch type: {directive} in map: {_shown(patch)}")
    _retain_keys(original, patch)
    known: Mapping[str, Field] = fields_of(struct) if struct is not None else {}  # type: ignore[arg-type]
    for key in [name for name in patch if name.startswith(_ORDER_PREFIX)]:
        name = key.removeprefix(_ORDER_PREFIX)
        _merge_in_order(original, patch, name, patch.pop(key), known.get(name, _UNTYPED))
    for key, value in patch.items():
        _merge_field(original, key, value, known)
    return original


def _merge_field(original: dict[str, Any], key: str, value: Any, known: Mapping[str, Field]) -> None:
    is_removal = key.startswith(_DELETE_PREFIX)
    name = key.removeprefix(_DELETE_PREFIX)
    if is_removal and not isinstance(value, list):
        raise bad_request("invalid patch format of primitive list")
    if value is None:
        original.pop(name, None)
        return
    current = original.get(name)
    field = known.get(name, _UNTYPED)
    if name not in original or type(current) is not type(value):
        original.pop(name, None)
        added = _NOTHING if is_removal else _without_directives(value)
        if added is not _NOTHING:
            original[name] = added
    elif isinstance(value, dict) and not field.strategy.replace:
        original[name] = _merge_map(current, value, field.struct)  # type: ignore[arg-type]
    elif isinstance(value, list) and field.strategy.merge:
        original[name] = _merge_list(current, value, field, is_removal=is_removal)  # type: ignore[arg-type]
    else:
        original[name] = value


def _merge_list(original: list[Any], patch: list[Any], field: Field, *, is_removal: bool = False) -> list[Any]:
    key = field.strategy.key
    if not original and not patch:
        return original
    if _item_type(original, patch) is not dict:
        if is_removal:
            return [item for item in original if item not in patch]
        return _interleaved(list(dict.fromkeys([*original, *patch])), patch, original, "")
    if not key:
        raise bad_request("cannot merge lists without merge key for type struct")
    plain = []
    replaces = False
    for item in patch:
        directive = item.get(_PATCH)
        if _PATCH not in item:
            plain.append(item)
        elif directive == "delete":
            gone = _key_of(item, key)
            original = [kept for kept in original if key not in kept or kept[key] != gone]
        elif directive == "replace":
            replaces = True
        elif directive == "merge":
            raise bad_request("merging lists cannot yet be specified in the patch")
        else:
            raise bad_request(f"unknown patch type: {directive} in map: {_shown(item)}")
    if replaces:
        return _interleaved(plain, (), plain, key)
    merged = list(original)
    for item in plain:
        wanted = _key_of(item, key)
        index = next((index for index, kept in enumerate(merged) if kept.get(key, _NOTHING) == wanted), None)
        if index is None:
            merged.append(item)
        else:
            merged[index] = _merge_map(merged[index], item, field.struct)
    return _interleaved(merged, plain, original, key)


def _merge_in_order(original: dict[str, Any], patch: dict[str, Any], name: str, order: Any, field: Field) -> None:
    """One list whose order is given; its patch, if there is one, is used up."""
    if not isinstance(order, list):
        raise bad_request("invalid patch format of setElementOrder list")
    current, changes = original.get(name, []), patch.get(name, [])
    if not isinstance(current, list) or not isinstance(changes, list):
        raise bad_request(f"expected a list for {name}")
    key = field.strategy.key
    _check_order(changes, order, key)
    if name not in original and name not in patch:
        return
    is_of_objects = _item_type(current, changes) is dict
    if name not in patch:
        merged = current
    elif name not in original:
        merged = _without_directives(changes)
    elif field.strategy.merge:
        merged = _merge_list(current, changes, field)
    else:
        merged = changes
    for item in (*merged, *order) if is_of_objects else ():
        _key_of(item, key)
    original[name] = _interleaved(merged, order, current, key)
    patch.pop(name, None)


def _check_order(changes: Sequence[Any], order: Sequence[Any], key: str) -> None:
    """What the patch has of the list must be in the order, and in that order; directives pass, except at the end when
    the order is used up. Raises 400."""
    items = [item for item in changes if not (key and isinstance(item, dict) and item.get(_PATCH) == "delete")]
    at = place = 0
    while order and at < len(items) and place < len(order):
        if isinstance(items[at], dict) and _PATCH in items[at]:
            at += 1
            continue
        at += _mandatory_identity(items[at], key) == _mandatory_identity(order[place], key)
        place += 1
    if order and at < len(items):
        raise bad_request(
            f"The order in patch list:\n{_shown(changes)}\n doesn't match $setElementOrder list:\n{_shown(order)}\n"
        )


def _mandatory_identity(item: Any, key: str) -> Any:
    return _key_of(item, key) if key else item


def _interleaved(merged: Sequence[Any], order: Sequence[Any], original: Sequence[Any], key: str) -> list[Any]:
    """What `order` names goes in its order; the rest keeps its place among the others as the original list had it."""
    wanted = [_identity(item, key) for item in order]
    before = [_identity(item, key) for item in original]
    named = sorted(
        (one for one in merged if _identity(one, key) in wanted), key=lambda i: wanted.index(_identity(i, key))
    )
    others = [one for one in merged if _identity(one, key) not in wanted]
    others.sort(key=lambda one: before.index(_identity(one, key)) if _identity(one, key) in before else -1)
    result = []
    while named and others:
        first, second = _identity(others[0], key), _identity(named[0], key)
        if first in before and second in before and before.index(first) < before.index(second):
            result.append(others.pop(0))
        else:
            result.append(named.pop(0))
    return [*result, *named, *others]


def _identity(item: Any, key: str) -> Any:
    return item.get(key) if key and isinstance(item, dict) else item


def _key_of(item: Any, key: str) -> Any:
    if not isinstance(item, dict) or key not in item:
        raise bad_request(f"map: {_shown(item)} does not contain declared merge key: {key}")
    return item[key]


def _item_type(*lists: Sequence[Any]) -> type[Any]:
    """Of the items of all of them, which must be one. Raises 400."""
    types = list(dict.fromkeys(type(item) for items in lists for item in items))
    if not types:
        raise bad_request("no elements in any of the given slices")
    if types[0] is list:
        raise bad_request("lists of lists are not supported")
    if len(types) > 1:
        raise bad_request(f"list element types are not identical: {_shown(list(lists))}")
    return types[0]


def _retain_keys(original: dict[str, Any], patch: dict[str, Any]) -> None:
    if _RETAIN_KEYS not in patch:
        return
    retained = patch.pop(_RETAIN_KEYS)
    if not isinstance(retained, list):
        raise bad_request("invalid patch format of retainKeys")
    for name, value in patch.items():
        if value is not None and not name.startswith((_DELETE_PREFIX, _ORDER_PREFIX)) and name not in retained:
            raise bad_request("invalid patch format of retainKeys")
    for name in [name for name in original if name not in retained]:
        del original[name]


def _without_directives(value: Any) -> Any:
    """A value where there was none before; `_NOTHING` for an object whose `$patch` has nothing to act on."""
    if isinstance(value, list):
        items = [_without_directives(item) for item in value]
        return [item for item in items if item is not _NOTHING]
    if isinstance(value, dict):
        if _PATCH in value:
            return _NOTHING
        parts = {name: _without_directives(item) for name, item in value.items() if item is not None}
        return {name: part for name, part in parts.items() if part is not _NOTHING}
    return value


def _shown(value: Any) -> str:
    """As Go prints it."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{name}:{_shown(value[name])}' for name in sorted(value))}]"
    if isinstance(value, list | tuple):
        return f"[{' '.join(map(_shown, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "<nil>" if value is None else str(value)
