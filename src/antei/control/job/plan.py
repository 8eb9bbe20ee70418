"""What one look at a Job decides. Pure.

    count what has ended ─► is the verdict reached? ──yes──► delete what still runs
                                   │ no
                                   └─► suspended: delete all │ too many: delete some │ too few: create, after backoff
    then  record uids and interim conditions in the status ─► remove finalizers ─► count for good ─► Complete or Failed

A pod that ends is counted exactly once, whatever crashes in between: its uid is first written to
status.uncountedTerminatedPods, then its finalizer is removed, then the counter goes up and the uid goes away.

Kubernetes: syncJob and manageJob in pkg/controller/job/job_controller.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from lightkube.models.batch_v1 import JobCondition
from lightkube.resources.core_v1 import Pod

from antei.api import conditions
from antei.api.objects import is_terminating, to_time, uid_of
from antei.control.job import state
from antei.control.job.backoff import BackoffRecord, finished_at, remaining_seconds
from antei.control.job.failure_policy import match_failure, match_success
from antei.control.job.indexes import (
    FAILURE_COUNT,
    IGNORED_FAILURE_COUNT,
    duplicates,
    failure_count,
    index_of,
    parse_indexes,
)
from antei.control.job.state import Snapshot
from antei.control.pod_control import BURST
from antei.control.pod_state import in_deletion_order, phase_of

__all__ = ["JobEvent", "NewPod", "Plan", "Progress", "plan"]

_FRESH = BackoffRecord()


@dataclass(frozen=True, slots=True)
class NewPod:
    """`index` is None where the Job is not Indexed; the counts are its index's, None without per-index limits."""

    index: int | None = None
    failures: int | None = None
    ignored_failures: int | None = None


@dataclass(frozen=True, slots=True)
class JobEvent:
    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the Job is, its newly ended pods included."""

    succeeded: int
    failed: int
    succeeded_indexes: frozenset[int] = frozenset()
    failed_indexes: frozenset[int] | None = None  # None without backoffLimitPerIndex
    awaiting_replacement: dict[int, Pod] | None = None  # by index: the failed pod whose counts its successor inherits


@dataclass(frozen=True, slots=True)
class Plan:
    progress: Progress
    create: tuple[NewPod, ...] = ()
    delete: tuple[Pod, ...] = ()
    releases_deleted: bool = False  # deleted pods lose the finalizer first, and so count as neither success nor failure
    verdict: JobCondition | None = None  # SuccessCriteriaMet, FailureTarget or Failed
    conditions: tuple[JobCondition, ...] = ()
    start_time: datetime | None = None
    backoff: BackoffRecord = _FRESH
    events: tuple[JobEvent, ...] = ()
    requeue_seconds: float | None = None


def plan(snapshot: Snapshot, now: datetime) -> Plan:
    return _Sync(snapshot, now).decide()


class _Sync:
    def __init__(self, snapshot: Snapshot, now: datetime) -> None:
        self._snapshot = snapshot
        self._job = snapshot.job
        self._now = now
        self._status = state.status_of_job(snapshot.job)
        self._active = snapshot.active
        self._start_time = self._status.startTime
        is_resumed = conditions.is_true(self._status.conditions, "Suspended")
        if not state.is_suspended(self._job) and (self._start_time is None or is_resumed):
            # activeDeadlineSeconds counts anew from the resumption.
            self._start_time = to_time(now)
        self._succeeded = snapshot.newly_succeeded()
        self._failed = snapshot.newly_failed()
        self._backoff = snapshot.backoff.after(self._succeeded, self._failed)
        self._progress = self._count()
        self._requeue_seconds: float | None = None

    def decide(self) -> Plan:
        verdict = self._verdict()
        if verdict is not None:
            return self._plan(verdict=verdict if self._may_declare() else None, delete=tuple(self._active))
        can_manage = not self._snapshot.has_unseen_writes and not is_terminating(self._job)
        create, delete = self._manage() if can_manage else ((), ())
        active_after = len(self._active) + len(create) - len(delete)
        if self._may_declare() and self._is_complete(active_after):
            verdict = state.new_condition(
                "SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods", self._now
            )
            return self._plan(verdict=verdict, create=create, delete=delete, releases_deleted=True)
        if not can_manage:
            return self._plan()
        standing, events = self._suspension()
        return self._plan(create=create, delete=delete, releases_deleted=True, standing=standing, events=events)

    def _plan(
        self,
        *,
        verdict: JobCondition | None = None,
        create: Sequence[NewPod] = (),
        delete: Sequence[Pod] = (),
        releases_deleted: bool = False,
        standing: Sequence[JobCondition] | None = None,
        events: Sequence[JobEvent] = (),
    ) -> Plan:
        return Plan(
            progress=self._progress,
            create=tuple(create),
            delete=tuple(delete),
            releases_deleted=releases_deleted,
            verdict=verdict,
            conditions=tuple((self._status.conditions or ()) if standing is None else standing),
            start_time=self._start_time,
            backoff=self._backoff,
            events=tuple(events),
            requeue_seconds=self._requeue_seconds,
        )

    def _may_declare(self) -> bool:
        """Not before the informer has shown every pod that was made."""
        return not self._snapshot.has_unseen_writes

    # How far is it?

    def _count(self) -> Progress:
        uncounted = state.uncounted_of(self._status)
        counted_failures = [pod for pod in self._failed if state.is_counted_failure(self._job, pod)]
        failed = (self._status.failed or 0) + len(counted_failures) + len(uncounted.failed or ())
        if not state.is_indexed(self._job):
            succeeded = (self._status.succeeded or 0) + len(self._succeeded) + len(uncounted.succeeded or ())
            return Progress(succeeded, failed)
        completions = state.completions_of(self._job) or 0
        indexes = parse_indexes(self._status.completedIndexes, completions) | {
            index for pod in self._succeeded if (index := index_of(pod)) is not None
        }
        if not state.is_per_index(self._job):
            return Progress(len(indexes), failed, indexes)
        failed_indexes = parse_indexes(self._status.failedIndexes, completions) | {
            index
            for pod in self._failed
            if (index := index_of(pod)) is not None and index not in indexes and self._ends_index(pod)
        }
        return Progress(
            len(indexes), failed, indexes, failed_indexes, self._awaiting_replacement(indexes | failed_indexes)
        )

    def _ends_index(self, pod: Pod) -> bool:
        action = match_failure(state.spec_of(self._job).podFailurePolicy, pod).action
        if action == "FailIndex":
            return True
        return action != "Ignore" and failure_count(pod) >= (state.spec_of(self._job).backoffLimitPerIndex or 0)

    def _awaiting_replacement(self, settled: frozenset[int]) -> dict[int, Pod]:
        taken = settled | {index_of(pod) for pod in self._active}
        last: dict[int, Pod] = {}
        for pod in self._snapshot.tracked:
            index = index_of(pod)
            if index is None or index in taken or not state.is_failed(self._job, pod):
                continue
            known = last.get(index)
            if known is None or _attempts(pod) > _attempts(known):
                last[index] = pod
        return last

    # Is it over?

    def _verdict(self) -> JobCondition | None:
        job, now = self._job, self._now
        standing = conditions.find(self._status.conditions, "SuccessCriteriaMet")
        if standing is not None and standing.status == "True":
            return standing
        target = conditions.find(self._status.conditions, "FailureTarget")
        if target is not None and target.status == "True":
            return state.new_condition("Failed", target.reason or "", target.message or "", now)
        failure = self._failure()
        if failure is not None:
            return state.new_condition("FailureTarget", *failure, now)
        if state.is_indexed(job):
            message = match_success(
                state.spec_of(job).successPolicy, state.completions_of(job) or 0, self._progress.succeeded_indexes
            )
            if message is not None:
                return state.new_condition("SuccessCriteriaMet", "SuccessPolicy", message, now)
        return None

    def _failure(self) -> tuple[str, str] | None:
        """(reason, message)"""
        job = self._job
        for pod in self._snapshot.pods:
            if state.is_failed(job, pod):
                message = match_failure(state.spec_of(job).podFailurePolicy, pod).message
                if message is not None:
                    return "PodFailurePolicy", message
        if self._progress.failed > state.backoff_limit_of(job) or state.past_backoff_on_failure(
            job, self._snapshot.pods
        ):
            return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        left_seconds = state.seconds_to_deadline(job, self._start_time, self._now)
        if left_seconds is not None:
            if left_seconds <= 0:
                return "DeadlineExceeded", "Job was active longer than specified deadline"
            self._requeue_in(left_seconds)
        failed_indexes = self._progress.failed_indexes
        if failed_indexes:
            limit = state.spec_of(job).maxFailedIndexes
            if limit is not None and len(failed_indexes) > limit:
                return (
                    "MaxFailedIndexesExceeded",
                    "Job has exceeded the specified maximal number of failed indexes",
                )
            if len(failed_indexes) + self._progress.succeeded >= (state.completions_of(job) or 0):
                return "FailedIndexes", "Job has failed indexes"
        return None

    def _is_complete(self, active: int) -> bool:
        completions = state.completions_of(self._job)
        if active > 0:
            return False
        return self._progress.succeeded >= (1 if completions is None else completions)

    # How many pods should run?

    def _manage(self) -> tuple[tuple[NewPod, ...], tuple[Pod, ...]]:
        """(to create, to delete); never both at once, and deletion first."""
        active = len(self._active)
        if state.is_suspended(self._job):
            return (), tuple(self._active)
        wanted = self._wanted_active()
        surplus = self._to_remove(max(active - wanted, 0))
        if surplus:
            return (), tuple(surplus[:BURST])
        terminating = self._snapshot.terminating if state.only_replaces_failed(self._job) else 0
        missing = min(wanted - terminating - active, BURST)
        if missing <= 0:
            return (), ()
        if not state.is_per_index(self._job):
            wait_seconds = self._backoff.remaining_seconds(self._now)
            if wait_seconds > 0:
                self._requeue_in(wait_seconds)
                return (), ()
        if not state.is_indexed(self._job):
            return (NewPod(),) * missing, ()
        return self._indexed(missing), ()

    def _wanted_active(self) -> int:
        completions = state.completions_of(self._job)
        parallelism = state.parallelism_of(self._job)
        if completions is None:
            return len(self._active) if self._progress.succeeded > 0 else parallelism
        return max(min(completions - self._progress.succeeded, parallelism), 0)

    def _to_remove(self, at_least: int) -> list[Pod]:
        removed: list[Pod] = []
        if state.is_indexed(self._job):
            removed = duplicates(self._active, state.completions_of(self._job) or 0, self._now)
        left = [pod for pod in self._active if pod not in removed]
        if len(removed) < at_least:
            removed += in_deletion_order(left, [], self._now)[: at_least - len(removed)]
        return removed

    def _indexed(self, count: int) -> tuple[NewPod, ...]:
        job = self._job
        busy = {index_of(pod) for pod in self._active} | self._progress.succeeded_indexes
        busy |= self._progress.failed_indexes or frozenset()
        if state.only_replaces_failed(job):
            busy |= {index_of(pod) for pod in self._snapshot.pods if is_terminating(pod) and phase_of(pod) != "Failed"}
        free = [index for index in range(state.completions_of(job) or 0) if index not in busy][:count]
        if not state.is_per_index(job):
            return tuple(NewPod(index) for index in free)
        pods = []
        for index in free:
            last = (self._progress.awaiting_replacement or {}).get(index)
            wait_seconds = _index_backoff_seconds(last, self._now)
            if wait_seconds > 0:
                self._requeue_in(wait_seconds)
            else:
                pods.append(self._successor(index, last))
        return tuple(pods)

    def _successor(self, index: int, last: Pod | None) -> NewPod:
        if last is None:
            return NewPod(index, 0, None)
        ignored = failure_count(last, IGNORED_FAILURE_COUNT)
        if state.is_counted_failure(self._job, last):
            return NewPod(index, failure_count(last, FAILURE_COUNT) + 1, ignored or None)
        return NewPod(index, failure_count(last, FAILURE_COUNT), ignored + 1)

    def _suspension(self) -> tuple[list[JobCondition], list[JobEvent]]:
        standing = list(self._status.conditions or ())
        if state.is_suspended(self._job):
            new = state.new_condition("Suspended", "JobSuspended", "Job suspended", self._now)
            event = JobEvent("Normal", "Suspended", "Job suspended")
        else:
            new = state.new_condition("Suspended", "JobResumed", "Job resumed", self._now, status="False")
            event = JobEvent("Normal", "Resumed", "Job resumed")
        changed = state.set_condition(standing, new)
        if changed == standing:
            return standing, []
        return changed, [event]

    def _requeue_in(self, seconds: float) -> None:
        if self._requeue_seconds is None or seconds < self._requeue_seconds:
            self._requeue_seconds = seconds


def _attempts(pod: Pod) -> tuple[int, str]:
    return failure_count(pod, FAILURE_COUNT) + failure_count(pod, IGNORED_FAILURE_COUNT), uid_of(pod)


def _index_backoff_seconds(last: Pod | None, now: datetime) -> float:
    if last is None:
        return 0.0
    return remaining_seconds(_attempts(last)[0] + 1, finished_at(last), now)
