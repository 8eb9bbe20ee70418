"""What a measurement is: a module with `FIGURES` and `measure`, which is called once for each run.

With `MOST_RUNS` it is called no more often than that, whatever `--runs` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median

__all__ = ["Figure", "Spread", "percentile", "sorted_spread"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that a measurement finds. `aim` is a bound: an upper one, or with `more_is_better` a lower one.

    `kube_apiserver` is what kube-apiserver 1.36 and its companions are said to need on such a machine; it stands
    beside ours as given and is not measured here.
    """

    name: str
    unit: str
    aim: float | None = None
    more_is_better: bool = False
    kube_apiserver: str = ""

    def is_met(self, value: float) -> bool | None:
        """None where there is no aim."""
        if self.aim is None:
            return None
        return value >= self.aim if self.more_is_better else value < self.aim


@dataclass(frozen=True, slots=True)
class Spread:
    least: float
    median: float
    most: float


def sorted_spread(values: Sequence[float]) -> Spread:
    return Spread(min(values), median(values), max(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: a value that was measured, never one in between."""
    ordered = sorted(values)
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]
