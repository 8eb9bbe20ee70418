"""Quantities and semantic versions. Both are compared by the same methods, which ask what they are called on.

Kubernetes: apiserver/pkg/cel/library/{quantity,semverlib}.go.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from cel_expr_python import cel

from antei.api.cel.library.declaring import Library, function, method, tag_of, tagged, untagged
from antei.api.quantity import canonical, parse

__all__ = ["DECLARATIONS"]

_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+([0-9A-Za-z.-]+))?",
    re.ASCII,
)
_LARGEST = 2**63 - 1


def _quantity(text: str) -> dict[str, Any]:
    return tagged("kubernetes.Quantity", canonical(text))


def _is_quantity(text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


def _amount(value: Any) -> Decimal:
    if isinstance(value, int):
        return Decimal(value)
    return Decimal(parse(untagged(value, "kubernetes.Quantity")).amount)


def _added(left: Any, right: Any, sign: int = 1) -> dict[str, Any]:
    total = _amount(left) + sign * _amount(right)
    suffix = re.search(r"[A-Za-z]*i$", untagged(left, "kubernetes.Quantity"))
    return _quantity(_plain(total) if suffix is None else _binary(total))


def _plain(amount: Decimal) -> str:
    return format(amount.normalize(), "f")


def _binary(amount: Decimal) -> str:
    whole = amount == amount.to_integral_value()
    return f"{int(amount) // 1024}Ki" if whole and int(amount) % 1024 == 0 else _plain(amount)


def _is_integer(value: Any) -> bool:
    amount = _amount(value)
    return amount == amount.to_integral_value() and abs(amount) <= _LARGEST


def _as_integer(value: Any) -> int:
    if not _is_integer(value):
        raise ValueError("cannot convert value to integer")
    return int(_amount(value))


def _sign(value: Any) -> int:
    amount = _amount(value)
    return (amount > 0) - (amount < 0)


def _semver(text: str, normalize: bool = False) -> dict[str, Any]:
    version = _normalized(text) if normalize else text
    if _SEMVER.fullmatch(version) is None:
        raise ValueError(f"invalid semantic version: {text}")
    return tagged("kubernetes.Semver", version)


def _normalized(text: str) -> str:
    """ "v1.2" is 1.2.0, and leading zeroes go."""
    core, mark, rest = text.removeprefix("v").partition("-" if "-" in text else "+")
    parts = [part.lstrip("0") or "0" if part.isdigit() else part for part in core.split(".")]
    return ".".join([*parts, "0", "0"][: max(3, len(parts))]) + mark + rest


def _is_semver(text: str, normalize: bool = False) -> bool:
    try:
        _semver(text, normalize)
    except ValueError:
        return False
    return True


def _part(index: int) -> Any:
    def read(value: Any) -> int:
        found = _SEMVER.fullmatch(untagged(value, "kubernetes.Semver"))
        assert found is not None
        return int(found[index])

    return read


def _precedence(text: str) -> tuple[Any, ...]:
    found = _SEMVER.fullmatch(text)
    assert found is not None
    release = found[4]
    identifiers = [
        (0, int(part), "") if part.isdigit() else (1, 0, part) for part in (release.split(".") if release else ())
    ]
    return (int(found[1]), int(found[2]), int(found[3]), release is None, identifiers)


def _compared(left: Any, right: Any) -> int:
    if tag_of(left) == "kubernetes.Semver":
        pair: tuple[Any, Any] = (
            _precedence(untagged(left, "kubernetes.Semver")),
            _precedence(untagged(right, "kubernetes.Semver")),
        )
    else:
        pair = _amount(left), _amount(right)
    return (pair[0] > pair[1]) - (pair[0] < pair[1])


_MAP, _STRING, _BOOL, _INT = cel.Type.MAP, cel.Type.STRING, cel.Type.BOOL, cel.Type.INT
DECLARATIONS: Library = {
    "quantity": [function("string_to_quantity", _MAP, [_STRING], _quantity)],
    "isQuantity": [function("is_quantity_string", _BOOL, [_STRING], _is_quantity)],
    "sign": [method("quantity_sign", _INT, [_MAP], _sign)],
    "isInteger": [method("quantity_is_integer", _BOOL, [_MAP], _is_integer)],
    "asInteger": [method("quantity_get_int", _INT, [_MAP], _as_integer)],
    "asApproximateFloat": [method("quantity_get_float", cel.Type.DOUBLE, [_MAP], lambda value: float(_amount(value)))],
    "add": [
        method("quantity_add", _MAP, [_MAP, _MAP], _added),
        method("quantity_add_int", _MAP, [_MAP, _INT], _added),
    ],
    "sub": [
        method("quantity_sub", _MAP, [_MAP, _MAP], lambda left, right: _added(left, right, -1)),
        method("quantity_sub_int", _MAP, [_MAP, _INT], lambda left, right: _added(left, right, -1)),
    ],
    "isLessThan": [method("is_less_than", _BOOL, [_MAP, _MAP], lambda left, right: _compared(left, right) < 0)],
    "isGreaterThan": [method("is_greater_than", _BOOL, [_MAP, _MAP], lambda left, right: _compared(left, right) > 0)],
    "compareTo": [method("compare_to", _INT, [_MAP, _MAP], _compared)],
    "semver": [
        function("string_to_semver", _MAP, [_STRING], _semver),
        function("string_bool_to_semver", _MAP, [_STRING, _BOOL], _semver),
    ],
    "isSemver": [
        function("is_semver_string", _BOOL, [_STRING], _is_semver),
        function("is_semver_string_bool", _BOOL, [_STRING, _BOOL], _is_semver),
    ],
    "major": [method("semver_major", _INT, [_MAP], _part(1))],
    "minor": [method("semver_minor", _INT, [_MAP], _part(2))],
    "patch": [method("semver_patch", _INT, [_MAP], _part(3))],
}
