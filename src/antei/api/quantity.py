"""Quantities of resources: `100m`, `1.5`, `128Mi`, `1e3`.

Kubernetes: staging/src/k8s.io/apimachinery/pkg/api/resource/{quantity,suffix,amount}.go.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_UP, Context, Decimal
from enum import StrEnum
from functools import lru_cache

__all__ = [
    "Format",
    "Quantity",
    "add",
    "canonical",
    "parse",
    "to_bytes",
    "to_decimal",
    "to_int",
    "to_millis",
    "written",
]

_FORM_MESSAGE = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_NUMBER_MESSAGE = "unable to parse numeric part of quantity"
_SUFFIX_MESSAGE = "unable to parse quantity's suffix"

_SHAPE = re.compile(r"([+-]?)([0-9]*(?:\.[0-9]*)?)([eEinumkKMGTP]*[-+]?[0-9]*)")
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_BY_EXPONENT = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY_BY_EXPONENT = {exponent: suffix for suffix, exponent in _BINARY.items()}
_LARGEST = Decimal(2**63 - 1)
_NANO = Decimal("1e-9")
# Wide enough for every sum and product of quantities to be exact.
_EXACT = Context(prec=80)


class Format(StrEnum):
    DECIMAL_SI = "DecimalSI"
    BINARY_SI = "BinarySI"
    DECIMAL_EXPONENT = "DecimalExponent"


@dataclass(frozen=True, slots=True)
class Quantity:
    """An exact amount, and the notation that it was written in."""

    amount: Decimal
    format: Format = Format.DECIMAL_SI

    def __str__(self) -> str:
        return _canonical(self)


@lru_cache(maxsize=4096)
def parse(text: str) -> Quantity:
    """The quantity that `text` denotes; finer than a billionth is rounded up, larger than 2^63-1 is capped.

    Raises ValueError with Kubernetes' message.
    """
    found = _SHAPE.fullmatch(text)
    if not text or found is None:
        raise ValueError(_FORM_MESSAGE)
    sign, digits, suffix = found.groups()
    if suffix in _BINARY:
        factor, form = Decimal(2 ** _BINARY[suffix]), Format.BINARY_SI
    elif suffix in _DECIMAL:
        factor, form = Decimal(1).scaleb(_DECIMAL[suffix]), Format.DECIMAL_SI
    elif re.fullmatch(r"[eE][-+]?[0-9]{1,4}", suffix):
        factor, form = Decimal(1).scaleb(int(suffix[1:])), Format.DECIMAL_EXPONENT
    else:
        raise ValueError(_SUFFIX_MESSAGE)
    if not digits.strip("."):
        raise ValueError(_NUMBER_MESSAGE)
    amount = _EXACT.multiply(Decimal(digits if digits != "." else "0"), factor)
    if amount > _LARGEST:
        amount = _LARGEST
    amount = amount.quantize(_NANO, ROUND_UP, _EXACT)
    return Quantity(-amount if sign == "-" else amount, form)


def canonical(text: str) -> str:
    """The form in which Kubernetes sends it back: `1000m` is `1`, `2048Ki` is `2Mi`, `0.5` is `500m`."""
    return _canonical(parse(text))


def written(amount: Decimal, name: str) -> str:
    """An amount of a resource: memory in binary units, all else in decimal ones."""
    form = Format.BINARY_SI if name == "memory" else Format.DECIMAL_SI
    return _canonical(Quantity(amount, form))


def _canonical(quantity: Quantity) -> str:
    amount = quantity.amount
    if amount == 0:
        return "0"
    form = quantity.format
    if form is Format.BINARY_SI:
        # Small or fractional amounts would lose precision in binary units.
        whole = amount == amount.to_integral_value()
        if not whole or -1024 < amount < 1024:
            form = Format.DECIMAL_SI
        else:
            number, exponent = int(amount), 0
            while number % 1024 == 0 and exponent < 60:
                number //= 1024
                exponent += 10
            return f"{number}{_BINARY_BY_EXPONENT.get(exponent, '')}"
    number, exponent = int(_EXACT.multiply(amount, Decimal(10**9))), -9
    while number % 1000 == 0 and exponent < 18:
        number //= 1000
        exponent += 3
    if form is Format.DECIMAL_EXPONENT:
        return f"{number}e{exponent}" if exponent else str(number)
    return f"{number}{_DECIMAL_BY_EXPONENT[exponent]}"


def to_decimal(text: str | int | float | None) -> Decimal:
    """The exact amount: cores of CPU, bytes of memory. None is 0."""
    return Decimal(0) if text is None else parse(str(text)).amount


def to_int(text: str | None) -> int:
    """Whole units, rounded up (away from zero) as Quantity.Value() does."""
    return int(to_decimal(text).to_integral_value(ROUND_UP))


def to_bytes(text: str | None) -> int:
    return to_int(text)


def to_millis(text: str | None) -> int:
    """Thousandths, rounded up as Quantity.MilliValue() does: millicores of CPU."""
    return int(_EXACT.multiply(to_decimal(text), Decimal(1000)).to_integral_value(ROUND_UP))


def add(left: str, right: str) -> str:
    """The canonical sum, in the notation of `left` unless that is zero."""
    first, second = parse(left), parse(right)
    form = first.format if first.amount else second.format
    return _canonical(Quantity(_EXACT.add(first.amount, second.amount), form))
