"""Lists: isSorted, sum, min, max, indexOf, lastIndexOf; and find, findAll of regular expressions.

Kubernetes: apiserver/pkg/cel/library/{lists,regex}.go.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Any

from cel_expr_python import cel

from antei.api.cel.library.declaring import ANY_KINDS, Library, method
from antei.api.cel.patterns import find, find_all

__all__ = ["DECLARATIONS"]

_LIST = cel.Type.List(cel.Type.DYN)


def _is_sorted(items: list[Any]) -> bool:
    return all(not following < item for item, following in pairwise(items))


def _sum(items: list[Any]) -> Any:
    if items and isinstance(items[0], timedelta):
        return sum(items, timedelta())
    return sum(items)


def _least(items: list[Any]) -> Any:
    if not items:
        raise ValueError("min called on empty list")
    return min(items)


def _greatest(items: list[Any]) -> Any:
    if not items:
        raise ValueError("max called on empty list")
    return max(items)


def _index(items: list[Any], wanted: Any) -> int:
    return next((index for index, item in enumerate(items) if _same(item, wanted)), -1)


def _last_index(items: list[Any], wanted: Any) -> int:
    return next((index for index in reversed(range(len(items))) if _same(items[index], wanted)), -1)


def _same(left: Any, right: Any) -> bool:
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = find_all(pattern, text)
    return found if limit < 0 else found[:limit]


_STRING = cel.Type.STRING
DECLARATIONS: Library = {
    "isSorted": [method("list_is_sorted", cel.Type.BOOL, [_LIST], _is_sorted)],
    "sum": [method("list_sum", cel.Type.DYN, [_LIST], _sum)],
    "min": [method("list_min", cel.Type.DYN, [_LIST], _least)],
    "max": [method("list_max", cel.Type.DYN, [_LIST], _greatest)],
    "indexOf": [
        method(f"list_index_of_{kind}", cel.Type.INT, [_LIST, type_], _index) for kind, type_ in ANY_KINDS.items()
    ],
    "lastIndexOf": [
        method(f"list_last_index_of_{kind}", cel.Type.INT, [_LIST, type_], _last_index)
        for kind, type_ in ANY_KINDS.items()
    ],
    "find": [method("string_find", _STRING, [_STRING, _STRING], lambda text, pattern: find(pattern, text))],
    "findAll": [
        method("string_find_all", cel.Type.List(_STRING), [_STRING, _STRING], _find_all),
        method("string_find_all_limited", cel.Type.List(_STRING), [_STRING, _STRING, cel.Type.INT], _find_all),
    ],
}
