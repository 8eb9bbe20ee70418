"""Controllers in virtual time, without the rest of a cluster: started together, ended together, waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from antei.client.events import EventRecorder
from antei.client.informer import Informers
from antei.control.controller import Controller, WorkQueue, run_controller

__all__ = ["running", "until"]


@asynccontextmanager
async def running(
    informers: Informers, recorder: EventRecorder, controllers: Sequence[Controller]
) -> AsyncIterator[asyncio.TaskGroup]:
    """They run, on informers that are synced, until the end of the block; gives the group that they run in."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(recorder.run())]
        queues = [WorkQueue() for _ in controllers]
        for controller, queue in zip(controllers, queues, strict=True):
            controller.setup(informers, queue)
        tasks.append(group.create_task(informers.run()))
        await informers.wait_synced()
        for controller, queue in zip(controllers, queues, strict=True):
            tasks.append(group.create_task(run_controller(controller, queue)))
        try:
            yield group
        finally:
            for task in tasks:
                task.cancel()


async def until(met: Callable[[], Coroutine[Any, Any, Any]], limit_seconds: float) -> None:
    """Looks every 10 ms."""
    deadline = asyncio.get_running_loop().time() + limit_seconds
    while not await met():
        if asyncio.get_running_loop().time() >= deadline:
            raise AssertionError(f"not met within {limit_seconds} s")
        await asyncio.sleep(0.01)
