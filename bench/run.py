"""`make bench`: measures speed and memory on this machine and prints a table, with the spread over several runs.

.venv/bin/python bench/run.py [--only NAME]... [--runs N] [--json FILE]
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import machine
from antei_process import antei_up
from measurement import Figure, sorted_spread
from rich.console import Console
from rich.table import Table

MEASUREMENTS = (
    "boot",
    "memory",
    "deployment",
    "readiness",
    "http_api",
    "watches",
    "stored_pods",
    "applying",
    "probes",
    "containers",
    "real_containers",
    "many_pods",
    "simulated",
    "fleet",
)
_CONSOLE = Console(highlight=False, width=None if sys.stdout.isatty() else 130)


def main() -> int:
    options = _options()
    _CONSOLE.print(machine.describe())
    before = machine.load()
    if before > 0.5:
        _CONSOLE.print(f"[yellow]load average {before:.2f}: something else runs too, and the figures will show it[/]")
    if not options.smallest:
        with antei_up():  # leaves bytecode and warm disk caches behind
            pass
    measured: dict[str, dict[str, Any]] = {}
    failed, skipped = [], []
    for name in options.only or MEASUREMENTS:
        module = importlib.import_module(name)
        why = getattr(module, "SKIPPED", "")
        if why:
            skipped.append(f"{name}: {why}")
        if not module.FIGURES:
            continue
        try:
            runs = min(options.runs, getattr(module, "MOST_RUNS", options.runs))
            values = _measure(name, module, runs, options.smallest)
        except Exception as error:  # noqa: BLE001 - is said at the end; the others are measured all the same
            failed.append(f"{name} could not be measured: {type(error).__name__}: {error}")
            continue
        for figure in module.FIGURES:
            measured[figure.name] = _facts(name, figure, values[figure.name])
    _print(measured, options.runs)
    for line in skipped:
        _CONSOLE.print(line, style="yellow", markup=False)
    for line in failed:
        _CONSOLE.print(line, style="red", markup=False)
    if options.json is not None:
        report = {
            "machine": machine.describe(),
            "load": {"before": before, "after": machine.load()},
            "runs": options.runs,
            "figures": measured,
            "failed": failed,
            "skipped": skipped,
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=MEASUREMENTS, metavar="NAME", help=", ".join(MEASUREMENTS))
    parser.add_argument("--runs", type=int, default=5, help="runs of each measurement (5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run's figures there, too")
    parser.add_argument(
        "--smallest", action="store_true", help="the smallest size of everything: does it run, not how fast"
    )
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs: at least 1")
    return options


def _measure(name: str, module: ModuleType, runs: int, smallest: bool) -> dict[str, list[float]]:
    values: dict[str, list[float]] = {figure.name: [] for figure in module.FIGURES}
    for number in range(runs):
        with _CONSOLE.status(f"{name}: run {number + 1} of {runs}"):
            for figure, value in module.measure(smallest).items():
                values[figure].append(value)
    return values


def _facts(name: str, figure: Figure, values: list[float]) -> dict[str, Any]:
    spread = sorted_spread(values)
    return {
        "measurement": name,
        "unit": figure.unit,
        "min": spread.least,
        "median": spread.median,
        "max": spread.most,
        "runs": values,
        "aim": figure.aim,
        "more_is_better": figure.more_is_better,
        "met": figure.is_met(spread.median),
        "kube_apiserver": figure.kube_apiserver,
    }


def _print(measured: dict[str, dict[str, Any]], runs: int) -> None:
    fewer = {facts["measurement"]: len(facts["runs"]) for facts in measured.values() if len(facts["runs"]) < runs}
    but = "".join(f", of {name} {count}" for name, count in fewer.items())
    table = Table(title=f"{runs} runs each{but}" if runs != 1 else "one run", title_justify="left")
    table.add_column("figure")
    table.add_column("unit")
    for name in ("min", "median", "max"):
        table.add_column(name, justify="right")
    table.add_column("aim", justify="right")
    table.add_column("")
    table.add_column("kube-apiserver 1.36*", justify="right")
    for name, facts in measured.items():
        aim = "" if facts["aim"] is None else f"{'≥' if facts['more_is_better'] else '<'} {facts['aim']:g}"
        verdict = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}[facts["met"]]
        spread = [_text(facts[which]) for which in ("min", "median", "max")]
        table.add_row(name, facts["unit"], *spread, aim, verdict, facts["kube_apiserver"])
    _CONSOLE.print(table)
    _CONSOLE.print("* as given for such a machine, with its companions where they are needed; not measured here")


def _text(value: float) -> str:
    """Three digits that count; all of them before the point."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


if __name__ == "__main__":
    sys.exit(main())
