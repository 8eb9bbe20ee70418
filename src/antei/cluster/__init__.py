"""The composition root: the one place that builds the parts of a cluster and hands them to each other.

    store ◄─ registry ◄─ API server (HTTPS)          everything else meets in the API only:
                 ▲
                 └─ local client ◄─ informers ◄─ controllers, scheduler ── node agents ── network
                                                                            │     │
                                                                         runtime  pod addresses

`Cluster.start` returns when the API answers and all nodes are Ready; `stop` either leaves the workloads running, for
the next start to adopt, or ends them too.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import psutil
from lightkube.resources.core_v1 import Node, Pod, Service

from antei import KUBERNETES_MINOR
from antei.api.conditions import is_true
from antei.api.mirror_pods import as_run
from antei.api.objects import name_of, namespace_of, replace, uid_of
from antei.client import Client
from antei.client.events import EventRecorder
from antei.client.informer import Informers
from antei.client.local import LocalClient
from antei.cluster.controllers import make_controllers
from antei.cluster.leftovers import DOWN_SECONDS, end_containers, remove_leftovers
from antei.cluster.settings import Settings
from antei.control.controller import run_controller
from antei.control.persistentvolume import PROVISIONER, HostDirectories
from antei.control.queue_measures import QueuesMeasures
from antei.network.links import load_netlink
from antei.network.network import ClusterNetwork
from antei.network.publishing import connect
from antei.node.agent import NodeAgent
from antei.node.files import DiskFiles
from antei.node.fleet import FleetLogs, FleetStreams
from antei.node.kubelets import NodeKubelets
from antei.node.observer import NOBODY, UNBLOCKED, Observer, ProbeBlock
from antei.node.transport import SocketProbeTransport
from antei.runtime import ContainerRecord, Runtime
from antei.runtime.chosen import choose_runtime
from antei.runtime.image_map import load_maps
from antei.runtime.images.collection import keep_room
from antei.server.bootstrap import API_SERVICE_ADDRESS, bootstrap
from antei.server.http.server import ApiServer
from antei.server.kubeconfig import write_kubeconfig
from antei.server.registry import Registry
from antei.server.webhook_transport import HttpsWebhooks
from antei.store import Store
from antei.store.memory import MemoryStore
from antei.store.sqlite import SqliteStore
from antei.world import World
from antei.world.measures import Measures
from antei.world.system import system_world

__all__ = ["Cluster", "Settings", "make_controllers", "remove_leftovers"]

_LOG = logging.getLogger(__name__)
#: The nodes that antei makes; what else may be called a Node is not its business.
_NODE_NAME = re.compile(r"node-\d+")


class Cluster:
    def __init__(
        self,
        settings: Settings,
        world: World | None = None,
        *,
        observer: Observer = NOBODY,
        probe_block: ProbeBlock = UNBLOCKED,
    ) -> None:
        self.settings = settings
        self.world = world or system_world()
        self.measures = Measures()
        self.notes = [*settings.notes, *settings.audit_policy.notes]  # what is not as it was asked for, a sentence each
        self.version = f"v{KUBERNETES_MINOR}.0"
        self._observer = observer
        self._probe_block = probe_block
        self.agents: dict[str, NodeAgent] = {}
        self._lost: dict[str, list[str]] = {}  # node to the uids of the pods that were cut off with it
        self._agent_tasks: dict[str, asyncio.Task[None]] = {}
        self._running: asyncio.Task[None] | None = None
        self._nodes_ready = asyncio.Event()
        self._has_api_address = False

    # Valid after `start`
    client: Client
    informers: Informers
    runtime: Runtime
    network: ClusterNetwork
    server: ApiServer

    @property
    def kubeconfig_path(self) -> Path:
        return self.settings.directory / "kubeconfig"

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def published(self) -> list[tuple[str, str]]:
        return self.network.published

    async def start(self) -> None:
        """Raises OSError, ImageMapError or StoreError; what had been started by then is stopped again."""
        settings = self.settings
        await asyncio.to_thread(partial(settings.directory.mkdir, mode=0o700, parents=True, exist_ok=True))
        async with AsyncExitStack() as started:
            self._store = await self._open_store()
            started.push_async_callback(self._store.aclose)
            await self._start(started)
            started.pop_all()

    async def _start(self, started: AsyncExitStack) -> None:
        """`started` learns how each part is stopped; workloads of an earlier start go on."""
        settings, directory = self.settings, self.settings.directory
        self._webhooks = HttpsWebhooks(
            lambda: self.network.sockets, lambda cluster_ip: self.network.addresses.placed_service(cluster_ip)
        )
        started.push_async_callback(self._webhooks.aclose)
        registry = Registry(self._store, self.world, webhooks=self._webhooks)
        self.client = LocalClient(registry)
        self.informers = Informers(self.client)
        self._recorder = EventRecorder(self.client, self.world, "antei")
        image_map = await asyncio.to_thread(load_maps, settings.maps)
        # What asks the machine what it allows waits for programs: time enough to load what the network needs.
        chosen, _ = await asyncio.gather(
            choose_runtime(self.world, directory, image_map, settings.runtime, settings.images_directory),
            asyncio.to_thread(load_netlink),
        )
        self.runtime, self._images = chosen.runtime, chosen.images
        self.notes += chosen.notes
        started.push_async_callback(self.runtime.aclose)
        node_names = tuple(f"node-{number}" for number in range(1, settings.nodes + 1))
        self.network = ClusterNetwork(
            self.client,
            self.informers,
            cluster_id=settings.cluster_id,
            directory=directory / "network",
            node_names=node_names,
            world=self.world,
            endpoint_lag=settings.endpoint_lag_seconds,
            mode="auto" if chosen.has_namespaces else "loopback",
            has_way_out=settings.has_way_out,
        )
        started.push_async_callback(self.network.aclose)
        await self.network.start()
        if self.network.mode == "loopback":
            self.notes.append(f"pods share this machine's network: {self.network.reason}")
        await self._forget_nodes_beyond(node_names)
        self._transport = SocketProbeTransport(self.network.sockets)
        started.push_async_callback(self._transport.aclose)
        await self._start_server(registry, started)
        self._volume_map = image_map.volumes
        self._capacity = await asyncio.to_thread(_capacity, directory)
        self.agents.update((name, self._agent(name)) for name in node_names)
        self._running = asyncio.create_task(self._run(), name="cluster")
        started.push_async_callback(self._stop_running)
        nodes = self.informers.of(Node)
        nodes.add_handler(lambda old, new: self._note_nodes(node_names))
        ready = asyncio.create_task(self._nodes_ready.wait())
        try:
            await asyncio.wait({ready, self._running}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if self._running.done():
            self._running.result()
        confined = await self.network.no_way_out()
        if confined:
            self.notes.append(f"pods reach nothing outside of the cluster: {confined}")

    async def _forget_nodes_beyond(self, node_names: Sequence[str]) -> None:
        """Nodes of a start that had more of them go as machines do that are taken away, and their pods with them.

        Nobody would look after these pods again; what still runs of them is ended by the agents, who find no pod for
        it, and their controllers replace them.
        """
        gone = [
            name_of(node)
            for node in (await self.client.list(Node)).items
            if _NODE_NAME.fullmatch(name_of(node)) and name_of(node) not in node_names
        ]
        lost = [pod for pod in (await self.client.list(Pod)).items if pod.spec and pod.spec.nodeName in gone]
        for pod in lost:
            await self.client.delete(Pod, name_of(pod), namespace_of(pod), grace_period_seconds=0)
        for name in gone:
            await self.client.delete(Node, name)
        if gone:
            self.notes.append(f"{', '.join(gone)} of an earlier start are no more, and {len(lost)} pods on them")

    async def _open_store(self) -> Store:
        if self.settings.is_persistent:
            return await SqliteStore.open(self.settings.directory / "antei.db")
        return MemoryStore()

    async def _start_server(self, registry: Registry, started: AsyncExitStack) -> None:
        directory = self.settings.directory
        try:
            inside = self.network.api_sockets()
        except OSError as error:
            self.notes.append(f"pods cannot reach the API at {self.network.addresses.api}:443: {error}")
            inside = []
        for listener in inside:
            started.callback(listener.close)  # the server's from its start on; here for one that fails before
        self._has_api_address = bool(inside)
        endpoints = [(self.network.addresses.api, 443)] if inside else []
        await bootstrap(registry, provisioner=PROVISIONER, api_endpoints=endpoints)
        port_file = directory / "api-port"
        self.server = ApiServer(
            registry,
            self.world,
            directory,
            FleetLogs(self.agents),
            FleetStreams(self.agents, self._connect, lambda: self.network.host_namespace),
            port=await asyncio.to_thread(_known_port, port_file),
            extra_sockets=inside,
            extra_names=(self.network.addresses.api, API_SERVICE_ADDRESS),
            audit_log=self.settings.audit_log,
            audit_policy=self.settings.audit_policy,
            ready_checks={"nodes": self._nodes_ready.is_set},
            kubelets=NodeKubelets(self.agents, self.runtime, self.world),
            measures=self.measures,
        )
        started.push_async_callback(self.server.stop)
        await self.server.start()
        await asyncio.to_thread(port_file.write_text, str(self.server.port))
        await asyncio.to_thread(write_kubeconfig, self.kubeconfig_path, self.server.kubeconfig)

    async def _connect(self, ip: str, port: int) -> socket.socket:
        return await connect(self.network.sockets, ip, port)

    def _agent(self, name: str) -> NodeAgent:
        addresses, manifests = self.network.addresses, self.settings.manifests
        return NodeAgent(
            name,
            self.client,
            self.runtime,
            self.network.pods,
            self._transport,
            DiskFiles(),
            self._volume_map,
            self._recorder.named("kubelet", name),
            self.world,
            self.settings.directory / "nodes" / name,
            addresses.pod_cidr(name),
            self._capacity,
            node_ip=addresses.nodes[name],
            tokens=self.server.token_requests,
            reached=self._reached,
            observer=self._observer,
            probe_block=self._probe_block,
            manifests=(manifests, manifests / name) if manifests is not None else (),
        )

    def _reached(self, service: Service) -> Service:
        """Where pods share this machine's network, Services answer on its loopback, and the API where it can."""
        if self.network.mode == "namespaces" or service.spec is None or not service.spec.clusterIP:
            return service
        address, ports = service.spec.clusterIP, service.spec.ports
        if address == API_SERVICE_ADDRESS and not self._has_api_address:
            ports = [replace(port, port=self.server.port) for port in ports or ()]
            address = "127.0.0.1"
        elif address != "None":
            address = self.network.addresses.placed_service(address)
        return replace(service, spec=replace(service.spec, clusterIP=address, ports=ports))

    async def _run(self) -> None:
        """Everything that goes on; what fails here fails the cluster."""
        controllers = make_controllers(
            self.client,
            self.informers,
            self._recorder,
            self.world,
            volumes_directory=self.settings.directory / "volumes",
            directories=HostDirectories(),
            root_ca=self.server.ca_pem,
            account_tokens=self.server.service_account_tokens,
            signer=self.server.authority,
            queues=QueuesMeasures(self.measures),
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(self.informers.run(), name="informers")
            group.create_task(self._recorder.run(), name="events")
            group.create_task(self.network.run(), name="network")
            if self._images is not None:
                group.create_task(keep_room(self._images, self._warn_nodes), name="images")
            self._group = group
            for name in self.agents:
                self._run_agent(name)
            await self.informers.wait_synced()
            for controller, queue in controllers:
                group.create_task(run_controller(controller, queue), name=controller.name)

    def _run_agent(self, name: str) -> None:
        self._agent_tasks[name] = self._group.create_task(self.agents[name].run(), name=f"node {name}")

    def _warn_nodes(self, reason: str, message: str) -> None:
        """Of what they have in common: the machine."""
        for node in self.informers.of(Node).items():
            if name_of(node) in self.agents:
                self._recorder.named("kubelet", name_of(node)).event(node, "Warning", reason, message)

    def _note_nodes(self, names: Sequence[str]) -> None:
        known = {name_of(node): node for node in self.informers.of(Node).items()}
        if all(name in known and _is_node_ready(known[name]) for name in names):
            self._nodes_ready.set()

    async def wait_failed(self) -> None:
        """Returns never, but raises what made a part of the cluster fail."""
        assert self._running is not None
        await asyncio.shield(self._running)

    # Faults, for rehearsals: what no API call can do

    async def pause(self, pod_uid: str, container: str) -> None:
        """Stops every process of the container: it holds its connections and answers nothing."""
        await self.runtime.pause((await self.running_container(pod_uid, container)).id)

    async def resume(self, pod_uid: str, container: str) -> None:
        await self.runtime.resume((await self.running_container(pod_uid, container)).id)

    async def running_container(self, pod_uid: str, container: str) -> ContainerRecord:
        for record in await self.runtime.containers():
            if record.pod_uid == pod_uid and record.name == container and record.exit is None:
                return record
        raise LookupError(f"container {container} of pod {pod_uid} does not run")

    async def lose_node(self, name: str) -> None:
        """The node's agent falls silent, and no packet passes to or from its pods, which go on running.

        Where pods have no network of their own they are paused instead. Raises LookupError for a node that is lost.
        """
        task = self._agent_tasks.pop(name, None)
        if task is None:
            raise LookupError(f"there is no running node {name}")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        pods = [uid_of(as_run(pod)) for pod in self.informers.of(Pod).items() if pod.spec and pod.spec.nodeName == name]
        self._lost[name] = pods
        if self.network.mode == "namespaces":
            await self.network.isolate(pods)
        else:
            await self._each_container(pods, self.runtime.pause)

    async def return_node(self, name: str) -> None:
        """The node is back: its pods are reached again, and a new agent takes up what runs there."""
        pods = self._lost.pop(name, None)
        if pods is None:
            raise LookupError(f"node {name} was not lost")
        if self.network.mode == "namespaces":
            await self.network.rejoin(pods)
        else:
            await self._each_container(pods, self.runtime.resume)
        self.agents[name] = self._agent(name)
        self._run_agent(name)

    async def _each_container(self, pod_uids: Sequence[str], act: Callable[[str], Awaitable[None]]) -> None:
        for record in await self.runtime.containers():
            if record.pod_uid in pod_uids and record.exit is None:
                await act(record.id)

    # The end

    async def stop(self, *, end_workloads: bool, grace_seconds: float = DOWN_SECONDS) -> None:
        """Stops serving. Workloads go on, to be adopted by the next start, or are told to end and then ended."""
        await self._stop_running()
        await self.server.stop()
        await self._transport.aclose()
        await self._webhooks.aclose()
        if end_workloads:
            await end_containers(self.runtime, grace_seconds)
            await self.runtime.aclose()
            await self.network.destroy()
        else:
            await self.runtime.aclose()
            await self.network.aclose()
        await self._store.aclose()

    async def _stop_running(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)


def _is_node_ready(node: Node) -> bool:
    return is_true(node.status.conditions if node.status else None, "Ready")


def _capacity(directory: Path) -> dict[str, str]:
    """Every virtual node offers what the machine has: nodes are for drains and spreads, not for dividing it up."""
    return {
        "cpu": str(os.cpu_count() or 1),
        "memory": f"{psutil.virtual_memory().total // 1024}Ki",
        "ephemeral-storage": f"{shutil.disk_usage(directory).total // 1024}Ki",
        "pods": "110",
    }


def _known_port(port_file: Path) -> int:
    """The port of the last run, where it is still free, so that kubeconfigs stay good; else 0."""
    try:
        port = int(port_file.read_text())
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except (OSError, ValueError):
        return 0
    return port
