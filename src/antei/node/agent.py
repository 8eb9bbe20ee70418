"""The node agent: watches the pods that are bound to its node, with one worker for each.

    runtime: what is left of before ──┐
    API: pods with spec.nodeName ─────┴─► worker (adopts) ─► update, update … ─► removed ─► gone
                                      └─► left over without a pod anywhere ─► ended at short notice

A verdict's way: probes/actions → probes/thresholds → probes/results → container_run (liveness: stop and run again;
readiness: changed) → pod_worker → status → the API.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lightkube.resources.core_v1 import Pod, Service

from antei.api.errors import ApiError
from antei.api.mirror_pods import as_run, is_mirror, is_static
from antei.api.objects import key_of, meta, name_of, replace, uid_of
from antei.api.pods import is_terminal
from antei.client import Client
from antei.client.events import EventRecorder
from antei.client.informer import Informer
from antei.node.admission import missing, rejection, resize_refusal
from antei.node.allocation import resize_order
from antei.node.context import NodeContext, TokenSource, VolumeMap, as_it_says
from antei.node.files import Files
from antei.node.local_storage import is_critical
from antei.node.logs import PodLogs
from antei.node.measures import NodeMeasures, container_states
from antei.node.mirror import MirrorPod
from antei.node.observer import NO_CALM, NOBODY, UNBLOCKED, Calm, Observer, ProbeBlock
from antei.node.pod_containers import LeftOver
from antei.node.pod_network import PodNetwork
from antei.node.pod_worker import PodWorker
from antei.node.preemption import NoVictims, victims
from antei.node.registration import HEARTBEAT_SECONDS, Registration
from antei.node.static_pods import StaticPods
from antei.node.streams import NodeStreams
from antei.node.termination import MINIMUM_WINDOW_SECONDS
from antei.node.volumes.memory import is_of_pod
from antei.runtime import Runtime, RuntimeFailure, Sandbox
from antei.world import World
from antei.world.sockets import ProbeTransport

__all__ = ["NodeAgent"]

_LOG = logging.getLogger(__name__)
#: After a worker died of something unforeseen.
_WORKER_RETRY_SECONDS = 10.0
_LIST_RETRY_SECONDS = 1.0


class NodeAgent:
    """`run` until cancelled; cancelling leaves every container running, for the next agent to adopt.

    directory: the node's own, for pods' volumes and logs. capacity: cpu, memory, pods, ephemeral-storage as quantities.
    manifests: folders of static pods.
    """

    def __init__(
        self,
        name: str,
        client: Client,
        runtime: Runtime,
        network: PodNetwork,
        transport: ProbeTransport,
        files: Files,
        volume_map: VolumeMap,
        recorder: EventRecorder,
        world: World,
        directory: Path,
        pod_cidr: str,
        capacity: Mapping[str, str],
        *,
        node_ip: str = "127.0.0.1",
        labels: Mapping[str, str] | None = None,
        tokens: TokenSource | None = None,
        reached: Callable[[Service], Service] = as_it_says,
        observer: Observer = NOBODY,
        probe_block: ProbeBlock = UNBLOCKED,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        calm: Calm = NO_CALM,
        manifests: Sequence[Path] = (),
    ) -> None:
        self._context = NodeContext(
            node_name=name,
            node_ip=node_ip,
            client=client,
            runtime=runtime,
            network=network,
            transport=transport,
            files=files,
            volume_map=volume_map,
            recorder=recorder,
            world=world,
            directory=directory,
            allocatable=dict(capacity),
            tokens=tokens,
            reached=reached,
            observer=observer,
            probe_block=probe_block,
            calm=calm,
        )
        self._registration = Registration(
            name, node_ip, client, world, pod_cidr, capacity, runtime.name, labels or {}, heartbeat_seconds
        )
        self._informer: Informer[Pod] = Informer(client, Pod, field_selector=f"spec.nodeName={name}")
        self._workers: dict[str, PodWorker] = {}
        self._left_over: dict[str, LeftOver] = {}
        self._mirrors: dict[tuple[str, str], Pod] = {}  # by namespace and name
        self._static = StaticPods(self._context, manifests, self)
        self._has_static = bool(manifests)
        self._group: asyncio.TaskGroup | None = None
        self.registered = asyncio.Event()
        self._measure()
        self.logs = PodLogs(self._context)
        self.streams = NodeStreams(self._context)

    @property
    def name(self) -> str:
        return self._context.node_name

    @property
    def pods(self) -> Sequence[Pod]:
        """Those that a worker looks after."""
        return [worker.pod for worker in self._workers.values()]

    @property
    def measures(self) -> NodeMeasures:
        return self._context.measures

    def _measure(self) -> None:
        general = self._context.measures.general
        general.sampled("kubelet_node_name", "The node's name.", ("node",), lambda: [((self.name,), 1.0)])
        general.sampled(
            "kubelet_running_pods",
            "Pods that have not ended.",
            (),
            lambda: [((), float(sum(not is_terminal(pod) for pod in self.pods)))],
        )
        general.sampled(
            "kubelet_running_containers",
            "Containers by their state.",
            ("container_state",),
            lambda: [((state,), float(count)) for state, count in container_states(self.pods).items()],
        )

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            # Sandboxes before pods: one that is made in between belongs to a pod that the later list knows.
            self._left_over = await self._find_left_over()
            group.create_task(self._informer.run(), name=f"{self.name}: pods")
            await self._informer.wait_synced()
            await self._static.read()
            self._informer.add_handler(self._on_pod)
            await self._registration.register()
            if self._has_static:
                group.create_task(self._static.run(), name=f"{self.name}: static pods")
            self.registered.set()
            await asyncio.sleep(0)  # workers begin to live in the loop's next step
            self._reconsider()  # what an earlier life did not get to
            group.create_task(self._registration.report(), name=f"{self.name}: heartbeat")
            await self._end_orphans()

    # --- pods ---

    def _on_pod(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and (new is None or uid_of(old) != uid_of(new)):
            if is_mirror(old):
                self._on_mirror(key_of(old), None)
            elif (worker := self._workers.get(uid_of(old))) is not None:
                worker.removed()
        if new is None:
            return
        if is_mirror(new):
            self._on_mirror(key_of(new), new)
            return
        worker = self._workers.get(uid_of(new))
        if worker is not None:
            worker.update(new)
            if old is not None and meta(old).generation != meta(new).generation:
                self._reconsider()  # it may be smaller now
        else:
            self._admit(new)

    def _on_mirror(self, key: tuple[str, str], seen: Pod | None) -> None:
        self._mirrors.pop(key, None)
        if seen is not None:
            self._mirrors[key] = seen
        worker = next((w for w in self._workers.values() if is_static(w.pod) and key_of(w.pod) == key), None)
        if worker is not None:
            worker.observe_mirror(seen)
        elif seen is not None and not self._static.has(key):
            assert self._group is not None
            self._group.create_task(self._remove_mirror(seen), name=f"{self.name}: mirror {key[1]}")

    async def _remove_mirror(self, pod: Pod) -> None:
        """Of no static pod; asked again when it changes, or at the next start."""
        try:
            await MirrorPod(self._context.client, pod, pod).remove()
        except (ApiError, OSError) as error:
            _LOG.warning("node %s: mirror %s of no pod not deleted: %s", self.name, name_of(pod), error)

    def begin_static(self, pod: Pod) -> asyncio.Task[None]:
        assert self._group is not None
        seen = self._mirrors.get(key_of(pod))
        mirror = MirrorPod(self._context.client, pod, seen)
        if seen is not None and mirror.uid is not None and uid_of(pod) in self._left_over:
            pod = replace(pod, status=seen.status)  # what an earlier life of the node has told
        running = self._admit(pod, mirror)
        keeping = self._group.create_task(mirror.keep(), name=f"{self.name}: mirror {name_of(pod)}")
        running.add_done_callback(lambda _: keeping.cancel())
        return running

    def end_static(self, uid: str) -> None:
        if uid in self._workers:
            self._workers[uid].end()

    def _reconsider(self) -> None:
        """Whoever wants another size is asked anew, the most important first: what it takes is not there for others."""
        waiting = [worker for worker in self._workers.values() if worker.waits_for_room]
        for worker in sorted(waiting, key=lambda worker: resize_order(worker.pod, worker.allocated)):
            worker.reconsider()

    def _room(self, pod: Pod) -> tuple[str, str] | None:
        others = [worker.allocated for uid, worker in self._workers.items() if uid != uid_of(pod)]
        return resize_refusal(pod, others, self._context.allocatable)

    def _admit(self, pod: Pod, mirror: MirrorPod | None = None) -> asyncio.Task[None]:
        assert self._group is not None
        left_over = self._left_over.pop(uid_of(pod), None)
        worker = PodWorker(self._context, pod, left_over, self._room, mirror)
        is_new = left_over is None and not is_terminal(pod) and not (pod.status and pod.status.startTime)
        making_room: Sequence[PodWorker] = ()
        if is_new:
            others = [other.allocated for other in self._workers.values()]
            refused = rejection(pod, others, self._context.allocatable)
            if refused is not None and refused[0].startswith("OutOf") and is_critical(pod):
                refused, making_room = self._make_room(pod)
            if refused is not None:
                worker.reject(*refused)
        self._workers[uid_of(pod)] = worker
        work = self._work(uid_of(pod), worker, making_room)
        return self._group.create_task(work, name=f"{self.name}: {name_of(pod)}")

    def _make_room(self, pod: Pod) -> tuple[tuple[str, str] | None, Sequence[PodWorker]]:
        """Ends less important pods for a critical one; why it is rejected where that does not help."""
        active = [worker for worker in self._workers.values() if not is_terminal(worker.pod)]
        others = [worker.allocated for worker in active]
        try:
            chosen = {
                uid_of(victim) for victim in victims(pod, others, missing(pod, others, self._context.allocatable))
            }
        except NoVictims as error:
            what = f"preemption: error finding a set of pods to preempt: {error}"
            message = f"Unexpected error while attempting to recover from admission failure: {what}"
            return ("UnexpectedAdmissionError", f"Pod was rejected: {message}"), ()
        ending = [worker for worker in active if uid_of(worker.pod) in chosen]
        for worker in ending:
            worker.preempt()
        return None, ending

    async def _work(self, uid: str, worker: PodWorker, making_room: Sequence[PodWorker] = ()) -> None:
        """Lets a worker run to its end, which begins when those that make room for it have ended.

        What no code foresaw must not take the node's other pods down.
        """
        for other in making_room:
            await other.wait_ended()
        while True:
            try:
                await worker.run()
                break
            except Exception:  # noqa: BLE001 - logged with its trace, and the pod is taken up again
                _LOG.exception("node %s: pod %s/%s", self.name, worker.pod.metadata, uid)
            await asyncio.sleep(_WORKER_RETRY_SECONDS)
            worker = self._workers[uid] = worker.successor((await self._find_left_over()).get(uid))
        del self._workers[uid]
        self._reconsider()
        self._context.measures.forget(worker.pod)

    # --- what an earlier life left ---

    async def _find_left_over(self) -> dict[str, LeftOver]:
        """By pod uid: the newest sandbox and the containers in it."""
        newest: dict[str, Sandbox] = {}
        for sandbox in await self._context.runtime.sandboxes():
            known = newest.get(sandbox.pod_uid)
            if known is None or sandbox.created_at >= known.created_at:
                newest[sandbox.pod_uid] = sandbox
        containers = await self._context.runtime.containers()
        return {
            uid: LeftOver(sandbox, tuple(c for c in containers if c.sandbox_id == sandbox.id))
            for uid, sandbox in newest.items()
        }

    async def _end_orphans(self) -> None:
        """Ends what belongs to no pod of any node: its object was deleted while nobody looked."""
        files, directory = self._context.files, self._context.directory
        volumes, logs = await files.names(directory / "pods"), await files.names(directory / "logs")
        if not (self._left_over or volumes or logs):
            return  # a new machine, or one that was emptied: nobody has to list all pods for it
        shown = [pod for pod in await self._all_pods() if not (is_mirror(pod) and self._is_here(pod))]
        known = {uid_of(as_run(pod)) for pod in shown} | self._static.uids
        orphans = {uid: left for uid, left in self._left_over.items() if uid not in known}
        self._left_over = {uid: left for uid, left in self._left_over.items() if uid in self._static.uids}
        async with asyncio.TaskGroup() as group:
            for uid, left_over in orphans.items():
                group.create_task(self._end_orphan(uid, left_over))
        memory = await files.memory_directory()
        for name in volumes:
            if name in known or name in self._workers:
                continue
            if memory is not None:
                for volume in await files.names(memory):
                    if is_of_pod(volume, name):
                        await files.remove_tree(memory / volume)
            await files.remove_tree(directory / "pods" / name)
        for name in logs:
            uid = name.rpartition("_")[2]
            if uid not in known and uid not in self._workers:
                await files.remove_tree(directory / "logs" / name)

    def _is_here(self, pod: Pod) -> bool:
        return pod.spec is not None and pod.spec.nodeName == self.name

    async def _all_pods(self) -> Sequence[Pod]:
        while True:
            try:
                return (await self._context.client.list(Pod)).items
            except (ApiError, OSError) as error:
                _LOG.warning("node %s: pods not listed: %s", self.name, error)
            await asyncio.sleep(_LIST_RETRY_SECONDS)

    async def _end_orphan(self, uid: str, left_over: LeftOver) -> None:
        try:
            for record in left_over.records:
                await self._context.runtime.signal(record.id, record.stop_signal)
            await asyncio.sleep(MINIMUM_WINDOW_SECONDS)
            if left_over.sandbox is not None:
                await self._context.runtime.remove_sandbox(left_over.sandbox.id)
            await self._context.network.detach(uid)
        except (RuntimeFailure, OSError) as error:
            _LOG.warning("node %s: orphan pod %s not ended: %s", self.name, uid, error)
