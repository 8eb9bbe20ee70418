"""A simulated cluster as a place where rehearsals are played: every fault, and every probe, hook and signal is seen."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from lightkube.resources.core_v1 import Pod

from antei.api.objects import uid_of
from antei.client import Client
from antei.network.services import ServiceTable
from antei.node.observer import Observer
from antei.rehearse.safety import Undo
from antei.rehearse.target import Capability, NodeWatch, ReadinessBlock
from antei.runtime import RuntimeFailure
from antei.simulate.cluster import SimulatedCluster
from antei.world.sockets import HostSockets, Sockets

__all__ = ["MemoryJournal", "SimulatedTarget", "TerseWatch"]


class TerseWatch(NodeWatch):
    """Tells of probes only what is news: failures, and the success after one. A simulated day has millions."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, str, str], bool] = {}

    def probed(self, pod: Pod, container: str, kind: str, failure: str | None) -> None:
        key, is_success = (uid_of(pod), container, kind), failure is None
        if is_success and self._last.get(key, False):
            return
        self._last[key] = is_success
        super().probed(pod, container, kind, failure)


class SimulatedTarget:
    """Implements `antei.rehearse.target.Target` for a cluster that was made with this `watch` and `block`."""

    sees_nodes = True

    def __init__(
        self,
        cluster: SimulatedCluster,
        nodes: NodeWatch,
        block: ReadinessBlock,
        on_node_lost: Callable[[str], None] = lambda name: None,
    ) -> None:
        """`on_node_lost` is told before it is."""
        self.cluster = cluster
        self.client: Client = cluster.client
        self.informers = cluster.informers
        self.sockets: Sockets = HostSockets()  # never used: the load is simulated
        self._nodes = nodes
        self._block = block
        self._on_node_lost = on_node_lost

    def cannot(self, capability: Capability) -> str:
        return ""

    def watch(self, observer: Observer) -> None:
        self._nodes.add(observer)

    def on_table(self, subscriber: Callable[[ServiceTable], None]) -> None:
        self.cluster.on_table(subscriber)

    async def signal(self, pod: Pod, container: str, signal: str) -> None:
        await self.cluster.runtime.signal(self._running(pod, container), signal)

    async def pause(self, pod: Pod, container: str) -> None:
        await self.cluster.runtime.pause(self._running(pod, container))

    async def resume(self, pod: Pod, container: str) -> None:
        with suppress(LookupError, RuntimeFailure):
            await self.cluster.runtime.resume(self._running(pod, container))

    def block_readiness(self, pod: Pod) -> None:
        self._block.pod_uids.add(uid_of(pod))
        self.cluster.runtime.disturb(uid_of(pod))

    def unblock_readiness(self, pod: Pod) -> None:
        self._block.pod_uids.discard(uid_of(pod))

    async def lose_node(self, name: str) -> str:
        self._on_node_lost(name)
        await self.cluster.lose_node(name)
        return "its agent is stopped and its pods are cut off the network"

    async def return_node(self, name: str) -> None:
        with suppress(LookupError):
            await self.cluster.return_node(name)

    def _running(self, pod: Pod, container: str) -> str:
        found = self.cluster.runtime.running_of(uid_of(pod), container)
        if not found:
            raise LookupError(f"container {container} of pod {uid_of(pod)} does not run")
        return found[-1].id


class MemoryJournal:
    """What is to be undone; nothing outlives a simulation, so nothing is on disk."""

    def __init__(self) -> None:
        self.noted: list[Undo] = []

    async def note(self, undo: Undo) -> None:
        self.noted.append(undo)

    async def strike(self, undo: Undo) -> None:
        self.noted.remove(undo)
