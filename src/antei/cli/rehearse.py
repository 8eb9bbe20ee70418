"""`antei rehearse`: breaks a workload in every ordinary way while a client uses it, and counts what was lost."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import click
import uvloop
from rich.console import Console

from antei.cli.inputs import maps_beside, read_documents
from antei.cli.instance import default_directory, fail, runtime_option
from antei.cli.outputs import Written, check_writable
from antei.cli.privileges import own_namespaces
from antei.cli.rehearsing import Rehearsed, Request, Unplayable, rehearse_context, rehearse_paths, undo_interrupted
from antei.client.manifests import ManifestError
from antei.rehearse.durations import Lag, parse_lag, parse_seconds
from antei.rehearse.load import Via
from antei.rehearse.model import Objectives, Verdict
from antei.rehearse.reach import LOADS
from antei.rehearse.report.json import to_json
from antei.rehearse.report.junit import to_junit
from antei.rehearse.scenario import ScenarioError, builtin_scenarios, select
from antei.runtime.image_map import ImageMapError, load_maps

__all__ = ["rehearse"]

#: What a mid-sized cluster of this kind takes on a good day: kube-proxy's minSyncPeriod is 1 s, and the way from the
#: pod's deletion over EndpointSlice controller and watches to every node's rules adds some tenths. Big or busy ones
#: take up to 25 s.
_DEFAULT_LAG = "0.5s..2s"
_SLO = ("lost", "p99", "recover", "least-ready", "restarts")


class _Lag(click.ParamType[Lag]):
    name = "duration or from..to"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Lag:
        try:
            return value if isinstance(value, Lag) else parse_lag(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Slo(click.ParamType[Objectives]):
    name = "name=value,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Objectives:
        try:
            return value if isinstance(value, Objectives) else parse_slo(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def parse_slo(text: str) -> Objectives:
    """`lost=0,p99=250ms,recover=30s,least-ready=1,restarts=0`. Raises ValueError."""
    given: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or name not in _SLO:
            raise ValueError(f"{part!r} is none of {', '.join(f'{known}=…' for known in _SLO)}")
        given[name] = value

    def count(name: str) -> int | None:
        if name in given and not given[name].isdigit():
            raise ValueError(f"{name}={given[name]}: not a whole number")
        return int(given[name]) if name in given else None

    def duration(name: str) -> float | None:
        return parse_seconds(given[name]) if name in given else None

    return Objectives(
        lost=count("lost"),
        p99_seconds=duration("p99"),
        recover_seconds=duration("recover"),
        least_ready=count("least-ready"),
        restarts=count("restarts"),
    )


def _names(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> list[str]:
    """Options that may be repeated, each with names separated by commas."""
    return [name.strip() for value in values for name in value.split(",") if name.strip()]


def _loads(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> list[str]:
    names = _names(ctx, param, values)
    for name in names:
        if name not in LOADS:
            raise click.BadParameter(f"{name!r} is none of {', '.join(LOADS)}")
    return names


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path(path_type=Path))
@click.option("--scenario", "chosen", multiple=True, callback=_names, help="Only these: names, or paths of YAML files.")
@click.option("--skip", "skipped", multiple=True, callback=_names, help="All but these.")
@click.option("--list", "list_only", is_flag=True, help="List the scenarios and what they expect.")
@click.option(
    "--service", default="", help="The Service to rehearse; by default the first that is reached from outside."
)
@click.option(
    "--load",
    "loads",
    multiple=True,
    callback=_loads,
    default=["new"],
    show_default=True,
    help=f"How it is used: {', '.join(LOADS)}; several at once by commas.",
)
@click.option(
    "--rate", default=50.0, show_default=True, type=click.FloatRange(min=0.1), help="Requests per second, of each load."
)
@click.option(
    "--via",
    default=Via.SERVICE.value,
    show_default=True,
    type=click.Choice([via.value for via in Via]),
    help="Which way the load takes on an embedded cluster.",
)
@click.option("--path", "url_path", default="", help="What is asked for; by default what the Ingress leads to, or /.")
@click.option("--url", default="", help="Where the load goes, for a cluster whose Service is not reached otherwise.")
@click.option("--timeout", default="5s", show_default=True, help="A request that takes longer is lost.")
@click.option("--slo", type=_Slo(), default="", help="Objectives of your own: lost=0,p99=250ms,recover=30s.")
@click.option(
    "--endpoint-lag",
    type=_Lag(),
    default=_DEFAULT_LAG,
    show_default=True,
    help="How late endpoint changes take effect on an embedded cluster: 2s, or 1s..3s.",
)
@click.option("--seed", default=1, show_default=True, help="Of that lag's random numbers.")
@click.option("--nodes", default=3, show_default=True, type=click.IntRange(1, 250), help="Of an embedded cluster.")
@runtime_option
@click.option(
    "--map",
    "maps",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Image and volume map; by default antei.yaml beside the manifests.",
)
@click.option("--wait", default="120s", show_default=True, help="How long to wait until all is ready.")
@click.option(
    "--report", type=click.Path(path_type=Path), help="Write the report: FILE.html, or a directory for all formats."
)
@click.option("--json", "json_file", help="Write the results as JSON; - for standard output.")
@click.option("--junit", "junit_file", type=click.Path(path_type=Path), help="Write the results as JUnit XML.")
@click.option("--context", help="Rehearse on this context's cluster, through its API.")
@click.option(
    "--kubeconfig", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="In place of $KUBECONFIG."
)
@click.option("-n", "--namespace", default="", help="The workload's namespace; must be named with --context.")
@click.option("--allow-node-drain", is_flag=True, help="With --context: drain nodes, other people's pods included.")
@click.option("--undo", "undo_only", is_flag=True, help="Only undo what an interrupted rehearsal left.")
@click.option("--verbose", is_flag=True, help="Log what goes on.")
def rehearse(
    paths: tuple[Path, ...],
    chosen: list[str],
    skipped: list[str],
    list_only: bool,
    service: str,
    loads: list[str],
    rate: float,
    via: str,
    url_path: str,
    url: str,
    timeout: str,
    slo: Objectives,
    endpoint_lag: Lag,
    seed: int,
    nodes: int,
    runtime: str,
    maps: tuple[Path, ...],
    wait: str,
    report: Path | None,
    json_file: str | None,
    junit_file: Path | None,
    context: str | None,
    kubeconfig: Path | None,
    namespace: str,
    allow_node_drain: bool,
    undo_only: bool,
    verbose: bool,
) -> None:
    """Break the workload of PATH in every ordinary way while a client uses it, and count what was lost.

    With PATH a cluster is brought up for it and taken down afterwards. With --context, or --kubeconfig, the workload
    that runs there is rehearsed, through the API only: what it does not allow is skipped, and said.

    Exit code 0 when all objectives are met, 1 when one is missed, 2 when the command line or a manifest is wrong,
    3 when there is no cluster.

    \b
    antei rehearse examples/mattermost
    antei rehearse examples/mattermost --runtime oci
    antei rehearse app.yaml --scenario rollout,drain --load keep-alive --slo lost=0,p99=250ms
    antei rehearse --context staging -n shop --allow-node-drain --report report.html
    """
    console = Console(stderr=json_file == "-", highlight=False)
    logging.basicConfig(
        level=logging.INFO if verbose else logging.ERROR, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    if list_only:
        _list(console)
        return
    is_remote = context is not None or kubeconfig is not None
    notes = () if is_remote else own_namespaces(with_control_groups=True)
    journals = default_directory().absolute() / "rehearsals"
    if undo_only:
        sys.exit(_run(undo_interrupted(journals, console)))
    if is_remote == bool(paths):
        raise click.UsageError("either PATH, or a running cluster by --context or --kubeconfig")
    if is_remote and not namespace:
        raise click.UsageError("on a running cluster the namespace must be named: -n NAMESPACE")
    try:
        request = Request(
            scenarios=select(chosen, skipped),
            service=service,
            loads=loads or ["new"],
            rate=rate,
            via=Via(via),
            path=url_path,
            url=url,
            timeout_seconds=parse_seconds(timeout),
            objectives=slo,
            lag=endpoint_lag,
            seed=seed,
            nodes=nodes,
            runtime=runtime,
            maps=maps or tuple(maps_beside(paths)),
            wait_seconds=parse_seconds(wait),
            namespace=namespace,
            context=context,
            kubeconfig=kubeconfig,
            allow_node_drain=allow_node_drain,
            journals=journals,
            notes=notes,
        )
    except (ScenarioError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    outputs = _outputs(report, json_file, junit_file)
    try:
        check_writable(*(path for path, _ in outputs))
    except OSError as error:
        fail(2, f"{error.filename}: {error.strerror}")
    try:
        documents = read_documents(paths)
        load_maps(request.maps)
    except (ManifestError, ImageMapError) as error:
        fail(2, str(error))
    work = rehearse_context(request, console) if is_remote else rehearse_paths(request, documents, console)
    try:
        rehearsed: Rehearsed = _run(work)
    except Unplayable as error:
        fail(error.exit_code, str(error))
    except (KeyboardInterrupt, asyncio.CancelledError):
        fail(130, "interrupted; what had been changed is as it was")
    written = Written(console)
    for path, format_ in outputs:
        written.data(path, _encoded(rehearsed, format_))
    for sentence in rehearsed.left:
        console.print(f"[red]not undone[/] {sentence}; antei rehearse --undo tries again", soft_wrap=True)
    good = (Verdict.MET, Verdict.SKIPPED)
    is_good = all(result.verdict in good for result in rehearsed.results) and not rehearsed.left
    sys.exit(0 if is_good and not written.has_failed else 1)


def _list(console: Console) -> None:
    for scenario in builtin_scenarios():
        wants = scenario.objectives
        loss = "loses nothing" if wants.lost == 0 else "loses no more than its probes' figures explain"
        recover = f", recovers within {wants.recover_seconds:g} s" if wants.recover_seconds is not None else ""
        console.print(f"[bold]{scenario.name:16}[/] {scenario.title}: {loss}{recover}", soft_wrap=True)
        console.print(f"{'':16} {scenario.reason}", style="dim", soft_wrap=True)


def _run(main: Coroutine[Any, Any, Any]) -> Any:
    """Runs it to its end. SIGINT and SIGTERM cancel it once, so that it cleans up; a second one ends at once."""

    async def cancellable() -> Any:
        task = asyncio.ensure_future(main)
        interrupts = 0

        def interrupt() -> None:
            nonlocal interrupts
            interrupts += 1
            if interrupts > 1:
                click.echo("antei: ended at once; antei rehearse --undo takes back what is left", err=True)
                os._exit(130)
            click.echo("antei: undoing what was changed; once more ends at once", err=True)
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, interrupt)
        return await task

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(cancellable())


def _outputs(report: Path | None, json_file: str | None, junit_file: Path | None) -> list[tuple[Path | str, str]]:
    """Each file that was asked for, `-` for standard output, and its format."""
    found: list[tuple[Path | str, str]] = []
    if json_file is not None:
        found.append((json_file, "json"))
    if junit_file is not None:
        found.append((junit_file, "xml"))
    if report is not None and report.suffix in (".html", ".htm"):
        found.append((report, "html"))
    elif report is not None:
        found += [(report / f"report.{format_}", format_) for format_ in ("html", "json", "xml")]
    return found


def _encoded(rehearsed: Rehearsed, format_: str) -> bytes:
    if format_ == "json":
        return to_json(rehearsed.results, rehearsed.meta)
    return to_junit(rehearsed.results) if format_ == "xml" else _page(rehearsed)


def _page(rehearsed: Rehearsed) -> bytes:
    # jinja2 is loaded by those who want a page only.
    from antei.rehearse.report.html import to_html

    title = f"Rehearsal of {rehearsed.meta['workload']}"
    return to_html(rehearsed.results, title=title, meta=rehearsed.meta).encode()
