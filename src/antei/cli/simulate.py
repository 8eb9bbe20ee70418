"""`antei simulate`: hours of a cluster's life in seconds, as often as it takes to know how it goes."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from rich.console import Console

from antei.cli.durations import DURATION
from antei.cli.instance import fail
from antei.cli.simulating import FAULTS, draw, print_comparison, print_many, print_one, watch_faults, write_page
from antei.cli.up import _maps_beside, _read
from antei.client.manifests import ManifestError
from antei.simulate.behaviour import BehaviourError
from antei.simulate.distribution import Distribution, parse_distribution
from antei.simulate.learn import learn
from antei.simulate.loop import spare_collector
from antei.simulate.outcome import Outcome
from antei.simulate.plan import BadPlan, Plan, read_scenario, with_replicas
from antei.simulate.run import play
from antei.simulate.scenarios import play_of
from antei.simulate.settings import Settings, SettingsError, read_settings
from antei.simulate.summary import as_data, worst
from antei.simulate.sweep import NoDask, sweep

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
        if not name or not count.isdigit():
            raise click.BadParameter(f"{value!r} is not NAME=COUNT")
        given[name] = int(count)
    return given


_SPREAD = _Spread()


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path(path_type=Path))
@click.option("--scenario", default="upgrade-nodes", show_default=True, help="Its name, or the path of a YAML file.")
@click.option("--nodes", type=click.IntRange(1, 5000), help="How many nodes; 3 unless antei.yaml says otherwise.")
@click.option("--zones", type=click.IntRange(1, 100), help="Over how many zones they are spread.")
@click.option("--replicas", multiple=True, callback=_replicas, metavar="NAME=COUNT", help="In place of the manifest's.")
@click.option("--duration", default="24h", show_default=True, type=DURATION, help="What the scenario may take.")
@click.option("--seed", default=1, show_default=True, type=int, help="One run: this one.")
@click.option("--seeds", type=click.IntRange(1), help="So many runs, from --seed on.")
@click.option("--replay", type=int, metavar="SEED", help="Print this run step by step.")
@click.option("--service", default="", help="Offer load to this Service only; by default to all.")
@click.option("--rate", type=click.FloatRange(0), help="Requests a second, offered to each Service.")
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
@click.option("--workers", default=0, help="Processes; by default as many as there are cores.")
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

    Exit code 0 when every run came to its end, 1 when one did not, 2 when the command line or a manifest is wrong.

    \b
    antei simulate app.yaml --scenario upgrade-nodes --nodes 200 --seeds 100
    antei simulate app.yaml --scenario rollout --replicas web=12 --endpoint-lag 5s..15s --report run.html
    antei simulate --compare today.yaml tomorrow.yaml --scenario drain --seeds 200 --json -
    """
    console = Console(stderr=json_file == "-", highlight=False)
    logging.basicConfig(
        level=logging.INFO if verbose else logging.CRITICAL, format="%(levelname)s %(name)s: %(message)s"
    )
    spare_collector()
    if not paths and compare is None:
        raise click.UsageError("PATH is missing")
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
        settings = read_settings(maps or _maps_beside(every))
        settings = replace(settings, **{name: value for name, value in changes.items() if value is not None})
        for path in profiles:
            settings = settings.with_workloads_below(learn(path))
        text, source = _scenario(scenario)
        plan = Plan(tuple(_read(every)), settings, text, duration, source, service)
        if text != FAULTS:
            play_of(plan)
        return with_replicas(plan, replicas)

    chosen = range(seed, seed + (seeds or 1))
    if scenario == FAULTS:
        if compare is not None:
            raise click.UsageError("--scenario faults has a verdict, and nothing to compare")
        one = _or_fail(lambda: plan_of(()))
        sys.exit(
            watch_faults(console, one, range(replay, replay + 1) if replay is not None else chosen, workers, replay)
        )
    plans = [
        _or_fail(partial(plan_of, more)) for more in ([[path] for path in compare] if compare is not None else [[]])
    ]
    if replay is not None:
        _or_fail(lambda: play(plans[0], replay, tell=click.echo))
        return
    if seeds is None and len(plans) == 1 and picture is None:
        played = _or_fail(lambda: play(plans[0], seed, with_results=True))
        outcomes = [played.outcome]
        print_one(console, plans[0], played)
        _write_json(json_file, plans, scenario, chosen, [outcomes], console)
        if report is not None:
            write_page(console, report, plans[0], played)
    else:
        found = [_or_fail(lambda plan=plan: list(sweep(plan, chosen, workers=workers, dask=dask))) for plan in plans]  # type: ignore[misc]
        outcomes = [outcome for part in found for outcome in part]
        if len(found) == 2:
            print_comparison(console, found[0], found[1])
        else:
            print_many(console, plans[0], found[0])
        _write_json(json_file, plans, scenario, chosen, found, console)
        if picture is not None:
            names = [path.stem for path in compare] if compare is not None else [""]
            title = f"{scenario} on {plans[0].settings.nodes} nodes, {len(chosen)} runs"
            draw(console, picture, title, list(zip(names, found, strict=True)))
        if report is not None:
            for number, (plan, part) in enumerate(zip(plans, found, strict=True)):
                at = report if len(plans) == 1 else report.with_stem(f"{report.stem}-{'ab'[number]}")
                look = worst(part).seed
                write_page(console, at, plan, _or_fail(partial(play, plan, look, with_results=True)))
    sys.exit(0 if all(outcome.is_finished for outcome in outcomes) else 1)


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
    except (NoDask, OSError) as error:
        fail(3, str(error))


def _write_json(
    json_file: str | None,
    plans: Sequence[Plan],
    scenario: str,
    seeds: range,
    found: Sequence[Sequence[Outcome]],
    console: Console,
) -> None:
    if json_file is None:
        return
    settings: Settings = plans[0].settings
    meta = {
        "scenario": scenario,
        "nodes": settings.nodes,
        "zones": settings.zones,
        "durationSeconds": plans[0].duration_seconds,
        "seeds": [seeds.start, seeds.stop - 1],
        "endpointLag": str(settings.endpoint_lag),
        "load": settings.load,
    }
    data = as_data(meta, found[0], found[1] if len(found) > 1 else None)
    encoded = msgspec.json.format(msgspec.json.encode(data), indent=2) + b"\n"
    if json_file == "-":
        sys.stdout.buffer.write(encoded)
        return
    try:
        Path(json_file).write_bytes(encoded)
    except OSError as error:
        fail(1, f"{json_file}: {error}")
    console.print(f"wrote {json_file}", soft_wrap=True, markup=False)
