"""`antei check`: what probes, hooks and budgets come to, and what is wrong with them."""

from __future__ import annotations

import asyncio
import difflib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click
from rich.console import Console

from antei.check import all_rules
from antei.check import check as run_check
from antei.check.config import ConfigError, read_config
from antei.check.explain import WorkloadFigures, explain
from antei.check.model import Severity
from antei.check.output import github, junit, sarif, table
from antei.check.output import json as json_output
from antei.check.report import Policy, Report, useless_ignore
from antei.check.sources import Source, ignores_of, items_of, read_sources
from antei.check.workload import Graph, graph_of
from antei.cli.instance import fail

__all__ = ["check"]


_OUTPUTS = ("table", "json", "sarif", "junit", "github")


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--recursive", "-R", is_flag=True, help="Look into directories below the given ones.")
@click.option("--context", help="Check a namespace of a running cluster: a context of the kubeconfig.")
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="For --context. [default: $KUBECONFIG]")
@click.option(
    "--namespace", "-n", default="default", show_default=True, help="The one to check, or of objects without one."
)
@click.option("--explain", "explained", is_flag=True, help="Show what the numbers of each workload come to.")
@click.option("--fix", "fixes", is_flag=True, help="Write what mends the findings into the files.")
@click.option("--diff", "diffs", is_flag=True, help="Show what --fix would write, and write nothing.")
@click.option("--output", "-o", default="table", show_default=True, type=click.Choice(_OUTPUTS), help="How it is said.")
@click.option(
    "--fail-on",
    type=click.Choice([severity.value for severity in Severity]),
    help="Findings this grave, or graver, give exit code 1. [default: warning]",
)
@click.option("--config", type=click.Path(path_type=Path), help="By default .antei-check.yaml here or further up.")
@click.option("--list-rules", is_flag=True, help="Show every rule with its reason and Kubernetes' source, and end.")
def check(
    paths: tuple[str, ...],
    recursive: bool,
    context: str | None,
    kubeconfig: Path | None,
    namespace: str,
    explained: bool,
    fixes: bool,
    diffs: bool,
    output: str,
    fail_on: str | None,
    config: Path | None,
    list_rules: bool,
) -> None:
    """Say what will happen to a workload, in numbers, and what mends it.

    Takes files, directories, http(s) addresses and - for standard input; or a namespace of a running cluster.

    \b
    antei check examples/mattermost
    helm template ./chart | antei check -
    antei check --explain deploy.yaml
    antei check --fix deploy.yaml
    antei check --context staging -n shop

    A remark `# antei:ignore RULE reason` beside or above a line accepts what is found there.

    Exit codes: 0 nothing found that is as grave as --fail-on, 1 something, 2 something could not be read.
    """
    if list_rules:
        _list_rules(output)
        return
    if bool(paths) == bool(context):
        fail(2, "say what to check: antei check PATH… (- is standard input), or --context CONTEXT -n NAMESPACE")
    if context and (fixes or diffs):
        fail(2, "--fix and --diff change files, not clusters")
    try:
        settings = read_config(config, Path.cwd())
    except ConfigError as error:
        fail(2, str(error))
    threshold = Severity(fail_on) if fail_on else settings.fail_on
    if context:
        graph, problems = _live(context, kubeconfig, namespace)
        report = run_check(graph, settings.policy)
    else:
        sources, problems = read_sources(paths, recursive=recursive, read_stdin=_read_stdin)
        problems += items_of(sources)[1]
        if fixes or diffs:
            sources, unmended = _mend(sources, settings.policy, namespace, write=fixes, show=diffs)
            problems += unmended
        report = _inspect(sources, settings.policy, namespace)
    figures = [explain(report.graph, workload) for workload in report.graph.workloads] if explained else []
    is_filter = fixes and "-" in paths  # then standard output is the mended text
    if not diffs:
        _write(report, figures, output, threshold, to_stderr=is_filter)
    for problem in problems:
        click.echo(f"antei: {problem}", err=True)
    if problems:
        raise SystemExit(2)
    raise SystemExit(1 if report.at_least(threshold) else 0)


def _read_stdin() -> str:
    return sys.stdin.buffer.read().decode("utf-8")


def _inspect(sources: Sequence[Source], policy: Policy, namespace: str) -> Report:
    items, _ = items_of(sources, namespace)
    return run_check(graph_of(items), policy, ignores_of(sources))


def _live(context: str, kubeconfig: Path | None, namespace: str) -> tuple[Graph, list[str]]:
    from antei.check.live import read_namespace  # its client takes as long to import as all the rest
    from antei.client.http import HttpClient

    source = f"{context}/{namespace}"
    try:
        client = HttpClient.from_kubeconfig(kubeconfig, context)
    except (ValueError, OSError) as error:
        fail(2, str(error))

    async def read() -> tuple[Graph, list[str]]:
        try:
            return await read_namespace(client, namespace, source)
        finally:
            await client.aclose()

    try:
        return asyncio.run(read())
    except OSError as error:
        fail(2, f"{context}: {error}")


def _mend(
    sources: Sequence[Source], policy: Policy, namespace: str, *, write: bool, show: bool
) -> tuple[list[Source], list[str]]:
    """What is mended, and what could not be."""
    from antei.check.fix import fix

    mended = fix(sources, lambda texts: _inspect(texts, policy, namespace))
    problems = list(mended.problems)
    for old, new in zip(sources, mended.sources, strict=True):
        if show:
            lines = difflib.unified_diff(
                old.text.splitlines(keepends=True), new.text.splitlines(keepends=True), old.name, new.name
            )
            click.echo("".join(lines), nl=False)
        elif new.path is not None and old.text != new.text:
            try:
                new.write()
            except OSError as error:
                problems.append(f"{new.name}: {error.strerror}")
        elif new.path is None and old.text != new.text and "://" in new.name:
            problems.append(f"{new.name}: cannot be written to")
        elif new.path is None and "://" not in new.name:
            click.echo(new.text, nl=False)
    if write:
        for finding in mended.findings:
            click.echo(f"mended {finding.where}: {finding.rule.id}: {finding.object}: {finding.fix}", err=True)
    return list(mended.sources), problems


def _list_rules(output: str) -> None:
    rules = [*all_rules(), useless_ignore]
    if output == "json":
        click.echo(json.dumps(json_output.rules_data(rules), indent=2))
    elif output == "table":
        Console(highlight=False).print(table.rules_table(rules))
    else:
        fail(2, "--list-rules has the outputs table and json")


def _write(
    report: Report, figures: Sequence[WorkloadFigures], output: str, threshold: Severity, *, to_stderr: bool
) -> None:
    texts: dict[str, Callable[[], str]] = {
        "json": lambda: json_output.render(report, figures),
        "sarif": lambda: sarif.render(report),
        "junit": lambda: junit.render(report, threshold),
        "github": lambda: github.render(report),
    }
    if output in texts:
        click.echo(texts[output](), nl=False, err=to_stderr)
        return
    console = Console(highlight=False, stderr=to_stderr)
    if figures:
        console.print(table.explanation_table(figures))
        console.print()
    if report.findings:
        console.print(table.findings_table(report))
        console.print()
    console.print(table.summary(report))
