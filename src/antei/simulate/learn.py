"""Behaviours learnt from a rehearsal's report (JSON): what its workload did for real, for the simulation of it.

What the report says of each scenario, and what is read from it:

    latencySeconds p50, p99     the latency of a request
    profile.startup             start-up times: from a container's start until its pod was ready
    profile.stop                from SIGTERM to the end
    profile.onSigterm           whether it finished what it had begun

`profile` is written by `antei rehearse` from its marks; a report of an earlier antei has latencies only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from antei.simulate.behaviour import Behaviour, BehaviourError, parse_behaviour

__all__ = ["learn"]


def learn(path: Path) -> dict[str, Behaviour]:
    """By workload, as a pattern of `Settings.workloads`. Raises BehaviourError."""
    try:
        report = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise BehaviourError(f"{path}: {error}") from error
    try:
        read = msgspec.convert(report, _Report)
    except msgspec.ValidationError as error:
        raise BehaviourError(f"{path}: not a rehearsal's report in JSON: {error}") from error
    workload = read.meta.workload.partition("/")[2] or "*"
    given = dict(read.profile)
    given.setdefault("latency", _latency(read.scenarios))
    if given["latency"] is None:
        del given["latency"]
    return {workload: parse_behaviour(given, f"{path}: profile")}


class _Meta(msgspec.Struct):
    workload: str = ""


class _Latency(msgspec.Struct):
    p50: float = 0.0
    p99: float = 0.0


class _Requests(msgspec.Struct, rename="camel"):
    sent: int = 0
    lost: int = 0
    latency_seconds: _Latency = msgspec.field(default_factory=_Latency)


class _Scenario(msgspec.Struct):
    requests: _Requests = msgspec.field(default_factory=_Requests)


class _Report(msgspec.Struct):
    """What is read of it."""

    scenarios: list[_Scenario]
    meta: _Meta = msgspec.field(default_factory=_Meta)
    profile: dict[str, Any] = {}


def _latency(scenarios: list[_Scenario]) -> dict[str, str] | None:
    """Of the scenario that disturbed least: the first that lost nothing (the baseline comes first)."""
    for scenario in scenarios:
        requests = scenario.requests
        median, p99 = requests.latency_seconds.p50, requests.latency_seconds.p99
        if requests.sent and not requests.lost and median > 0:
            return {"median": f"{median * 1000:g}ms", "p99": f"{max(median, p99) * 1000:g}ms"}
    return None
