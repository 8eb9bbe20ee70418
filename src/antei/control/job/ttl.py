"""ttlSecondsAfterFinished: a finished Job is deleted, with its pods, when its time has come.

Kubernetes: pkg/controller/ttlafterfinished/ttlafterfinished_controller.go.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from lightkube.resources.batch_v1 import Job

from antei.api.errors import ApiError
from antei.api.objects import is_terminating, meta, name_of, namespace_of, uid_of
from antei.client import Client
from antei.client.events import EventRecorder
from antei.client.informer import Informers
from antei.control.controller import Key, Requeue, WorkQueue, enqueue_key
from antei.control.job.state import finished_condition, spec_of
from antei.world import World

__all__ = ["TtlAfterFinishedController", "seconds_to_live"]


def seconds_to_live(job: Job, now: datetime) -> float | None:
    """None for a Job that is not finished, or that is kept."""
    condition = finished_condition(job)
    ttl_seconds = spec_of(job).ttlSecondsAfterFinished
    if condition is None or ttl_seconds is None or is_terminating(job):
        return None
    since = condition.lastTransitionTime
    if since is None:
        return None
    return (since + timedelta(seconds=ttl_seconds) - now).total_seconds()


class TtlAfterFinishedController:
    name = "ttl-after-finished-controller"

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder, world: World) -> None:
        self._client = client
        self._world = world
        self._jobs = informers.of(Job)

    def setup(self, informers: Informers, queue: WorkQueue) -> None:
        self._jobs.add_handler(enqueue_key(queue))

    async def reconcile(self, key: Key) -> Requeue | None:
        job = self._jobs.get(*key)
        if job is None:
            return None
        left_seconds = seconds_to_live(job, self._world.clock.now())
        if left_seconds is None:
            return None
        if left_seconds > 0:
            return Requeue(left_seconds)
        try:
            # On this very state: a Job whose time to live was prolonged meanwhile stays.
            await self._client.delete(
                Job,
                name_of(job),
                namespace_of(job),
                uid=uid_of(job),
                resource_version=meta(job).resourceVersion,
                propagation_policy="Foreground",
            )
        except ApiError as error:
            if error.code != 404:
                raise
        return None
