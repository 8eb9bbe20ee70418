"""A sweep as one SVG: each measure a strip of dots, one a run, with its median; two plans one above the other. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import ceil

from antei.rehearse.load.accounting import percentile
from antei.simulate.outcome import Outcome
from antei.simulate.summary import MEASURES, Measure

__all__ = ["to_svg"]

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 760, 190, 90, 34, 34
_COLOURS = ("#2f6fb2", "#c2571a")
_DOT, _LEVELS = 2.6, 5


def to_svg(title: str, sets: Sequence[tuple[str, Sequence[Outcome]]]) -> str:
    """`sets`: names and outcomes, one or two. Measures that are the same in all runs of all sets are told in words."""
    rows: list[str] = []
    y = _TOP
    for measure in MEASURES:
        found = [(name, _values(measure, outcomes)) for name, outcomes in sets]
        every = [value for _, values in found for value in values]
        if not every:
            continue
        low, high = min(every), max(every)
        rows.append(_text(8, y + 20, measure.title, "start", "label"))
        if low == high:
            rows.append(_text(_LEFT, y + 20, f"{_said(measure, low)} in every run", "start", "said"))
            y += _ROW
            continue
        for number, (name, values) in enumerate(found):
            rows += _strip(measure, name if len(sets) > 1 else "", values, low, high, y, _COLOURS[number])
            y += _ROW
        rows.append(_text(_LEFT, y + 6, _said(measure, low), "start", "tick"))
        rows.append(_text(_WIDTH - _RIGHT, y + 6, _said(measure, high), "end", "tick"))
        y += 16
    unfinished = [f"{name or 'runs'}: {sum(not o.is_finished for o in part)} of {len(part)}" for name, part in sets]
    if any(not outcome.is_finished for _, part in sets for outcome in part):
        rows.append(_text(8, y + 20, f"not finished: {', '.join(unfinished)}", "start", "label"))
        y += _ROW
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y + 8}" width="{_WIDTH}" height="{y + 8}" '
        f'role="img" aria-label="{escape(title)}">\n<style>{_STYLE}</style>\n'
        f'<rect width="{_WIDTH}" height="{y + 8}" fill="#fff"/>\n'
        + _text(8, 20, title, "start", "title")
        + "\n"
        + "\n".join(rows)
        + "\n</svg>\n"
    )


_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#222}.title{font-weight:600;font-size:14px}"
    ".tick{fill:#777;font-size:11px}.said{fill:#555}.name{font-weight:600}"
)


def _values(measure: Measure, outcomes: Sequence[Outcome]) -> list[float]:
    counted = [o for o in outcomes if o.is_finished] if measure.id == "seconds" else outcomes
    return sorted(measure.of(outcome) for outcome in counted)


def _strip(
    measure: Measure, name: str, values: Sequence[float], low: float, high: float, y: float, colour: str
) -> list[str]:
    """Dots that would cover each other are stacked; the median is a line."""
    parts = [f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y + 24}" y2="{y + 24}" stroke="#ddd"/>']
    stacked: dict[int, int] = {}
    for value in values:
        x = _x(value, low, high)
        column = ceil(x / (2 * _DOT))
        level = stacked[column] = stacked.get(column, -1) + 1
        if level < _LEVELS:
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y + 20 - level * 4:.1f}" r="{_DOT}" fill="{colour}" fill-opacity=".55"/>'
            )
    if values:
        median = percentile(values, 50)
        x = _x(median, low, high)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{y + 27}" stroke="{colour}" stroke-width="2"/>')
        parts.append(_text(_WIDTH - _RIGHT + 8, y + 22, _said(measure, median), "start", "said"))
    if name:
        parts.append(_text(_LEFT - 8, y + 22, name, "end", "name"))
    return parts


def _x(value: float, low: float, high: float) -> float:
    return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)


def _text(x: float, y: float, text: str, anchor: str, kind: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" class="{kind}">{escape(text)}</text>'


def _said(measure: Measure, value: float) -> str:
    if measure.unit == "s":
        if value >= 3600:
            return f"{value / 3600:.1f} h"
        return f"{value / 60:.0f} min" if value >= 120 else f"{value:.0f} s"
    return f"{value:.0f} %" if measure.unit == "%" else f"{value:,.0f}"
