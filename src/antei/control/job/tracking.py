"""Counting each ended pod exactly once: the status before and after the finalizers are removed. Pure.

Kubernetes: trackJobStatusAndRemoveFinalizers in pkg/controller/job/job_controller.go.
"""

from __future__ import annotations

from collections.abc import Set
from datetime import datetime

from lightkube.models.batch_v1 import JobCondition, JobStatus, UncountedTerminatedPods
from lightkube.resources.core_v1 import Pod

from antei.api import conditions
from antei.api.objects import is_terminating, replace, uid_of
from antei.control.job import state
from antei.control.job.indexes import format_indexes, index_of
from antei.control.job.plan import Plan
from antei.control.job.state import Snapshot
from antei.control.pod_state import phase_of

__all__ = ["counted", "finished", "recorded", "terminal_condition"]

#: Uids in one status, so that it stays below some 20 KB.
_MAX_UNCOUNTED = 500


def recorded(
    snapshot: Snapshot, plan: Plan, *, active: int, ready: int, terminating: int
) -> tuple[JobStatus, list[Pod]]:
    """The status to write first, and the pods whose finalizer may be removed once it is written."""
    job = snapshot.job
    old = state.status_of_job(job)
    with_finalizer = {uid_of(pod) for pod in snapshot.tracked}
    status = counted(replace(old, uncountedTerminatedPods=state.uncounted_of(old)), with_finalizer)
    succeeded = list(state.uncounted_of(status).succeeded or ())
    failed = list(state.uncounted_of(status).failed or ())
    to_release: list[Pod] = []
    for pod in snapshot.tracked:
        if len(succeeded) + len(failed) >= _MAX_UNCOUNTED:
            break
        if not _may_release(snapshot, plan, pod):
            continue
        to_release.append(pod)
        uid = uid_of(pod)
        if uid in succeeded or uid in failed:
            continue
        if phase_of(pod) == "Succeeded":
            if not state.is_indexed(job):  # an index counts once by being in completedIndexes
                succeeded.append(uid)
        elif _counts_as_failed(snapshot, plan, pod):
            failed.append(uid)
    status = replace(
        status,
        uncountedTerminatedPods=UncountedTerminatedPods(succeeded=succeeded or None, failed=failed or None),
        active=active or None,
        ready=ready,
        terminating=terminating,
        startTime=plan.start_time,
        conditions=_with_interim(plan) or None,
    )
    if state.is_indexed(job):
        progress = plan.progress
        status = replace(
            status,
            succeeded=len(progress.succeeded_indexes) or None,
            completedIndexes=format_indexes(progress.succeeded_indexes) or None,
            failedIndexes=None if progress.failed_indexes is None else format_indexes(progress.failed_indexes),
        )
    return status, to_release


def _may_release(snapshot: Snapshot, plan: Plan, pod: Pod) -> bool:
    if is_terminating(snapshot.job) or plan.verdict is not None or phase_of(pod) == "Succeeded":
        return True
    if not state.is_failed(snapshot.job, pod):
        return False
    # Its successor inherits its counts: until that exists, the pod must stay.
    awaiting = plan.progress.awaiting_replacement or {}
    return all(uid_of(waiting) != uid_of(pod) for waiting in awaiting.values())


def _counts_as_failed(snapshot: Snapshot, plan: Plan, pod: Pod) -> bool:
    """Of a Job that has failed, every pod that did not succeed has failed."""
    is_over = plan.verdict is not None and plan.verdict.type != "SuccessCriteriaMet"
    if not state.is_failed(snapshot.job, pod) and not is_over:
        return False
    if state.is_indexed(snapshot.job):
        index = index_of(pod)
        if index is None or index >= (state.completions_of(snapshot.job) or 0):
            return False
    return state.is_counted_failure(snapshot.job, pod)


def _with_interim(plan: Plan) -> list[JobCondition]:
    standing = list(plan.conditions)
    verdict = plan.verdict
    if verdict is None or verdict.type not in ("SuccessCriteriaMet", "FailureTarget"):
        return standing
    if conditions.find(standing, verdict.type) is not None:
        return standing
    return [*standing, verdict]


def counted(status: JobStatus, with_finalizer: Set[str]) -> JobStatus:
    """Uids of pods that lost their finalizer leave the list and raise the counter."""
    uncounted = state.uncounted_of(status)
    succeeded = [uid for uid in uncounted.succeeded or () if uid in with_finalizer]
    failed = [uid for uid in uncounted.failed or () if uid in with_finalizer]
    more_succeeded = len(uncounted.succeeded or ()) - len(succeeded)
    more_failed = len(uncounted.failed or ()) - len(failed)
    if not more_succeeded and not more_failed:
        return status
    return replace(
        status,
        succeeded=(status.succeeded or 0) + more_succeeded or None,
        failed=(status.failed or 0) + more_failed or None,
        uncountedTerminatedPods=UncountedTerminatedPods(succeeded=succeeded or None, failed=failed or None),
    )


def terminal_condition(verdict: JobCondition, now: datetime) -> JobCondition:
    """Complete or Failed, for the reason of the interim condition."""
    type = "Complete" if verdict.type == "SuccessCriteriaMet" else "Failed"
    return state.new_condition(type, verdict.reason or "", verdict.message or "", now)


def finished(status: JobStatus, verdict: JobCondition | None, now: datetime) -> JobStatus | None:
    """The final status; None while a pod is still to be counted or to end."""
    uncounted = state.uncounted_of(status)
    if verdict is None or uncounted.succeeded or uncounted.failed or status.terminating:
        return None
    condition = terminal_condition(verdict, now)
    return replace(
        status,
        conditions=state.set_condition(list(status.conditions or ()), condition),
        completionTime=condition.lastTransitionTime if condition.type == "Complete" else status.completionTime,
    )
