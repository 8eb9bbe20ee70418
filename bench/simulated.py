"""How fast the machinery itself is: a Deployment's pods per second when containers cost nothing.

API, controllers, scheduler and three node agents over the simulated runtime, on the machine's own clock, in memory.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import msgspec
import uvloop
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Node
from measurement import Figure

from antei.client.events import EventRecorder
from antei.client.informer import Informers
from antei.client.local import LocalClient
from antei.cluster import make_controllers
from antei.control.controller import run_controller
from antei.control.persistentvolume import HostDirectories
from antei.node.agent import NodeAgent
from antei.node.memory_files import MemoryFiles
from antei.runtime.image_map import VolumeMap
from antei.runtime.simulated import SimulatedPodNetwork, SimulatedRuntime
from antei.server.bootstrap import bootstrap
from antei.server.registry import Registry
from antei.store.memory import MemoryStore
from antei.world.system import system_world

FIGURES = [Figure("pods to Ready through a Deployment, simulated", "/s")]
_CAPACITY = {"cpu": "1000", "memory": "1000Gi", "pods": "1000", "ephemeral-storage": "1000Gi"}
_AT_MOST_SECONDS = 120


def measure(smallest: bool) -> dict[str, float]:
    replicas = 3 if smallest else 200
    with (
        tempfile.TemporaryDirectory(prefix="antei-bench-") as directory,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return {FIGURES[0].name: replicas / runner.run(_measure(Path(directory), replicas))}


async def _measure(directory: Path, replicas: int) -> float:
    """Seconds until all are ready."""
    world = system_world()
    registry = Registry(MemoryStore(), world)
    await bootstrap(registry, provisioner="bench/none", api_endpoints=[])
    client = LocalClient(registry)
    informers = Informers(client)
    recorder = EventRecorder(client, world, "antei")
    runtime = SimulatedRuntime(world)
    network = SimulatedPodNetwork(runtime)
    agents = [
        NodeAgent(
            f"node-{number}",
            client,
            runtime,
            network,
            runtime,
            MemoryFiles(),
            VolumeMap({}),
            recorder,
            world,
            Path(f"/node-{number}"),
            f"10.244.{number}.0/24",
            _CAPACITY,
        )
        for number in range(3)
    ]
    controllers = make_controllers(
        client,
        informers,
        recorder,
        world,
        volumes_directory=directory,
        directories=HostDirectories(),
        root_ca="",
    )
    informers.of(Node)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(informers.run()), group.create_task(recorder.run())]
        tasks += [group.create_task(agent.run()) for agent in agents]
        await informers.wait_synced()
        tasks += [group.create_task(run_controller(controller, queue)) for controller, queue in controllers]
        for agent in agents:
            await agent.registered.wait()
        async with asyncio.timeout(_AT_MOST_SECONDS):
            seconds = await _until_ready(client, replicas)
        for task in tasks:
            task.cancel()
    return seconds


async def _until_ready(client: LocalClient, replicas: int) -> float:
    labels = {"app": "many"}
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "many", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "server", "image": "simulated"}]},
            },
        },
    }
    began = time.perf_counter()
    made = await client.create(msgspec.convert(manifest, Deployment))
    async for event in client.watch(Deployment, "default", resource_version=made.metadata.resourceVersion):
        if event.object.status is not None and event.object.status.readyReplicas == replicas:
            break
    return time.perf_counter() - began
