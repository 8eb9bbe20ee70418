"""hostPort: on this machine's loopback and at the address of the pod's node, leading to the pod.

In Kubernetes the CNI plug-in portmap redirects the port on all addresses of the node. Here nodes share one loopback: of
pods that want the same port of it the oldest has it, and each has it at its own node's address.

    hostIP not given, 0.0.0.0 or ::    127.0.0.1 of this machine, and the node's address inside of the cluster
    the node's address                 that alone
    any other                          that address of this machine

A pod in its node's network has its ports where it listens: nothing is done for it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from lightkube.resources.core_v1 import Pod

from antei.api.objects import meta, name_of, namespace_of, uid_of
from antei.api.pods import is_sidecar, is_terminal
from antei.client.events import EventRecorder
from antei.client.informer import Informers
from antei.network.addresses import ClusterAddresses
from antei.network.datagrams import DatagramRelay
from antei.network.publishing import LOOPBACK, connect
from antei.network.relay import Address, Dial, Relay
from antei.world.sockets import Sockets

__all__ = ["Arrangement", "HostPorts", "PodPort", "PodPorts", "arrange", "ports_of"]

_PROTOCOLS = ("TCP", "UDP")
_ANY = ("", "0.0.0.0", "::")
_FIRST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PodPort:
    container: str
    host_ip: str
    number: int  # on the host
    target: int  # in the pod
    protocol: str


@dataclass(frozen=True, slots=True)
class PodPorts:
    """What a pod that has an address asks for."""

    uid: str
    name: str  # namespace/name
    created: datetime
    node: str
    ip: str
    ports: tuple[PodPort, ...]


@dataclass(frozen=True, slots=True)
class Arrangement:
    """What an address leads to, by protocol, and (to whom, what) is to be said of those that are not to be had."""

    places: Mapping[str, Mapping[Address, tuple[PodPorts, PodPort]]]
    refused: tuple[tuple[PodPorts, str], ...]


def ports_of(pod: Pod) -> PodPorts | None:
    """None: it asks for nothing, or has no address (any more)."""
    spec, status = pod.spec, pod.status
    if spec is None or spec.hostNetwork or status is None or not status.podIP or is_terminal(pod):
        return None
    listening = [*spec.containers, *(each for each in spec.initContainers or () if is_sidecar(each))]
    ports = tuple(
        PodPort(container.name, port.hostIP or "", port.hostPort, port.containerPort, port.protocol or "TCP")
        for container in listening
        for port in container.ports or ()
        if port.hostPort
    )
    if not ports:
        return None
    created = meta(pod).creationTimestamp or _FIRST
    name = f"{namespace_of(pod)}/{name_of(pod)}"
    return PodPorts(uid_of(pod), name, created, spec.nodeName or "", status.podIP, ports)


def arrange(asking: Iterable[PodPorts], addresses: ClusterAddresses) -> Arrangement:
    places: dict[str, dict[Address, tuple[PodPorts, PodPort]]] = {protocol: {} for protocol in _PROTOCOLS}
    refused = []
    node_ips = addresses.nodes
    for pod in sorted(asking, key=lambda each: (each.created, each.name)):
        for port in pod.ports:
            if port.protocol not in places:
                refused.append((pod, _not_published(port, "", f"{port.protocol} is not relayed")))
                continue
            if addresses.loopback and port.number == port.target:
                continue  # the pod listens in this machine's network itself
            for ip in _wanted_at(port, node_ips.get(pod.node, "")):
                holder, _ = places[port.protocol].setdefault((ip, port.number), (pod, port))
                if holder is not pod:
                    refused.append((pod, _not_published(port, ip, f"it leads to pod {holder.name}")))
    return Arrangement(places, tuple(refused))


def _wanted_at(port: PodPort, node_ip: str) -> Iterator[str]:
    if port.host_ip not in _ANY:
        yield port.host_ip
        return
    yield LOOPBACK
    if node_ip:
        yield node_ip


def _not_published(port: PodPort, ip: str, why: str) -> str:
    where = f" at {ip}:{port.number}" if ip else ""
    return f"hostPort {port.number} of container {port.container} is not published{where}: {why}"


class HostPorts:
    """Follows pods and keeps their ports open. A pod whose port cannot be had has an event that says so, once."""

    def __init__(
        self, informers: Informers, addresses: ClusterAddresses, sockets: Sockets, recorder: EventRecorder
    ) -> None:
        """`sockets`: of where nodes have their addresses."""
        self._addresses = addresses
        self._sockets = sockets
        self._recorder = recorder
        # By whether the address is a node's.
        self._relays = {False: Relay(), True: Relay(sockets)}
        self._datagrams = {False: DatagramRelay(sockets), True: DatagramRelay(sockets, sockets)}
        self._asking: dict[str, tuple[PodPorts, Pod]] = {}
        self._arrangement = arrange((), addresses)
        self._told: set[tuple[str, str]] = set()
        self._dirty = asyncio.Event()
        self._pods = informers.of(Pod)
        self._pods.add_handler(self._pod_changed)

    @property
    def published(self) -> list[tuple[str, str]]:
        """(pod, where) on this machine."""
        return [
            (f"Pod {self._arrangement.places[protocol][ip, number][0].name}", f"{ip}:{number}{suffix}")
            for protocol, relays, suffix in (("TCP", self._relays, ""), ("UDP", self._datagrams, "/UDP"))
            for ip, number in relays[False].listening
        ]

    async def run(self) -> None:
        """Until cancelled."""
        await self._pods.wait_synced()
        while True:
            self._dirty.clear()
            self._publish()
            await self._dirty.wait()
            await asyncio.sleep(0)  # what the same turn of the loop still brings belongs to it

    async def aclose(self) -> None:
        for is_node in (False, True):
            await self._relays[is_node].aclose()
            await self._datagrams[is_node].aclose()

    def _publish(self) -> None:
        self._arrangement = arrange((ports for ports, _ in self._asking.values()), self._addresses)
        node_ips = set(self._addresses.nodes.values())
        for is_node in (False, True):
            own = {
                protocol: {at: to for at, to in places.items() if (at[0] in node_ips) is is_node}
                for protocol, places in self._arrangement.places.items()
            }
            streams, datagrams = self._relays[is_node], self._datagrams[is_node]
            streams.publish({at: self._dial(pod.ip, port.target) for at, (pod, port) in own["TCP"].items()})
            datagrams.publish({at: (pod.ip, port.target) for at, (pod, port) in own["UDP"].items()})
            for protocol, failures in (("TCP", streams.failures), ("UDP", datagrams.failures)):
                for (ip, number), error in failures.items():
                    pod, port = own[protocol][ip, number]
                    self._tell(pod, _not_published(port, ip, error.strerror or str(error)))
        for pod, message in self._arrangement.refused:
            self._tell(pod, message)

    def _tell(self, ports: PodPorts, message: str) -> None:
        if (ports.uid, message) not in self._told:
            self._told.add((ports.uid, message))
            self._recorder.event(self._asking[ports.uid][1], "Warning", "HostPortNotPublished", message)

    def _dial(self, ip: str, port: int) -> Dial:
        async def dial(_client_ip: str) -> socket.socket:
            return await connect(self._sockets, ip, port)

        return dial

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        pod = new if new is not None else old
        if pod is None:
            return
        uid = uid_of(pod)
        ports = None if new is None else ports_of(new)
        known = self._asking.get(uid)
        if ports is not None and new is not None:
            self._asking[uid] = ports, new
        elif known is not None:
            del self._asking[uid]
            self._told = {told for told in self._told if told[0] != uid}
        if ports != (known[0] if known is not None else None):
            self._dirty.set()
