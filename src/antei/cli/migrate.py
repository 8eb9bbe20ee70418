"""`antei migrate`: retired API versions, rewritten in place for those of today."""

from __future__ import annotations

import difflib
import sys

import click

from antei.check.fix import migrate as migrate_source
from antei.check.report import check
from antei.check.rewriting import RewriteError
from antei.check.sources import Source, items_of, read_sources
from antei.check.workload import graph_of
from antei.cli.instance import fail

__all__ = ["migrate"]

#: The rules of `antei check` that say that an API server, or kubectl's strict validation, would not take an object.
_REFUSED = ("unknown-kind", "unknown-field", "invalid-object")


@click.command()
@click.argument("paths", nargs=-1, metavar="PATH...")
@click.option("--recursive", "-R", is_flag=True, help="Look into directories below the given ones.")
@click.option("--diff", "diffs", is_flag=True, help="Show what would be written, and write nothing.")
def migrate(paths: tuple[str, ...], recursive: bool, diffs: bool) -> None:
    """Rewrite retired API versions for Kubernetes 1.37: fields that moved, defaults that changed; comments stay.

    \b
    antei migrate manifests/
    antei migrate --diff manifests/
    kubectl kustomize . | antei migrate - | kubectl apply -f -

    Exit codes: 0 all objects are of versions of today, 1 an object would still be refused, 2 something could not be
    read or rewritten.
    """
    if not paths:
        fail(2, "nothing to rewrite: antei migrate PATH… (or - for standard input)")
    sources, problems = read_sources(paths, recursive=recursive, read_stdin=lambda: sys.stdin.buffer.read().decode())
    problems += items_of(sources)[1]
    readable = [source for source in sources if not items_of([source])[1]]
    refused: list[str] = []
    for source in readable:
        try:
            rewritten, retired = migrate_source(source)
            if diffs:
                old, new = source.text.splitlines(keepends=True), rewritten.text.splitlines(keepends=True)
                click.echo("".join(difflib.unified_diff(old, new, source.name, source.name)), nl=False)
            elif source.path is None:
                click.echo(rewritten.text, nl=False)
            elif retired:
                rewritten.write()
        except RewriteError as error:
            problems.append(str(error))
            continue
        except OSError as error:
            problems.append(f"{source.name}: {error.strerror}")
            continue
        for item in retired:
            assert item.served is not None
            old_version, new_version = item.served.api_version, item.served.resource.api_version
            click.echo(f"{item.document.where}: {item.title}: {old_version} → {new_version}", err=True)
        refused += _still_refused(rewritten)
    for line in [*refused, *(f"antei: {problem}" for problem in problems)]:
        click.echo(line, err=True)
    raise SystemExit(2 if problems else 1 if refused else 0)


def _still_refused(source: Source) -> list[str]:
    items, _ = items_of([source])
    found = [finding.problem for finding in check(graph_of(items)).findings if finding.rule.id in _REFUSED]
    return [f"{problem.item.document.where}: {problem.item.title}: {problem.message}" for problem in found]
