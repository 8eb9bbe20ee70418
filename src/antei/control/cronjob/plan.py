"""What one look at a CronJob decides. Pure.

    jobs that ended leave status.active ─► is a time due? ─no─► again at the next time
                                                │
             too late (startingDeadlineSeconds) │ Forbid, and one still runs ─► again at the next time
                                                ▼
                        Replace: delete what runs ─► start a Job named after the minute

Kubernetes: syncCronJob in pkg/controller/cronjob/cronjob_controllerv2.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from lightkube.models.batch_v1 import CronJobSpec, CronJobStatus
from lightkube.models.core_v1 import ObjectReference
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.batch_v1 import CronJob, Job

from antei.api.objects import is_terminating, meta, name_of, namespace_of, owner_reference, replace, uid_of
from antei.control.cronjob.schedule import Schedule, location_of, most_recent, parse_schedule

__all__ = [
    "SCHEDULED_AT",
    "CronJobEvent",
    "Plan",
    "Snapshot",
    "job_for",
    "job_name",
    "next_wait_seconds",
    "plan",
    "schedule_of",
    "with_active",
    "without_active",
]

SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_MANY_MISSED = 100


@dataclass(frozen=True, slots=True)
class Snapshot:
    cron_job: CronJob
    jobs: tuple[Job, ...]  # those it controls
    missing: frozenset[str]  # uids of active Jobs that the API server does not know any more


@dataclass(frozen=True, slots=True)
class CronJobEvent:
    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    status: CronJobStatus
    start: datetime | None = None  # the time that a Job is to be started for
    replace: tuple[str, ...] = ()  # names of Jobs to delete before it
    clean_up: tuple[Job, ...] = ()  # finished ones beyond the history limits
    events: tuple[CronJobEvent, ...] = ()
    requeue_seconds: float | None = None


def plan(snapshot: Snapshot, now: datetime) -> Plan:
    status, events = _observed(snapshot)
    clean_up = _beyond_history(snapshot)
    cron_job = snapshot.cron_job
    quiet = Plan(status, clean_up=clean_up, events=tuple(events))
    if is_terminating(cron_job):
        return quiet
    try:
        schedule = schedule_of(cron_job)
    except LookupError:
        message = f'invalid timeZone: "{_spec(cron_job).timeZone}": unknown time zone {_spec(cron_job).timeZone}'
        return _quiet_with(quiet, CronJobEvent("Warning", "UnknownTimeZone", message))
    except ValueError as error:
        message = f'unparseable schedule: "{_spec(cron_job).schedule}" : {error}'
        return _quiet_with(quiet, CronJobEvent("Warning", "UnparseableSchedule", message))
    if _spec(cron_job).suspend:
        return quiet
    start, to_replace, more_events = _due(cron_job, status, schedule, now)
    return Plan(
        status,
        start=start,
        replace=to_replace,
        clean_up=clean_up,
        events=(*events, *more_events),
        requeue_seconds=next_wait_seconds(schedule, now),
    )


def _quiet_with(plan: Plan, event: CronJobEvent) -> Plan:
    return Plan(plan.status, clean_up=plan.clean_up, events=(*plan.events, event))


def schedule_of(cron_job: CronJob) -> Schedule:
    """Raises LookupError for the time zone, ValueError for the schedule."""
    spec = _spec(cron_job)
    return parse_schedule(spec.schedule, location_of(spec.timeZone))


def next_wait_seconds(schedule: Schedule, now: datetime) -> float | None:
    following = schedule.next(now)
    return (following - now).total_seconds() if following is not None else None


def _spec(cron_job: CronJob) -> CronJobSpec:
    if cron_job.spec is None:
        raise ValueError("a CronJob without a spec")
    return cron_job.spec


def _status(cron_job: CronJob) -> CronJobStatus:
    return cron_job.status if cron_job.status is not None else CronJobStatus()


def _finished(job: Job) -> str | None:
    """Complete or Failed."""
    for condition in (job.status.conditions if job.status is not None else None) or ():
        if condition.type in ("Complete", "Failed") and condition.status == "True":
            return condition.type
    return None


def _observed(snapshot: Snapshot) -> tuple[CronJobStatus, list[CronJobEvent]]:
    """The status by what became of the Jobs."""
    status = _status(snapshot.cron_job)
    events: list[CronJobEvent] = []
    for job in snapshot.jobs:
        is_known = any(reference.uid == uid_of(job) for reference in status.active or ())
        ended = _finished(job)
        if ended is None:
            if not is_known:
                message = f"Saw a job that the controller did not create or forgot: {name_of(job)}"
                events.append(CronJobEvent("Warning", "UnexpectedJob", message))
            continue
        if is_known:
            status = without_active(status, [uid_of(job)])
            message = f"Saw completed job: {name_of(job)}, condition: {ended}"
            events.append(CronJobEvent("Normal", "SawCompletedJob", message))
        completed = job.status.completionTime if job.status is not None else None
        last = status.lastSuccessfulTime
        if ended == "Complete" and completed is not None and (last is None or completed > last):
            status = replace(status, lastSuccessfulTime=completed)
    for reference in status.active or ():
        if reference.uid in snapshot.missing:
            events.append(CronJobEvent("Normal", "MissingJob", f"Active job went missing: {reference.name}"))
    return without_active(status, sorted(snapshot.missing)), events


def without_active(status: CronJobStatus, uids: Sequence[str]) -> CronJobStatus:
    kept = [reference for reference in status.active or () if reference.uid not in uids]
    if len(kept) == len(status.active or ()):
        return status
    return replace(status, active=kept or None)


def with_active(status: CronJobStatus, job: Job, scheduled: datetime) -> CronJobStatus:
    reference = ObjectReference(
        apiVersion="batch/v1",
        kind="Job",
        name=name_of(job),
        namespace=namespace_of(job),
        uid=uid_of(job),
        resourceVersion=meta(job).resourceVersion,
    )
    return replace(status, active=[*(status.active or ()), reference], lastScheduleTime=scheduled)


def _due(
    cron_job: CronJob, status: CronJobStatus, schedule: Schedule, now: datetime
) -> tuple[datetime | None, tuple[str, ...], list[CronJobEvent]]:
    """(the time to start a Job for, names of Jobs to delete before, events)"""
    spec = _spec(cron_job)
    deadline_seconds = spec.startingDeadlineSeconds
    earliest = status.lastScheduleTime or meta(cron_job).creationTimestamp or now
    if deadline_seconds is not None:
        earliest = max(earliest, now - timedelta(seconds=deadline_seconds))
    recent = most_recent(schedule, earliest, now)
    if recent.time is None:
        return None, (), []
    events = []
    if recent.missed > _MANY_MISSED:
        message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        events.append(CronJobEvent("Warning", "TooManyMissedTimes", message))
    if deadline_seconds is not None and recent.time + timedelta(seconds=deadline_seconds) < now:
        moment = recent.time.astimezone(UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
        events.append(CronJobEvent("Warning", "MissSchedule", f"Missed scheduled time to start a job: {moment}"))
        return None, (), events
    active = status.active or ()
    name = job_name(cron_job, recent.time)
    if any(reference.name == name for reference in active) or status.lastScheduleTime == recent.time:
        return None, (), events
    if spec.concurrencyPolicy == "Forbid" and active:
        message = "Not starting job because prior execution is running and concurrency policy is Forbid"
        events.append(CronJobEvent("Normal", "JobAlreadyActive", message))
        return None, (), events
    replaced = tuple(reference.name or "" for reference in active) if spec.concurrencyPolicy == "Replace" else ()
    return recent.time, replaced, events


def job_name(cron_job: CronJob, scheduled: datetime) -> str:
    """One name a minute: two controllers, or one that forgot, cannot start two Jobs for one time."""
    return f"{name_of(cron_job)}-{int(scheduled.timestamp()) // 60}"


def job_for(cron_job: CronJob, scheduled: datetime) -> Job:
    template = _spec(cron_job).jobTemplate
    metadata = template.metadata or ObjectMeta()
    moment = scheduled.astimezone(location_of(_spec(cron_job).timeZone)).isoformat()
    return Job(
        apiVersion="batch/v1",
        kind="Job",
        metadata=ObjectMeta(
            name=job_name(cron_job, scheduled),
            namespace=namespace_of(cron_job),
            labels=metadata.labels,
            annotations={**(metadata.annotations or {}), SCHEDULED_AT: moment.replace("+00:00", "Z")},
            ownerReferences=[owner_reference(cron_job)],
        ),
        spec=template.spec,
    )


def _beyond_history(snapshot: Snapshot) -> tuple[Job, ...]:
    spec = _spec(snapshot.cron_job)
    surplus: list[Job] = []
    limits = (("Complete", spec.successfulJobsHistoryLimit), ("Failed", spec.failedJobsHistoryLimit))
    for ended, limit in limits:
        if limit is None:
            continue
        jobs = [job for job in snapshot.jobs if _finished(job) == ended]
        jobs.sort(key=_by_start)
        surplus += [job for job in jobs[: max(len(jobs) - limit, 0)] if not is_terminating(job)]
    return tuple(surplus)


def _by_start(job: Job) -> tuple[bool, float, str]:
    """Those that never started last, as Kubernetes sorts them."""
    start = job.status.startTime if job.status is not None else None
    return start is None, start.timestamp() if start is not None else 0.0, name_of(job)
