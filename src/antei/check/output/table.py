"""For people: a table of findings, of rules, and of what the numbers of each workload come to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from antei.api.probe_arithmetic import Range
from antei.check.arithmetic import Budget
from antei.check.explain import BudgetFigures, ContainerFigures, WorkloadFigures
from antei.check.model import SEVERITIES, Finding, Rule, Severity
from antei.check.report import Report

__all__ = ["explanation_table", "findings_table", "rules_table", "summary"]

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}


def findings_table(report: Report) -> RenderableType:
    """Findings by file: line, severity, rule; object and field; what happens, and what mends it."""
    parts: list[RenderableType] = []
    source = None
    for finding in report.findings:
        if finding.source != source:
            source = finding.source
            parts.append(Text(("\n" if parts else "") + source, style="bold"))
        parts.append(_finding(finding))
    return Group(*parts)


def _finding(finding: Finding) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(width=5, justify="right")
    table.add_column(width=7)
    table.add_column(overflow="fold")
    head = Text(finding.rule.id, style="bold")
    head.append(f"  {finding.object}", style="none")
    if finding.field:
        head.append(f"  {finding.field}", style="dim")
    table.add_row(str(finding.line or "-"), Text(finding.severity.value, style=_STYLES[finding.severity]), head)
    table.add_row("", "", Text(finding.message))
    if finding.fix:
        table.add_row("", "", Text(f"fix: {finding.fix}", style="green"))
    return table


def summary(report: Report) -> str:
    counts = [f"{n} {s.value}{'s' if n != 1 else ''}" for s in SEVERITIES if (n := report.count(s))]
    objects = len(report.graph.items)
    found = ", ".join(counts) if counts else "nothing found"
    text = f"{found} in {objects} object{'s' if objects != 1 else ''}"
    fixable = sum(1 for finding in report.findings if finding.can_fix)
    if fixable:
        text += f"; --fix mends {fixable}"
    if report.ignored:
        text += f"; {len(report.ignored)} ignored"
    return text


def rules_table(rules: Iterable[Rule]) -> RenderableType:
    parts: list[RenderableType] = []
    for rule in rules:
        head = Text(rule.id, style="bold")
        head.append(f"  {rule.severity.value}", style=_STYLES[rule.severity])
        parts += [head, Padding(Text(f"{rule.title}. {rule.reason}"), (0, 0, 0, 2))]
        parts.append(Padding(Text(rule.source, style="dim"), (0, 0, 1, 2)))
    return Group(*parts)


def explanation_table(figures: Sequence[WorkloadFigures]) -> RenderableType:
    parts: list[RenderableType] = []
    for workload in figures:
        title = f"{workload.workload.title} in {workload.workload.namespace}"
        if workload.replicas is not None:
            title += f", {_replicas(workload.replicas)}"
        parts.append(Text(("\n" if parts else "") + title, style="bold"))
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 2), show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in _rows(workload):
            table.add_row(name, value)
        parts.append(table)
    return Group(*parts)


def _replicas(replicas: Range) -> str:
    if replicas.least == replicas.most:
        return f"{replicas.least} replica{'s' if replicas.least != 1 else ''}"
    return f"{replicas.least} to {replicas.most} replicas by its autoscaler"


def _rows(figures: WorkloadFigures) -> Iterable[tuple[str, str]]:
    for container in figures.containers:
        yield from _container_rows(container)
    rollout = figures.rollout
    if rollout is not None and rollout.steps:
        text = f"{rollout.duration} in {rollout.steps} step{'s' if rollout.steps > 1 else ''} of {rollout.batch}"
        text += f"; {rollout.ready_at_least} ready at the least"
        if rollout.gives_up is not None:
            text += f"; failed when a step takes {rollout.gives_up} s"
        yield "rollout", text
    for budget in figures.budgets:
        yield f"budget {budget.name}", _budget(budget)
    for drain in figures.drains:
        where = drain.node or "a node"
        duration = "never ends" if drain.duration is None else str(drain.duration)
        yield "drain", f"of {where} with {drain.pods} of its pods: {duration}"


def _container_rows(container: ContainerFigures) -> Iterable[tuple[str, str]]:
    yield f"container {container.name}", ""
    yield "  ready", f"{container.earliest_ready} s after its start at the earliest"
    longest = "as long as it likes" if container.longest_start is None else f"{container.longest_start} s"
    yield "  longest start", longest
    unready = str(container.hang_unready) if container.hang_unready is not None else "never (no readiness probe)"
    yield "  hang: out of service", unready
    restarted = str(container.hang_restarted) if container.hang_restarted is not None else "never (no liveness probe)"
    yield "  hang: restart decided", restarted
    if container.hang_killed is not None:
        yield "  hang: killed", str(container.hang_killed)
    stop = container.stop
    yield "  deleted", f"SIGTERM after {stop.sigterm}, then {stop.left}; SIGKILL after {stop.sigkill}"


def _budget(budget: BudgetFigures) -> str:
    text = f"{budget.text}: {'; '.join(_groups(budget.counts)) or 'cannot be counted'}"
    return text if budget.observed is None else f"{text}; just now {budget.observed} may go"


def _groups(counts: Sequence[Budget]) -> Iterable[str]:
    """Runs of replica counts at which as many may go."""
    start = 0
    for index, counted in enumerate(counts):
        if index + 1 < len(counts) and counts[index + 1].allowed == counted.allowed:
            continue
        first, last = counts[start].replicas, counted.replicas
        span = str(first) if first == last else f"{first} to {last}"
        yield f"at {span} replica{'s' if last > 1 else ''} {counted.allowed} may go"
        start = index + 1


def render(renderable: RenderableType, width: int) -> str:
    """As plain text."""
    console = Console(width=width, color_system=None, force_terminal=False, highlight=False)
    with console.capture() as capture:
        console.print(renderable)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"
