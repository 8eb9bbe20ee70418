"""The end of workloads: when their cluster is taken down, and of those that a cluster has left behind."""

from __future__ import annotations

import asyncio
from pathlib import Path

from antei.cluster.settings import Settings
from antei.network.network import remove_network
from antei.node.volumes.memory import remove_memory_volumes
from antei.runtime import Runtime
from antei.runtime.chosen import runtime_of_leftovers
from antei.runtime.image_map import load_maps
from antei.world.system import system_world

__all__ = ["DOWN_SECONDS", "end_containers", "remove_leftovers"]

#: What a container may take to end by itself when its cluster is taken down.
DOWN_SECONDS = 10.0


async def end_containers(runtime: Runtime, grace_seconds: float = DOWN_SECONDS) -> None:
    """Tells every container to end, waits a little, and removes all sandboxes with what still runs."""
    running = [record for record in await runtime.containers() if record.exit is None] if grace_seconds > 0 else []
    for record in running:
        await runtime.resume(record.id)
        await runtime.signal(record.id, record.stop_signal)
    waits = [asyncio.create_task(runtime.wait(record.id)) for record in running]
    if waits:
        await asyncio.wait(waits, timeout=grace_seconds)
        for wait in waits:
            wait.cancel()
    for sandbox in await runtime.sandboxes():
        await runtime.remove_sandbox(sandbox.id)
        await asyncio.to_thread(remove_memory_volumes, sandbox.pod_uid)


async def remove_leftovers(directory: Path) -> int:
    """Ends the containers and removes the network of a cluster whose process is gone; how many containers still ran."""
    settings = Settings(directory)
    world = system_world()
    runtime = await runtime_of_leftovers(world, directory, await asyncio.to_thread(load_maps, ()))
    running = [record for record in await runtime.containers() if record.exit is None]
    await end_containers(runtime)
    await runtime.aclose()
    await remove_network(settings.cluster_id, directory / "network")
    return len(running)
