"""From the outcomes of attempts to a verdict: pure.

A verdict changes only when a run of equal outcomes reaches its threshold; an error of the prober itself is no
outcome and never gets here (Kubernetes: pkg/kubelet/prober/worker.go, doProbe).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lightkube.models.core_v1 import Probe

__all__ = ["ProbeKind", "Progress", "Verdict", "advance", "begin"]


class ProbeKind(StrEnum):
    """The values are how events name the kind."""

    LIVENESS = "Liveness"
    READINESS = "Readiness"
    STARTUP = "Startup"


class Verdict(StrEnum):
    SUCCESS = "success"
    FAILURE = "failure"
    UNKNOWN = "unknown"


_START_VERDICTS = {
    ProbeKind.LIVENESS: Verdict.SUCCESS,
    ProbeKind.READINESS: Verdict.FAILURE,
    ProbeKind.STARTUP: Verdict.UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class Progress:
    """How one probe of one run of a container stands."""

    verdict: Verdict
    last_succeeded: bool | None = None  # the last outcome; None before the first
    run_length: int = 0  # how many outcomes in a row equalled it
    is_settled: bool = False  # that run has reached its threshold: the verdict is what it says


def begin(kind: ProbeKind) -> Progress:
    return Progress(_START_VERDICTS[kind])


def advance(progress: Progress, succeeded: bool, probe: Probe) -> Progress:
    """Counts one outcome; the verdict follows once the run is as long as the probe's threshold for it."""
    run_length = progress.run_length + 1 if progress.last_succeeded is succeeded else 1
    threshold = (probe.successThreshold or 1) if succeeded else (probe.failureThreshold or 3)
    if run_length < threshold:
        return Progress(progress.verdict, succeeded, run_length)
    return Progress(Verdict.SUCCESS if succeeded else Verdict.FAILURE, succeeded, run_length, is_settled=True)
