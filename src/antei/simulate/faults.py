"""Faults as they are done to a running cluster, by a schedule; and peace again."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence

from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Node, Pod

from antei.api.errors import ApiError
from antei.api.objects import name_of, namespace_of, uid_of
from antei.rehearse.drain import cordon, empty_node
from antei.runtime import ContainerRecord, RuntimeFailure
from antei.simulate.cluster import SimulatedCluster
from antei.simulate.fault_schedule import Fault, FaultKind, picked
from antei.simulate.spec_changes import SpecChanges
from antei.simulate.weather import Weather
from antei.world.virtual import VirtualClock

__all__ = ["Faults"]


class Faults:
    """Does them. `cease` takes back what lasts; `disturbed` is told of what makes caches stale, and for how long."""

    def __init__(self, cluster: SimulatedCluster, weather: Weather, note: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._weather = weather
        self._note = note
        self._tasks: set[asyncio.Task[None]] = set()
        self.slowdown = 1.0
        self.forced: set[str] = set()  # uids of pods whose objects were removed without waiting for their containers
        self.unsettled_until = 0.0  # loop time until which what controllers and nodes know may be old
        self.errors_until = 0.0  # loop time until which requests may fail
        self._latest = 0.0
        self._late_until = 0.0
        self._specs = SpecChanges(cluster)
        self._acts: Mapping[FaultKind, Callable[[Fault], Awaitable[None]]] = {
            FaultKind.CRASH: self._crash,
            FaultKind.OOM: self._oom,
            FaultKind.HANG: self._hang,
            FaultKind.SLOW_START: self._slow_start,
            FaultKind.DELETE: self._delete,
            FaultKind.DELETE_QUICKLY: self._delete_quickly,
            FaultKind.FORCE_DELETE: self._force_delete,
            FaultKind.EVICT: self._evict,
            FaultKind.DRAIN: self._drain,
            FaultKind.DRAINS: self._drains,
            FaultKind.NODE_PAUSE: self._node_pause,
            FaultKind.NODE_LOSS: self._node_loss,
            FaultKind.NODE_REBOOT: self._node_reboot,
            FaultKind.AGENT_RESTART: self._agent_restart,
            FaultKind.NODE_SILENT: self._agent_silent,
            FaultKind.LOST_HEARTBEATS: self._lost_heartbeats,
            FaultKind.LATE_HEARTBEATS: self._late_heartbeats,
            FaultKind.API_ERRORS: self._api_errors,
            FaultKind.SLOW_API: self._slow_api,
            FaultKind.WATCH_BREAKS: self._watch_breaks,
            FaultKind.LATE_WATCHES: self._late_watches,
            FaultKind.CLOCK_STEP: self._clock_step,
            FaultKind.CONTROLLERS_RESTART: self._controllers_restart,
            FaultKind.SCHEDULER_LATE: self._scheduler_late,
            **self._specs.acts,
        }

    async def play(self, faults: Sequence[Fault]) -> None:
        """All of them at their times; returns after the last has been begun."""
        began = self._cluster.seconds
        for fault in faults:
            await asyncio.sleep(max(0.0, began + fault.at - self._cluster.seconds))
            task = asyncio.create_task(self._do(fault), name=f"fault {fault.kind} {fault.at}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def cease(self) -> None:
        """Peace: nodes are back and take pods, containers run on, the API answers, rollouts go on."""
        for task in sorted(self._tasks, key=lambda task: task.get_name()):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        cluster = self._cluster
        self._weather.clear()
        self.slowdown = 1.0
        for name in cluster.node_names:
            for uid in cluster.machines[name].pod_uids:
                for record in cluster.runtime.running_of(uid):
                    await cluster.runtime.resume(record.id)
            if name not in cluster.agents:
                await cluster.return_node(name)
            await cluster.client.patch(Node, name, "", {"spec": {"unschedulable": None}})
        for manager in (cluster.controllers, cluster.scheduler):
            if not manager.is_running:
                await cluster.restart(manager)
        await self._specs.restore()
        for deployment in cluster.informers.of(Deployment).items():
            if deployment.spec is not None and deployment.spec.paused:
                patch = {"spec": {"paused": None}}
                await cluster.client.patch(Deployment, name_of(deployment), namespace_of(deployment), patch)
        self._note("faults cease")
        self._unsettle(5.0)

    async def _do(self, fault: Fault) -> None:
        self._note(f"fault {fault}")
        try:
            await self._acts[fault.kind](fault)
        except (LookupError, OSError, RuntimeFailure):
            pass  # nothing there that it could be done to
        except ApiError as error:
            if error.code not in (404, 409, 429, 500, 504):
                raise
        except ExceptionGroup as group:
            # Drains of which an eviction fails: two budgets, or a pod that is gone.
            if group.split((ApiError, OSError, LookupError))[1] is not None:
                raise

    def was_node_away(self, name: str, since: float) -> bool:
        """Whether the node's agent was not there, or knew nothing yet, at some moment since then."""
        return name not in self._cluster.agents or self._cluster.started_at.get(name, 0.0) >= since

    def is_node_there(self, name: str) -> bool:
        return name in self._cluster.agents

    def node_started_at(self, name: str) -> float:
        """The loop time at which its agent was last started."""
        return self._cluster.started_at.get(name, 0.0)

    @property
    def late_seconds(self) -> float:
        """How late a request may be that was sent by a reconcile still under way; there and back are two of them."""
        return self._latest if self._cluster.seconds < self._late_until else 0.0

    def _unsettle(self, seconds: float) -> None:
        now = self._cluster.seconds
        self.unsettled_until = max(self.unsettled_until, now + seconds)

    # --- victims ---

    def _pod(self, fault: Fault) -> Pod:
        pods = sorted(self._cluster.informers.of(Pod).items(), key=lambda pod: (namespace_of(pod), name_of(pod)))
        if not pods:
            raise LookupError("no pod")
        return picked(pods, fault.pick)

    def _container(self, fault: Fault) -> ContainerRecord:
        running = self._cluster.runtime.running_of(uid_of(self._pod(fault)))
        if not running:
            raise LookupError("nothing runs")
        return picked(running, fault.amount)

    def _node(self, fault: Fault) -> str:
        names = [name for name in self._cluster.node_names if name in self._cluster.agents]
        if len(names) < 2:
            raise LookupError("no node to spare")
        return picked(names, fault.pick)

    # --- containers and pods ---

    async def _crash(self, fault: Fault) -> None:
        self._cluster.runtime.crash(self._container(fault).id, 1)

    async def _oom(self, fault: Fault) -> None:
        self._cluster.runtime.oom_kill(self._container(fault).id)

    async def _hang(self, fault: Fault) -> None:
        record = self._container(fault)
        self._cluster.runtime.hang(record.id)
        await asyncio.sleep(fault.seconds)
        await self._cluster.runtime.resume(record.id)

    async def _slow_start(self, fault: Fault) -> None:
        self.slowdown = 1 + 4 * fault.amount
        await asyncio.sleep(fault.seconds)
        self.slowdown = 1.0

    async def _delete(self, fault: Fault) -> None:
        pod = self._pod(fault)
        await self._cluster.client.delete(Pod, name_of(pod), namespace_of(pod), uid=uid_of(pod))

    async def _delete_quickly(self, fault: Fault) -> None:
        pod = self._pod(fault)
        seconds = 1 + int(5 * fault.amount)
        await self._cluster.client.delete(
            Pod, name_of(pod), namespace_of(pod), uid=uid_of(pod), grace_period_seconds=seconds
        )

    async def _force_delete(self, fault: Fault) -> None:
        pod = self._pod(fault)
        self.forced.add(uid_of(pod))
        await self._cluster.client.delete(Pod, name_of(pod), namespace_of(pod), uid=uid_of(pod), grace_period_seconds=0)

    async def _evict(self, fault: Fault) -> None:
        await self._cluster.evict(self._pod(fault))

    async def _drain(self, fault: Fault) -> None:
        await self._empty(self._node(fault), fault)

    async def _drains(self, fault: Fault) -> None:
        """Two nodes, or three, by people who do not know of each other."""
        names = [name for name in self._cluster.node_names if name in self._cluster.agents]
        first = int(fault.pick * len(names))
        chosen = [names[(first + number) % len(names)] for number in range(2 + round(fault.amount))][: len(names)]
        async with asyncio.TaskGroup() as group:
            for name in chosen:
                group.create_task(self._empty(name, fault), name=f"drain of {name}")

    async def _empty(self, name: str, fault: Fault) -> None:
        await cordon(self._cluster.client, name)
        try:
            async with asyncio.timeout(20 + 2 * fault.seconds):
                await empty_node(self._cluster.client, name, lambda pod: None)
        except TimeoutError:
            pass
        finally:
            await self._cluster.client.patch(Node, name, "", {"spec": {"unschedulable": None}})

    # --- nodes ---

    async def _node_pause(self, fault: Fault) -> None:
        name = self._node(fault)
        uids = self._cluster.machines[name].pod_uids
        for uid in uids:
            for record in self._cluster.runtime.running_of(uid):
                self._cluster.runtime.hang(record.id)
        await self._cluster.lose_node(name)
        await asyncio.sleep(fault.seconds)
        for uid in uids:
            for record in self._cluster.runtime.running_of(uid):
                await self._cluster.runtime.resume(record.id)
        await self._cluster.return_node(name)

    async def _node_loss(self, fault: Fault) -> None:
        name = self._node(fault)
        await self._cluster.lose_node(name)
        await asyncio.sleep(fault.seconds * 5)
        await self._cluster.return_node(name)

    async def _node_reboot(self, fault: Fault) -> None:
        name = self._node(fault)
        await self._cluster.power_off(name)
        await asyncio.sleep(fault.seconds)
        await self._cluster.start_node(name)

    async def _agent_restart(self, fault: Fault) -> None:
        name = self._node(fault)
        await self._cluster.stop_node(name)
        await asyncio.sleep(fault.amount)
        await self._cluster.start_node(name)

    async def _agent_silent(self, fault: Fault) -> None:
        """Long enough for the node to be given up now and then, short enough for most times."""
        name = self._node(fault)
        await self._cluster.stop_node(name)
        await asyncio.sleep(35 + 30 * fault.amount)
        await self._cluster.start_node(name)

    async def _lost_heartbeats(self, fault: Fault) -> None:
        """Its lease is not renewed, and all else of it works; twice of three times for too short to be given up."""
        await self._heartbeats(fault, math.inf, 20 + 120 * fault.amount**2)

    async def _late_heartbeats(self, fault: Fault) -> None:
        await self._heartbeats(fault, 2 + 12 * fault.amount, 30 + fault.seconds)

    async def _heartbeats(self, fault: Fault, late_seconds: float, seconds: float) -> None:
        name = self._node(fault)
        self._weather.late_heartbeats[name] = late_seconds
        try:
            await asyncio.sleep(seconds)
        finally:
            self._weather.late_heartbeats.pop(name, None)

    # --- the API and what uses it ---

    async def _api_errors(self, fault: Fault) -> None:
        self._unsettle(fault.seconds + 60)
        self.errors_until = max(self.errors_until, self._cluster.seconds + fault.seconds + 1)
        self._weather.request_errors = 0.02 + 0.2 * fault.amount
        await asyncio.sleep(fault.seconds)
        self._weather.request_errors = 0.0

    async def _slow_api(self, fault: Fault) -> None:
        self._unsettle(fault.seconds + 60)
        late = 0.01 + 0.5 * fault.amount
        self._latest = max(self.late_seconds, late)
        self._late_until = max(self._late_until, self._cluster.seconds + fault.seconds + 20 * self._latest)
        self._weather.request_delay_seconds = late
        await asyncio.sleep(fault.seconds)
        self._weather.request_delay_seconds = 0.0

    async def _watch_breaks(self, fault: Fault) -> None:
        self._unsettle(fault.seconds + 60)
        self._weather.watch_breaks = 0.01 + 0.1 * fault.amount
        await asyncio.sleep(fault.seconds)
        self._weather.watch_breaks = 0.0

    async def _late_watches(self, fault: Fault) -> None:
        self._unsettle(fault.seconds + 60)
        self._weather.watch_delay_seconds = 0.01 + 5 * fault.amount
        await asyncio.sleep(fault.seconds)
        self._weather.watch_delay_seconds = 0.0

    async def _clock_step(self, fault: Fault) -> None:
        clock = self._cluster.world.clock
        assert isinstance(clock, VirtualClock)
        clock.step((fault.amount - 0.3) * 600)

    async def _controllers_restart(self, fault: Fault) -> None:
        self._unsettle(fault.seconds / 3 + 10)
        await self._cluster.restart(self._cluster.controllers, fault.seconds / 3)

    async def _scheduler_late(self, fault: Fault) -> None:
        await self._cluster.restart(self._cluster.scheduler, fault.seconds / 2)
