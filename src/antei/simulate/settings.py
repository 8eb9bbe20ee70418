"""What a simulated cluster is like, and its workloads, as data: `simulate:` of antei.yaml, with the command line above.

simulate:
  nodes: 12
  zones: 3
  endpointLag: 0.5s..2s          # from a change of endpoints until it is in force at the clients
  imagePull: 2s..10s             # of an image that a node does not have
  kubeletSync: 0s..1s            # what a node takes for each start
  upgradeTime: 3m                # how long a node is off while it is upgraded
  heartbeat: 10s                 # how often nodes say that they are there
  timeout: 5s                    # a request that takes longer is lost
  load: 20                       # requests a second, offered to each Service
  services: {default/web: 50}    # … to this one
  workloads:
    web: {startup: 5s..20s}      # by name, namespace/name, or a glob of either
  capacity: {cpu: "4"}           # of each node, where it is another than usual
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec
import yaml

from antei.api.quantity import to_decimal
from antei.rehearse.durations import parse_seconds
from antei.simulate.behaviour import Behaviour, BehaviourError, parse_behaviour
from antei.simulate.distribution import Distribution, parse_distribution

__all__ = ["MOST_LOAD", "MOST_NODES", "MOST_ZONES", "Settings", "SettingsError", "read_settings"]

#: What can be asked for. Requests that are lost are met one by one.
MOST_NODES, MOST_ZONES, MOST_LOAD = 5000, 100, 100_000.0
_MOST = {"nodes": MOST_NODES, "zones": MOST_ZONES}


class SettingsError(ValueError):
    """The settings cannot be understood; the message begins with their file and names the field."""


_LAG, _PULL, _SYNC = Distribution(0.5, 2.0), Distribution(2.0, 10.0), Distribution(0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Settings:
    nodes: int = 3
    zones: int = 1
    endpoint_lag: Distribution = _LAG
    image_pull: Distribution = _PULL
    kubelet_sync: Distribution = _SYNC
    upgrade_seconds: float = 180.0
    heartbeat_seconds: float | None = None  # 10 s, or seldomer in long runs of many nodes that lose none
    timeout_seconds: float = 5.0
    load: float = 20.0
    services: Mapping[str, float] = field(default_factory=dict)  # by pattern
    workloads: Mapping[str, Behaviour] = field(default_factory=dict)  # by pattern
    capacity: Mapping[str, str] = field(default_factory=dict)

    def behaviour_of(self, namespace: str, name: str) -> Behaviour:
        """What is said of that workload: the pattern that comes first counts, field by field."""
        found = Behaviour()
        for pattern, behaviour in self.workloads.items():
            if _matches(pattern, namespace, name):
                found = found.over(behaviour)
        return found

    @staticmethod
    def fits(pattern: str, namespace: str, name: str) -> bool:
        """Whether a pattern is of that workload; of a CronJob's Jobs it is if it is of the CronJob and a star."""
        return _matches(pattern, namespace, name) or (
            pattern.endswith("*") and _matches(pattern, namespace, f"{name}-1")
        )

    def load_of(self, namespace: str, name: str) -> float:
        """Requests a second that are offered to that Service."""
        return next((rate for pattern, rate in self.services.items() if _matches(pattern, namespace, name)), self.load)

    def with_workloads_below(self, learnt: Mapping[str, Behaviour]) -> Settings:
        """These, and what was learnt elsewhere where they say nothing."""
        return replace(self, workloads=_merged(self.workloads, learnt))


def _merged(first: Mapping[str, Behaviour], below: Mapping[str, Behaviour]) -> dict[str, Behaviour]:
    """The patterns of both, in this order; one that is in both says what the first does, field by field."""
    both = {name: behaviour.over(below.get(name, Behaviour())) for name, behaviour in first.items()}
    return {**both, **{name: behaviour for name, behaviour in below.items() if name not in first}}


def _matches(pattern: str, namespace: str, name: str) -> bool:
    return fnmatchcase(f"{namespace}/{name}" if "/" in pattern else name, pattern)


class _Fields(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    nodes: int | None = None
    zones: int | None = None
    endpoint_lag: Any = None
    image_pull: Any = None
    kubelet_sync: Any = None
    upgrade_time: str | None = None
    heartbeat: str | None = None
    timeout: str | None = None
    load: float | None = None
    services: dict[str, float] = {}
    workloads: dict[str, Any] = {}
    capacity: dict[str, str] = {}


def read_settings(paths: Sequence[Path]) -> Settings:
    """Those of the `simulate` sections of these files, later ones over earlier ones. Raises SettingsError."""
    settings = Settings()
    for path in paths:
        try:
            data = yaml.safe_load(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise SettingsError(f"{path}: {error}") from error
        if isinstance(data, Mapping) and data.get("simulate") is not None:
            settings = _over(settings, data["simulate"], f"{path}: simulate")
    return settings


def _over(settings: Settings, data: Any, where: str) -> Settings:
    try:
        fields = msgspec.convert(data, _Fields)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        raise SettingsError(f"{where}{path.rstrip('`')}: {problem}") from error
    changes: dict[str, Any] = {}
    for name in ("nodes", "zones", "load"):
        value = getattr(fields, name)
        if value is not None:
            if name in _MOST and not 1 <= value <= _MOST[name]:
                raise SettingsError(f"{where}.{name}: must be at least 1 and no more than {_MOST[name]}")
            changes[name] = value
    loads = {"load": fields.load, **{f"services[{name!r}]": rate for name, rate in fields.services.items()}}
    for name, rate in loads.items():
        if rate is not None and not 0 <= rate <= MOST_LOAD:
            raise SettingsError(f"{where}.{name}: must be at least 0 and no more than {MOST_LOAD:g} requests a second")
    for name in ("endpoint_lag", "image_pull", "kubelet_sync"):
        if getattr(fields, name) is not None:
            changes[name] = _parsed(parse_distribution, getattr(fields, name), f"{where}.{_camel(name)}")
    for name, into in _SECONDS.items():
        if getattr(fields, name) is not None:
            changes[into] = _parsed(parse_seconds, getattr(fields, name), f"{where}.{_camel(name)}")
    workloads = {}
    for pattern, given in fields.workloads.items():
        try:
            workloads[pattern] = parse_behaviour(given, f"{where}.workloads[{pattern!r}]")
        except BehaviourError as error:
            raise SettingsError(str(error)) from error
    for name, amount in fields.capacity.items():
        _parsed(to_decimal, amount, f"{where}.capacity[{name!r}]")
    return replace(
        settings,
        services={**fields.services, **{n: r for n, r in settings.services.items() if n not in fields.services}},
        workloads=_merged(workloads, settings.workloads),
        capacity={**settings.capacity, **fields.capacity},
        **changes,
    )


_SECONDS = {"upgrade_time": "upgrade_seconds", "heartbeat": "heartbeat_seconds", "timeout": "timeout_seconds"}


def _parsed(parse: Any, value: Any, where: str) -> Any:
    try:
        return parse(value)
    except ValueError as error:
        raise SettingsError(f"{where}: {error}") from error


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
