"""What the program counts of itself: counters, gauges and histograms under the names that Kubernetes' components use.

Counting is a dictionary and an addition, for it is done with every request. Nothing here knows how a monitoring system
reads it; `server/http/metrics.py` writes it in Prometheus' format.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias, TypeVar

__all__ = ["Counter", "Gauge", "Histogram", "Labels", "Measure", "Measures", "Sampled"]

Labels: TypeAlias = tuple[str, ...]
#: Label values that one measure keeps apart. They come from names that clients choose, so there must be an end.
_MOST_SERIES = 20_000


class Measure:
    """A name, what it means, and the names of its labels; every call gives their values in that order."""

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.text = text
        self.labels = tuple(labels)


class Counter(Measure):
    """Only grows. Its name ends in `_total`."""

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, text, labels)
        self.values: dict[Labels, float] = {}

    def add(self, labels: Labels = (), amount: float = 1.0) -> None:
        values = self.values
        if labels in values:
            values[labels] += amount
        elif len(values) < _MOST_SERIES:
            values[labels] = amount

    def forget(self, is_gone: Callable[[Labels], bool]) -> None:
        """Drops the series of what is no more."""
        for labels in [labels for labels in self.values if is_gone(labels)]:
            del self.values[labels]


class Gauge(Counter):
    """Goes up and down."""

    def set(self, value: float, labels: Labels = ()) -> None:
        if labels in self.values or len(self.values) < _MOST_SERIES:
            self.values[labels] = value


class Histogram(Measure):
    """How many values were at most each of `bounds`, and their sum."""

    def __init__(self, name: str, text: str, labels: Sequence[str] = (), *, bounds: Sequence[float]) -> None:
        super().__init__(name, text, labels)
        self.bounds = tuple(bounds)
        self.values: dict[Labels, list[float]] = {}  # a count for each bound, one for what is above all, the sum

    def observe(self, value: float, labels: Labels = ()) -> None:
        cells = self.values.get(labels)
        if cells is None:
            if len(self.values) >= _MOST_SERIES:
                return
            cells = self.values[labels] = [0.0] * (len(self.bounds) + 2)
        cells[bisect_left(self.bounds, value)] += 1
        cells[-1] += value

    def forget(self, is_gone: Callable[[Labels], bool]) -> None:
        for labels in [labels for labels in self.values if is_gone(labels)]:
            del self.values[labels]


class Sampled(Measure):
    """A gauge whose values are looked up when somebody reads it."""

    def __init__(
        self, name: str, text: str, labels: Sequence[str], sample: Callable[[], Iterable[tuple[Labels, float]]]
    ) -> None:
        super().__init__(name, text, labels)
        self.sample = sample


_M = TypeVar("_M", bound=Measure)


class Measures:
    """Everything that one component counts, in the order in which it is read."""

    def __init__(self) -> None:
        self._measures: dict[str, Measure] = {}

    def all(self) -> Sequence[Measure]:
        return tuple(self._measures.values())

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        return self._known(Counter(name, text, labels))

    def gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        return self._known(Gauge(name, text, labels))

    def histogram(self, name: str, text: str, labels: Sequence[str] = (), *, bounds: Sequence[float]) -> Histogram:
        return self._known(Histogram(name, text, labels, bounds=bounds))

    def sampled(
        self, name: str, text: str, labels: Sequence[str], sample: Callable[[], Iterable[tuple[Labels, float]]]
    ) -> Sampled:
        return self._known(Sampled(name, text, labels, sample))

    def _known(self, measure: _M) -> _M:
        """The one of that name: parts that count the same thing share it."""
        known = self._measures.setdefault(measure.name, measure)
        assert type(known) is type(measure), f"{measure.name} is two different things"
        return known
