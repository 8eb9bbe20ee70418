"""The results as JSON, in the shape that docs/rehearse-report.md promises. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from antei.rehearse.model import Budget, Cause, Objectives, RequestCounts, ScenarioResult, Times
from antei.rehearse.report.profile import lives, profile

__all__ = ["SCHEMA_VERSION", "as_data", "to_json"]

#: Raised when a field changes its meaning or goes; a field that is added does not raise it.
SCHEMA_VERSION = 1


def to_json(results: Sequence[ScenarioResult], meta: Mapping[str, Any] | None = None) -> bytes:
    """UTF-8, indented, with a newline at the end. `meta` is written as it is; msgspec must be able to encode it."""
    return msgspec.json.format(msgspec.json.encode(as_data(results, meta)), indent=2) + b"\n"


def as_data(results: Sequence[ScenarioResult], meta: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {
        "schemaVersion": SCHEMA_VERSION,
        "meta": dict(meta or {}),
        "profile": dict(profile(results)),
        "scenarios": [_scenario(result) for result in results],
    }


def _scenario(result: ScenarioResult) -> dict[str, Any]:
    return {
        "name": result.name,
        "title": result.title,
        "verdict": result.verdict.value,
        "reason": result.reason,
        "lost": result.lost,
        "objectives": _objectives(result.objectives),
        "requests": _requests(result.requests),
        "causes": [_cause(cause) for cause in result.causes],
        "budget": _budget(result.budgets),
        "times": _times(result.times),
        "lowestReady": result.lowest_ready,
        "restarts": result.restarts,
        "lives": lives(result.run) if result.run is not None else [],
    }


def _objectives(objectives: Objectives) -> dict[str, Any]:
    return {
        "lost": objectives.lost,
        "p99Seconds": _rounded(objectives.p99_seconds),
        "recoverSeconds": _rounded(objectives.recover_seconds),
        "leastReady": objectives.least_ready,
        "budgetKept": objectives.budget_kept,
        "restarts": objectives.restarts,
        "lostWithinDetection": objectives.lost_within_detection,
    }


def _requests(requests: RequestCounts) -> dict[str, Any]:
    return {
        "sent": requests.sent,
        "succeeded": requests.succeeded,
        "lost": requests.lost,
        "byOutcome": dict(requests.by_outcome),
        "inFlightAtSigterm": requests.in_flight_at_sigterm,
        "inFlightAtSigtermLost": requests.in_flight_at_sigterm_lost,
        "latencySeconds": {
            "p50": _rounded(requests.p50_seconds),
            "p90": _rounded(requests.p90_seconds),
            "p99": _rounded(requests.p99_seconds),
            "max": _rounded(requests.max_seconds),
        },
        "clientLatenessP99Seconds": _rounded(requests.client_lateness_p99_seconds),
    }


def _cause(cause: Cause) -> dict[str, Any]:
    return {
        "id": cause.id,
        "lost": cause.lost,
        "pod": cause.pod or None,
        "message": cause.message,
        "remedy": cause.remedy or None,
    }


def _budget(budgets: Sequence[Budget]) -> dict[str, Any]:
    return {
        "kept": not any(budget.is_violated for budget in budgets),
        "budgets": [
            {
                "name": budget.name,
                "desiredHealthy": budget.desired_healthy,
                "lowestHealthy": budget.lowest_healthy,
                "evictionsRefused": budget.evictions_refused,
                "kept": not budget.is_violated,
            }
            for budget in budgets
        ],
    }


def _times(times: Times) -> dict[str, Any]:
    return {
        "detectSeconds": _rounded(times.detect),
        "predictedDetectSeconds": _rounded(times.predicted_detect),
        "recoverSeconds": _rounded(times.recover),
        "durationSeconds": _rounded(times.duration),
    }


def _rounded(value: float | None) -> float | None:
    """To the millisecond, as exact as anything here is."""
    return None if value is None else round(value, 3)
