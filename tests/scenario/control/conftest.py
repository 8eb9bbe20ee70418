"""A registry and chosen controllers in virtual time, without a node agent: pods stay as the test leaves them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import virtual_controllers
from lightkube.models.core_v1 import PodCondition, PodIP, PodStatus
from lightkube.resources.core_v1 import Event, Pod

from antei.api.conditions import with_condition
from antei.api.errors import ApiError
from antei.api.objects import replace
from antei.client.events import EventRecorder
from antei.client.informer import Informers
from antei.client.local import LocalClient
from antei.server.registry import Registry
from antei.simulate.loop import run_virtual
from antei.store.memory import MemoryStore
from antei.world.virtual import virtual_world


class Stage:
    def __init__(self, controllers: Sequence[Callable[..., Any]], seed: int) -> None:
        self.world = virtual_world(seed)
        self.client = LocalClient(Registry(MemoryStore(), self.world))
        self.informers = Informers(self.client)
        self.recorder = EventRecorder(self.client, self.world, "controllers")
        self._controllers = [make(self.client, self.informers, self.recorder, self.world) for make in controllers]

    @property
    def seconds(self) -> float:
        """Virtual seconds since the start, to the millisecond."""
        return round(asyncio.get_running_loop().time(), 3)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with virtual_controllers.running(self.informers, self.recorder, self._controllers):
            yield

    async def get(self, kind: type[Any], name: str, namespace: str = "default") -> Any:
        return await self.client.get(kind, name, namespace)

    async def has(self, kind: type[Any], name: str, namespace: str = "default") -> bool:
        try:
            await self.get(kind, name, namespace)
        except ApiError as error:
            if error.code != 404:
                raise
            return False
        return True

    async def add(self, obj: Any) -> Any:
        """Creates an object and then reports its status, which creation leaves out."""
        created = await self.client.create(obj)
        if obj.status is None:
            return created
        return await self.client.update(replace(created, status=obj.status), "status")

    async def set_ready(self, name: str, ready: bool = True, ip: str | None = None) -> None:
        pod = await self.get(Pod, name)
        status = pod.status or PodStatus()
        condition = PodCondition(type="Ready", status="True" if ready else "False")
        ip = ip or status.podIP
        status = replace(
            status,
            phase="Running",
            podIP=ip,
            podIPs=[PodIP(ip=ip)] if ip else None,
            conditions=with_condition(status.conditions, condition, self.world.clock.now()),
        )
        await self.client.update(replace(pod, status=status), "status")

    async def events(self, reason: str) -> list[str]:
        await self.recorder.drain()
        return [event.message or "" for event in (await self.client.list(Event)).items if event.reason == reason]

    async def until(self, met: Callable[[], Coroutine[Any, Any, Any]], limit_seconds: float = 3600.0) -> float:
        """Looks every 10 ms; returns the time at which it was met."""
        await virtual_controllers.until(met, limit_seconds)
        return self.seconds


@pytest.fixture
def play() -> Callable[..., None]:
    """Runs `main(stage)` in virtual time with these controllers, started."""

    def run(
        main: Callable[[Stage], Coroutine[Any, Any, None]], controllers: Sequence[Callable[..., Any]], seed: int = 1
    ) -> None:
        stage = Stage(controllers, seed)

        async def session() -> None:
            async with stage.running():
                await main(stage)

        run_virtual(session())

    return run
