"""`antei check`: what probes, hooks and budgets come to, and what is wrong with them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import click
from rich.console import Console

from antei.check import all_rules
from antei.check import check as run_check
from antei.check.explain import WorkloadFigures, explain
from antei.check.model import Severity
from antei.check.output import json as json_output
from antei.check.output import table
from antei.check.report import Policy, Report
from antei.check.sources import ignores_of, items_of, read_sources
from antei.check.workload import graph_of
from antei.cli.instance import fail

__all__ = ["check"]


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--recursive", "-R", is_flag=True, help="Look into directories below the given ones.")
@click.option("--namespace", "-n", default="default", show_default=True, help="Of objects that name none.")
@click.option("--explain", "explained", is_flag=True, help="Show what the numbers of each workload come to.")
@click.option("--output", "-o", default="table", show_default=True, type=click.Choice(["table", "json"]))
@click.option(
    "--fail-on",
    default=Severity.WARNING.value,
    show_default=True,
    type=click.Choice([severity.value for severity in Severity]),
    help="Findings this grave, or graver, give exit code 1.",
)
@click.option("--list-rules", is_flag=True, help="Show every rule with its reason and Kubernetes' source, and end.")
def check(
    paths: tuple[str, ...],
    recursive: bool,
    namespace: str,
    explained: bool,
    output: str,
    fail_on: str,
    list_rules: bool,
) -> None:
    """Say what will happen to a workload, in numbers, and what mends it.

    Takes files, directories, http(s) addresses and - for standard input.

    \b
    antei check examples/mattermost
    helm template ./chart | antei check -
    antei check --explain deploy.yaml

    Exit codes: 0 nothing found that is as grave as --fail-on, 1 something, 2 something could not be read.
    """
    if list_rules:
        _list_rules(output)
        return
    if not paths:
        fail(2, "nothing to check: antei check PATH… (or - for standard input)")
    sources, problems = read_sources(paths, recursive=recursive, read_stdin=sys.stdin.read)
    items, unreadable = items_of(sources, namespace)
    graph = graph_of(items)
    report = run_check(graph, Policy(), ignores_of(sources))
    figures = [explain(graph, workload) for workload in graph.workloads] if explained else []
    _OUTPUTS[output](report, figures)
    for problem in [*problems, *unreadable]:
        click.echo(f"antei: {problem}", err=True)
    if problems or unreadable:
        raise SystemExit(2)
    raise SystemExit(1 if report.at_least(Severity(fail_on)) else 0)


def _list_rules(output: str) -> None:
    if output == "json":
        click.echo(json.dumps(json_output.rules_data(all_rules()), indent=2))
    else:
        Console(highlight=False).print(table.rules_table(all_rules()))


def _table(report: Report, figures: list[WorkloadFigures]) -> None:
    console = Console(highlight=False)
    if figures:
        console.print(table.explanation_table(figures))
        console.print()
    if report.findings:
        console.print(table.findings_table(report))
        console.print()
    console.print(table.summary(report))


def _json(report: Report, figures: list[WorkloadFigures]) -> None:
    click.echo(json_output.render(report, figures), nl=False)


_OUTPUTS: dict[str, Callable[[Report, list[WorkloadFigures]], None]] = {"table": _table, "json": _json}
