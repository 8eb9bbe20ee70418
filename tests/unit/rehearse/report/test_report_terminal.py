"""The terminal: live on one, in lines elsewhere; readable at 80 and at 160 columns."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console
from sample_runs import all_results

from antei.rehearse.model import Cause, Verdict
from antei.rehearse.report.terminal import LiveReport


def told(width: int, *, is_terminal: bool = False) -> tuple[LiveReport, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=is_terminal, color_system=None, legacy_windows=False)
    return LiveReport(console), out


@pytest.mark.parametrize("width", [80, 160])
def test_the_end_has_a_row_for_each_scenario_and_each_cause_with_its_remedy(width: int) -> None:
    report, out = told(width)
    results = all_results()
    report.finish(results)
    lines = out.getvalue().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    table = lines[lines.index(next(line for line in lines if line.startswith("SCENARIO"))) :][: len(results) + 1]
    assert [line.split()[0] for line in table[1:]] == [result.name for result in results]
    assert table[3].split()[:2] == ["drain", "MISSED"]
    text = " ".join(out.getvalue().split())
    assert "✗ 15 refusals and 1 reset 0.0 to 0.5 s after SIGTERM of chat-7f-abcde" in text
    assert "→ add `preStop.sleep` of at least 2 s" in text
    assert text.endswith("5 met, 1 missed, 1 skipped, 1 failed; 5,280 requests sent, 998 lost")


def test_a_wide_table_has_more_columns() -> None:
    headings = []
    for width in (80, 160):
        report, out = told(width)
        report.finish(all_results())
        headings.append(next(line for line in out.getvalue().splitlines() if line.startswith("SCENARIO")).split())
    assert headings[0] == ["SCENARIO", "VERDICT", "LOST", "READY", "BUDGET", "DETECT", "RECOVER"]
    assert set(headings[0]) < set(headings[1])


def test_without_a_terminal_progress_is_told_once_for_what_differs_in_numbers_only() -> None:
    report, out = told(80)
    report.scenario_started("drain", "Every node is drained")
    for text in (
        "waiting until all is healthy",
        "1 s, 50 requests, 0 lost",
        "2 s, 1,100 requests, 3 lost",
        "draining n1",
    ):
        report.progress(text)
    report.scenario_ended(all_results()[0])
    assert out.getvalue().splitlines() == [
        "… drain: Every node is drained",
        "  waiting until all is healthy",
        "  1 s, 50 requests, 0 lost",
        "  draining n1",
        "✓ rollout  none of 900 requests lost",
    ]


def test_on_a_terminal_progress_is_one_line_that_is_gone_afterwards() -> None:
    report, out = told(80, is_terminal=True)
    report.scenario_started("drain", "Every node is drained")
    report.progress("1 s, 50 requests, 0 lost")
    report.close()
    report.close()
    report.progress("between scenarios")
    assert "\x1b[2K" in out.getvalue()  # the line is erased
    assert "drain: Every node is drained" in out.getvalue()


def test_no_text_is_taken_for_markup() -> None:
    report, out = told(120)
    [result] = [one for one in all_results() if one.verdict is Verdict.MISSED]
    odd = replace(result, reason="[bold]x[/nope]", causes=[Cause("x", 1, "containers[chat] [red]", "[/]")])
    report.scenario_started("[a]", "[/b]")
    report.progress("[c]")
    report.scenario_ended(odd)
    report.finish([odd])
    for text in ("[a]: [/b]", "[c]", "[bold]x[/nope]", "containers[chat] [red]", "→ [/]"):
        assert text in out.getvalue()
