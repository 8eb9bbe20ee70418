"""Performs what `plan` decides for each Job, in the order that loses no count."""

from __future__ import annotations

import asyncio
import dataclasses

from lightkube.models.batch_v1 import JobStatus
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod

from antei.api.errors import ApiError
from antei.api.objects import controller_of, key_of, labels_of, meta, name_of, namespace_of, replace, uid_of
from antei.api.pods import is_ready
from antei.api.selectors import selector_of
from antei.client import Client
from antei.client.events import EventRecorder
from antei.client.informer import Informers
from antei.control.adoption import candidates_of, claim, enqueue_matching, index_orphans
from antei.control.controller import Key, Requeue, WorkQueue, enqueue_key, enqueue_owner, index_by_controller
from antei.control.expectations import Expectations
from antei.control.job import state, tracking
from antei.control.job.backoff import BackoffRecord
from antei.control.job.plan import Plan, plan
from antei.control.job.pods import name_base, new_pod
from antei.control.job.state import FINALIZER, Snapshot
from antei.control.pod_control import BatchResult, PodControl
from antei.world import World

__all__ = ["JobController"]

_OURS = "kubernetes.io/job-controller"


class JobController:
    name = "job-controller"

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder, world: World) -> None:
        self._client = client
        self._recorder = recorder
        self._world = world
        self._jobs = informers.of(Job)
        self._pods = informers.of(Pod)
        self._expectations = Expectations()
        self._pod_control = PodControl(client, recorder, world, self._expectations)
        self._backoff: dict[Key, BackoffRecord] = {}
        # Own writes that the informers have not shown yet.
        self._released: dict[Key, set[str]] = {}
        self._latest: dict[Key, Job] = {}

    def setup(self, informers: Informers, queue: WorkQueue) -> None:
        self._expectations.follow(self._pods)
        index_by_controller(self._pods)
        index_orphans(self._pods)
        self._pods.add_handler(self._observe_release)
        self._jobs.add_handler(enqueue_key(queue))
        self._pods.add_handler(enqueue_owner(queue, "Job"))
        self._pods.add_handler(
            enqueue_matching(queue, self._jobs, lambda job: selector_of(state.spec_of(job).selector))
        )

    def _observe_release(self, old: Pod | None, new: Pod | None) -> None:
        pod = new if new is not None else old
        if pod is None or (new is not None and state.has_finalizer(new)):
            return
        owner = controller_of(pod)
        if owner is not None:
            self._released.get((namespace_of(pod), owner.name), set()).discard(uid_of(pod))

    async def reconcile(self, key: Key) -> Requeue | None:
        job = self._newest(key)
        if job is None or state.finished_condition(job) is not None:
            await self._let_go(key, job)
            return None
        if state.spec_of(job).managedBy not in (None, _OURS):
            return None
        unseen_seconds = self._expectations.unmet_for_seconds(key)
        released = frozenset(self._released.get(key, ()))
        pods = await claim(
            self._client, Pod, job, selector_of(state.spec_of(job).selector), candidates_of(self._pods, job)
        )
        now = self._world.clock.now()
        snapshot = Snapshot(
            job=job,
            pods=tuple(pods),
            released=released,
            backoff=self._backoff.get(key, BackoffRecord()),
            has_unseen_writes=unseen_seconds > 0,
        )
        decided = plan(snapshot, now)
        created, deleted = await self._perform(job, decided)
        await self._track(snapshot, decided, created, deleted)
        created.raise_first()
        deleted.raise_first()
        waits = [seconds for seconds in (decided.requeue_seconds, unseen_seconds) if seconds]
        return Requeue(min(waits)) if waits else None

    def _newest(self, key: Key) -> Job | None:
        """The informer's Job, or what was written last where the informer is behind: a count is never taken twice."""
        seen = self._jobs.get(*key)
        own = self._latest.get(key)
        if seen is None or own is None:
            self._latest.pop(key, None)
            return seen
        if uid_of(seen) != uid_of(own) or _version(seen) >= _version(own):
            del self._latest[key]
            return seen
        return own

    async def _let_go(self, key: Key, job: Job | None) -> None:
        """The Job is gone or over: its pods must not be held by their finalizer."""
        self._backoff.pop(key, None)
        self._expectations.forget(key)
        released = self._released.pop(key, set())
        for pod in self._pods.items(key[0]):
            if state.has_finalizer(pod) and uid_of(pod) not in released and _belonged_to(pod, key[1], job):
                await self._release(pod)

    async def _perform(self, job: Job, decided: Plan) -> tuple[BatchResult, BatchResult]:
        for event in decided.events:
            self._recorder.event(job, event.type, event.reason, event.message)
        if decided.releases_deleted:
            for pod in decided.delete:
                await self._release_tracked(job, pod)
        deleted = await self._pod_control.delete_all(job, decided.delete)
        pods = [new_pod(job, wanted, self._pod_control.new_name(name_base(job, wanted))) for wanted in decided.create]
        return await self._pod_control.create_all(job, pods), deleted

    async def _track(self, snapshot: Snapshot, decided: Plan, created: BatchResult, deleted: BatchResult) -> None:
        key = key_of(snapshot.job)
        # A pod whose finalizer went before its deletion is settled: it counts as nothing. What was under way when the
        # snapshot was taken stays excluded, though the informer may have confirmed it since.
        released = snapshot.released | self._released.get(key, set())
        snapshot = dataclasses.replace(snapshot, released=released)
        if deleted.errors:
            decided = dataclasses.replace(decided, verdict=None)
        status, to_release = tracking.recorded(
            snapshot,
            decided,
            active=len(snapshot.active) + created.done - deleted.done,
            ready=snapshot.ready - sum(is_ready(pod) for pod in decided.delete),
            terminating=snapshot.terminating + deleted.done,
        )
        job = await self._write(snapshot.job, status)
        self._backoff[key] = decided.backoff
        await asyncio.gather(*(self._release_tracked(job, pod) for pod in to_release))
        with_finalizer = {uid_of(pod) for pod in snapshot.tracked} - {uid_of(pod) for pod in to_release}
        now = self._world.clock.now()
        settled = tracking.counted(state.status_of_job(job), with_finalizer)
        final = tracking.finished(settled, decided.verdict, now)
        job = await self._write(job, final if final is not None else settled)
        if final is not None and decided.verdict is not None:
            self._tell_finished(job, decided)

    def _tell_finished(self, job: Job, decided: Plan) -> None:
        verdict = decided.verdict
        if verdict is None or verdict.type != "SuccessCriteriaMet":
            reason = (verdict.reason if verdict is not None else None) or "Failed"
            self._recorder.event(job, "Warning", reason, (verdict.message if verdict is not None else None) or "")
            return
        succeeded = state.status_of_job(job).succeeded or 0
        completions = state.completions_of(job)
        if completions is not None and succeeded > completions:
            message = "Too many succeeded pods running after completion count reached"
            self._recorder.event(job, "Warning", "TooManySucceededPods", message)
        self._recorder.event(job, "Normal", "Completed", "Job completed")

    async def _write(self, job: Job, status: JobStatus) -> Job:
        """Never over a newer Job: the counts build on the ones that were read."""
        if job.status == status:
            return job
        written = await self._client.update(replace(job, status=status), "status")
        self._latest[key_of(job)] = written
        return written

    async def _release_tracked(self, job: Job, pod: Pod) -> None:
        if not state.has_finalizer(pod):
            return
        uids = self._released.setdefault(key_of(job), set())
        uids.add(uid_of(pod))
        try:
            await self._release(pod)
        except BaseException:
            uids.discard(uid_of(pod))
            raise

    async def _release(self, pod: Pod) -> None:
        """Removes the finalizer from the pod as it is now; one that is gone needs no more."""
        current = pod
        while True:
            finalizers = [name for name in meta(current).finalizers or () if name != FINALIZER]
            patch = {
                "metadata": {
                    "uid": uid_of(pod),
                    "resourceVersion": meta(current).resourceVersion,
                    "finalizers": finalizers or None,
                }
            }
            try:
                await self._client.patch(Pod, name_of(pod), namespace_of(pod), patch)
                return
            except ApiError as error:
                if error.code == 404:
                    return
                if error.code != 409:
                    raise
            try:
                current = await self._client.get(Pod, name_of(pod), namespace_of(pod))
            except ApiError as error:
                if error.code == 404:
                    return
                raise
            if uid_of(current) != uid_of(pod) or not state.has_finalizer(current):
                return


def _belonged_to(pod: Pod, name: str, job: Job | None) -> bool:
    """A pod of that very Job; where the Job is gone, one of its name's, orphans by `--cascade=orphan` included."""
    owner = controller_of(pod)
    if owner is None:
        return job is None and labels_of(pod).get("batch.kubernetes.io/job-name") == name
    return owner.kind == "Job" and owner.name == name and (job is None or owner.uid == uid_of(job))


def _version(job: Job) -> int:
    return int(meta(job).resourceVersion or 0)
