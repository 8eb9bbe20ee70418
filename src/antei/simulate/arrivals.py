"""When an open-loop client's requests are due: at a constant rate, or with the tides of a day. Pure.

Request i is due when the integral of the rate reaches i + 1; both ways are exact, so that a quiet hour costs nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Arrivals"]

_DAY = 86400.0
_HALVINGS = 60


@dataclass(frozen=True, slots=True)
class Arrivals:
    """`rate` is the mean, in requests a second. `swing`: 0.8 is from 20 % of it at the day's start to 180 % at noon."""

    rate: float
    swing: float = 0.0
    period_seconds: float = _DAY

    @property
    def most(self) -> float:
        return self.rate * (1 + self.swing)

    def count_until(self, seconds: float) -> int:
        """How many are due before or at that moment."""
        return math.floor(self._integral(seconds) + 1e-9) if seconds > 0 else 0

    def due(self, number: int) -> float:
        """When request `number`, counted from 0, is due."""
        wanted = number + 1
        if not self.swing:
            return wanted / self.rate
        low, high = 0.0, wanted / (self.rate * (1 - self.swing)) if self.swing < 1 else wanted / self.rate + _DAY
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if self._integral(middle) < wanted:
                low = middle
            else:
                high = middle
        return high

    def _integral(self, seconds: float) -> float:
        if not self.swing:
            return self.rate * seconds
        turn = 2 * math.pi / self.period_seconds
        return self.rate * (seconds - self.swing * math.sin(turn * seconds) / turn)
