"""Durations and other numbers that vary, as people write them, and one drawn from them. Pure.

8s                       always the same
5s..20s                  anything between, equally likely
{median: 8s, p99: 30s}   log-normal: most are near the median, few are long
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from antei.rehearse.durations import parse_seconds
from antei.world import Chance

__all__ = ["Distribution", "exponential", "parse_distribution"]

_NORMAL = NormalDist()
_P99 = _NORMAL.inv_cdf(0.99)
#: Uniform numbers are kept off 0 and 1, where a log-normal has no end.
_EDGE = 1e-6


@dataclass(frozen=True, slots=True)
class Distribution:
    """Uniform between `least` and `most`; with a `median` log-normal, and `most` is what 99 of 100 keep below."""

    least: float
    most: float
    median: float | None = None

    @property
    def typical(self) -> float:
        return self.median if self.median is not None else (self.least + self.most) / 2

    def draw(self, chance: Chance) -> float:
        if self.median is None:
            return self.least if self.least == self.most else chance.uniform(self.least, self.most)
        if self.most <= self.median:
            return self.median
        sigma = math.log(self.most / self.median) / _P99
        return self.median * math.exp(sigma * _NORMAL.inv_cdf(chance.uniform(_EDGE, 1 - _EDGE)))

    def times(self, factor: float) -> Distribution:
        return Distribution(
            self.least * factor, self.most * factor, self.median * factor if self.median is not None else None
        )

    def __str__(self) -> str:
        if self.median is not None:
            return f"median {self.median:g} s, p99 {self.most:g} s"
        return f"{self.least:g} s" if self.least == self.most else f"{self.least:g} to {self.most:g} s"


def parse_distribution(value: Any, parse: Callable[[str], float] = parse_seconds) -> Distribution:
    """Raises ValueError."""
    if isinstance(value, Mapping):
        unknown = sorted(str(key) for key in value if key not in ("median", "p99"))
        if unknown or len(value) != 2:
            raise ValueError(f"a distribution has median and p99{', not ' + unknown[0] if unknown else ''}")
        median, p99 = parse(str(value["median"])), parse(str(value["p99"]))
        if not 0 < median <= p99:
            raise ValueError("the median must be more than 0 and no more than p99")
        return Distribution(0.0, p99, median)
    least, dots, most = str(value).partition("..")
    low, high = parse(least.strip()), parse((most if dots else least).strip())
    if high < low:
        raise ValueError(f"{value!r}: the upper bound comes second")
    return Distribution(low, high)


def exponential(chance: Chance, mean: float) -> float:
    """The time until something that happens once in `mean` on average."""
    return -mean * math.log(chance.uniform(_EDGE, 1.0))
