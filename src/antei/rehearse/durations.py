"""Durations and their distributions as people write them: `500ms`, `2s`, `1m30s`; `1s..3s` is uniform between two."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from antei.world import Chance

__all__ = ["Lag", "parse_lag", "parse_seconds"]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")


def parse_seconds(text: str) -> float:
    """Seconds; a bare number is taken as such. Raises ValueError."""
    if re.fullmatch(r"\d+(?:\.\d+)?", text):
        return float(text)
    if not text or _PART.sub("", text):
        raise ValueError(f"{text!r} is not a duration such as 500ms, 2s or 1m30s")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


@dataclass(frozen=True, slots=True)
class Lag:
    """How late endpoint changes take effect: uniformly distributed between two bounds, in seconds."""

    least: float
    most: float

    @property
    def mean(self) -> float:
        return (self.least + self.most) / 2

    def drawn_by(self, chance: Chance) -> Callable[[], float]:
        """A new value each time it is called."""
        return lambda: chance.uniform(self.least, self.most)

    def __str__(self) -> str:
        return f"{self.least:g} s" if self.least == self.most else f"{self.least:g} to {self.most:g} s"


def parse_lag(text: str) -> Lag:
    """`2s`, or `1s..3s`. Raises ValueError."""
    least, dots, most = text.partition("..")
    lag = Lag(parse_seconds(least.strip()), parse_seconds((most if dots else least).strip()))
    if lag.most < lag.least:
        raise ValueError(f"{text!r}: the upper bound comes second")
    return lag
