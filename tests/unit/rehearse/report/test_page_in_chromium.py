"""The report in a real browser: it asks nobody for anything, says nothing is wrong, and fits."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from chromium import Page, open_page
from sample_runs import all_results

from antei.rehearse.report.html import write_html

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

WIDEST = "Math.max(...[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, [hidden], thead'))"
WIDEST += ".map(e => e.getBoundingClientRect().right))"


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "report.html"
    write_html(all_results(), path, title="antei rehearse: chat", meta={"load": "60 requests a second"})
    return path


async def test_the_page_needs_nothing_else_and_shows_what_is_under_the_pointer(report: Path, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    async with open_page(CHROMIUM, tmp_path / "profile", report) as page:
        await _fits(page)
        await _follows_the_choice_of_light_and_dark(page)
        await _tells_what_is_under_the_pointer(page)
        assert [url for url in page.requests if url != report.as_uri() and not url.startswith("data:")] == []
        assert page.errors == []


async def _fits(page: Page) -> None:
    for width in (1280, 400):
        await page.resize(width)
        # What is left beside a scroll bar must do.
        assert await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
        # Some 11 px of the last tick's label may stand over.
        assert await page.evaluate(WIDEST) <= width
    await page.resize(1280)
    assert await page.evaluate("document.querySelectorAll('.charts').length") == 6
    assert await page.evaluate("document.querySelectorAll('svg.plot:not([aria-label])').length") == 0


async def _follows_the_choice_of_light_and_dark(page: Page) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    await page.prefer("light")
    light = await page.evaluate(background)
    await page.prefer("dark")
    dark = await page.evaluate(background)
    assert light != dark
    await page.evaluate("document.getElementById('theme').click()")
    assert await page.evaluate(background) == light
    await page.evaluate("document.getElementById('theme').click()")
    await page.prefer("light")
    assert await page.evaluate(background) == dark
    await page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert await page.evaluate(background) == light
    await page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert await page.evaluate(background) == dark


async def _tells_what_is_under_the_pointer(page: Page) -> None:
    tip = "document.getElementById('tip').hidden ? '' : document.getElementById('tip').textContent"
    assert await page.evaluate(tip) == ""
    # The drain without preStop: SIGTERM at 2.0 of 10 s.
    await page.point_at("#scenario-2 .row[data-lane='0'] svg.plot", 0.2)
    shown = await page.evaluate(tip)
    assert "chat-7f-abcde on node-1" in shown
    assert "SIGTERM" in shown
    await page.point_at("#scenario-2 .row.chart:nth-of-type(5) svg.plot", 0.22)
    shown = await page.evaluate(tip)
    assert "after the fault" in shown
    assert "refused" in shown
    await page.point_at("h1", 0.5)
    assert await page.evaluate(tip) == ""
