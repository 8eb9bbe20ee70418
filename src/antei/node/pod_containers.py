"""The containers of one pod: brought up in their order, together begun anew, ended together.

    init 1 ─► init 2 … sidecar (until started) … ─► containers ─► all ended ─► sidecars end in turn ─► over
      ▲                                                  │
      └── all ended, and as if they had never run ◄──────┘ a container's rule: RestartAllContainers

The sandbox, the address and the volumes stay what they are; who is added to look around goes on.
Kubernetes: kuberuntime_manager.go (computePodActions), KEP-5532.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from lightkube.models.core_v1 import ContainerStatus, PodSpec, PodStatus

from antei.node.allocation import allocated_before
from antei.node.container import ContainerWorker
from antei.node.container_home import Adopted, Home
from antei.node.context import NodeContext
from antei.node.restarts import Role, ephemeral_containers, roles
from antei.node.status import ContainerFacts, waiting_to_be_created
from antei.node.termination import predecessors
from antei.runtime import ContainerRecord, Sandbox

__all__ = ["LeftOver", "PodContainers"]

#: The kubelet looks once a second what has ended: a container that ends at once does not start more often.
_RESTART_ALL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class LeftOver:
    """What the runtime still has of a pod from before a restart of the node."""

    sandbox: Sandbox | None = None
    records: Sequence[ContainerRecord] = ()


class PodContainers:
    """`is_restarting`: all of them are being ended, to begin anew."""

    def __init__(self, context: NodeContext, home: Home, spec: PodSpec, status: PodStatus | None) -> None:
        self._context = context
        self._home = home
        told = {one.name: one for one in _statuses(status)}
        self._workers: dict[str, ContainerWorker] = {}
        for container, role in roles(spec):
            given = allocated_before(container, told.get(container.name))
            first = waiting_to_be_created(role, bool(spec.initContainers))
            self._workers[container.name] = ContainerWorker(context, home, given, role, first)
        self._predecessors = predecessors(spec)
        self._end_asked = asyncio.Event()
        self._restart_asked = asyncio.Event()
        self._added = asyncio.Event()  # one to look around in the running pod
        self._group: asyncio.TaskGroup | None = None
        self._add_ephemeral(spec)

    @property
    def by_name(self) -> Mapping[str, ContainerWorker]:
        return self._workers

    @property
    def facts(self) -> Mapping[str, ContainerFacts]:
        return {name: worker.facts for name, worker in self._workers.items()}

    @property
    def is_ending(self) -> bool:
        return self._end_asked.is_set()

    @property
    def is_restarting(self) -> bool:
        return self._restart_asked.is_set() and not self.is_ending

    def redefine(self, spec: PodSpec) -> None:
        for container, _ in roles(spec):
            self._workers[container.name].redefine(container)
        self._add_ephemeral(spec)

    def _add_ephemeral(self, spec: PodSpec) -> None:
        """Those that are new; none of them ever changes or goes (Kubernetes: EphemeralContainers in core/v1)."""
        for container in ephemeral_containers(spec):
            if container.name not in self._workers and not self.is_ending:
                state = waiting_to_be_created(Role.EPHEMERAL, False)
                worker = ContainerWorker(self._context, self._home, container, Role.EPHEMERAL, state)
                self._workers[container.name] = worker
                self._added.set()

    def adopt(self, status: PodStatus | None, left_over: LeftOver) -> None:
        """Takes over what is left from before a restart of the node; to be called before `run`."""
        told = _statuses(status)
        for worker in self._workers.values():
            records = sorted((r for r in left_over.records if r.name == worker.name), key=lambda r: r.attempt)
            its_status = next((s for s in told if s.name == worker.name), None)
            worker.adopt(Adopted(records, its_status, left_over.sandbox is not None))

    async def run(self, prepare: Callable[[], Awaitable[None]], grace_seconds: float) -> None:
        """Brings them up and keeps them up; returns when every one has ended for good.

        `prepare` returns when there are volumes and a sandbox; the sidecars have `grace_seconds` to end.
        """
        async with asyncio.TaskGroup() as group:
            self._group = group
            for worker in self._workers.values():
                if worker.is_running:
                    self._activate(worker)  # whatever else the pod waits for, what runs is looked after
            looking_around = group.create_task(self._start_ephemeral())
            while not self.is_ending and await self._has_to_begin_anew(prepare):
                await self._end_all()
            if not self.is_ending:
                self.stop(grace_seconds)  # who ends the pod has said how long it has, which may be longer
            for worker in self._active():
                await worker.over.wait()
            looking_around.cancel()

    async def _has_to_begin_anew(self, prepare: Callable[[], Awaitable[None]]) -> bool:
        """Brings them up; returns when all are over or to end, or when all are to begin anew."""
        coming_up = asyncio.ensure_future(self._bring_up(prepare))
        others = [asyncio.ensure_future(event.wait()) for event in (self._end_asked, self._restart_asked)]
        try:
            await asyncio.wait({coming_up, *others}, return_when=asyncio.FIRST_COMPLETED)
            if coming_up.done():
                coming_up.result()
            return self.is_restarting and not coming_up.done()
        finally:
            for task in (coming_up, *others):
                task.cancel()

    async def _bring_up(self, prepare: Callable[[], Awaitable[None]]) -> None:
        """Starts them in their order; returns when all main containers are over, or an init one failed."""
        await prepare()
        mains = []
        for worker in self._own():
            self._activate(worker)
            if worker.role is Role.INIT:
                await worker.over.wait()
                if not worker.has_succeeded:
                    return
            elif worker.role is Role.SIDECAR:
                await worker.started.wait()
            else:
                mains.append(worker)
        for worker in mains:
            await worker.over.wait()

    async def _end_all(self) -> None:
        """Without hooks and grace periods; unless the pod is to end by then, they are as if they had never run."""
        self._home.changed()
        loop = asyncio.get_running_loop()
        earliest = loop.time() + _RESTART_ALL_SECONDS
        for worker in self._own():
            worker.stop(loop.time(), None)
        for worker in self._own():
            if worker.is_active:
                await worker.over.wait()
        try:
            async with asyncio.timeout_at(earliest):
                await self._end_asked.wait()
        except TimeoutError:
            for worker in self._own():
                await worker.renew()
            self._restart_asked.clear()
            self._home.changed()

    async def _start_ephemeral(self) -> None:
        """Each as soon as there is a sandbox, whatever the pod's own containers do."""
        await self._home.wait_prepared()
        while not self.is_ending:
            self._added.clear()
            for worker in self._workers.values():
                if worker.role is Role.EPHEMERAL:
                    self._activate(worker)
            await self._added.wait()

    def _activate(self, worker: ContainerWorker) -> None:
        assert self._group is not None
        if not worker.is_active:
            worker.is_active = True
            self._group.create_task(worker.run(), name=f"container {worker.name}")

    def _own(self) -> list[ContainerWorker]:
        return [worker for worker in self._workers.values() if worker.role is not Role.EPHEMERAL]

    def _active(self) -> list[ContainerWorker]:
        return [worker for worker in self._workers.values() if worker.is_active]

    def restart_all(self) -> None:
        self._restart_asked.set()

    def stop(self, grace_seconds: float) -> None:
        """Ends all containers by then; a later call can only bring that nearer."""
        self._end_asked.set()
        deadline = asyncio.get_running_loop().time() + grace_seconds
        for worker in self._workers.values():
            worker.stop(deadline, self._turn_of(worker.name))

    def _turn_of(self, name: str) -> Callable[[], Awaitable[None]] | None:
        waits_for = [self._workers[before] for before in self._predecessors.get(name, ())]
        if not waits_for:
            return None

        async def turn() -> None:
            for worker in waits_for:
                if worker.is_active:
                    await worker.over.wait()

        return turn


def _statuses(status: PodStatus | None) -> list[ContainerStatus]:
    if status is None:
        return []
    return [
        *(status.containerStatuses or ()),
        *(status.initContainerStatuses or ()),
        *(status.ephemeralContainerStatuses or ()),
    ]
