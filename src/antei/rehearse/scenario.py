"""Scenarios as data: what is done to a workload, in which order, and what is expected of it.

    name: kill                            # how --scenario names it
    title: A container is killed
    reason: why it is worth rehearsing
    kinds: [Deployment, StatefulSet]      # workloads that it applies to; all where it is left out
    min_replicas: 1
    steps:                                # each has exactly one of fault, wait, sleep, undo
    - {fault: kill, pods: one}
    - {wait: restarted, within: 60s}
    - {wait: recovered, within: 60s}
    expect: {lost_within_detection: true, recover: 30s}
    lead_in: 2s                           # load before the first step
    lead_out: 2s                          # and after the last

The first fault is the scenario's moment, from which times are counted, unless a later one says `moment: true`.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from antei.rehearse.durations import parse_seconds
from antei.rehearse.model import Objectives

__all__ = ["Condition", "Fault", "Scenario", "ScenarioError", "Step", "builtin_scenarios", "parse_scenario", "select"]


class ScenarioError(Exception):
    """A scenario that cannot be used; the message begins with the file and names the field."""


class Fault(StrEnum):
    """What can be done to a workload. What each needs of a target: `target.Capability`."""

    KILL = "kill"  # SIGKILL to the container
    OOM = "oom"  # its memory runs out
    PAUSE = "pause"  # SIGSTOP: it holds its connections and answers nothing
    CRASH_LOOP = "crash-loop"  # killed each time that it runs, `times` times
    DELETE = "delete"  # the pod, gracefully
    DRAIN = "drain"  # each node that has a pod of it, in turn: cordon, evict, wait, uncordon
    LOSE_NODE = "lose-node"
    UNREADY = "unready"  # its readiness probe fails, and nothing else
    ROLLOUT = "rollout"  # a new revision that is like the old one
    BAD_ROLLOUT = "bad-rollout"  # a new revision that never gets ready
    SLOW_START = "slow-start"  # a new revision that takes `seconds` longer to start
    SCALE_DOWN = "scale-down"  # by `by` replicas
    DEPENDENCY_DOWN = "dependency-down"  # another workload's pods stop answering
    NOTHING = "nothing"  # for a baseline


class Condition(StrEnum):
    """What a scenario can wait for, of the pods that the last fault hit where it is about pods."""

    OUT = "out"  # new connections no longer go to them
    ALL_OUT = "all-out"  # no pod of the workload is ready
    RESTARTED = "restarted"  # each has a container with a higher restart count, or is gone
    GONE = "gone"
    RECOVERED = "recovered"  # as many ready as before the first fault, and nothing of the workload is terminating
    ROLLED_OUT = "rolled-out"  # as `kubectl rollout status` says
    NEW_POD = "new-pod"  # a pod that was not there before the fault
    CRASH_LOOPING = "crash-looping"  # CrashLoopBackOff


class Step(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    fault: Fault | None = None
    wait: Condition | None = None
    sleep: str | None = None
    undo: Literal["all"] | None = None
    pods: Literal["one", "all"] = "one"
    within: str = "60s"  # of a wait
    optional: bool = False  # of a wait: going on when it does not come true is no failure
    seconds: str = "10s"  # of slow-start; of drain, how much later new pods get ready where their image is not there
    times: int = 2  # of crash-loop
    by: int = 1  # of scale-down
    moment: bool = False

    @property
    def within_seconds(self) -> float:
        return parse_seconds(self.within)

    @property
    def sleep_seconds(self) -> float:
        return parse_seconds(self.sleep or "0s")

    @property
    def length_seconds(self) -> float:
        return parse_seconds(self.seconds)


class _Expectations(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`Objectives`, durations as text."""

    lost: int | None = None
    p99: str | None = None
    recover: str | None = None
    least_ready: int | None = None
    budget_kept: bool = False
    restarts: int | None = None
    lost_within_detection: bool = False


class Scenario(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    name: str
    title: str
    steps: tuple[Step, ...]
    reason: str = ""
    kinds: tuple[str, ...] = ()
    min_replicas: int = 1
    expect: _Expectations = _Expectations()
    lead_in: str = "2s"
    lead_out: str = "2s"

    @property
    def lead_in_seconds(self) -> float:
        return parse_seconds(self.lead_in)

    @property
    def lead_out_seconds(self) -> float:
        return parse_seconds(self.lead_out)

    @property
    def faults(self) -> list[Fault]:
        return [step.fault for step in self.steps if step.fault is not None]

    @property
    def moment(self) -> int | None:
        """The number of the step that times are counted from; None where nothing is done to the workload."""
        marked = [n for n, step in enumerate(self.steps) if step.fault is not None and step.moment]
        faults = [n for n, step in enumerate(self.steps) if step.fault not in (None, Fault.NOTHING)]
        found = marked or faults
        return found[0] if found else None

    @property
    def objectives(self) -> Objectives:
        expect = self.expect
        return Objectives(
            lost=expect.lost,
            p99_seconds=parse_seconds(expect.p99) if expect.p99 is not None else None,
            recover_seconds=parse_seconds(expect.recover) if expect.recover is not None else None,
            least_ready=expect.least_ready,
            budget_kept=expect.budget_kept,
            restarts=expect.restarts,
            lost_within_detection=expect.lost_within_detection,
        )


def parse_scenario(text: str, source: str) -> Scenario:
    """Raises ScenarioError, which names the field."""
    try:
        data: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        raise ScenarioError(f"{source}{line}: {getattr(error, 'problem', None) or error}") from error
    try:
        scenario = msgspec.convert(data, Scenario)
    except msgspec.ValidationError as error:
        raise ScenarioError(f"{source}: {_field(str(error))}") from error
    _check(scenario, source)
    return scenario


def _field(message: str) -> str:
    """msgspec's `Expected … - at `$.steps[0].wait`` as `steps[0].wait: Expected …`."""
    what, at, path = message.rpartition(" - at `$")
    return f"{path.rstrip('`').lstrip('.')}: {what}" if at else message


def _check(scenario: Scenario, source: str) -> None:
    """What types cannot say. Raises ScenarioError."""
    if not scenario.name or "," in scenario.name or "/" in scenario.name:
        raise ScenarioError(f"{source}: name: {scenario.name!r} must be a word without comma and slash")
    if not scenario.steps:
        raise ScenarioError(f"{source}: steps: there are none")
    durations = [("lead_in", scenario.lead_in), ("lead_out", scenario.lead_out)]
    durations += [(f"expect.{name}", getattr(scenario.expect, name) or "0s") for name in ("p99", "recover")]
    for number, step in enumerate(scenario.steps):
        given = [name for name in ("fault", "wait", "sleep", "undo") if getattr(step, name) is not None]
        if len(given) != 1:
            said = " and ".join(given) or "none of them"
            raise ScenarioError(f"{source}: steps[{number}]: exactly one of fault, wait, sleep, undo; there is {said}")
        durations += [(f"steps[{number}].{name}", getattr(step, name) or "0s") for name in _STEP_DURATIONS]
        if step.times < 1 or step.by < 1:
            raise ScenarioError(f"{source}: steps[{number}].{'times' if step.times < 1 else 'by'}: at least 1")
    for path, value in durations:
        try:
            parse_seconds(value)
        except ValueError as error:
            raise ScenarioError(f"{source}: {path}: {error}") from error
    if sum(step.moment for step in scenario.steps) > 1:
        raise ScenarioError(f"{source}: steps: only one can be the moment")


_STEP_DURATIONS = ("within", "sleep", "seconds")

#: The order in which they are played. Between those that restart containers there are some that replace the pods:
#: the kubelet's back-off remembers ten minutes of crashes.
_ORDER = (
    "rollout",
    "bad-rollout",
    "delete",
    "kill",
    "oom",
    "slow-start",
    "hang",
    "crash-loop",
    "drain",
    "scale-down",
    "unready",
    "dependency-down",
    "node-loss",
)


def builtin_scenarios() -> list[Scenario]:
    """Those that come with antei, in the order in which they are played. `baseline` is none of them."""
    directory = files("antei.rehearse") / "scenarios"
    return [parse_scenario((directory / f"{name}.yaml").read_text("utf-8"), f"{name}.yaml") for name in _ORDER]


def baseline() -> Scenario:
    directory = files("antei.rehearse") / "scenarios"
    return parse_scenario((directory / "baseline.yaml").read_text("utf-8"), "baseline.yaml")


def select(chosen: Sequence[str], skipped: Sequence[str]) -> list[Scenario]:
    """The scenarios to play: by name or by the path of a file, all that come with antei where none is named.

    Raises ScenarioError.
    """
    known = {scenario.name: scenario for scenario in builtin_scenarios()}
    for name in skipped:
        if name not in known:
            raise ScenarioError(f"there is no scenario {name!r} to skip: {', '.join(known)}")
    found: list[Scenario] = []
    for name in chosen or list(known):
        if name in known:
            found.append(known[name])
        elif name.endswith((".yaml", ".yml")) or "/" in name:
            found.append(_read(Path(name)))
        else:
            raise ScenarioError(f"there is no scenario {name!r}: {', '.join(known)}, or the path of a YAML file")
    return [scenario for scenario in found if scenario.name not in skipped]


def _read(path: Path) -> Scenario:
    try:
        return parse_scenario(path.read_text("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: {error}") from error
