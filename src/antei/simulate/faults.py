"""Faults as data: what is done to a cluster, and when; and their doing. A schedule is a pure function of its seed.

A fault names its victim by a number between 0 and 1, which picks one of whatever there is when its time comes: so any
of them can be left out, and the rest still means something. That is how a schedule that breaks a rule is shrunk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeVar

import msgspec
from lightkube.resources.apps_v1 import DaemonSet, Deployment, StatefulSet
from lightkube.resources.core_v1 import Node, Pod
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api.errors import ApiError
from antei.api.objects import name_of, namespace_of, uid_of
from antei.rehearse.drain import cordon, empty_node
from antei.runtime import ContainerRecord, RuntimeFailure
from antei.simulate.cluster import SimulatedCluster
from antei.simulate.weather import Weather
from antei.world.virtual import SeededChance, VirtualClock

__all__ = ["Fault", "FaultKind", "Faults", "schedule"]

T = TypeVar("T")


class FaultKind(StrEnum):
    CRASH = "crash"
    OOM = "oom"
    HANG = "hang"
    SLOW_START = "slow-start"
    DELETE = "delete"
    DELETE_QUICKLY = "delete-quickly"  # with a grace period shorter than the pod's
    FORCE_DELETE = "force-delete"
    EVICT = "evict"
    DRAIN = "drain"
    NODE_PAUSE = "node-pause"  # the whole machine stands still
    NODE_LOSS = "node-loss"
    NODE_REBOOT = "node-reboot"
    AGENT_RESTART = "agent-restart"
    LATE_HEARTBEAT = "late-heartbeat"
    API_ERRORS = "api-errors"
    SLOW_API = "slow-api"
    WATCH_BREAKS = "watch-breaks"
    LATE_WATCHES = "late-watches"
    CLOCK_STEP = "clock-step"
    CONTROLLERS_RESTART = "controllers-restart"
    SCHEDULER_LATE = "scheduler-late"
    ROLLOUT = "rollout"
    SCALE = "scale"
    CHANGE_BUDGET = "change-budget"
    PAUSE_ROLLOUT = "pause-rollout"


class Fault(msgspec.Struct, frozen=True):
    """`at`: seconds from the first moment of the faults. `seconds` is how long it lasts, `amount` what it is about."""

    at: float
    kind: FaultKind
    pick: float = 0.0
    seconds: float = 0.0
    amount: float = 0.0

    def __str__(self) -> str:
        return f"{self.at:8.2f}  {self.kind.value} (pick {self.pick:.3f}, {self.seconds:.1f} s, {self.amount:.2f})"


#: How often each is drawn, relative to the others.
_WEIGHTS: Mapping[FaultKind, int] = {
    FaultKind.CRASH: 6,
    FaultKind.OOM: 2,
    FaultKind.HANG: 3,
    FaultKind.SLOW_START: 2,
    FaultKind.DELETE: 4,
    FaultKind.DELETE_QUICKLY: 2,
    FaultKind.FORCE_DELETE: 1,
    FaultKind.EVICT: 6,
    FaultKind.DRAIN: 4,
    FaultKind.NODE_PAUSE: 1,
    FaultKind.NODE_LOSS: 2,
    FaultKind.NODE_REBOOT: 1,
    FaultKind.AGENT_RESTART: 2,
    FaultKind.LATE_HEARTBEAT: 1,
    FaultKind.API_ERRORS: 2,
    FaultKind.SLOW_API: 2,
    FaultKind.WATCH_BREAKS: 2,
    FaultKind.LATE_WATCHES: 2,
    FaultKind.CLOCK_STEP: 1,
    FaultKind.CONTROLLERS_RESTART: 2,
    FaultKind.SCHEDULER_LATE: 1,
    FaultKind.ROLLOUT: 5,
    FaultKind.SCALE: 4,
    FaultKind.CHANGE_BUDGET: 2,
    FaultKind.PAUSE_ROLLOUT: 1,
}
_OF_API = frozenset({FaultKind.API_ERRORS, FaultKind.SLOW_API, FaultKind.WATCH_BREAKS, FaultKind.LATE_WATCHES})


def schedule(seed: int, seconds: float = 240.0) -> tuple[Fault, ...]:
    """Some thirty faults. Every third seed has fair weather throughout: there the rules are checked most strictly."""
    chance = SeededChance(f"faults {seed}")
    kinds = [
        kind for kind, weight in _WEIGHTS.items() for _ in range(weight) if not (seed % 3 == 0 and kind in _OF_API)
    ]
    # A few kinds a seed, many times each, find more than a little of everything.
    chosen = [_picked(kinds, chance.uniform(0, 1)) for _ in range(6)]
    found: list[Fault] = []
    at = 0.0
    while True:
        at += chance.uniform(0, 1) ** 3 * 30
        if at > seconds:
            return tuple(found)
        kind = _picked(chosen if chance.uniform(0, 1) < 0.7 else kinds, chance.uniform(0, 1))
        length = chance.uniform(0, 1) ** 2 * 90
        fault = Fault(
            round(at, 3), kind, round(chance.uniform(0, 1), 4), round(length, 2), round(chance.uniform(0, 1), 3)
        )
        found.append(fault)


def _picked(choices: Sequence[T], number: float) -> T:
    return choices[min(int(number * len(choices)), len(choices) - 1)]


class Faults:
    """Does them. `cease` takes back what lasts; `disturbed` is told of what makes caches stale, and for how long."""

    def __init__(self, cluster: SimulatedCluster, weather: Weather, note: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._weather = weather
        self._note = note
        self._tasks: set[asyncio.Task[None]] = set()
        self._version = 1
        self.slowdown = 1.0
        self.forced: set[str] = set()  # uids of pods whose objects were removed without waiting for their containers
        self.unsettled_until = 0.0  # loop time until which what controllers and nodes know may be old
        self.unsettled_since = 0.0
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
            FaultKind.NODE_PAUSE: self._node_pause,
            FaultKind.NODE_LOSS: self._node_loss,
            FaultKind.NODE_REBOOT: self._node_reboot,
            FaultKind.AGENT_RESTART: self._agent_restart,
            FaultKind.LATE_HEARTBEAT: self._agent_silent,
            FaultKind.API_ERRORS: self._api_errors,
            FaultKind.SLOW_API: self._slow_api,
            FaultKind.WATCH_BREAKS: self._watch_breaks,
            FaultKind.LATE_WATCHES: self._late_watches,
            FaultKind.CLOCK_STEP: self._clock_step,
            FaultKind.CONTROLLERS_RESTART: self._controllers_restart,
            FaultKind.SCHEDULER_LATE: self._scheduler_late,
            FaultKind.ROLLOUT: self._rollout,
            FaultKind.SCALE: self._scale,
            FaultKind.CHANGE_BUDGET: self._change_budget,
            FaultKind.PAUSE_ROLLOUT: self._pause_rollout,
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
        except ExceptionGroup:
            pass  # a drain of which one eviction fails: two budgets, or a pod that is gone

    def was_node_away(self, name: str, since: float) -> bool:
        """Whether the node's agent was not there, or knew nothing yet, at some moment since then."""
        return name not in self._cluster.agents or self._cluster.started_at.get(name, 0.0) >= since

    def _unsettle(self, seconds: float) -> None:
        now = self._cluster.seconds
        if now > self.unsettled_until:
            self.unsettled_since = now
        self.unsettled_until = max(self.unsettled_until, now + seconds)

    # --- victims ---

    def _pod(self, fault: Fault) -> Pod:
        pods = sorted(self._cluster.informers.of(Pod).items(), key=lambda pod: (namespace_of(pod), name_of(pod)))
        if not pods:
            raise LookupError("no pod")
        return _picked(pods, fault.pick)

    def _container(self, fault: Fault) -> ContainerRecord:
        running = self._cluster.runtime.running_of(uid_of(self._pod(fault)))
        if not running:
            raise LookupError("nothing runs")
        return _picked(running, fault.amount)

    def _node(self, fault: Fault) -> str:
        names = [name for name in self._cluster.node_names if name in self._cluster.agents]
        if len(names) < 2:
            raise LookupError("no node to spare")
        return _picked(names, fault.pick)

    def _workload(self, fault: Fault) -> Any:
        informers = self._cluster.informers
        owners: list[Any] = [
            owner for kind in (Deployment, StatefulSet, DaemonSet) for owner in informers.of(kind).items()
        ]
        if not owners:
            raise LookupError("no workload")
        return _picked(sorted(owners, key=lambda owner: (type(owner).__name__, name_of(owner))), fault.pick)

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
        name = self._node(fault)
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

    # --- the API and what uses it ---

    async def _api_errors(self, fault: Fault) -> None:
        self._unsettle(fault.seconds + 60)
        self._weather.request_errors = 0.02 + 0.2 * fault.amount
        await asyncio.sleep(fault.seconds)
        self._weather.request_errors = 0.0

    async def _slow_api(self, fault: Fault) -> None:
        self._unsettle(fault.seconds + 60)
        self._weather.request_delay_seconds = 0.01 + 0.5 * fault.amount
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

    # --- specs ---

    async def _rollout(self, fault: Fault) -> None:
        owner = self._workload(fault)
        self._version += 1
        annotations = {"version": str(self._version)}
        patch: dict[str, Any] = {"spec": {"template": {"metadata": {"annotations": annotations}}}}
        await self._cluster.client.patch(type(owner), name_of(owner), namespace_of(owner), patch)

    async def _scale(self, fault: Fault) -> None:
        owner = self._workload(fault)
        if isinstance(owner, DaemonSet):
            raise LookupError("a DaemonSet has no scale")
        patch = {"spec": {"replicas": int(fault.amount * 6)}}
        await self._cluster.client.patch(type(owner), name_of(owner), namespace_of(owner), patch)

    async def _change_budget(self, fault: Fault) -> None:
        budgets = sorted(self._cluster.informers.of(PodDisruptionBudget).items(), key=name_of)
        if not budgets:
            raise LookupError("no budget")
        budget = _picked(budgets, fault.pick)
        allowed = _picked((1, "50%", 2), fault.amount)
        patch = {"spec": {"minAvailable": None, "maxUnavailable": allowed}}
        await self._cluster.client.patch(PodDisruptionBudget, name_of(budget), namespace_of(budget), patch)

    async def _pause_rollout(self, fault: Fault) -> None:
        owner = self._workload(fault)
        if not isinstance(owner, Deployment):
            raise LookupError("only a Deployment can be paused")
        client, name, namespace = self._cluster.client, name_of(owner), namespace_of(owner)
        await client.patch(Deployment, name, namespace, {"spec": {"paused": True}})
        await asyncio.sleep(fault.seconds)
        await client.patch(Deployment, name, namespace, {"spec": {"paused": None}})
