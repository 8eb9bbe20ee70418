"""Performs what `plan` decides for each CronJob."""

from __future__ import annotations

from lightkube.models.batch_v1 import CronJobStatus
from lightkube.resources.batch_v1 import CronJob, Job

from antei.api.errors import ApiError
from antei.api.objects import controller_of, key_of, name_of, namespace_of, replace, uid_of
from antei.client import Client
from antei.client.events import EventRecorder
from antei.client.informer import Informers
from antei.control.controller import Key, Requeue, WorkQueue, enqueue_owner, index_by_controller
from antei.control.cronjob.plan import (
    Plan,
    Snapshot,
    job_for,
    next_wait_seconds,
    plan,
    schedule_of,
    with_active,
    without_active,
)
from antei.control.pod_control import is_namespace_terminating
from antei.control.removal import remove
from antei.world import World

__all__ = ["CronJobController"]


class CronJobController:
    name = "cronjob-controller"

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder, world: World) -> None:
        self._client = client
        self._recorder = recorder
        self._world = world
        self._cron_jobs = informers.of(CronJob)
        self._jobs = informers.of(Job)

    def setup(self, informers: Informers, queue: WorkQueue) -> None:
        index_by_controller(self._jobs)
        self._jobs.add_handler(enqueue_owner(queue, "CronJob"))

        def changed(old: CronJob | None, new: CronJob | None) -> None:
            cron_job = new if new is not None else old
            if cron_job is None:
                return
            wait_seconds = self._wait_after_change(old, new)
            if wait_seconds is None:
                queue.add(key_of(cron_job))
            else:
                queue.add_after(key_of(cron_job), wait_seconds)

        self._cron_jobs.add_handler(changed)

    def _wait_after_change(self, old: CronJob | None, new: CronJob | None) -> float | None:
        """A new schedule counts from now on: the times that it would have named before are not made up for."""
        if old is None or new is None or old.spec is None or new.spec is None:
            return None
        if (old.spec.schedule, old.spec.timeZone) == (new.spec.schedule, new.spec.timeZone):
            return None
        try:
            return next_wait_seconds(schedule_of(new), self._world.clock.now())
        except (LookupError, ValueError):
            return None  # reconcile says what is wrong

    async def reconcile(self, key: Key) -> Requeue | None:
        cron_job = self._cron_jobs.get(*key)
        if cron_job is None:
            return None
        jobs = tuple(self._jobs.by_index("controller", uid_of(cron_job)))
        cron_job = await self._fresh_if_behind(cron_job, jobs)
        snapshot = Snapshot(cron_job, jobs, await self._missing(cron_job, jobs))
        decided = plan(snapshot, self._world.clock.now())
        for event in decided.events:
            self._recorder.event(cron_job, event.type, event.reason, event.message)
        status = await self._perform(cron_job, decided)
        for job in decided.clean_up:
            await self._delete(cron_job, job)
            status = without_active(status, [uid_of(job)])
        if status != cron_job.status and not (cron_job.status is None and status == CronJobStatus()):
            # Never over a newer one: the list of active Jobs builds on the one that was read.
            await self._client.update(replace(cron_job, status=status), "status")
        return Requeue(decided.requeue_seconds) if decided.requeue_seconds is not None else None

    async def _fresh_if_behind(self, cron_job: CronJob, jobs: tuple[Job, ...]) -> CronJob:
        """The CronJob as the API server has it, where a running Job says that the informer may be behind."""
        status = cron_job.status if cron_job.status is not None else CronJobStatus()
        known = {reference.uid for reference in status.active or ()}
        if all(uid_of(job) in known or _has_ended(job) for job in jobs):
            return cron_job
        fresh = await self._client.get(CronJob, name_of(cron_job), namespace_of(cron_job))
        return fresh if uid_of(fresh) == uid_of(cron_job) else cron_job

    async def _missing(self, cron_job: CronJob, jobs: tuple[Job, ...]) -> frozenset[str]:
        seen = {uid_of(job) for job in jobs}
        missing = set()
        for reference in (cron_job.status.active if cron_job.status is not None else None) or ():
            if reference.uid in seen:
                continue
            job = await self._find(reference.name or "", namespace_of(cron_job))
            if job is None or uid_of(job) != reference.uid:
                missing.add(reference.uid or "")
        return frozenset(missing)

    async def _find(self, name: str, namespace: str) -> Job | None:
        try:
            return await self._client.get(Job, name, namespace)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def _perform(self, cron_job: CronJob, decided: Plan) -> CronJobStatus:
        status = decided.status
        if decided.start is None:
            return status
        for name in decided.replace:
            job = await self._find(name, namespace_of(cron_job))
            if job is not None:
                await self._delete(cron_job, job)
                status = without_active(status, [uid_of(job)])
        wanted = job_for(cron_job, decided.start)
        try:
            job = await self._client.create(wanted)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                if not is_namespace_terminating(error):
                    self._recorder.event(cron_job, "Warning", "FailedCreate", f"Error creating job: {error}")
                raise
            job = await self._client.get(Job, name_of(wanted), namespace_of(wanted))
            owner = controller_of(job)
            if owner is None or owner.uid != uid_of(cron_job):
                return status
        else:
            self._recorder.event(cron_job, "Normal", "SuccessfulCreate", f"Created job {name_of(job)}")
        return with_active(status, job, decided.start)

    async def _delete(self, cron_job: CronJob, job: Job) -> None:
        try:
            if not await remove(self._client, job, propagation_policy="Background"):
                return
        except ApiError as error:
            self._recorder.event(cron_job, "Warning", "FailedDelete", f"Deleted job: {error}")
            raise
        self._recorder.event(cron_job, "Normal", "SuccessfulDelete", f"Deleted job {name_of(job)}")


def _has_ended(job: Job) -> bool:
    conditions = job.status.conditions if job.status is not None else None
    return any(c.type in ("Complete", "Failed") and c.status == "True" for c in conditions or ())
