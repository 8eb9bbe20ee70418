"""A whole cluster in virtual time: the same registry, controllers, scheduler, node agents and service table.

Only the outermost things differ: objects are in memory, containers and their addresses are simulated, and what the
network would be told stays a table (`table`) that a simulated client can ask.

    store ◄─ registry ◄─ clients ◄─┬─ controllers   (one manager, with informers of its own: it can be restarted)
                                   ├─ scheduler     (likewise)
                                   ├─ node agents   (each can fall silent, be lost, come back)
                                   └─ who looks on: service proxy, load, invariants, reports
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Network
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
from antei.control.certificates import CertificateSigner
from antei.control.controller import WorkQueue, run_controller
from antei.control.persistentvolume import PROVISIONER, ImaginaryDirectories
from antei.control.scheduler import SchedulerController
from antei.network.proxy import Lag, ServiceProxy
from antei.network.services import ServiceTable
from antei.node.agent import NodeAgent
from antei.node.memory_files import MemoryFiles
from antei.node.observer import NO_CALM, NOBODY, UNBLOCKED, Observer, ProbeBlock
from antei.node.registration import HEARTBEAT_SECONDS
from antei.runtime.image_map import VolumeMap
from antei.runtime.simulated import (
    ContainerProfile,
    ProfileOf,
    SimulatedNode,
    SimulatedPodNetwork,
    SimulatedRuntime,
)
from antei.server.bootstrap import bootstrap
from antei.server.registry import Registry
from antei.server.webhooks import WebhookTransport
from antei.simulate.store import ToldStore
from antei.store.state import Limits
from antei.world import World
from antei.world.virtual import virtual_world

__all__ = ["ACTOR", "CAPACITY", "ZONE_LABEL", "Manager", "SimulatedCluster"]

#: The controller on whose behalf a write is made; empty for whoever else.
ACTOR: contextvars.ContextVar[str] = contextvars.ContextVar("actor", default="")
ZONE_LABEL = "topology.kubernetes.io/zone"
CAPACITY = {"cpu": "8", "memory": "32Gi", "ephemeral-storage": "100Gi", "pods": "110"}
#: A /24 for each node: the usual range for as many nodes as it has room for, a bigger one for more.
_POD_RANGES = (IPv4Network("10.244.0.0/16"), IPv4Network("10.128.0.0/9"))
_NODE_RANGE = IPv4Network("172.16.0.0/12")

WrapClient = Callable[[str, Client], Client]


def _never() -> float:
    return 0.0


class Manager:
    """Some controllers as one process: with informers of its own, so that it can be ended and started again."""

    def __init__(self, name: str, cluster: SimulatedCluster, wanted: Callable[[str], bool]) -> None:
        self.name = name
        self.queues: dict[str, WorkQueue] = {}  # by controller
        self.on_informers: Callable[[Informers], None] = lambda informers: None  # told of those of each new start
        self._cluster = cluster
        self._wanted = wanted
        self._task: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        return self._task is not None

    def start(self, group: asyncio.TaskGroup) -> None:
        assert self._task is None
        self._task = group.create_task(self._run(), name=self.name)

    async def stop(self) -> None:
        """As by SIGKILL: whatever it was doing is left half done."""
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if self._task is task:  # who stopped it at the same moment may have started it again
                self._task = None

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        cluster = self._cluster
        client = cluster.client_of(self.name)
        informers = Informers(client)
        self.on_informers(informers)
        recorder = EventRecorder(client, cluster.world, "antei")
        controllers = make_controllers(
            client,
            informers,
            recorder,
            cluster.world,
            volumes_directory=Path("/antei/volumes"),
            directories=ImaginaryDirectories(),
            root_ca=cluster.root_ca,
            signer=cluster.signer,
            wanted=self._wanted,
        )
        self.queues = {controller.name: queue for controller, queue in controllers}
        async with asyncio.TaskGroup() as group:
            group.create_task(informers.run(), name=f"{self.name}: informers")
            group.create_task(recorder.run(), name=f"{self.name}: events")
            await informers.wait_synced()
            for controller, queue in controllers:
                context = contextvars.copy_context()
                context.run(ACTOR.set, controller.name)
                group.create_task(run_controller(controller, queue), name=controller.name, context=context)


class SimulatedCluster:
    """Made before or on a virtual loop; `running` brings it up. `runtime` has the knobs for faults.

    pull_seconds, start_seconds: what a node takes for an image it does not have, and for any start; asked each time.
    wrap_client: stands between a part ("controllers", "scheduler", "node-3") and the API: for faults.
    skips_calm: probes of containers that nothing happens to are not made; what comes of them is the same.
    heartbeat_seconds: how often nodes renew their leases; silence of five times as long makes a node unreachable.
    """

    def __init__(
        self,
        *,
        nodes: int = 3,
        zones: int = 1,
        profiles: Mapping[str, ContainerProfile] | None = None,
        profile_for: ProfileOf | None = None,
        seed: int = 0,
        endpoint_lag: Lag = 0.0,
        pull_seconds: Callable[[], float] | None = None,
        start_seconds: Callable[[], float] = _never,
        capacity: Mapping[str, str] | None = None,
        volumes: VolumeMap | None = None,
        observer: Observer = NOBODY,
        probe_block: ProbeBlock = UNBLOCKED,
        wrap_client: WrapClient = lambda part, client: client,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        skips_calm: bool = False,
        keeps_log: bool = True,
        limits: Limits | None = None,
        world: World | None = None,
        webhooks: WebhookTransport | None = None,
    ) -> None:
        """`world` is for one that goes by the clock on the wall, on an ordinary loop; `seed` is without effect then.

        `webhooks` is how webhooks are called: without it there is no network for them.
        """
        self.world = world or virtual_world(seed)
        self.root_ca = ""
        self.signer: CertificateSigner | None = None
        self.store = ToldStore(limits)
        self.registry = Registry(self.store, self.world, webhooks=webhooks)
        self.client: Client = LocalClient(self.registry)
        self.informers = Informers(self.client)
        self.runtime = SimulatedRuntime(self.world, profiles, profile_for=profile_for, keeps_log=keeps_log)
        self.files = MemoryFiles()
        self._recorder = EventRecorder(self.client, self.world, "antei")
        self._endpoint_lag = endpoint_lag
        self._capacity = dict(capacity or CAPACITY)
        self._volumes = volumes or VolumeMap({})
        self._observer = observer
        self._probe_block = probe_block
        self._wrap_client = wrap_client
        self._heartbeat_seconds = heartbeat_seconds
        self._skips_calm = skips_calm
        self._pod_range = next(r for r in _POD_RANGES if r.num_addresses // 256 >= nodes)
        self._pod_network = SimulatedPodNetwork(self.runtime, str(self._pod_range))
        self.node_names = tuple(f"node-{number}" for number in range(1, nodes + 1))
        self.zone_of = {name: f"zone-{number % zones + 1}" for number, name in enumerate(self.node_names)}
        self.machines = {name: SimulatedNode(self.runtime, pull_seconds, start_seconds) for name in self.node_names}
        self.agents: dict[str, asyncio.Task[None]] = {}
        self.node_agents: dict[str, NodeAgent] = {}
        self.started_at: dict[str, float] = {}  # when the agent of each node was last started
        self._cut: dict[str, list[str]] = {}  # lost node -> uids of the pods that were cut off with it
        scheduler = SchedulerController.name
        self.controllers = Manager("controllers", self, lambda name: name != scheduler)
        self.scheduler = Manager("scheduler", self, lambda name: name == scheduler)
        self._proxy: ServiceProxy | None = None
        self._group: asyncio.TaskGroup | None = None

    def client_of(self, part: str) -> Client:
        """The API as that part of the cluster reaches it."""
        return self._wrap_client(part, self.client)

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
    async def running(
        self, *, root_ca: str = "", signer: CertificateSigner | None = None
    ) -> AsyncIterator[SimulatedCluster]:
        """The cluster with all nodes registered; everything is cancelled at the end of the block.

        `root_ca`: the certificate of the API server in front of it, where there is one, for kube-root-ca.crt.
        `signer`: signs approved certificate requests; without it they wait.
        """
        self.root_ca = root_ca
        self.signer = signer
        await bootstrap(self.registry, provisioner=PROVISIONER, api_endpoints=())
        self._proxy = ServiceProxy(self.informers, _NoBackend(), endpoint_lag=self._endpoint_lag)
        nodes = self.informers.of(Node)
        async with asyncio.TaskGroup() as group:
            self._group = group
            tasks = [
                group.create_task(self.informers.run(), name="informers"),
                group.create_task(self._recorder.run(), name="events"),
                group.create_task(self._proxy.run(), name="service proxy"),
            ]
            for name in self.node_names:
                await self.start_node(name)
            self.controllers.start(group)
            self.scheduler.start(group)
            await self.informers.wait_synced()
            await self.until(lambda: len(nodes.items()) == len(self.node_names))
            try:
                yield self
            finally:
                self.controllers.cancel()
                self.scheduler.cancel()
                for task in (*tasks, *self.agents.values()):
                    task.cancel()

    # Nodes

    async def start_node(self, name: str) -> None:
        """Starts the agent of a node, anew after `stop_node`; what it left running is adopted."""
        assert self._group is not None
        number = self.node_names.index(name)
        agent = NodeAgent(
            name,
            self.client_of(name),
            self.machines[name],
            self._pod_network,
            self.runtime,
            self.files,
            self._volumes,
            self._recorder.named("kubelet", name),
            self.world,
            Path("/antei") / name,
            str(IPv4Network((int(self._pod_range.network_address) + (number + 1) * 256, 24))),
            self._capacity,
            node_ip=str(IPv4Address(int(_NODE_RANGE.network_address) + number + 1)),
            labels={ZONE_LABEL: self.zone_of[name]},
            observer=self._observer,
            probe_block=self._probe_block,
            heartbeat_seconds=self._heartbeat_seconds,
            calm=self.runtime if self._skips_calm else NO_CALM,
        )
        self.node_agents[name] = agent
        self.started_at[name] = self.seconds
        self.agents[name] = self._group.create_task(agent.run(), name=f"node {name}")
        await agent.registered.wait()

    async def stop_node(self, name: str) -> None:
        """The agent falls silent; containers of that node run on, as on a node that lost its network."""
        task = self.agents.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def power_off(self, name: str) -> None:
        """The machine is off, its containers with it."""
        await self.stop_node(name)
        self.runtime.power_off(self.machines[name].pod_uids)

    async def lose_node(self, name: str) -> None:
        """The node's agent falls silent, and no packet passes to or from its pods, which go on running.

        Raises LookupError for a node that is lost.
        """
        if name not in self.agents:
            raise LookupError(f"there is no running node {name}")
        await self.stop_node(name)
        self._cut[name] = self.machines[name].pod_uids
        self.runtime.isolate(self._cut[name])

    async def return_node(self, name: str) -> None:
        """The node is back: its pods are reached again, and a new agent takes up what runs there."""
        if name in self.agents:
            raise LookupError(f"node {name} was not lost")
        self.runtime.rejoin(self._cut.pop(name, ()))
        await self.start_node(name)

    # Controllers

    async def restart(self, manager: Manager, after_seconds: float = 0.0) -> None:
        """Ends it, and starts it again after a while."""
        assert self._group is not None
        await manager.stop()
        if after_seconds > 0:
            await asyncio.sleep(after_seconds)
        if not manager.is_running:
            manager.start(self._group)

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
