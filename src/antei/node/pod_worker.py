"""One task a pod, from its binding to this node until its object is gone.

    bound ─► volumes ─► address, sandbox ─► init 1 ─► init 2 … sidecar (until started) … ─► containers
      │                                                                                       │
      │ does not fit: Failed                                   all ended, none to restart ────┤
      │                                                                                       ▼
      │      deleted, force-deleted, activeDeadlineSeconds over ──────────────────────────► stopping
      │                                                        every container at once, sidecars in turn
      │                                                        (termination.py); a second delete may shorten
      ▼                                                                                       ▼
    over ◄───────────── status Succeeded or Failed ◄──────────────────────────────── all containers ended
      └─► sandbox, address, volumes given back ─► object deleted? ─► final delete (grace 0, this uid) ─► gone

Cancelling the task is what a stop of antei does: containers run on, and the next worker adopts them.
Kubernetes: pkg/kubelet/pod_workers.go (syncing, terminating, terminated).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from lightkube.models.core_v1 import PodSpec
from lightkube.resources.core_v1 import Pod

from antei.api.errors import ApiError
from antei.api.objects import is_terminating, meta, name_of, namespace_of, uid_of
from antei.api.pods import is_terminal
from antei.node.context import NodeContext
from antei.node.downward import NodeFacts
from antei.node.local_storage import EVICTION_GRACE_SECONDS, exceeded
from antei.node.mirror import MirrorPod
from antei.node.pod_containers import LeftOver, PodContainers
from antei.node.resizing import PodResizer, Room
from antei.node.sandbox import runtime_handler, sandbox_spec
from antei.node.status import PodFacts, pod_status
from antei.node.status_writer import StatusWriter
from antei.node.termination import FORCED_GRACE_SECONDS, grace_for_deletion, pod_grace
from antei.node.volumes.mounter import VolumeError, VolumeMounter, follows_objects
from antei.runtime import RuntimeFailure, Sandbox
from antei.world.sockets import PodAddress

__all__ = ["PodWorker"]

_LOG = logging.getLogger(__name__)
_RETRY_FIRST_SECONDS = 0.5
_RETRY_CAP_SECONDS = 120.0
#: How often volumes that follow an object are looked after (kubelet: syncFrequency).
_REFRESH_SECONDS = 60.0


class PodWorker:
    def __init__(
        self,
        context: NodeContext,
        pod: Pod,
        left_over: LeftOver | None = None,
        room: Room = lambda pod: None,
        mirror: MirrorPod | None = None,
    ) -> None:
        """`room` says whether the node has it for the pod with other resources; `mirror` is a static pod's."""
        self._context = context
        self._room = room
        self._pod = pod
        self._left_over = left_over or LeftOver()
        self._sandbox = self._left_over.sandbox
        self._pod_ip = (pod.status.podIP if pod.status else None) or ""
        self._start_time = (pod.status.startTime if pod.status else None) or context.world.clock.now()
        self._volumes = VolumeMounter(context)
        self._mirror = mirror
        self._status = StatusWriter(context.client, pod, (lambda: mirror.uid) if mirror is not None else None)
        if mirror is not None:
            mirror.renewed = self._status.renew
        self._failure: tuple[str, str] | None = None
        self._disruption = ""
        self._is_over = is_terminal(pod)
        self._lives = False  # what is left of it is adopted, and its containers' facts are true
        self._prepared = asyncio.Event()  # volumes, address and sandbox are there
        self._ended = asyncio.Event()  # none of its containers will ever run again
        self._deleted = asyncio.Event()  # the object has a deletionTimestamp
        self._gone = asyncio.Event()  # the object is no more
        self._touched = asyncio.Event()  # its labels or annotations have changed
        self._deadline_moved = asyncio.Event()  # activeDeadlineSeconds is another
        self._containers = PodContainers(context, self, self._spec, pod.status)
        self._resizer = PodResizer(self._containers.by_name, lambda: self._pod, room, self.changed, self._event)
        if is_terminating(pod):
            self.update(pod)

    # --- what containers ask of their pod (container.Home) ---

    @property
    def pod(self) -> Pod:
        return self._pod

    @property
    def node_facts(self) -> NodeFacts:
        return NodeFacts(self._context.node_ip, self._pod_ip, self._context.allocatable)

    @property
    def sandbox(self) -> Sandbox:
        if self._sandbox is None:
            raise RuntimeError(f"pod {name_of(self._pod)} has no sandbox yet")
        return self._sandbox

    @property
    def volumes(self) -> VolumeMounter:
        return self._volumes

    @property
    def allocated(self) -> Pod:
        """The pod with what it has been given of the node, while it may want something else."""
        return self._resizer.allocated()

    @property
    def waits_for_room(self) -> bool:
        return self._resizer.is_waiting

    async def wait_prepared(self) -> None:
        await self._prepared.wait()

    def restart_all(self) -> None:
        self._containers.restart_all()

    def changed(self) -> None:
        """Publishes the status as the facts have it now."""
        if self._gone.is_set() or not (self._lives or self._failure):
            return
        self._resizer.settle()
        facts = PodFacts(
            # A pod that was rejected never had containers.
            containers=self._containers.facts if self._lives else {},
            is_restarting=self._containers.is_restarting,
            start_time=self._start_time,
            pod_ip=self._pod_ip,
            host_ip=self._context.node_ip,
            has_sandbox=self._sandbox is not None,
            is_over=self._is_over,
            # The phase is not Failed before the last container has ended (Kubernetes: mergePodStatus).
            failure=self._failure if self._is_over else None,
            disruption=self._disruption,
            resize=self._resizer.facts,
        )
        now = self._context.world.clock.now()
        self._status.publish(pod_status(self._pod, facts, self._status.latest, now))

    # --- what the agent tells ---

    def update(self, pod: Pod) -> None:
        """The object has changed. A deletion ends the pod; another, with a shorter grace period, sooner."""
        deadline, before = self._spec.activeDeadlineSeconds, meta(self._pod)
        self._pod = pod
        if self._spec.activeDeadlineSeconds != deadline:
            self._deadline_moved.set()
        if (before.labels, before.annotations) != (meta(pod).labels, meta(pod).annotations):
            self._touched.set()
        self._containers.redefine(self._spec)
        if is_terminating(pod):
            self._deleted.set()
            self._containers.stop(grace_for_deletion(self._spec, meta(pod).deletionGracePeriodSeconds))
        elif not self._is_over and before.generation != meta(pod).generation:
            self._resizer.review()
        is_echo = self._status.has_written(pod) and before.generation == meta(pod).generation
        if is_echo and not self._spec.readinessGates:
            return  # nothing is news but what others may have said of its gates
        if self._lives and not self._is_over:
            self._status.observe(pod)
            self.changed()

    def reconsider(self) -> None:
        """Another pod has left or shrunk, or an earlier life of the node did not get to it: there may be room for a
        size that this one has not been given."""
        if self.waits_for_room and self._lives and not self._is_over:
            self._resizer.review()
            self.changed()

    def observe_mirror(self, pod: Pod | None) -> None:
        """What the API has now of a static pod; the pod itself is as its file says."""
        assert self._mirror is not None
        self._mirror.observe(pod)
        if pod is not None and self._mirror.uid is not None and self._lives and not self._is_over:
            self._status.observe(pod)

    def end(self) -> None:
        """The file of a static pod is gone, or another."""
        self._deleted.set()
        self._containers.stop(pod_grace(self._spec))

    def removed(self) -> None:
        """The object is gone (`--force`): what still runs is ended at short notice."""
        self._gone.set()
        self._deleted.set()
        self._containers.stop(FORCED_GRACE_SECONDS)

    def reject(self, reason: str, message: str) -> None:
        """Fails the pod before anything of it runs."""
        self._context.event(self._pod, "Warning", reason, message)
        self._failure = (reason, message)
        self._is_over = True

    def successor(self, left_over: LeftOver | None) -> PodWorker:
        """A worker that takes the pod up from what the API and the runtime say, in the place of one that failed."""
        worker = PodWorker(self._context, self._pod, left_over, self._room, self._mirror)
        worker._ended = self._ended
        if self._mirror is not None and self._deleted.is_set():
            worker.end()
        if self._gone.is_set():
            worker.removed()
        return worker

    # --- the task ---

    async def run(self) -> None:
        """Returns when the pod's object is gone and nothing of the pod is left on the node."""
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(self._status.run())
            is_news = not is_terminal(self._pod)
            if not self._is_over:
                await self._live()
                self._is_over = True
            self._ended.set()
            if is_news:
                # Before anything is taken away: a node that dies in between must not run the pod again.
                await self._settle()
            await self._give_back()
            if is_news:
                await self._settle()
            await self._deleted.wait()
            await self._delete_object()
            await self._gone.wait()
            await self._retry(lambda: self._context.files.remove_tree(self._context.log_directory(self._pod)), "logs")
            writer.cancel()

    async def _settle(self) -> None:
        self.changed()
        await self._until_gone_or(self._status.flush())

    async def _live(self) -> None:
        """Brings the pod up, keeps it up, and takes it down; returns when every container has ended."""
        self._containers.adopt(self._pod.status, self._left_over)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(self._containers.run(self._prepare, pod_grace(self._spec)))
            self._lives = True
            self.changed()
            helpers = [
                group.create_task(self._watch_deadline()),
                group.create_task(self._watch_storage()),
                group.create_task(self._resizer.run()),
                group.create_task(self._follow_objects()),
            ]
            await running
            for helper in helpers:
                helper.cancel()

    async def _prepare(self) -> None:
        if self._prepared.is_set():
            return
        await self._attempt_until_done(self._mount_volumes)
        await self._attempt_until_done(self._make_sandbox)
        self._prepared.set()
        self.changed()

    async def _mount_volumes(self) -> None:
        await self._volumes.mount_all(self._pod, self.node_facts)

    async def _make_sandbox(self) -> None:
        """The address is the same after a restart of antei, and so is the sandbox, which is kept."""
        if self._spec.hostNetwork:
            address = PodAddress(self._context.node_ip, None)
        else:
            users = None
            if self._spec.hostUsers is False:
                users = await self._context.runtime.user_namespace(uid_of(self._pod))
            address = await self._context.network.attach(uid_of(self._pod), self._context.node_name, users)
        self._pod_ip = address.ip
        if self._sandbox is None:
            resolv_conf = self._context.network.resolv_conf(self._pod)
            handler = await runtime_handler(self._context, self._pod)
            wanted = sandbox_spec(self._context, self._pod, address, resolv_conf, handler)
            await self._context.files.make_directory(wanted.directory)
            self._sandbox = await self._context.runtime.create_sandbox(wanted)

    async def _attempt_until_done(self, work: Callable[[], Awaitable[None]]) -> None:
        """Tries until it succeeds; each different failure is an event."""
        delay_seconds, said = _RETRY_FIRST_SECONDS, ""
        while True:
            try:
                return await work()
            except VolumeError as error:
                reason, message = error.reason, str(error)
            except (RuntimeFailure, OSError, ApiError) as error:
                reason, message = "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}"
            if message != said:
                self._context.event(self._pod, "Warning", reason, message)
                said = message
            await asyncio.sleep(delay_seconds)
            delay_seconds = min(2 * delay_seconds, _RETRY_CAP_SECONDS)

    # --- ending ---

    async def _watch_deadline(self) -> None:
        """activeDeadlineSeconds, counted from the pod's start time; it can be set and lowered while the pod runs."""
        while True:
            self._deadline_moved.clear()
            seconds = self._spec.activeDeadlineSeconds
            left = None
            if seconds is not None:
                ends: datetime = self._start_time + timedelta(seconds=seconds)
                left = max(0.0, (ends - self._context.world.clock.now()).total_seconds())
            try:
                async with asyncio.timeout(left):
                    await self._deadline_moved.wait()
            except TimeoutError:
                break
        message = "Pod was active on the node longer than the specified deadline"
        self._fail("Normal", "DeadlineExceeded", message, pod_grace(self._spec))

    def _event(self, event_type: str, reason: str, message: str) -> None:
        self._context.event(self._pod, event_type, reason, message)

    def preempt(self) -> None:
        """A critical pod needs the room."""
        if not self._is_over and not self._containers.is_ending:
            self._disruption = "Pod was preempted by Kubelet to accommodate a critical pod"
        self._fail("Warning", "Preempting", "Preempted in order to admit critical pod", pod_grace(self._spec))

    async def wait_ended(self) -> None:
        """Returns when nothing of it runs any more."""
        await self._ended.wait()

    async def _watch_storage(self) -> None:
        """Evicts the pod when it takes more room than its limits let it."""
        message = await exceeded(self._context, self._pod, self._volumes)
        if message:
            self._fail("Warning", "Evicted", message, EVICTION_GRACE_SECONDS)

    def _fail(self, event_type: str, reason: str, message: str, grace_seconds: float) -> None:
        """The node ends the pod; unless that is under way for another reason, this is the one that its status tells."""
        if self._containers.is_ending:
            return
        self._context.event(self._pod, event_type, reason, message)
        self._failure = (reason, message)
        self._containers.stop(grace_seconds)

    async def _give_back(self) -> None:
        uid = uid_of(self._pod)
        await self._retry(self._remove_sandboxes, "sandbox")
        self._sandbox = None
        await self._retry(lambda: self._context.network.detach(uid), "address")
        await self._retry(lambda: self._volumes.unmount_all(self._pod), "volumes")

    async def _remove_sandboxes(self) -> None:
        """All of the pod's, one that was created as the pod's end was asked for included."""
        for sandbox in await self._context.runtime.sandboxes():
            if sandbox.pod_uid == uid_of(self._pod):
                await self._context.runtime.remove_sandbox(sandbox.id)

    async def _delete_object(self) -> None:
        """The node's last word: nothing of the pod is left. Finalizers may keep the object for a while yet."""
        if self._mirror is not None:
            await self._retry(self._mirror.remove, "mirror")
            self._gone.set()

        async def delete() -> None:
            try:
                await self._context.client.delete(
                    Pod, name_of(self._pod), namespace_of(self._pod), grace_period_seconds=0, uid=uid_of(self._pod)
                )
            except ApiError as error:
                if error.code not in (404, 409):
                    raise

        if not self._gone.is_set():
            await self._until_gone_or(self._retry(delete, "object"))

    async def _until_gone_or(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        finally:
            task.cancel()
            gone.cancel()

    async def _retry(self, work: Callable[[], Awaitable[None]], what: str) -> None:
        delay_seconds = _RETRY_FIRST_SECONDS
        while True:
            try:
                return await work()
            except (RuntimeFailure, OSError, ApiError) as error:
                _LOG.warning("pod %s: %s not given back: %s", name_of(self._pod), what, error)
            await asyncio.sleep(delay_seconds)
            delay_seconds = min(2 * delay_seconds, _RETRY_CAP_SECONDS)

    # --- volumes that change ---

    async def _follow_objects(self) -> None:
        """Keeps ConfigMaps, Secrets and labels current in running pods: every minute, and when the pod changes."""
        if not any(follows_objects(volume) for volume in self._spec.volumes or ()):
            return
        while True:
            self._touched.clear()
            try:
                async with asyncio.timeout(_REFRESH_SECONDS):
                    await self._touched.wait()
            except TimeoutError:
                pass
            if self._sandbox is None:
                continue
            try:
                await self._volumes.refresh(self._pod, self.node_facts)
            except VolumeError as error:
                self._context.event(self._pod, "Warning", "FailedMount", str(error))

    @property
    def _spec(self) -> PodSpec:
        if self._pod.spec is None:
            raise ValueError(f"pod {name_of(self._pod)} without a spec")
        return self._pod.spec
