"""One node in virtual time: a registry, the node agent, simulated containers. Pods are bound when they are created."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from lightkube.models.core_v1 import ContainerStatus, PodCondition
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Event, Namespace, Pod

from antei.api.errors import ApiError
from antei.client import EventType
from antei.client.events import EventRecorder
from antei.client.local import LocalClient
from antei.node.agent import NodeAgent
from antei.node.context import TokenSource
from antei.node.memory_files import MemoryFiles
from antei.runtime.image_map import VolumeMap
from antei.runtime.simulated import ContainerProfile, SimulatedRuntime
from antei.server.registry import Registry
from antei.simulate.loop import run_virtual
from antei.store.memory import MemoryStore
from antei.world.sockets import PodAddress
from antei.world.virtual import virtual_world

CAPACITY = {"cpu": "4", "memory": "8Gi", "pods": "110", "ephemeral-storage": "100Gi"}


class Addresses:
    """A pod network that is nothing but addresses; also keeps what was given back."""

    def __init__(self, runtime: SimulatedRuntime) -> None:
        self._runtime = runtime
        self.of_pod: dict[str, str] = {}
        self.given = 0

    async def attach(self, pod_uid: str, node_name: str, user_namespace: Path | None = None) -> PodAddress:
        if pod_uid not in self.of_pod:
            self.given += 1
            self.of_pod[pod_uid] = f"10.244.0.{self.given}"
            self._runtime.bind_pod(pod_uid, self.of_pod[pod_uid])
        return PodAddress(self.of_pod[pod_uid], None)

    async def detach(self, pod_uid: str) -> None:
        self.of_pod.pop(pod_uid, None)

    def resolv_conf(self, pod: Pod) -> str:
        return "nameserver 10.96.0.10\n"


class SimulatedNode:
    def __init__(
        self,
        profiles: Mapping[str, ContainerProfile],
        capacity: Mapping[str, str],
        seed: int,
        tokens: TokenSource | None = None,
        manifests: Path | None = None,
    ) -> None:
        self._manifests = manifests
        self.world = virtual_world(seed)
        self.client = LocalClient(Registry(MemoryStore(), self.world))
        self.runtime = SimulatedRuntime(self.world, profiles)
        self.network = Addresses(self.runtime)
        self.files = MemoryFiles()
        self.volume_map = VolumeMap({})
        self.recorder = EventRecorder(self.client, self.world, "kubelet", "node-1")
        self.seen: list[tuple[float, Pod]] = []  # every state of every pod, with the second it was seen at
        self._capacity = capacity
        self._tokens = tokens
        self.agent = self.make_agent()
        self._agent_task: asyncio.Task[None] | None = None

    def make_agent(self) -> NodeAgent:
        return NodeAgent(
            "node-1",
            self.client,
            self.runtime,
            self.network,
            self.runtime,
            self.files,
            self.volume_map,
            self.recorder,
            self.world,
            Path("/antei/node-1"),
            "10.244.0.0/24",
            self._capacity,
            node_ip="10.0.0.1",
            tokens=self._tokens,
            manifests=(self._manifests, self._manifests / "node-1") if self._manifests is not None else (),
        )

    @property
    def seconds(self) -> float:
        return round(asyncio.get_running_loop().time(), 3)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        for name in ("default", "kube-node-lease"):
            namespace = Namespace(apiVersion="v1", kind="Namespace", metadata=ObjectMeta(name=name))
            try:
                await self.client.create(namespace)
            except ApiError as error:
                if error.code != 409:
                    raise
        async with asyncio.TaskGroup() as group:
            others = [group.create_task(self.recorder.run()), group.create_task(self._watch())]
            self._agent_task = group.create_task(self.agent.run())
            await self.agent.registered.wait()
            try:
                yield
            finally:
                for task in [*others, self._agent_task]:
                    task.cancel()

    async def restart_agent(self, down_seconds: float = 0.0) -> None:
        """What a kill of antei and another start do to the node: containers run on."""
        await self.restart_agent_after(asyncio.sleep(down_seconds))

    async def restart_agent_after(self, meanwhile: Awaitable[None]) -> None:
        assert self._agent_task is not None
        self._agent_task.cancel()
        await asyncio.wait({self._agent_task})
        await meanwhile
        self.agent = self.make_agent()
        self._agent_task = asyncio.ensure_future(self.agent.run())
        await self.agent.registered.wait()

    # --- doing ---

    async def create(self, spec: Mapping[str, Any], name: str = "web", **metadata: Any) -> Pod:
        """A pod that is bound already, from its spec as a manifest has it."""
        manifest = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", **metadata},
            "spec": {"nodeName": "node-1", **spec},
        }
        return await self.client.create(msgspec.convert(manifest, Pod))

    async def get(self, name: str = "web") -> Pod | None:
        try:
            return await self.client.get(Pod, name, "default")
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def write(self, path: Path, content: str) -> None:
        await self.files.make_file(path)
        self.files.files[path] = content.encode()

    async def delete(self, name: str = "web", grace_seconds: int | None = None) -> None:
        await self.client.delete(Pod, name, "default", grace_period_seconds=grace_seconds)

    async def at(self, second: float) -> None:
        """Sleeps until that second of the run, and lets everything due then happen first."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, second - loop.time()))
        await asyncio.sleep(0.0001)

    # --- looking ---

    async def status(self, container: str = "app", name: str = "web") -> ContainerStatus:
        pod = await self.get(name)
        assert pod is not None
        assert pod.status is not None
        every = [*(pod.status.containerStatuses or ()), *(pod.status.initContainerStatuses or ())]
        return next(status for status in every if status.name == container)

    async def condition(self, kind: str, name: str = "web") -> PodCondition:
        pod = await self.get(name)
        assert pod is not None
        assert pod.status is not None
        return next(c for c in pod.status.conditions or () if c.type == kind)

    async def phase(self, name: str = "web") -> str | None:
        pod = await self.get(name)
        return pod.status.phase if pod is not None and pod.status is not None else None

    async def events(self, reason: str | None = None) -> list[tuple[str, str]]:
        """(reason, message), each as often as it was counted."""
        await self.recorder.drain()
        found = (await self.client.list(Event, "default")).items
        return [
            (event.reason or "", event.message or "")
            for event in found
            for _ in range(event.count or 1)
            if reason in (None, event.reason)
        ]

    def times(self, what: str, detail: str | None = None, container: str | None = None) -> list[float]:
        """When the runtime saw that (started, signalled, exec, exited, …)."""
        return [
            round(entry.seconds, 3)
            for entry in self.runtime.log
            if entry.what == what and detail in (None, entry.detail) and container in (None, entry.container)
        ]

    def ready_changes(self, name: str = "web") -> list[tuple[float, bool]]:
        """When the pod's Ready condition was seen to change."""
        changes: list[tuple[float, bool]] = []
        for second, pod in self.seen:
            if pod.metadata is None or pod.metadata.name != name or pod.status is None:
                continue
            ready = next((c.status == "True" for c in pod.status.conditions or () if c.type == "Ready"), False)
            if not changes or changes[-1][1] is not ready:
                changes.append((second, ready))
        return changes

    def gone_at(self, name: str = "web") -> float | None:
        return self._gone.get(name)

    _gone: dict[str, float]

    async def _watch(self) -> None:
        self._gone = {}
        listing = await self.client.list(Pod)
        async for event in self.client.watch(Pod, resource_version=listing.resource_version):
            if event.type is EventType.DELETED and event.object.metadata is not None:
                self._gone[event.object.metadata.name or ""] = self.seconds
            self.seen.append((self.seconds, event.object))


@pytest.fixture
def on_node() -> Callable[..., None]:
    """Runs `main(node)` in virtual time on one node, whose containers follow `profiles` (by image)."""

    def run(
        main: Callable[[SimulatedNode], Coroutine[Any, Any, None]],
        profiles: Mapping[str, ContainerProfile] | ContainerProfile | None = None,
        *,
        capacity: Mapping[str, str] | None = None,
        seed: int = 1,
        tokens: TokenSource | None = None,
        manifests: Path | None = None,
    ) -> None:
        of_image = {"app": profiles} if isinstance(profiles, ContainerProfile) else dict(profiles or {})
        # Built before the loop runs: the first registry of a process looks for all kinds on the disk.
        node = SimulatedNode(of_image, capacity or CAPACITY, seed, tokens, manifests)

        async def session() -> None:
            async with node.running():
                await main(node)

        run_virtual(session())

    return run
