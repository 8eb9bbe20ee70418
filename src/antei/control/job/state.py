"""What the Job controller reads off a Job and its pods before it decides anything. Pure.

Kubernetes: pkg/controller/job/job_controller.go (syncJob, getNewFinishedPods, isPodFailed) and tracking_utils.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from lightkube.models.batch_v1 import JobCondition, JobSpec, JobStatus, UncountedTerminatedPods
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod

from antei.api import conditions
from antei.api.objects import is_terminating, meta, to_time, uid_of
from antei.api.pods import is_active, is_ready, is_terminal
from antei.control.job.backoff import BackoffRecord
from antei.control.job.failure_policy import match_failure
from antei.control.job.indexes import index_of
from antei.control.pod_state import phase_of, status_of

__all__ = [
    "FINALIZER",
    "Snapshot",
    "backoff_limit_of",
    "completions_of",
    "finished_condition",
    "has_finalizer",
    "is_counted_failure",
    "is_failed",
    "is_indexed",
    "is_per_index",
    "is_suspended",
    "new_condition",
    "only_replaces_failed",
    "parallelism_of",
    "past_backoff_on_failure",
    "seconds_to_deadline",
    "set_condition",
    "spec_of",
    "status_of_job",
    "uncounted_of",
]

FINALIZER = "batch.kubernetes.io/job-tracking"
_DEFAULT_BACKOFF_LIMIT = 6


@dataclass(frozen=True, slots=True)
class Snapshot:
    job: Job
    pods: tuple[Pod, ...]
    released: frozenset[str]  # uids of pods whose finalizer was removed, which the informer has not shown yet
    backoff: BackoffRecord
    has_unseen_writes: bool

    @property
    def tracked(self) -> list[Pod]:
        """Pods that still carry the finalizer: those that are not settled yet."""
        return [pod for pod in self.pods if has_finalizer(pod) and uid_of(pod) not in self.released]

    @property
    def active(self) -> list[Pod]:
        return [pod for pod in self.pods if is_active(pod)]

    @property
    def terminating(self) -> int:
        return sum(is_terminating(pod) and not is_terminal(pod) for pod in self.pods)

    @property
    def ready(self) -> int:
        return sum(is_ready(pod) for pod in self.active)

    def newly_succeeded(self) -> list[Pod]:
        known = uncounted_of(status_of_job(self.job)).succeeded or ()
        return [pod for pod in self._valid() if phase_of(pod) == "Succeeded" and uid_of(pod) not in known]

    def newly_failed(self) -> list[Pod]:
        known = uncounted_of(status_of_job(self.job)).failed or ()
        return [pod for pod in self._valid() if is_failed(self.job, pod) and uid_of(pod) not in known]

    def _valid(self) -> Iterable[Pod]:
        for pod in self.tracked:
            if is_indexed(self.job):
                index = index_of(pod)
                if index is None or index >= (completions_of(self.job) or 0):
                    continue
            yield pod


def spec_of(job: Job) -> JobSpec:
    if job.spec is None:
        raise ValueError("a Job without a spec")
    return job.spec


def status_of_job(job: Job) -> JobStatus:
    return job.status if job.status is not None else JobStatus()


def uncounted_of(status: JobStatus) -> UncountedTerminatedPods:
    return status.uncountedTerminatedPods if status.uncountedTerminatedPods is not None else UncountedTerminatedPods()


def is_indexed(job: Job) -> bool:
    return spec_of(job).completionMode == "Indexed"


def is_per_index(job: Job) -> bool:
    return spec_of(job).backoffLimitPerIndex is not None


def is_suspended(job: Job) -> bool:
    return bool(spec_of(job).suspend)


def only_replaces_failed(job: Job) -> bool:
    """A pod that is being deleted is replaced only when it has ended."""
    return spec_of(job).podReplacementPolicy == "Failed" or spec_of(job).podFailurePolicy is not None


def completions_of(job: Job) -> int | None:
    """None for a work queue: done when one pod has succeeded and the others have ended."""
    return spec_of(job).completions


def parallelism_of(job: Job) -> int:
    parallelism = spec_of(job).parallelism
    return 1 if parallelism is None else parallelism


def backoff_limit_of(job: Job) -> int:
    limit = spec_of(job).backoffLimit
    if limit is not None:
        return limit
    return 2**31 - 1 if is_per_index(job) else _DEFAULT_BACKOFF_LIMIT


def has_finalizer(pod: Pod) -> bool:
    return FINALIZER in (meta(pod).finalizers or ())


def is_failed(job: Job, pod: Pod) -> bool:
    """It failed, or is being deleted and will not succeed any more."""
    if phase_of(pod) == "Failed":
        return True
    if only_replaces_failed(job):
        return False
    return is_terminating(pod) and phase_of(pod) != "Succeeded"


def is_counted_failure(job: Job, pod: Pod) -> bool:
    return match_failure(spec_of(job).podFailurePolicy, pod).is_counted


def past_backoff_on_failure(job: Job, pods: Iterable[Pod]) -> bool:
    """restartPolicy OnFailure: the restarts of running pods' containers count in the place of failed pods."""
    spec = spec_of(job).template.spec
    if spec is None or spec.restartPolicy != "OnFailure":
        return False
    restarts = sum(
        container.restartCount
        for pod in pods
        if phase_of(pod) in ("Running", "Pending")
        for container in [
            *(status_of(pod).initContainerStatuses or ()),
            *(status_of(pod).containerStatuses or ()),
        ]
    )
    limit = backoff_limit_of(job)
    return restarts > 0 if limit == 0 else restarts >= limit


def seconds_to_deadline(job: Job, start: datetime | None, now: datetime) -> float | None:
    """None without activeDeadlineSeconds, and while suspended: only active time counts."""
    deadline_seconds = spec_of(job).activeDeadlineSeconds
    if deadline_seconds is None or start is None or is_suspended(job):
        return None
    return (start + timedelta(seconds=deadline_seconds) - now).total_seconds()


def new_condition(type: str, reason: str, message: str, now: datetime, status: str = "True") -> JobCondition:
    moment = to_time(now)
    return JobCondition(
        type=type,
        status=status,
        reason=reason or None,
        message=message or None,
        lastProbeTime=moment,
        lastTransitionTime=moment,
    )


def set_condition(standing: list[JobCondition], new: JobCondition) -> list[JobCondition]:
    """With `new`, unless it says nothing new: an equal one stands, or a False one was never there."""
    old = conditions.find(standing, new.type)
    if old is None:
        return [*standing, new] if new.status != "False" else standing
    if (old.status, old.reason, old.message) == (new.status, new.reason, new.message):
        return standing
    return [new if condition is old else condition for condition in standing]


def finished_condition(job: Job) -> JobCondition | None:
    """Complete or Failed, where it is True."""
    for condition in status_of_job(job).conditions or ():
        if condition.type in ("Complete", "Failed") and condition.status == "True":
            return condition
    return None
