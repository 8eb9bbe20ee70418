"""The page without a browser: what is in it, and what odd runs do to it."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from sample_runs import SOUND, all_results, drain_without_pre_stop

from antei.rehearse.load.accounting import Bin
from antei.rehearse.model import Mark, MarkKind, Objectives, Outcome, ReadyCount, Request, Run
from antei.rehearse.report.charts import Axis, bins_of, latency_chart, rate_chart, ready_chart, time_axis
from antei.rehearse.report.html import to_html
from antei.rehearse.verdict import judge


class Outline(HTMLParser):
    """Which ids there are, which are linked to, and what is loaded from elsewhere."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name in ("href", "src", "xlink:href"):
                (self.links if (value or "").startswith("#") else self.loaded).append(value or "")


def test_the_page_is_whole_links_lead_somewhere_and_nothing_is_loaded() -> None:
    page = to_html(all_results(), title="antei rehearse: chat", meta={"load": "60/s"})
    outline = Outline(page)
    assert outline.loaded == ["data:,"]
    assert len(outline.ids) == len(set(outline.ids))
    assert {link.removeprefix("#") for link in outline.links} <= set(outline.ids)
    assert "url(http" not in page
    assert "<code>preStop.sleep</code> of at least 2 s" in page
    assert len(page) < 400_000


def test_nothing_that_a_run_says_becomes_markup_or_script() -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>`b`"
    run = replace(
        drain_without_pre_stop(),
        scenario=evil,
        marks=[Mark(1.0, MarkKind.FAULT, evil, evil, evil, evil), Mark(1.0, MarkKind.READY, evil)],
        requests=[Request(1.0, 1.0, 1.1, Outcome.RESET, pod=evil, detail=evil)],
    )
    page = to_html([judge(run, Objectives(lost=0), SOUND, title=evil)], title=evil, meta={evil: evil})
    assert "<img" not in page
    assert "alert(1)</script>" not in page
    assert page.count("<script") == page.count("</script>") == 2


ODD = {
    "nothing was seen": Run("x", [], [], [], [], None, 10.0),
    "it ended at once": Run("x", [], [], [], [], 0.0, 0.0),
    "everything was lost": Run("x", [Request(1, 1, 1, Outcome.REFUSED)], [], [ReadyCount(0, 0)], [], 1.0, 2.0),
    "what happened later than its end": Run(
        "x", [], [Mark(99.0, MarkKind.READY, "a")], [ReadyCount(99, 1)], [], 1.0, 2.0
    ),
}


@pytest.mark.parametrize("run", ODD.values(), ids=ODD)
def test_odd_runs_make_a_page_nevertheless(run: Run) -> None:
    page = to_html([judge(run, Objectives(p99_seconds=0.2), SOUND)], title="odd")
    assert "scenario-0" in page
    assert not re.search(r"\b(nan|inf)\b", page)


def test_many_events_are_cut_and_that_is_said() -> None:
    marks = [Mark(n / 1000, MarkKind.EVENT, "a", text="x") for n in range(1000)]
    page = to_html([judge(Run("x", [], marks, [], [], None, 10.0), Objectives(), SOUND)], title="long")
    assert "600 more are left out" in page


@pytest.mark.parametrize(
    ("end", "labels"),
    [(10.0, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"]), (1.0, None), (95.0, None), (0.0, ["0"])],
)
def test_the_time_axis_has_round_numbers(end: float, labels: list[str] | None) -> None:
    ticks = time_axis(Axis(end))
    assert 1 <= len(ticks) <= 11
    assert labels is None or [tick.label for tick in ticks] == labels


@pytest.mark.parametrize(
    ("rate", "end", "width"), [(1000, 10.0, 0.1), (50, 20.0, 0.2), (5, 60.0, 2.0), (1, 3.0, 0.1), (100, 600.0, 5.0)]
)
def test_bins_are_wide_enough_for_a_steady_rate_and_not_too_many(rate: int, end: float, width: float) -> None:
    requests = [Request(n / rate, n / rate, n / rate, Outcome.OK) for n in range(int(rate * end))]
    found, bins = bins_of(Run("x", requests, [], [], [], None, end))
    assert found == width
    assert len(bins) <= 160
    assert sum(entry.sent for entry in bins) == len(requests)


def test_charts_scale_to_what_they_show() -> None:
    axis = Axis(10.0)
    bins = [Bin(0.0, sent=10, ok=9, lost=1, p50_seconds=0.02, p99_seconds=0.3, max_seconds=0.5), Bin(5.0)]
    rate = rate_chart(bins, 5.0, [1.0, 1.001, 8.0], axis, 108)
    assert [(bar.x, bar.width, bar.height, bar.is_lost) for bar in rate.bars] == [
        (0.0, 50.0, 90.0, False),
        (0.0, 50.0, 10.0, True),
    ]
    assert [tick.label for tick in rate.ticks] == ["0", "1", "2"]
    assert rate.rug == (10.0, 80.0)
    latency = latency_chart(bins, 5.0, 0.1, axis, 100)
    assert [line.kind for line in latency.lines] == ["max", "p99", "p50"]
    assert [tick.label for tick in latency.ticks] == ["10 ms", "100 ms", "1 s"]
    assert latency.rules[0].label == "p99 objective 100 ms"
    ready = ready_chart([ReadyCount(0, 2), ReadyCount(5, 1)], [(1, "budget chat")], axis, 68)
    assert ready.lines[1].path == "M0.0 8.0H500.0V38.0H1000"
    assert ready.rules[0].label == "budget chat: at least 1"
