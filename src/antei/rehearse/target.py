"""Where a rehearsal is played: what can be done there that no API call does. Everything else goes through `client`.

EmbeddedTarget   a cluster of antei's own in this process: all faults, and every probe, hook and signal is seen
ContextTarget    any cluster, through its API: what it cannot do is said and skipped
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from lightkube.resources.core_v1 import Pod

from antei.api.objects import uid_of
from antei.client import Client
from antei.client.informer import Informers
from antei.cluster import Cluster
from antei.network.services import ServiceTable
from antei.node.observer import Observer
from antei.node.probes.thresholds import ProbeKind
from antei.rehearse.scenario import Fault
from antei.runtime import ContainerRecord, Exit, RuntimeFailure
from antei.world.sockets import HostSockets, Sockets

__all__ = ["NEEDS", "Capability", "ContextTarget", "EmbeddedTarget", "NodeWatch", "ReadinessBlock", "Target"]

_LOG = logging.getLogger(__name__)


class Capability(StrEnum):
    """What a fault needs beyond the objects of one namespace."""

    SIGNAL = "signal"  # a container
    PAUSE = "pause"  # a container
    BLOCK_READINESS = "block-readiness"
    LOSE_NODE = "lose-node"
    DRAIN = "drain"


NEEDS: dict[Fault, Capability] = {
    Fault.KILL: Capability.SIGNAL,
    Fault.OOM: Capability.SIGNAL,
    Fault.CRASH_LOOP: Capability.SIGNAL,
    Fault.PAUSE: Capability.PAUSE,
    Fault.UNREADY: Capability.BLOCK_READINESS,
    Fault.LOSE_NODE: Capability.LOSE_NODE,
    Fault.DRAIN: Capability.DRAIN,
}


class Target(Protocol):
    """All raise LookupError for a container or node that is not there."""

    client: Client
    informers: Informers
    sockets: Sockets  # where the load client opens its connections
    sees_nodes: bool  # probes, hooks and signals are told through `watch`

    def cannot(self, capability: Capability) -> str:
        """Why this target does not have the capability; empty where it has."""
        ...

    def watch(self, observer: Observer) -> None:
        """Tells the observer of what nodes do from now on; nothing where `sees_nodes` is false."""
        ...

    def on_table(self, subscriber: Callable[[ServiceTable], None]) -> None:
        """Tells of each service table once it is in force; nothing where that cannot be seen."""
        ...

    async def signal(self, pod: Pod, container: str, signal: str) -> None: ...

    async def pause(self, pod: Pod, container: str) -> None: ...

    async def resume(self, pod: Pod, container: str) -> None:
        """No error when the container has ended meanwhile."""
        ...

    def block_readiness(self, pod: Pod) -> None:
        """Its readiness probes fail without being made; the container is not touched."""
        ...

    def unblock_readiness(self, pod: Pod) -> None: ...

    async def lose_node(self, name: str) -> str:
        """Says what exactly was done."""
        ...

    async def return_node(self, name: str) -> None: ...


class NodeWatch:
    """Tells many observers of what a node does; one is handed to the cluster when it is made."""

    def __init__(self) -> None:
        self._observers: list[Observer] = []

    def add(self, observer: Observer) -> None:
        self._observers.append(observer)

    def started(self, pod: Pod, record: ContainerRecord) -> None:
        for observer in tuple(self._observers):
            observer.started(pod, record)

    def probed(self, pod: Pod, container: str, kind: str, failure: str | None) -> None:
        for observer in tuple(self._observers):
            observer.probed(pod, container, kind, failure)

    def pre_stop(self, pod: Pod, container: str) -> None:
        for observer in tuple(self._observers):
            observer.pre_stop(pod, container)

    def signalled(self, pod: Pod, container: str, signal: str) -> None:
        for observer in tuple(self._observers):
            observer.signalled(pod, container, signal)

    def ended(self, pod: Pod, container: str, end: Exit) -> None:
        for observer in tuple(self._observers):
            observer.ended(pod, container, end)


class ReadinessBlock:
    """Fails the readiness probes of some pods; one is handed to the cluster when it is made."""

    def __init__(self) -> None:
        self.pod_uids: set[str] = set()

    def refusal(self, pod_uid: str, container: str, kind: str) -> str | None:
        if kind == ProbeKind.READINESS and pod_uid in self.pod_uids:
            return "blocked by antei rehearse"
        return None


class EmbeddedTarget:
    """A cluster in this process, which was made with this `watch` and `block`. Implements Target."""

    sees_nodes = True

    def __init__(self, cluster: Cluster, nodes: NodeWatch, block: ReadinessBlock) -> None:
        self.cluster = cluster
        self.client: Client = cluster.client
        self.informers = cluster.informers
        self.sockets = cluster.network.sockets
        self._nodes = nodes
        self._block = block

    def cannot(self, capability: Capability) -> str:
        return ""

    def watch(self, observer: Observer) -> None:
        self._nodes.add(observer)

    def on_table(self, subscriber: Callable[[ServiceTable], None]) -> None:
        self.cluster.network.on_table(subscriber)

    async def signal(self, pod: Pod, container: str, signal: str) -> None:
        record = await self.cluster.running_container(uid_of(pod), container)
        await self.cluster.runtime.signal(record.id, signal)

    async def pause(self, pod: Pod, container: str) -> None:
        await self.cluster.pause(uid_of(pod), container)

    async def resume(self, pod: Pod, container: str) -> None:
        try:
            await self.cluster.resume(uid_of(pod), container)
        except (LookupError, RuntimeFailure) as error:
            _LOG.info("nothing to resume: %s", error)

    def block_readiness(self, pod: Pod) -> None:
        self._block.pod_uids.add(uid_of(pod))

    def unblock_readiness(self, pod: Pod) -> None:
        self._block.pod_uids.discard(uid_of(pod))

    async def lose_node(self, name: str) -> str:
        await self.cluster.lose_node(name)
        if self.cluster.network.mode == "namespaces":
            return "its agent is stopped and its pods are cut off the network"
        return "its agent is stopped and its pods are paused"

    async def return_node(self, name: str) -> None:
        try:
            await self.cluster.return_node(name)
        except LookupError as error:
            _LOG.info("nothing to bring back: %s", error)


class ContextTarget:
    """Any cluster through its API. Implements Target."""

    sees_nodes = False

    def __init__(self, client: Client, namespace: str, *, allow_node_drain: bool = False) -> None:
        self.client = client
        self.informers = Informers(client, namespace)
        self.sockets: Sockets = HostSockets()
        self._allow_node_drain = allow_node_drain
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._running = asyncio.create_task(self.informers.run(), name="informers")

    async def aclose(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        await self.client.aclose()

    def cannot(self, capability: Capability) -> str:
        if capability is Capability.DRAIN:
            return (
                "" if self._allow_node_drain else "drains touch other people's pods: allow them by --allow-node-drain"
            )
        return _NOT_BY_API[capability]

    def watch(self, observer: Observer) -> None:
        """Nodes are not seen from here."""

    def on_table(self, subscriber: Callable[[ServiceTable], None]) -> None:
        """Nor is what a real cluster's network has in force."""

    async def signal(self, pod: Pod, container: str, signal: str) -> None:
        raise LookupError(_NOT_BY_API[Capability.SIGNAL])

    async def pause(self, pod: Pod, container: str) -> None:
        raise LookupError(_NOT_BY_API[Capability.PAUSE])

    async def resume(self, pod: Pod, container: str) -> None:
        raise LookupError(_NOT_BY_API[Capability.PAUSE])

    def block_readiness(self, pod: Pod) -> None:
        raise LookupError(_NOT_BY_API[Capability.BLOCK_READINESS])

    def unblock_readiness(self, pod: Pod) -> None:
        raise LookupError(_NOT_BY_API[Capability.BLOCK_READINESS])

    async def lose_node(self, name: str) -> str:
        raise LookupError(_NOT_BY_API[Capability.LOSE_NODE])

    async def return_node(self, name: str) -> None:
        raise LookupError(_NOT_BY_API[Capability.LOSE_NODE])


_NOT_BY_API = {
    Capability.SIGNAL: "no API call sends a signal to a container",
    Capability.PAUSE: "no API call pauses a container",
    Capability.BLOCK_READINESS: "no API call makes a readiness probe fail",
    Capability.LOSE_NODE: "no API call takes a node away",
}
