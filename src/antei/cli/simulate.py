"""`antei simulate`: hours of a cluster's life in seconds, as often as it takes to know how it goes."""

from __future__ import annotations

import logging
import math
import re
import sys
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from click.core import ParameterSource

from antei.cli.durations import DURATION
from antei.cli.inputs import maps_beside, read_documents
from antei.cli.instance import fail
from antei.cli.outputs import Written, check_writable
from antei.cli.simulating import (
    FAULTS,
    console_for_tables,
    ended_by_ctrl_c,
    page_of,
    print_comparison,
    print_many,
    print_one,
    watch_faults,
)
from antei.client.manifests import ManifestError
from antei.simulate.behaviour import BehaviourError
from antei.simulate.distribution import Distribution, parse_distribution
from antei.simulate.learn import learn
from antei.simulate.loop import spare_collector
from antei.simulate.outcome import Outcome
from antei.simulate.picture import to_svg
from antei.simulate.plan import BadPlan, Plan, read_scenario, with_replicas
from antei.simulate.run import Played, play
from antei.simulate.scenarios import play_of
from antei.simulate.settings import MOST_LOAD, MOST_NODES, MOST_ZONES, Settings, SettingsError, read_settings
from antei.simulate.summary import as_data, worst
from antei.simulate.sweep import NoDask, sweep
from antei.simulate.vetting import vet

__all__ = ["simulate"]

T = TypeVar("T")


class _Spread(click.ParamType[Distribution]):
    name = "duration or from..to"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Distribution:
        try:
            return value if isinstance(value, Distribution) else parse_distribution(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _replicas(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> dict[str, int]:
    given = {}
    for value in values:
        name, _, count = value.rpartition("=")
        if not name or not re.fullmatch(r"[0-9]{1,9}", count):
            raise click.BadParameter(f"{value!r} is not NAME=COUNT")
        given[name] = int(count)
    return given


class _Rate(click.FloatRange):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        rate = float(super().convert(value, param, ctx))
        if math.isnan(rate):
            self.fail(f"{value!r} is no number", param, ctx)
        return rate


_SPREAD = _Spread()


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path(path_type=Path))
@click.option("--scenario", default="upgrade-nodes", show_default=True, help="Its name, or the path of a YAML file.")
@click.option("--nodes", type=click.IntRange(1, MOST_NODES), help="How many nodes; 3 unless antei.yaml says otherwise.")
@click.option("--zones", type=click.IntRange(1, MOST_ZONES), help="Over how many zones they are spread.")
@click.option("--replicas", multiple=True, callback=_replicas, metavar="NAME=COUNT", help="In place of the manifest's.")
@click.option("--duration", default="24h", show_default=True, type=DURATION, help="What the scenario may take.")
@click.option("--seed", default=1, show_default=True, type=int, help="One run: this one.")
@click.option("--seeds", type=click.IntRange(1), help="So many runs, from --seed on.")
@click.option("--replay", type=int, metavar="SEED", help="Print this run step by step.")
@click.option("--service", default="", help="Offer load to this Service only; by default to all.")
@click.option("--rate", type=_Rate(0, MOST_LOAD), help="Requests a second, offered to each Service.")
@click.option("--timeout", type=DURATION, help="A request that takes longer is lost.")
@click.option("--endpoint-lag", type=_SPREAD, help="How late endpoint changes take effect: 2s, or 1s..3s.")
@click.option("--image-pull", type=_SPREAD, help="What an image takes that a node does not have.")
@click.option("--kubelet-sync", type=_SPREAD, help="What a node takes for each start.")
@click.option("--upgrade-time", type=DURATION, help="How long a node is off while it is upgraded.")
@click.option(
    "--profile-from",
    "profiles",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Learn what containers do from a rehearsal's report.json.",
)
@click.option(
    "--map",
    "maps",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Settings; by default antei.yaml beside the manifests.",
)
@click.option(
    "--compare", nargs=2, type=click.Path(path_type=Path), metavar="A B", help="Two sets of manifests, the same seeds."
)
@click.option("--workers", default=0, type=click.IntRange(0), help="Processes; by default as many as there are cores.")
@click.option("--dask", default="", metavar="ADDRESS|local", help="Run the seeds on Dask.")
@click.option("--json", "json_file", help="Write the outcomes as JSON; - for standard output.")
@click.option("--report", type=click.Path(path_type=Path), help="Write the run, or the worst of them, as an HTML page.")
@click.option("--picture", type=click.Path(path_type=Path), help="Draw all runs as an SVG file.")
@click.option("--verbose", is_flag=True, help="Log what goes on.")
def simulate(
    paths: tuple[Path, ...],
    scenario: str,
    nodes: int | None,
    zones: int | None,
    replicas: dict[str, int],
    duration: float,
    seed: int,
    seeds: int | None,
    replay: int | None,
    service: str,
    rate: float | None,
    timeout: float | None,
    endpoint_lag: Distribution | None,
    image_pull: Distribution | None,
    kubelet_sync: Distribution | None,
    upgrade_time: float | None,
    profiles: tuple[Path, ...],
    maps: tuple[Path, ...],
    compare: tuple[Path, Path] | None,
    workers: int,
    dask: str,
    json_file: str | None,
    report: Path | None,
    picture: Path | None,
    verbose: bool,
) -> None:
    """Run the workload of PATH through hours of a cluster's life, in seconds.

    The manifests, the controllers, the scheduler, the node agents and the tables of endpoints are those of `antei up`;
    containers, network and time are simulated. A run is a pure function of its seed.

    \b
    Scenarios: upgrade-nodes, drain, rollout, zone-loss, crash-storm, slow-start, diurnal-load, faults,
    and those of antei rehearse.

    Exit code 0 when every run came to its end, 1 when one did not or a file could not be written, 2 when the command
    line or a manifest is wrong, 3 when there is no Dask scheduler or a worker was killed, 130 after Ctrl-C.

    \b
    antei simulate app.yaml --scenario upgrade-nodes --nodes 200 --seeds 100
    antei simulate app.yaml --scenario rollout --replicas web=12 --endpoint-lag 5s..15s --report run.html
    antei simulate --compare today.yaml tomorrow.yaml --scenario drain --seeds 200 --json -
    """
    console = console_for_tables(stderr=json_file == "-")
    logging.basicConfig(
        level=logging.INFO if verbose else logging.CRITICAL, format="%(levelname)s %(name)s: %(message)s"
    )
    spare_collector()
    if not paths and compare is None:
        raise click.UsageError("PATH is missing")
    _refuse_what_has_no_effect(click.get_current_context(), scenario, is_replayed=replay is not None)
    try:
        check_writable(json_file, picture, *_reports(report, compare is not None))
    except OSError as error:
        fail(2, f"{error.filename}: {error.strerror}")
    changes: dict[str, Any] = {
        "nodes": nodes,
        "zones": zones,
        "load": rate,
        "timeout_seconds": timeout,
        "endpoint_lag": endpoint_lag,
        "image_pull": image_pull,
        "kubelet_sync": kubelet_sync,
        "upgrade_seconds": upgrade_time,
    }

    def plan_of(more: Sequence[Path]) -> Plan:
        every = [*paths, *more]
        settings = read_settings(maps or maps_beside(every))
        settings = replace(settings, **{name: value for name, value in changes.items() if value is not None})
        for path in profiles:
            settings = settings.with_workloads_below(learn(path))
        text, source = _scenario(scenario)
        plan = Plan(tuple(read_documents(every)), settings, text, duration, source, service)
        if text != FAULTS:
            play_of(plan)
            for line in vet(plan):
                click.echo(f"antei: {line}", err=True)
        return with_replicas(plan, replicas)

    chosen = range(seed, seed + (seeds or 1))
    if scenario == FAULTS:
        one = _or_fail(lambda: plan_of(()))
        with ended_by_ctrl_c():
            sys.exit(_or_fail(lambda: watch_faults(console, one, chosen, workers, replay)))
    plans = [
        _or_fail(partial(plan_of, more)) for more in ([[path] for path in compare] if compare is not None else [[]])
    ]
    if replay is not None:
        with ended_by_ctrl_c():
            _or_fail(lambda: play(plans[0], replay, tell=click.echo))
        return
    with ended_by_ctrl_c():
        played: Played | None = None
        if seeds is None and len(plans) == 1 and picture is None:
            played = _or_fail(lambda: play(plans[0], seed, with_results=True))
            found = [[played.outcome]]
            print_one(console, plans[0], played)
        else:
            found = [_swept(plan, chosen, workers, dask) for plan in plans]
            if len(found) == 2:
                print_comparison(console, found[0], found[1])
            else:
                print_many(console, plans[0], found[0])
        written = Written(console)
        if json_file is not None:
            written.data(json_file, _as_json(plans[0], scenario, chosen, found))
        if picture is not None:
            names = [path.stem for path in compare] if compare is not None else [""]
            title = f"{scenario} on {plans[0].settings.nodes} nodes, {len(chosen)} runs"
            written.data(picture, to_svg(title, list(zip(names, found, strict=True))).encode())
        for at, plan, part in zip(_reports(report, compare is not None), plans, found, strict=False):
            look = worst(part).seed
            page = played or _or_fail(partial(play, plan, look, with_results=True))
            written.data(at, page_of(plan, page))
    is_finished = all(outcome.is_finished for part in found for outcome in part)
    sys.exit(0 if is_finished and not written.has_failed else 1)


def _reports(report: Path | None, is_comparison: bool) -> list[Path]:
    """A page for each set of manifests."""
    if report is None:
        return []
    return [report.with_stem(f"{report.stem}-{letter}") for letter in "ab"] if is_comparison else [report]


def _scenario(name: str) -> tuple[str, str]:
    if not re.search(r"\.ya?ml$|/", name):
        return name, ""
    try:
        return read_scenario(name)
    except (OSError, UnicodeDecodeError) as error:
        raise BadPlan(f"{name}: {error}") from error


def _or_fail(work: Callable[[], T]) -> T:
    try:
        return work()
    except (BadPlan, ManifestError, SettingsError, BehaviourError) as error:
        fail(2, str(error))
    except BrokenPipeError:
        raise  # whoever read has seen enough
    except BrokenProcessPool:
        fail(3, "a worker was killed, perhaps for want of memory: fewer need less (--workers)")
    except (NoDask, OSError) as error:
        fail(3, str(error))


def _swept(plan: Plan, seeds: range, workers: int, dask: str) -> list[Outcome]:
    return _or_fail(lambda: list(sweep(plan, seeds, workers=workers, dask=dask)))


def _as_json(plan: Plan, scenario: str, seeds: range, found: Sequence[Sequence[Outcome]]) -> bytes:
    settings: Settings = plan.settings
    meta = {
        "scenario": scenario,
        "nodes": settings.nodes,
        "zones": settings.zones,
        "durationSeconds": plan.duration_seconds,
        "seeds": [seeds.start, seeds.stop - 1],
        "endpointLag": str(settings.endpoint_lag),
        "load": settings.load,
    }
    data = as_data(meta, found[0], found[1] if len(found) > 1 else None)
    return msgspec.json.format(msgspec.json.encode(data), indent=2) + b"\n"


#: What `--replay` prints a run without, and what faults by chance do not go by.
_NOT_REPLAYED = ("seed", "seeds", "compare", "dask", "json_file", "report", "picture")
_NOT_OF_FAULTS = (
    *("nodes", "zones", "duration", "service", "rate", "timeout", "endpoint_lag", "image_pull", "kubelet_sync"),
    *("upgrade_time", "profiles", "maps", "compare", "dask", "json_file", "report", "picture"),
)


def _refuse_what_has_no_effect(asked: click.Context, scenario: str, *, is_replayed: bool) -> None:
    """Raises UsageError for an option that nothing would come of."""
    for names, why in (
        (_NOT_REPLAYED if is_replayed else (), "--replay prints one run, step by step"),
        (
            _NOT_OF_FAULTS if scenario == FAULTS else (),
            "--scenario faults has clusters, clients and an end of its own, and a verdict only",
        ),
    ):
        for param in asked.command.params:
            if param.name in names and asked.get_parameter_source(param.name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"{param.opts[0]} has no effect here: {why}")
