"""What was measured, as a table in Markdown. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mechanisms.catalogue import Mechanism
from mechanisms.laboratory import Measured

__all__ = ["between_marks", "found_cause", "table"]

_BEGIN, _END = "<!-- measured: by tests/support/mechanisms/measure.py -->", "<!-- end of measured -->"


def table(mechanisms: Sequence[Mechanism], measured: Sequence[Measured]) -> str:
    rows = ["| mechanism | the example without it | scenario | lost with it | lost without it | verdict | cause |"]
    rows.append("|---|---|---|---|---|---|---|")
    details = []
    for mechanism, row in zip(mechanisms, measured, strict=True):
        cause = found_cause(mechanism, row.without)
        cells = (
            mechanism.mechanism,
            mechanism.change,
            f"`{mechanism.scenario}`",
            f"{_lost(row.example)} ({row.example['verdict']})",
            _lost(row.without),
            f"{row.without['verdict']}: {_more(row.without)}",
            f"`{cause['id']}`" if cause else "none",
        )
        rows.append(f"| {' | '.join(cells)} |")
        if cause:
            details += [f"- **{mechanism.mechanism}**: {cause['message']}. Remedy: {cause['remedy']}."]
    return "\n".join([*rows, "", "In the report's own words:", "", *details])


def found_cause(mechanism: Mechanism, side: dict[str, Any]) -> dict[str, Any] | None:
    return next((cause for cause in side["causes"] if cause["id"] == mechanism.expect.cause), None)


def _lost(side: dict[str, Any]) -> str:
    return f"{side['lost']:,} of {side['requests']['sent']:,}"


def _more(side: dict[str, Any]) -> str:
    """What else the verdict is about."""
    recovered = side["times"]["recoverSeconds"]
    said = [f"{side['lowestReady']} ready at the lowest"]
    said += [f"{side['restarts']} restarts"] if side["restarts"] else []
    if recovered is None:
        said += ["not recovered"]
    elif recovered >= 0.5:
        said += [f"recovered after {recovered:.0f} s"]
    broken = [budget["name"] for budget in side["budget"]["budgets"] if not budget["kept"]]
    said += [f"budget {', '.join(broken)} violated"] if broken else []
    return ", ".join(said)


def between_marks(text: str, rows: str) -> str:
    """The text with the rows in the place of those that were there. Raises ValueError where the marks are not."""
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"there is no {_BEGIN} … {_END}")
    return f"{before}{_BEGIN}\n\n{rows}\n\n{_END}{after}"
