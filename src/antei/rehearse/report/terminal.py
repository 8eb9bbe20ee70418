"""The rehearsal in a terminal: live while it plays, then what came of it. Readable without a terminal, too."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from antei.rehearse.model import Cause, ScenarioResult, Verdict
from antei.rehearse.report.figures import budget_text, recover_text, seconds_or_dash

__all__ = ["LiveReport"]

_STYLES = {
    Verdict.MET: "green",
    Verdict.MISSED: "bold red",
    Verdict.SKIPPED: "dim",
    Verdict.FAILED: "bold magenta",
}
_SIGNS = {Verdict.MET: "✓", Verdict.MISSED: "✗", Verdict.SKIPPED: "-", Verdict.FAILED: "!"}
#: Below this many columns the table leaves out what the causes say as well.
_WIDE_COLUMNS = 110
_NUMBERS = re.compile(r"[\d.,]+")


class LiveReport:
    """Told of what happens; shows it at once.

    On a terminal the scenario at hand is one line that changes. Elsewhere lines are only added, and progress that
    differs from the last in nothing but its numbers is not repeated.
    """

    def __init__(self, console: Console, *, live: bool | None = None) -> None:
        self._console = console
        self._is_live = console.is_terminal if live is None else live
        self._live: Live | None = None
        self._title = ""
        self._told = ""

    def scenario_started(self, name: str, title: str) -> None:
        self.close()
        self._title = f"{name}: {title}" if title and title != name else name
        self._told = ""
        if self._is_live:
            self._live = Live(self._line(""), console=self._console, refresh_per_second=8, transient=True)
            self._live.start()
        else:
            self._console.print(f"… {self._title}", markup=False, highlight=False, soft_wrap=True)

    def progress(self, text: str) -> None:
        """What goes on now, in one line; also between scenarios."""
        if self._live is not None:
            self._live.update(self._line(text))
            return
        shape = _NUMBERS.sub("#", text)
        if shape != self._told:
            self._told = shape
            self._console.print(f"  {text}", style="dim", markup=False, highlight=False, soft_wrap=True)

    def scenario_ended(self, result: ScenarioResult) -> None:
        self.close()
        line = Text.assemble(
            (f"{_SIGNS[result.verdict]} {result.name}", _STYLES[result.verdict]),
            (f"  {result.reason}", "" if result.verdict is not Verdict.SKIPPED else "dim"),
        )
        self._console.print(line, soft_wrap=not self._console.is_terminal)

    def finish(self, results: Sequence[ScenarioResult]) -> None:
        """The summary table, the causes with their remedies, and the count of verdicts."""
        self.close()
        self._console.print()
        self._console.print(_table(results, self._console.width))
        told = [result for result in results if result.causes]
        for result in told:
            self._console.print(_causes(result))
        self._console.print(_totals(results))

    def close(self) -> None:
        """Leaves the terminal as it was; safe to call at any time."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _line(self, text: str) -> RenderableType:
        line = Text(self._title, overflow="ellipsis", no_wrap=True)
        if text:
            line.append(f"  {text}", "dim")
        return Spinner("dots", line)


def _table(results: Sequence[ScenarioResult], width: int) -> Table:
    is_wide = width >= _WIDE_COLUMNS
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("SCENARIO", no_wrap=True)
    table.add_column("VERDICT", no_wrap=True)
    for heading in ("SENT", "LOST", "P99") if is_wide else ("LOST",):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("READY", justify="right", no_wrap=True)
    table.add_column("BUDGET", no_wrap=True)
    table.add_column("DETECT", justify="right", no_wrap=True)
    table.add_column("RECOVER", justify="right", no_wrap=True)
    if is_wide:
        table.add_column("RESTARTS", justify="right", no_wrap=True)
    for result in results:
        table.add_row(*_cells(result, is_wide))
    return table


def _cells(result: ScenarioResult, is_wide: bool) -> list[RenderableType]:
    verdict = Text(result.verdict.value.upper(), style=_STYLES[result.verdict])
    if result.verdict is Verdict.SKIPPED:
        return [result.name, verdict]
    requests = result.requests
    lost = Text(f"{result.lost:,}", style="red" if result.lost else "green")
    cells: list[RenderableType] = [result.name, verdict]
    cells += [f"{requests.sent:,}", lost, seconds_or_dash(requests.p99_seconds or None)] if is_wide else [lost]
    is_violated = any(budget.is_violated for budget in result.budgets)
    cells += [
        str(result.lowest_ready),
        Text(budget_text(result.budgets), style="red" if is_violated else ""),
        seconds_or_dash(result.times.detect),
        recover_text(result),
    ]
    return [*cells, str(result.restarts)] if is_wide else cells


def _causes(result: ScenarioResult) -> RenderableType:
    heading = Text(f"\n{result.name}", style="bold")
    # What mends several causes is said once, after the last of them.
    following = [*(cause.remedy for cause in result.causes[1:]), ""]
    told = zip(result.causes, following, strict=True)
    return Group(heading, *(_cause(cause, result.verdict, cause.remedy != after) for cause, after in told))


def _cause(cause: Cause, verdict: Verdict, with_remedy: bool) -> RenderableType:
    is_bad = cause.lost > 0 and verdict is not Verdict.MET
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column()
    grid.add_row(Text("  ✗" if is_bad else "  ·", style="red" if is_bad else "yellow"), Text(cause.message))
    if cause.remedy and with_remedy:
        grid.add_row(Text("  →", style="green"), Text(cause.remedy, style="green"))
    return grid


def _totals(results: Sequence[ScenarioResult]) -> Text:
    counts = [(verdict, sum(1 for result in results if result.verdict is verdict)) for verdict in Verdict]
    text = Text("\n")
    parts = [(f"{count} {verdict.value}", _STYLES[verdict]) for verdict, count in counts if count]
    for index, (part, style) in enumerate(parts):
        text.append(", " if index else "")
        text.append(part, style)
    text.append(f"; {sum(result.requests.sent for result in results):,} requests sent, ")
    return text.append(f"{sum(result.lost for result in results):,} lost")
