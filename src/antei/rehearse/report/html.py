"""The results as one HTML page that needs nothing else: no network, no script to be whole.

Charts are SVG, made here and in the templates under `page/`; docs/rehearse-report.md says why by no plotting library.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from antei.rehearse.model import ScenarioResult, Verdict
from antei.rehearse.report.figures import budget_text, recover_text, seconds_or_dash
from antei.rehearse.report.timeline import Timeline, timeline_of
from antei.rehearse.verdict.wording import number

__all__ = ["to_html", "write_html"]


def write_html(
    results: Sequence[ScenarioResult], path: Path, *, title: str, meta: Mapping[str, Any] | None = None
) -> None:
    """Raises OSError. `meta` is shown below the title, as it is."""
    path.write_text(to_html(results, title=title, meta=meta), "utf-8")


def to_html(results: Sequence[ScenarioResult], *, title: str, meta: Mapping[str, Any] | None = None) -> str:
    verdicts = Counter(result.verdict for result in results)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            title=title,
            meta=[(name, _plain(value)) for name, value in (meta or {}).items()],
            style=_part("style.css"),
            script=_part("script.js"),
            totals=[(verdict.value, verdicts[verdict]) for verdict in Verdict if verdicts[verdict]],
            sent=sum(result.requests.sent for result in results),
            lost=sum(result.lost for result in results),
            scenarios=[_scenario(result, number) for number, result in enumerate(results)],
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("antei.rehearse.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["marked"] = _marked
    return environment


def _marked(text: str) -> Markup:
    """What stands in backquotes as code, all else escaped."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(Markup("<code>%s</code>") % part if n % 2 else part for n, part in enumerate(parts))


def _part(name: str) -> Markup:
    """A file of the page's own, which is put in as it is."""
    loader = _environment().loader
    assert loader is not None
    return Markup(loader.get_source(_environment(), name)[0])


def _scenario(result: ScenarioResult, number: int) -> dict[str, Any]:
    is_played = result.run is not None
    timeline: Timeline | None = timeline_of(result) if is_played and result.run and result.run.ended_at > 0 else None
    return {
        "id": f"scenario-{number}",
        "name": result.name,
        "title": result.title,
        "verdict": result.verdict.value,
        "reason": result.reason,
        "is_played": is_played,
        "lost": f"{result.lost:,}" if result.lost else 0,
        "sent": f"{result.requests.sent:,}",
        "p99": seconds_or_dash(result.requests.p99_seconds or None),
        "lowest_ready": result.lowest_ready,
        "budget": budget_text(result.budgets),
        "budget_is_violated": any(budget.is_violated for budget in result.budgets),
        "detect": seconds_or_dash(result.times.detect),
        "recover": recover_text(result),
        "causes": [asdict(cause) for cause in result.causes],
        "told_causes": _told_causes(result),
        "figures": _figures(result),
        "timeline": timeline,
    }


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _told_causes(result: ScenarioResult) -> list[dict[str, Any]]:
    """For the table on top: the two that say most, of different kinds."""
    by_kind = {cause.id: cause for cause in reversed(result.causes)}
    return [asdict(cause) for cause in result.causes if by_kind[cause.id] is cause][:2]


def _figures(result: ScenarioResult) -> list[tuple[str, str]]:
    requests, times = result.requests, result.times
    figures = [("requests", f"{requests.sent:,} sent, {requests.succeeded:,} answered, {requests.lost:,} lost")]
    lost = [f"{count:,} {name}" for name, count in requests.by_outcome.items() if name != "ok"]
    figures += [("of these", ", ".join(lost))] if lost else []
    if requests.in_flight_at_sigterm:
        in_flight = f"{requests.in_flight_at_sigterm:,}, {requests.in_flight_at_sigterm_lost:,} of them lost"
        figures.append(("in flight at SIGTERM", in_flight))
    latency = [requests.p50_seconds, requests.p90_seconds, requests.p99_seconds, requests.max_seconds]
    figures.append(("latency p50 / p90 / p99 / most", " / ".join(seconds_or_dash(value) for value in latency)))
    figures.append(("client's own lateness p99", seconds_or_dash(requests.client_lateness_p99_seconds)))
    figures.append(("lowest ready", str(result.lowest_ready)))
    for budget in result.budgets:
        refused = f", {number(budget.evictions_refused, 'eviction')} refused" if budget.evictions_refused else ""
        said = f"{budget.lowest_healthy} healthy at the lowest of {budget.desired_healthy} wanted{refused}"
        figures.append((f"budget {budget.name}", said))
    predicted = f" ({seconds_or_dash(times.predicted_detect)} at worst)" if times.predicted_detect is not None else ""
    if times.detect is not None or predicted:
        figures.append(("detected after", f"{seconds_or_dash(times.detect)}{predicted}"))
    figures.append(("recovered after", recover_text(result)))
    figures.append(("restarts", str(result.restarts)))
    return figures
