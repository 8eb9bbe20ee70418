"""Lists of resources with exact amounts (Kubernetes: apiserver/pkg/quota/v1/resources.go)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from antei.api.quantity import Format, Quantity, parse

__all__ = ["ONE", "ZERO", "Amounts", "amounts_of", "less", "mask", "minus", "plus", "shown", "texts_of"]

#: From a resource's name ("requests.cpu", "pods") to how much of it.
Amounts = dict[str, Quantity]

ZERO = Quantity(Decimal(0), Format.DECIMAL_SI)
ONE = Quantity(Decimal(1), Format.DECIMAL_SI)


def amounts_of(texts: Mapping[str, str] | None) -> Amounts:
    """Raises ValueError for what is no quantity."""
    return {name: parse(str(text)) for name, text in (texts or {}).items()}


def texts_of(amounts: Mapping[str, Quantity]) -> dict[str, str]:
    return {name: str(amounts[name]) for name in sorted(amounts)}


def plus(left: Mapping[str, Quantity], right: Mapping[str, Quantity]) -> Amounts:
    total = dict(left)
    for name, more in right.items():
        total[name] = _sum(total.get(name, ZERO), more.amount, more.format)
    return total


def minus(left: Mapping[str, Quantity], right: Mapping[str, Quantity]) -> Amounts:
    """What is only on the right is negative."""
    rest = dict(left)
    for name, less_of_it in right.items():
        rest[name] = _sum(rest.get(name, ZERO), -less_of_it.amount, less_of_it.format)
    return rest


def _sum(quantity: Quantity, amount: Decimal, notation: Format) -> Quantity:
    """In the notation of what was there, unless that was nothing."""
    return Quantity(quantity.amount + amount, quantity.format if quantity.amount else notation)


def mask(amounts: Mapping[str, Quantity], names: Iterable[str]) -> Amounts:
    """Of these names only."""
    wanted = set(names)
    return {name: quantity for name, quantity in amounts.items() if name in wanted}


def less(left: Mapping[str, Quantity], right: Mapping[str, Quantity]) -> list[str]:
    """The names, sorted, of which the left has less than the right."""
    return sorted(name for name, bound in right.items() if name in left and left[name].amount < bound.amount)


def shown(amounts: Mapping[str, Quantity]) -> str:
    """As messages tell them: "cpu=1,memory=2Gi"."""
    return ",".join(f"{name}={text}" for name, text in texts_of(amounts).items())
