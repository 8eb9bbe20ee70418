"""How the figures of a result are written in every report. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from antei.rehearse.model import Budget, ScenarioResult, Verdict

__all__ = ["budget_text", "recover_text", "seconds_or_dash"]


def seconds_or_dash(value: float | None) -> str:
    """`42 ms`, `1.3 s`, `75 s`, `-` for what did not happen."""
    if value is None:
        return "-"
    if value < 0.0005:
        return "0 s"
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 9.95 else f"{value:.0f} s"


def budget_text(budgets: Sequence[Budget]) -> str:
    """`kept, 2 ≥ 1`: the fewest healthy ones seen, and how many the tightest budget wants; `-` without any."""
    if not budgets:
        return "-"
    tightest = min(budgets, key=lambda budget: budget.lowest_healthy - budget.desired_healthy)
    if tightest.is_violated:
        return f"violated, {tightest.lowest_healthy} < {tightest.desired_healthy}"
    return f"kept, {tightest.lowest_healthy} ≥ {tightest.desired_healthy}"


def recover_text(result: ScenarioResult) -> str:
    """`never` where the ready count did not come back after a fault."""
    if result.verdict is Verdict.SKIPPED or result.run is None or result.run.fault_at is None:
        return seconds_or_dash(result.times.recover)
    return "never" if result.times.recover is None else seconds_or_dash(result.times.recover)
