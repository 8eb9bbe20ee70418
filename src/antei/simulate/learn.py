"""Behaviours learnt from a rehearsal's report (JSON): what its workload did for real, for the simulation of it.

What the report says of each scenario, and what is read from it:

    latencySeconds p50, p99     the latency of a request
    profile.startup             start-up times: from a container's start until its pod was ready
    profile.stop                from SIGTERM to the end
    profile.onSigterm           whether it finished what it had begun

`profile` is written by `antei rehearse` from its marks; a report of an earlier antei has latencies only.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    if not isinstance(report, Mapping) or not isinstance(report.get("scenarios"), list):
        raise BehaviourError(f"{path}: not a rehearsal's report in JSON")
    workload = str((report.get("meta") or {}).get("workload") or "*").partition("/")[2] or "*"
    given: dict[str, Any] = dict(report.get("profile") or {})
    given.setdefault("latency", _latency(report["scenarios"]))
    if given["latency"] is None:
        del given["latency"]
    return {workload: parse_behaviour(given, f"{path}: profile")}


def _latency(scenarios: list[Any]) -> dict[str, str] | None:
    """Of the scenario that disturbed least: the first that lost nothing (the baseline comes first)."""
    for scenario in scenarios:
        requests = scenario.get("requests") or {}
        latency = requests.get("latencySeconds") or {}
        if requests.get("sent") and not requests.get("lost") and latency.get("p50"):
            median, p99 = float(latency["p50"]), float(latency["p99"])
            return {"median": f"{median * 1000:g}ms", "p99": f"{max(median, p99) * 1000:g}ms"}
    return None
