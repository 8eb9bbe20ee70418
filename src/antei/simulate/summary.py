"""Many outcomes as distributions, two plans beside each other, and all of it as plain data for JSON. Pure.

Nothing here knows the time of the clock on the wall: the same seeds give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from antei.rehearse.load.accounting import percentile
from antei.simulate.outcome import Outcome

__all__ = ["MEASURES", "SCHEMA_VERSION", "Measure", "Spread", "as_data", "compared", "spreads", "worst"]

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Measure:
    """`is_worse_high`: more of it is worse. `unit`: "s", "%" or a plain count."""

    id: str
    title: str
    of: Callable[[Outcome], float]
    unit: str = ""
    is_worse_high: bool = True


MEASURES = (
    Measure("seconds", "duration", lambda outcome: outcome.seconds, "s"),
    Measure("availability", "lowest availability", lambda outcome: outcome.availability * 100, "%", False),
    Measure("lost", "requests lost", lambda outcome: outcome.lost),
    Measure("evictionsRefused", "evictions refused", lambda outcome: outcome.evictions_refused),
    Measure("restarts", "restarts", lambda outcome: outcome.restarts),
)


class Spread(msgspec.Struct, frozen=True, rename="camel"):
    """One measure over all runs that came to their end, and the seed of the worst."""

    least: float
    p50: float
    p90: float
    p99: float
    most: float
    worst_seed: int


def spreads(outcomes: Sequence[Outcome]) -> dict[str, Spread]:
    """By measure. A duration is only known of runs that were finished; the rest counts for all."""
    found = {}
    for measure in MEASURES:
        counted = [outcome for outcome in outcomes if outcome.is_finished] if measure.id == "seconds" else outcomes
        if not counted:
            continue
        values = sorted(round(measure.of(outcome), 3) for outcome in counted)
        sign = 1 if measure.is_worse_high else -1
        seed = max(counted, key=lambda o: (sign * measure.of(o), -o.seed)).seed
        found[measure.id] = Spread(
            values[0], percentile(values, 50), percentile(values, 90), percentile(values, 99), values[-1], seed
        )
    return found


def worst(outcomes: Sequence[Outcome]) -> Outcome:
    """The run to look at: one that was not finished, else the one that lost most, took longest."""
    return max(outcomes, key=lambda o: (not o.is_finished, o.lost, -o.availability, o.seconds, -o.seed))


def compared(a: Sequence[Outcome], b: Sequence[Outcome]) -> dict[str, dict[str, float | int]]:
    """Seed by seed: in how many runs B is better, equal or worse than A, and the mean of the differences B − A."""
    by_seed = {outcome.seed: outcome for outcome in b}
    pairs = [(outcome, by_seed[outcome.seed]) for outcome in a if outcome.seed in by_seed]
    found: dict[str, dict[str, float | int]] = {}
    for measure in MEASURES:
        differences = [measure.of(right) - measure.of(left) for left, right in pairs]
        sign = 1 if measure.is_worse_high else -1
        found[measure.id] = {
            "better": sum(sign * d < -1e-9 for d in differences),
            "equal": sum(abs(d) <= 1e-9 for d in differences),
            "worse": sum(sign * d > 1e-9 for d in differences),
            "meanDifference": round(sum(differences) / len(differences), 3) if differences else 0.0,
        }
    return found


def as_data(
    meta: dict[str, Any], outcomes: Sequence[Outcome], other: Sequence[Outcome] | None = None
) -> dict[str, Any]:
    """What `--json` writes; docs/simulate.md promises its shape."""
    data: dict[str, Any] = {"schemaVersion": SCHEMA_VERSION, "meta": meta, **_part(outcomes)}
    if other is not None:
        data["other"] = _part(other)
        data["comparison"] = compared(outcomes, other)
    return data


def _part(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    return {
        "runs": len(outcomes),
        "finished": sum(outcome.is_finished for outcome in outcomes),
        "distributions": msgspec.to_builtins(spreads(outcomes)),
        "outcomes": msgspec.to_builtins(list(outcomes)),
    }
