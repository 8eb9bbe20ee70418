"""The cluster's network as a whole: decides how, starts the parts in order, says where things are reached."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from lightkube.resources.core_v1 import Pod

from antei.api.mirror_pods import as_run
from antei.api.objects import uid_of
from antei.client import Client
from antei.client.events import EventRecorder
from antei.client.informer import Informers
from antei.network.addresses import OWN_SERVICE_IPS, ClusterAddresses
from antei.network.datagrams import DatagramRelay
from antei.network.dns import DnsServer, InformerView
from antei.network.host_ports import HostPorts
from antei.network.ingress_controller import HTTP_PORTS, HTTPS_PORTS, IngressController
from antei.network.ingress_rules import Backend as IngressBackend
from antei.network.links import remove_cluster
from antei.network.load_balancer import LoadBalancerStatus
from antei.network.nftables import NftablesBackend
from antei.network.pods import ADDRESS_FILE, LoopbackPodNetwork, NamespacePodNetwork
from antei.network.proxy import Lag, ServiceProxy
from antei.network.publishing import LOOPBACK, LoopbackBackend, NodePortPublisher, connect
from antei.network.relay import Relay, bound
from antei.network.resolv_conf import host_settings
from antei.network.services import Endpoint, ServicePort, ServiceTable
from antei.network.way_out import close_way_out, open_way_out
from antei.world import World
from antei.world.namespaces import NamespaceSockets
from antei.world.sockets import HostSockets, PodAddress, Sockets

__all__ = ["ClusterNetwork", "Mode", "Pods", "remove_network"]

_LOG = logging.getLogger(__name__)
Mode = Literal["auto", "namespaces", "loopback"]
_API_PORT = 443


async def remove_network(cluster_id: str, directory: Path) -> None:
    """Removes what is left of a cluster whose antei is not running. Raises OSError (EPERM without privileges)."""
    loop = asyncio.get_running_loop()
    thread = ThreadPoolExecutor(1, "network removal")
    try:
        await loop.run_in_executor(thread, partial(close_way_out, directory))
        await loop.run_in_executor(thread, partial(remove_cluster, f"antei-{cluster_id}"))
        await loop.run_in_executor(thread, partial((directory / ADDRESS_FILE).unlink, missing_ok=True))
    finally:
        thread.shutdown(wait=False)


class Pods(Protocol):
    """The node's PodNetwork, and what antei's start and end need besides."""

    async def attach(self, pod_uid: str, node_name: str, user_namespace: Path | None = None) -> PodAddress: ...

    async def detach(self, pod_uid: str) -> None: ...

    def resolv_conf(self, pod: Pod) -> str: ...

    async def keep_only(self, pod_uids: frozenset[str]) -> None: ...

    async def destroy(self) -> None: ...

    def close(self) -> None: ...


class ClusterNetwork:
    """Made, then `start`, then `run` until cancelled, then `aclose` (pods go on) or `destroy` (nothing is left)."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        *,
        cluster_id: str,
        directory: Path,
        node_names: tuple[str, ...],
        world: World,
        endpoint_lag: Lag = 0.0,
        mode: Mode = "auto",
        has_way_out: bool = True,
        http_ports: tuple[int, ...] = HTTP_PORTS,
        https_ports: tuple[int, ...] = HTTPS_PORTS,
    ) -> None:
        """`cluster_id`: at most 30 lower-case characters, the same for the same data directory; `directory` is where
        pod addresses are kept. Raises ValueError for more nodes than there are subnets."""
        self._client = client
        self._informers = informers
        self._cluster_namespace = f"antei-{cluster_id}"
        self._directory = directory
        self._node_names = node_names
        self._world = world
        self._endpoint_lag = endpoint_lag
        self._asked_mode = mode
        self._has_way_out = has_way_out
        self._relay = Relay()
        self._datagrams: DatagramRelay | None = None
        self._nftables: NftablesBackend | None = None
        self._dns: DnsServer | None = None
        self.addresses = ClusterAddresses.of(node_names, loopback=mode == "loopback")
        self.reason = ""  # why this mode
        self._leaving: asyncio.Task[str] | None = None
        self._pods: Pods | None = None
        self._sockets: Sockets = HostSockets()
        self._proxy: ServiceProxy | None = None
        self._recorder = EventRecorder(client, world, "antei-network")
        self._host_ports: HostPorts | None = None
        self._ingress = IngressController(
            informers, self._find_port, self._dial_endpoint, world.chance, http_ports, https_ports
        )

    @property
    def mode(self) -> Literal["namespaces", "loopback"]:
        return "loopback" if self.addresses.loopback else "namespaces"

    @property
    def pods(self) -> Pods:
        if self._pods is None:
            raise OSError("the network has not been started")
        return self._pods

    @property
    def host_namespace(self) -> str | None:
        """The network namespace that stands for the nodes' own network (pods with hostNetwork); None: antei's own."""
        return self._cluster_namespace if self.mode == "namespaces" else None

    @property
    def sockets(self) -> Sockets:
        """Opens where pods, Services and the nodes' addresses are reached."""
        return self._sockets

    @property
    def published(self) -> list[tuple[str, str]]:
        """(what, where) on the host's loopback, and in words what could not be published."""
        found = self._ingress.published
        failures = {"TCP": self._relay.failures}
        if self._datagrams is not None:
            failures["UDP"] = self._datagrams.failures
        for entry in self._proxy.table.ports if self._proxy else ():
            if entry.node_port is None:
                continue
            where = f"{LOOPBACK}:{entry.node_port}"
            failure = failures.get(entry.protocol, {}).get((LOOPBACK, entry.node_port))
            if entry.protocol not in failures:
                where = f"{where} not published: {entry.protocol} is not served without network namespaces"
            elif failure is not None:
                where = f"{where} not published: {failure.strerror or failure}"
            found.append((f"Service {entry}", where))
        return [*found, *(self._host_ports.published if self._host_ports else ())]

    async def start(self) -> None:
        """Makes the network, or adopts what an earlier antei left. Raises OSError where that mode cannot be had."""
        await self._start_pods()
        _LOG.info("network: %s (%s)", self.mode, self.reason)
        host = await asyncio.to_thread(host_settings)
        if self._nftables is not None:
            if self._has_way_out:
                opening = asyncio.to_thread(open_way_out, self._cluster_namespace, self._directory)
                self._leaving = asyncio.create_task(opening, name="way out")
            self._datagrams = DatagramRelay(self._sockets)
            node_ip = next(iter(self.addresses.nodes.values()), self.addresses.api)
            publisher = NodePortPublisher(self._relay, self._datagrams, self._sockets, node_ip)
            self._proxy = ServiceProxy(
                self._informers, self._nftables, endpoint_lag=self._endpoint_lag, own_ips=OWN_SERVICE_IPS
            )
            self._proxy.subscribe(publisher.publish)
        else:
            backend = LoopbackBackend(self._relay, self._sockets, self.addresses, self._world.chance)
            self._proxy = ServiceProxy(
                self._informers, backend, endpoint_lag=self._endpoint_lag, own_ips=OWN_SERVICE_IPS
            )
        self._host_ports = HostPorts(self._informers, self.addresses, self._sockets, self._recorder)
        await self._start_dns(host.nameservers)
        await self._ingress.start()

    async def no_way_out(self) -> str:
        """Why pods reach nothing outside of the cluster, though they should; "" when they do. Waits until known."""
        return "" if self._leaving is None else await self._leaving

    async def run(self) -> None:
        """Keeps Services, Ingresses, their status and hostPorts in force until cancelled."""
        if self._proxy is None or self._host_ports is None:
            raise OSError("the network has not been started")
        status = LoadBalancerStatus(self._client, self._informers, self._ingress.serves)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._proxy.run(), name="service proxy")
            group.create_task(self._ingress.run(), name="ingress")
            group.create_task(self._host_ports.run(), name="host ports")
            group.create_task(self._recorder.run(), name="network events")
            group.create_task(status.run(), name="load balancer status")
            group.create_task(self._forget_gone_pods(), name="gone pods' networks")

    def api_sockets(self) -> list[socket.socket]:
        """Listening sockets for the API server at the address that pods know, `https://<addresses.api>:443`.

        Raises OSError where the port is not permitted (loopback without CAP_NET_BIND_SERVICE).
        """
        return [bound(self._sockets.open(socket.AF_INET, socket.SOCK_STREAM), (self.addresses.api, _API_PORT))]

    def on_table(self, subscriber: Callable[[ServiceTable], None]) -> None:
        """Told of the table in force now and of each that takes its place; must not block."""
        if self._proxy is None:
            raise OSError("the network has not been started")
        self._proxy.subscribe(subscriber)

    async def isolate(self, pod_uids: Sequence[str]) -> None:
        """No packet passes to or from these pods until `rejoin`. Raises OSError where pods share the host's network."""
        await self._namespace_pods().isolate(pod_uids)

    async def rejoin(self, pod_uids: Sequence[str]) -> None:
        await self._namespace_pods().rejoin(pod_uids)

    def _namespace_pods(self) -> NamespacePodNetwork:
        if not isinstance(self._pods, NamespacePodNetwork):
            raise OSError("pods share this machine's network: none can be cut off")
        return self._pods

    async def aclose(self) -> None:
        """Stops serving; pods keep their namespaces, addresses and, with nftables, their Services."""
        await self._stop()
        if self._pods is not None:
            self._pods.close()

    async def destroy(self) -> None:
        """Stops serving and removes every namespace, link, table and file of this cluster."""
        await self._stop()
        await asyncio.to_thread(close_way_out, self._directory)
        if self._pods is not None:
            await self._pods.destroy()

    async def _stop(self) -> None:
        await asyncio.gather(*([self._leaving] if self._leaving is not None else []), return_exceptions=True)
        await self._relay.aclose()
        if self._datagrams is not None:
            await self._datagrams.aclose()
        if self._host_ports is not None:
            await self._host_ports.aclose()
        await self._ingress.aclose()
        if self._dns is not None:
            await self._dns.aclose()
        if isinstance(self._sockets, NamespaceSockets):
            await asyncio.to_thread(self._sockets.close)
        if self._nftables is not None:
            self._nftables.close()

    async def _start_pods(self) -> None:
        if self._asked_mode != "loopback":
            try:
                await self._start_namespaces()
            except OSError as error:
                if self._asked_mode == "namespaces":
                    raise
                self.reason = f"network namespaces are not to be had: {error}"
                _LOG.warning("%s; Services are relayed on loopback addresses instead", self.reason)
            else:
                self.reason = "asked for" if self._asked_mode == "namespaces" else "the machine allows it"
                return
        else:
            self.reason = "asked for"
        self.addresses = ClusterAddresses.of(self._node_names, loopback=True)
        pods = LoopbackPodNetwork(self.addresses, self._directory)
        await pods.start()
        self._pods = pods

    async def _start_namespaces(self) -> None:
        if sys.platform != "linux":
            raise OSError(f"{sys.platform} has no network namespaces")
        if await asyncio.to_thread(partial(shutil.which, "nft")) is None:
            raise OSError("`nft` is not installed (Debian package nftables)")
        pods = NamespacePodNetwork(self._cluster_namespace, self.addresses, self._directory)
        nftables = NftablesBackend(self._cluster_namespace, self.addresses)
        try:
            await pods.start()
            await nftables.start()
            self._sockets = await asyncio.to_thread(NamespaceSockets, self._cluster_namespace)
        except BaseException:
            pods.close()
            nftables.close()
            raise
        self._pods, self._nftables = pods, nftables

    async def _start_dns(self, upstreams: tuple[str, ...]) -> None:
        server = DnsServer(InformerView(self._informers, self.addresses), self._sockets, self.addresses.dns, upstreams)
        try:
            await server.start()
        except OSError as error:
            await server.aclose()
            if not self.addresses.loopback:
                raise
            _LOG.warning("no cluster DNS at %s: %s; pods find Services by address only", self.addresses.dns, error)
        else:
            self._dns = server

    async def _forget_gone_pods(self) -> None:
        """Once, when all pods are known: those that went while antei was away."""
        informer = self._informers.of(Pod)
        await informer.wait_synced()
        await self.pods.keep_only(frozenset(uid_of(as_run(pod)) for pod in informer.items()))

    def _find_port(self, backend: IngressBackend) -> ServicePort | None:
        return self._proxy.table.find(backend.namespace, backend.service, backend.port) if self._proxy else None

    async def _dial_endpoint(self, endpoint: Endpoint) -> socket.socket:
        return await connect(self._sockets, endpoint.ip, endpoint.port)
