"""A whole cluster in virtual time: the same registry, controllers, scheduler, node agents and service table.

Only the outermost things differ: objects are in memory, containers and their addresses are simulated, and what the
network would be told stays a table (`table`) that a simulated client can ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from lightkube.models.meta_v1 import ObjectMeta
from lightkube.models.policy_v1 import Eviction
from lightkube.resources.core_v1 import Node, Pod

from antei.api.objects import name_of, namespace_of
from antei.client import Client
from antei.client.events import EventRecorder
from antei.client.informer import Informers
from antei.client.local import LocalClient
from antei.cluster import make_controllers
from antei.control.controller import run_controller
from antei.control.persistentvolume import PROVISIONER, ImaginaryDirectories
from antei.network.proxy import Lag, ServiceProxy
from antei.network.services import ServiceTable
from antei.node.agent import NodeAgent
from antei.node.files import MemoryFiles
from antei.runtime.image_map import VolumeMap
from antei.runtime.simulated import ContainerProfile, SimulatedPodNetwork, SimulatedRuntime
from antei.server.bootstrap import bootstrap
from antei.server.registry import Registry
from antei.store.memory import MemoryStore
from antei.world import World
from antei.world.virtual import virtual_world

__all__ = ["SimulatedCluster"]

_CAPACITY = {"cpu": "8", "memory": "32Gi", "ephemeral-storage": "100Gi", "pods": "110"}


class SimulatedCluster:
    """Made before or on a virtual loop; `running` brings it up. `runtime` has the knobs for faults."""

    def __init__(
        self,
        *,
        nodes: int = 3,
        profiles: Mapping[str, ContainerProfile] | None = None,
        seed: int = 0,
        endpoint_lag: Lag = 0.0,
        capacity: Mapping[str, str] | None = None,
        volumes: VolumeMap | None = None,
        world: World | None = None,
    ) -> None:
        """`world` is for one that goes by the clock on the wall, on an ordinary loop; `seed` is without effect then."""
        self.world = world or virtual_world(seed)
        self.registry = Registry(MemoryStore(), self.world)
        self.client: Client = LocalClient(self.registry)
        self.informers = Informers(self.client)
        self.runtime = SimulatedRuntime(self.world, profiles)
        self.files = MemoryFiles()
        self._recorder = EventRecorder(self.client, self.world, "antei")
        self._endpoint_lag = endpoint_lag
        self._capacity = dict(capacity or _CAPACITY)
        self._volumes = volumes or VolumeMap({})
        self._pod_network = SimulatedPodNetwork(self.runtime)
        self.node_names = tuple(f"node-{number}" for number in range(1, nodes + 1))
        self.agents: dict[str, asyncio.Task[None]] = {}
        self.node_agents: dict[str, NodeAgent] = {}
        self._proxy: ServiceProxy | None = None
        self._group: asyncio.TaskGroup | None = None

    @property
    def seconds(self) -> float:
        """Virtual seconds since the loop began."""
        return asyncio.get_running_loop().time()

    @property
    def table(self) -> ServiceTable:
        """Where new connections go now, endpoint lag included."""
        assert self._proxy is not None
        return self._proxy.table

    def on_table(self, subscriber: Callable[[ServiceTable], None]) -> None:
        """Told of the table now and of each that takes its place; must not block."""
        assert self._proxy is not None
        self._proxy.subscribe(subscriber)

    @asynccontextmanager
    async def running(self, *, root_ca: str = "") -> AsyncIterator[SimulatedCluster]:
        """The cluster with all nodes registered; everything is cancelled at the end of the block.

        `root_ca`: the certificate of the API server in front of it, where there is one, for kube-root-ca.crt.
        """
        await bootstrap(self.registry, provisioner=PROVISIONER, api_endpoints=())
        self._proxy = ServiceProxy(self.informers, _NoBackend(), endpoint_lag=self._endpoint_lag)
        controllers = make_controllers(
            self.client,
            self.informers,
            self._recorder,
            self.world,
            volumes_directory=Path("/antei/volumes"),
            directories=ImaginaryDirectories(),
            root_ca=root_ca,
        )
        async with asyncio.TaskGroup() as group:
            self._group = group
            tasks = [
                group.create_task(self.informers.run(), name="informers"),
                group.create_task(self._recorder.run(), name="events"),
                group.create_task(self._proxy.run(), name="service proxy"),
            ]
            for name in self.node_names:
                await self.start_node(name)
            await self.informers.wait_synced()
            for controller, queue in controllers:
                tasks.append(group.create_task(run_controller(controller, queue), name=controller.name))
            await self.until(lambda: len(self.informers.of(Node).items()) == len(self.node_names))
            try:
                yield self
            finally:
                for task in (*tasks, *self.agents.values()):
                    task.cancel()

    async def start_node(self, name: str) -> None:
        """Starts the agent of a node, anew after `stop_node`; what it left running is adopted."""
        assert self._group is not None
        number = self.node_names.index(name) + 1
        agent = NodeAgent(
            name,
            self.client,
            self.runtime,
            self._pod_network,
            self.runtime,
            self.files,
            self._volumes,
            self._recorder.named("kubelet", name),
            self.world,
            Path("/antei") / name,
            f"10.244.{number}.0/24",
            self._capacity,
            node_ip=f"10.128.0.{number}",
        )
        self.node_agents[name] = agent
        self.agents[name] = self._group.create_task(agent.run(), name=f"node {name}")
        await agent.registered.wait()

    async def stop_node(self, name: str) -> None:
        """The agent falls silent; containers of that node run on, as on a node that lost its network."""
        task = self.agents.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    # What people and their tools do

    async def evict(self, pod: Pod) -> None:
        """As `kubectl drain` does; raises ApiError 429 when no budget is left."""
        eviction = Eviction(
            apiVersion="policy/v1",
            kind="Eviction",
            metadata=ObjectMeta(name=name_of(pod), namespace=namespace_of(pod)),
        )
        await self.client.post_subresource(Pod, name_of(pod), namespace_of(pod), "eviction", eviction)

    async def until(self, condition: Callable[[], bool], at_most_seconds: float = 3600.0) -> float:
        """The virtual second at which the condition first held, seen every 10 ms. Raises TimeoutError."""
        async with asyncio.timeout(at_most_seconds):
            while not condition():  # noqa: ASYNC110 - any condition, over whatever it reads
                await asyncio.sleep(0.01)
        return self.seconds


class _NoBackend:
    async def apply(self, table: ServiceTable) -> None:
        """Nobody but the table's own readers needs it."""
