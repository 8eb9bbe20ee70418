"""The geometry of the page's charts: from seconds and counts to places on paper. Pure.

Across, everything is in percent of the chart's width, so that a page fits any width without a script and prints; lines,
which cannot be in percent, are paths in a box of WIDTH units that is stretched. Down, everything is in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from antei.rehearse.load.accounting import Bin, per_bin
from antei.rehearse.model import ReadyCount, Run

__all__ = ["Axis", "Chart", "Tick", "bins_of", "latency_chart", "rate_chart", "ready_chart", "time_axis"]

#: Of the box that lines are drawn in.
WIDTH = 1000
_BIN_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_MOST_BINS = 160
_REQUESTS_PER_BIN = 8
_STEPS = (1, 2, 5, 10)


@dataclass(frozen=True, slots=True)
class Axis:
    """Seconds across."""

    end: float

    def percent(self, at: float) -> float:
        return round(100 * min(max(at, 0.0), self.end) / self.end, 2) if self.end > 0 else 0.0

    def units(self, at: float) -> float:
        return round(self.percent(at) * WIDTH / 100, 1)


@dataclass(frozen=True, slots=True)
class Tick:
    at: float  # percent across, or pixels down
    label: str


@dataclass(frozen=True, slots=True)
class Bar:
    """Percent across, pixels down."""

    x: float
    width: float
    y: float
    height: float
    is_lost: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    path: str
    kind: str  # the class it is drawn with


@dataclass(frozen=True, slots=True)
class Chart:
    """`rules` are lines across with a label: a budget, an objective. `rug` are percent across of single losses."""

    height: int
    ticks: tuple[Tick, ...]
    lines: tuple[Line, ...] = ()
    bars: tuple[Bar, ...] = ()
    rules: tuple[Tick, ...] = ()
    rug: tuple[float, ...] = ()


def time_axis(axis: Axis, most: int = 10) -> tuple[Tick, ...]:
    step = _nice_step(axis.end, most)
    digits = 1 if step < 1 else 0
    count = floor(axis.end / step + 1e-9)
    return tuple(Tick(axis.percent(n * step), f"{n * step:.{digits}f}") for n in range(count + 1))


def _nice_step(span: float, most: int) -> float:
    """1, 2 or 5 times a power of ten, with at most so many steps in the span."""
    if span <= 0:
        return 1.0
    power = 10.0 ** floor(log10(span / most))
    return next((factor * power for factor in _STEPS if span / (factor * power) <= most), 10 * power)


def bins_of(run: Run) -> tuple[float, list[Bin]]:
    """(width in seconds, bins): wide enough that a constant rate looks constant."""
    end = run.ended_at
    rate = len(run.requests) / end if end > 0 else 0.0
    fitting = [width for width in _BIN_SECONDS if end / width <= _MOST_BINS] or [_BIN_SECONDS[-1]]
    enough = [width for width in fitting if rate * width >= _REQUESTS_PER_BIN and width <= end / 10]
    width = (enough or fitting)[0]
    return width, per_bin(run.requests, width, 0.0, end) if end > 0 else []


def ready_chart(ready: Sequence[ReadyCount], wanted: Sequence[tuple[int, str]], axis: Axis, height: int) -> Chart:
    """A step line; `wanted` are (healthy ones, name) of each budget."""
    most = max([1, *(count.ready for count in ready), *(number for number, _ in wanted)])
    step = max(1, ceil(_nice_step(most, 4)))

    def down(count: float) -> float:
        return round(height - (height - 8) * count / most, 1)

    path = ""
    for count in ready:
        x, y = axis.units(count.at), down(count.ready)
        path += f"H{x}V{y}" if path else f"M{x} {y}"
    lines: tuple[Line, ...] = ()
    if ready:
        area = f"{path}H{WIDTH}V{height}H{axis.units(ready[0].at)}Z"
        lines = (Line(area, "area"), Line(f"{path}H{WIDTH}", "ready"))
    return Chart(
        height=height,
        ticks=tuple(Tick(down(number), str(number)) for number in range(0, most + 1, step)),
        lines=lines,
        rules=tuple(Tick(down(number), f"{name}: at least {number}") for number, name in wanted),
    )


def rate_chart(bins: Sequence[Bin], width: float, lost_at: Sequence[float], axis: Axis, height: int) -> Chart:
    """Requests a second by when they were due, those that were lost on top."""
    highest = max([entry.sent / width for entry in bins], default=0.0) or 1.0
    step = _nice_step(highest, 3)
    most = max(step, ceil(highest / step) * step)
    scale = (height - 8) / most
    bars: list[Bar] = []
    for entry in bins:
        x, share = axis.percent(entry.at), axis.percent(entry.at + width) - axis.percent(entry.at)
        kept, lost = (entry.sent - entry.lost) / width * scale, entry.lost / width * scale
        if kept:
            bars.append(Bar(x, round(share, 2), round(height - kept, 1), round(kept, 1)))
        if lost:
            lost = max(lost, 1.5)
            bars.append(Bar(x, round(share, 2), round(height - kept - lost, 1), round(lost, 1), is_lost=True))
    ticks = tuple(Tick(round(height - n * step * scale, 1), f"{n * step:,g}") for n in range(round(most / step) + 1))
    rug = tuple(dict.fromkeys(round(axis.percent(at), 1) for at in lost_at))
    return Chart(height=height, ticks=ticks, bars=tuple(bars), rug=rug)


def latency_chart(bins: Sequence[Bin], width: float, objective: float | None, axis: Axis, height: int) -> Chart:
    """p50, p99 and the most of those that succeeded, on a logarithmic scale; a gap where none did."""
    values = [value for entry in bins if entry.ok for value in (entry.p50_seconds, entry.max_seconds) if value > 0]
    values += [objective] if objective else []
    least = floor(log10(min(values, default=0.001)))
    most = max(least + 1, ceil(log10(max(values, default=0.1))))

    def down(value: float) -> float:
        share = (log10(max(value, 10.0**least)) - least) / (most - least)
        return round(height - (height - 8) * share, 1)

    lines = []
    for kind in ("max", "p99", "p50"):
        path, is_drawing = "", False
        for entry in bins:
            if not entry.ok:
                is_drawing = False
                continue
            x, y = axis.units(entry.at + width / 2), down(getattr(entry, f"{kind}_seconds"))
            path += f"{'L' if is_drawing else 'M'}{x} {y}"
            # A lone point is a line of no length, which round ends make visible.
            path += "" if is_drawing else "h0"
            is_drawing = True
        if path:
            lines.append(Line(path, kind))
    rules = (Tick(down(objective), f"p99 objective {_short(objective)}"),) if objective else ()
    return Chart(
        height=height,
        ticks=tuple(Tick(down(10.0**power), _short(10.0**power)) for power in range(least, most + 1)),
        lines=tuple(lines),
        rules=rules,
    )


def _short(value: float) -> str:
    return f"{value * 1000:g} ms" if value < 1 else f"{value:g} s"
