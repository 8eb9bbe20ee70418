"""How long a Job waits before it replaces failed pods: 10 s, doubling to 10 minutes, reset by a success. Pure.

Kubernetes: pkg/controller/job/backoff_utils.go (DefaultJobPodFailureBackOff, MaxJobPodFailureBackOff).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from lightkube.resources.core_v1 import Pod

from antei.api import conditions
from antei.api.objects import meta
from antei.control.pod_state import status_of

__all__ = ["BackoffRecord", "finished_at", "remaining_seconds"]

FIRST_SECONDS = 10.0
CAP_SECONDS = 600.0
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class BackoffRecord:
    failures: int = 0  # since the last success
    last_failure: datetime | None = None

    def after(self, succeeded: Sequence[Pod], failed: Sequence[Pod]) -> BackoffRecord:
        """The record when these pods have ended since it was made."""
        failures = sorted(finished_at(pod) for pod in failed)
        if not succeeded:
            if not failures:
                return self
            return BackoffRecord(self.failures + len(failures), failures[-1])
        last_success = max(finished_at(pod) for pod in succeeded)
        later = [moment for moment in failures if moment > last_success]
        return BackoffRecord(len(later), later[-1]) if later else BackoffRecord()

    def remaining_seconds(self, now: datetime) -> float:
        return remaining_seconds(self.failures, self.last_failure, now)


def remaining_seconds(failures: int, last_failure: datetime | None, now: datetime) -> float:
    if failures == 0 or last_failure is None:
        return 0.0
    backoff_seconds = min(FIRST_SECONDS * 2 ** min(failures - 1, 30), CAP_SECONDS)
    return max(backoff_seconds - (now - last_failure).total_seconds(), 0.0)


def finished_at(pod: Pod) -> datetime:
    """When the last container ended; else when the pod got unready, was deleted, or at worst was created."""
    status = status_of(pod)
    ends = [
        container.state.terminated.finishedAt
        if container.state is not None and container.state.terminated is not None
        else None
        for container in status.containerStatuses or ()
    ]
    known = [end for end in ends if end is not None]
    if known and len(known) == len(ends):
        return max(known)
    ready = conditions.find(status.conditions, "Ready")
    if ready is not None and ready.status == "False" and ready.lastTransitionTime is not None:
        return ready.lastTransitionTime
    metadata = meta(pod)
    if metadata.deletionTimestamp is not None:
        return metadata.deletionTimestamp - timedelta(seconds=metadata.deletionGracePeriodSeconds or 0)
    return metadata.creationTimestamp or _NEVER
