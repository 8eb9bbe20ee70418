"""What `antei simulate` prints: one run, many runs as distributions, two plans beside each other; and its page."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import active_children
from types import FrameType

import click
from rich.console import Console
from rich.table import Table

from antei.simulate.outcome import Outcome
from antei.simulate.plan import Plan
from antei.simulate.run import Played
from antei.simulate.soak import Soak, shrink, soak, soak_seed
from antei.simulate.summary import MEASURES, Measure, compared, spreads, worst

__all__ = [
    "FAULTS",
    "console_for_tables",
    "duration_text",
    "ended_by_ctrl_c",
    "page_of",
    "print_comparison",
    "print_many",
    "print_one",
    "watch_faults",
]

#: The scenario that is not played for its figures: faults by chance, under the eyes of every rule.
FAULTS = "faults"
_LEAST_COLUMNS = 80
_STOPPED = b"antei: stopped\n"


def print_one(console: Console, plan: Plan, played: Played) -> None:
    outcome = played.outcome
    _head(console, plan, f"seed {outcome.seed}")
    console.print(
        f"took {duration_text(outcome.seconds)}" + (f": {outcome.reason}" if outcome.reason else ""),
        markup=False,
        soft_wrap=True,
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("workload", no_wrap=True)  # the headings break, names do not
    for title in ("requests", "lost", "p99", "lowest ready", "restarts", "evictions refused"):
        table.add_column(title, justify="right")
    for row in outcome.workloads:
        table.add_row(
            f"{row.namespace}/{row.service}",
            f"{row.sent:,}",
            f"{row.lost:,}",
            f"{row.p99_seconds * 1000:.0f} ms",
            f"{row.lowest_ready} of {row.replicas}",
            str(row.restarts),
            str(row.evictions_refused),
        )
    console.print(table)
    if outcome.other_evictions_refused:
        console.print(f"evictions refused of pods that no Service stands for: {outcome.other_evictions_refused:,}")
    for result in played.results:
        for cause in result.causes:
            console.print(f"• {cause.message}", markup=False, soft_wrap=True)
            if cause.remedy:
                console.print(f"  → {cause.remedy}", markup=False, soft_wrap=True, style="dim")


def print_many(console: Console, plan: Plan, outcomes: Sequence[Outcome]) -> None:
    _head(console, plan, f"{len(outcomes)} seeds")
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for title in ("least", "p50", "p90", "p99", "most", "worst seed"):
        table.add_column(title, justify="right")
    found = spreads(outcomes)
    for measure in MEASURES:
        if measure.id in found:
            spread = found[measure.id]
            values = (spread.least, spread.p50, spread.p90, spread.p99, spread.most)
            table.add_row(measure.title, *(_value(measure, value) for value in values), str(spread.worst_seed))
    console.print(table)
    if not all(outcome.is_finished for outcome in outcomes):
        console.print(_unfinished(outcomes), markup=False, soft_wrap=True, style="bold red")
    look = worst(outcomes)
    console.print(
        f"the one to look at: --seed {look.seed} --report run.html, or --replay {look.seed}",
        markup=False,
        soft_wrap=True,
        style="dim",
    )


def print_comparison(console: Console, a: Sequence[Outcome], b: Sequence[Outcome]) -> None:
    left, right, pairs = spreads(a), spreads(b), compared(a, b)
    table = Table(box=None, pad_edge=False)
    for title in ("", "A p50", "A p99", "B p50", "B p99", "B better", "equal", "B worse"):
        table.add_column(title, justify="right" if title else "left")
    for measure in MEASURES:
        cells = [measure.title]
        for found in (left, right):
            spread = found.get(measure.id)
            worse = (spread.p99 if measure.is_worse_high else spread.least) if spread is not None else None
            cells += [
                _value(measure, spread.p50) if spread else "–",
                _value(measure, worse) if worse is not None else "–",
            ]
        pair = pairs[measure.id]
        table.add_row(*cells, str(pair["better"]), str(pair["equal"]), str(pair["worse"]))
    console.print(table)
    for name, part in (("A", a), ("B", b)):
        if not all(outcome.is_finished for outcome in part):
            console.print(f"{name}: {_unfinished(part)}", markup=False, soft_wrap=True, style="bold red")


def watch_faults(console: Console, plan: Plan, seeds: range, workers: int, replay: int | None) -> int:
    """Faults by chance, and every rule watched; the exit code. A rule that breaks is told with the fewest faults."""
    what = Soak(documents=plan.documents)
    if replay is not None:
        broken = soak_seed(what, replay, tell=click.echo).broken
        if broken is not None:
            console.print(f"broken: {broken}", markup=False, soft_wrap=True, style="bold red")
        return 1 if broken is not None else 0
    found, faults = 0, 0
    for held in soak(what, seeds, workers=workers if len(seeds) > 1 else 1):
        faults += held.faults
        if held.broken is None:
            found += 1
            continue
        console.print(f"seed {held.seed}: {held.broken}", markup=False, soft_wrap=True, style="bold red")
        console.print("the fewest faults that do it:")
        for fault in shrink(what, held.seed, held.broken.rule, tries=60):
            console.print(f"  {fault}", markup=False, soft_wrap=True)
        console.print(f"step by step: --replay {held.seed}", style="dim")
        return 1
    console.print(f"{found} seeds with {faults} faults: every rule held")
    return 0


def page_of(plan: Plan, played: Played) -> bytes:
    # jinja2 is loaded by those who want a page only.
    from antei.rehearse.report.html import to_html

    settings = plan.settings
    meta = {
        "seed": played.outcome.seed,
        "nodes": settings.nodes,
        "zones": settings.zones,
        "endpoint lag": str(settings.endpoint_lag),
        "took": duration_text(played.outcome.seconds),
        "digest": played.outcome.digest,
    }
    if played.outcome.reason:
        meta["not finished"] = played.outcome.reason
    return to_html(played.results, title=f"Simulation of {plan.source or plan.scenario}", meta=meta).encode()


@contextmanager
def ended_by_ctrl_c() -> Iterator[None]:
    """Within, Ctrl-C ends the command and its workers at once: a simulation leaves nothing behind that is to be undone.

    A loop in virtual time that is broken off anywhere would complain of each of its tasks, so it is not; a pool is told
    in the usual way, and has nothing to wait for.
    """

    def end(number: int, frame: FrameType | None) -> None:
        workers = active_children()
        for worker in workers:
            worker.kill()
        if workers:
            raise KeyboardInterrupt
        os.write(2, _STOPPED)
        os._exit(130)

    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    except KeyboardInterrupt:
        os.write(2, _STOPPED)
        sys.exit(130)
    finally:
        signal.signal(signal.SIGINT, before)


def console_for_tables(*, stderr: bool) -> Console:
    """A narrow terminal wraps lines; tables that are squeezed into it cannot be read."""
    console = Console(stderr=stderr, highlight=False)
    console.width = max(console.width, _LEAST_COLUMNS)
    return console


def duration_text(seconds: float) -> str:
    """`9h 12m`, `3m 4s`, `12.5 s`."""
    if seconds >= 3600:
        return f"{int(seconds // 3600)}h {int(seconds % 3600 // 60)}m"
    if seconds >= 60:
        return f"{int(seconds // 60)}m {int(seconds % 60)}s"
    return f"{seconds:.1f} s"


def _unfinished(outcomes: Sequence[Outcome]) -> str:
    unfinished = [outcome for outcome in outcomes if not outcome.is_finished]
    first = unfinished[0]
    return f"{len(unfinished)} of {len(outcomes)} did not come to their end, seed {first.seed}: {first.reason}"


def _head(console: Console, plan: Plan, what: str) -> None:
    settings = plan.settings
    zones = f" in {settings.zones} zones" if settings.zones > 1 else ""
    console.print(
        f"{plan.source or plan.scenario} on {settings.nodes} nodes{zones}, {what}",
        markup=False,
        soft_wrap=True,
        style="bold",
    )


def _value(measure: Measure, value: float) -> str:
    if measure.unit == "s":
        return duration_text(value)
    return f"{value:.0f} %" if measure.unit == "%" else f"{value:,.0f}"
