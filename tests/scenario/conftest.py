"""A cluster without nodes in virtual time: a registry, chosen controllers, and a kubelet that is a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
import virtual_controllers
from lightkube.models.core_v1 import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStatus,
    ObjectReference,
    PodCondition,
    PodStatus,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Binding, Event, Pod

from antei.api.errors import ApiError
from antei.api.objects import is_terminating, name_of, namespace_of, replace, to_time, uid_of
from antei.api.pods import is_active
from antei.client import EventType, WatchEvent
from antei.client.events import EventRecorder
from antei.client.informer import Informers
from antei.client.local import LocalClient
from antei.control.daemonset.placement import target_node
from antei.server.registry import Registry
from antei.simulate.loop import run_virtual
from antei.store.memory import MemoryStore
from antei.world.virtual import EPOCH, virtual_world


@dataclass(frozen=True)
class Script:
    """What becomes of a pod, in seconds after its creation and after its deletion."""

    ready_seconds: float | None = 1.0  # None: never gets ready
    exit_seconds: float | None = None  # None: runs for ever
    exit_code: int = 0
    stop_seconds: float = 1.0


class LateClient(LocalClient):
    """Its watches tell everything so many seconds late, as a busy API server does."""

    late_seconds = 0.0

    async def watch(self, kind: Any, namespace: str | None = None, **options: Any) -> AsyncIterator[WatchEvent[Any]]:
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[float, WatchEvent[Any]]] = asyncio.Queue()

        async def receive() -> None:
            async for event in super(LateClient, self).watch(kind, namespace, **options):
                queue.put_nowait((loop.time() + self.late_seconds, event))

        receiver = asyncio.create_task(receive(), name=f"late watch {kind.__name__}")
        try:
            while True:
                due, event = await queue.get()
                await asyncio.sleep(due - loop.time())
                yield event
        finally:
            receiver.cancel()


class Workloads:
    def __init__(
        self,
        controllers: list[type[Any]],
        script: Callable[[Pod], Script],
        seed: int,
        epoch: datetime,
        late_seconds: float,
    ) -> None:
        self.world = virtual_world(seed, epoch)
        registry = Registry(MemoryStore(), self.world)
        self.client = LocalClient(registry)
        if late_seconds:
            late = LateClient(registry)
            late.late_seconds = late_seconds
            self.informers = Informers(late)
        else:
            self.informers = Informers(self.client)
        self.recorder = EventRecorder(self.client, self.world, "controllers")
        self.controllers = [
            controller(self.client, self.informers, self.recorder, self.world) for controller in controllers
        ]
        self._script = script
        self.most_active = 0
        self._pods_seen: dict[str, asyncio.Task[None]] = {}
        self._stopping: dict[str, asyncio.Task[None]] = {}
        self.created: list[tuple[float, str]] = []

    @property
    def seconds(self) -> float:
        """Virtual seconds since the start, to the millisecond (a lost race costs its loser some)."""
        return round(asyncio.get_running_loop().time(), 3)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with virtual_controllers.running(self.informers, self.recorder, self.controllers) as group:
            kubelet = group.create_task(self._kubelet(group))
            try:
                yield
            finally:
                for task in [kubelet, *self._pods_seen.values(), *self._stopping.values()]:
                    task.cancel()

    async def pods(self, namespace: str = "default") -> list[Pod]:
        return list((await self.client.list(Pod, namespace)).items)

    async def events(self, reason: str | None = None) -> list[tuple[str, str]]:
        await self.recorder.drain()
        events = (await self.client.list(Event)).items
        return [(e.reason or "", e.message or "") for e in events if reason is None or e.reason == reason]

    async def until(self, met: Callable[[], Coroutine[Any, Any, bool]], limit_seconds: float = 3600.0) -> float:
        """Looks every 10 ms; returns the time at which it was met."""
        await virtual_controllers.until(met, limit_seconds)
        return self.seconds

    async def _kubelet(self, group: asyncio.TaskGroup) -> None:
        listing = await self.client.list(Pod)
        async for event in self.client.watch(Pod, resource_version=listing.resource_version):
            pod = event.object
            uid = uid_of(pod)
            self.most_active = max(self.most_active, sum(is_active(p) for p in await self.pods()))
            if event.type is EventType.DELETED:
                for tasks in (self._pods_seen, self._stopping):
                    if uid in tasks:
                        tasks[uid].cancel()
                continue
            if uid not in self._pods_seen:
                self.created.append((self.seconds, name_of(pod)))
                self._pods_seen[uid] = group.create_task(self._run_pod(pod), name=f"pod {name_of(pod)}")
            if is_terminating(pod) and uid not in self._stopping:
                self._pods_seen[uid].cancel()
                self._stopping[uid] = group.create_task(self._stop_pod(pod), name=f"stop {name_of(pod)}")

    async def _run_pod(self, pod: Pod) -> None:
        script = self._script(pod)
        await self._bind(pod)
        elapsed = 0.0
        if script.ready_seconds is not None and (
            script.exit_seconds is None or script.ready_seconds < script.exit_seconds
        ):
            await asyncio.sleep(script.ready_seconds)
            elapsed = script.ready_seconds
            await self.set_status(pod, "Running", ready=True)
        if script.exit_seconds is not None:
            await asyncio.sleep(script.exit_seconds - elapsed)
            phase = "Succeeded" if script.exit_code == 0 else "Failed"
            await self.set_status(pod, phase, ready=False, exit_code=script.exit_code)

    async def _bind(self, pod: Pod) -> None:
        binding = Binding(
            apiVersion="v1",
            kind="Binding",
            metadata=ObjectMeta(name=name_of(pod)),
            target=ObjectReference(apiVersion="v1", kind="Node", name=target_node(pod) or "node-0"),
        )
        try:
            await self.client.post_subresource(Pod, name_of(pod), namespace_of(pod), "binding", binding)
        except ApiError as error:
            if error.code not in (404, 409):
                raise

    async def _stop_pod(self, pod: Pod) -> None:
        await asyncio.sleep(self._script(pod).stop_seconds)
        try:
            current = await self.client.get(Pod, name_of(pod), namespace_of(pod))
            if (current.status.phase if current.status else None) not in ("Succeeded", "Failed"):
                await self.set_status(pod, "Failed", ready=False, exit_code=143)
            await self.client.delete(Pod, name_of(pod), namespace_of(pod), grace_period_seconds=0, uid=uid_of(pod))
        except ApiError as error:
            if error.code not in (404, 409):
                raise

    async def set_status(
        self, pod: Pod, phase: str, *, ready: bool, exit_code: int | None = None, restarts: int = 0
    ) -> None:
        now = to_time(self.world.clock.now())
        state = (
            ContainerState(running=ContainerStateRunning(startedAt=now))
            if exit_code is None
            else ContainerState(terminated=ContainerStateTerminated(exitCode=exit_code, finishedAt=now))
        )
        try:
            current = await self.client.get(Pod, name_of(pod), namespace_of(pod))
            status = PodStatus(
                phase=phase,
                conditions=[PodCondition(type="Ready", status="True" if ready else "False", lastTransitionTime=now)],
                containerStatuses=[
                    ContainerStatus(
                        name=container.name,
                        image=container.image or "",
                        imageID="",
                        ready=ready,
                        restartCount=restarts,
                        state=state,
                    )
                    for container in (current.spec.containers if current.spec else ())
                ],
            )
            await self.client.update(replace(current, status=status), "status")
        except ApiError as error:
            if error.code != 404:
                raise


@pytest.fixture
def simulate() -> Callable[..., None]:
    """Runs `main(workloads)` in virtual time with these controllers, started."""

    def run(
        main: Callable[[Workloads], Coroutine[Any, Any, None]],
        controllers: list[type[Any]],
        script: Callable[[Pod], Script] = lambda _: Script(),
        *,
        seed: int = 1,
        epoch: datetime = EPOCH,
        late_seconds: float = 0.0,
    ) -> None:
        # Built before the loop runs: the first registry of a process looks for all kinds on the disk.
        workloads = Workloads(controllers, script, seed, epoch, late_seconds)

        async def session() -> None:
            async with workloads.running():
                await main(workloads)

        run_virtual(session())

    return run


@pytest.fixture
def script() -> type[Script]:
    return Script
