"""The two kinds of cluster that a test may have by the clock on the wall, each as a block that it runs in.

Both serve the API over HTTPS and write a kubeconfig into their directory; what a test may do inside one, on the
cluster's own loop, is `Inside`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from lightkube.resources.core_v1 import Pod

from antei.api.errors import bad_request
from antei.api.pod_streams import CommandStreams, PodExecOptions
from antei.client import Client
from antei.cluster import Cluster, Settings
from antei.node.agent import NodeAgent
from antei.node.fleet import FleetLogs, FleetStreams
from antei.node.kubelets import NodeKubelets
from antei.server.http.server import ApiServer
from antei.server.kubeconfig import write_kubeconfig
from antei.server.pod_logs import PodLogs
from antei.server.webhook_transport import HttpsWebhooks
from antei.simulate.cluster import SimulatedCluster
from antei.testing.options import Options
from antei.world.system import system_world

__all__ = ["Inside", "opened"]


@dataclass(frozen=True, slots=True)
class Inside:
    """`cluster`: the Cluster or the SimulatedCluster; `failed` raises what made a part of it fail, and else goes on."""

    cluster: Any
    client: Client
    url: str
    notes: Sequence[str]
    agents: dict[str, NodeAgent]
    failed: Callable[[], Awaitable[None]]


@asynccontextmanager
async def opened(options: Options, directory: Path) -> AsyncIterator[Inside]:
    """Up, with all nodes Ready, until the end of the block. Raises OSError, ImageMapError or StoreError."""
    chosen = _simulated if options.runtime == "simulated" else _of_processes
    async with chosen(options, directory) as inside:
        yield inside


@asynccontextmanager
async def _of_processes(options: Options, directory: Path) -> AsyncIterator[Inside]:
    maps = await asyncio.to_thread(_map_files, options, directory)
    settings = Settings(
        directory=directory,
        nodes=options.nodes,
        maps=tuple(maps),
        runtime="process",
        endpoint_lag_seconds=options.endpoint_lag_seconds,
        is_persistent=False,
        has_way_out=False,
    )
    cluster = Cluster(settings)
    await cluster.start()
    try:
        yield Inside(cluster, cluster.client, cluster.url, cluster.notes, cluster.agents, cluster.wait_failed)
    finally:
        # Nothing of it is kept: containers are not asked whether they would like to end.
        await asyncio.shield(cluster.stop(end_workloads=True, grace_seconds=0))


def _map_files(options: Options, directory: Path) -> list[Path]:
    """Image maps given as data become files, as those of `antei up --map` are."""
    files: list[Path] = []
    for number, given in enumerate(options.images):
        if isinstance(given, (str, Path)):
            files.append(Path(given).absolute())
            continue
        file = directory / f"images-{number}.yaml"
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(given if "images" in given else {"images": {**given}}))
        files.append(file)
    return files


@asynccontextmanager
async def _simulated(options: Options, directory: Path) -> AsyncIterator[Inside]:
    world = system_world()
    webhooks = HttpsWebhooks(None)  # by URL: pods have no network that Services could be in
    cluster = SimulatedCluster(
        nodes=options.nodes,
        profiles=options.profiles,
        endpoint_lag=options.endpoint_lag_seconds,
        world=world,
        webhooks=webhooks,
    )
    logs: PodLogs = FleetLogs(cluster.node_agents)
    kubelets = NodeKubelets(cluster.node_agents, cluster.runtime, world)
    server = ApiServer(cluster.registry, world, directory, logs, _SimulatedStreams(cluster), kubelets=kubelets)
    await server.start()
    try:
        await asyncio.to_thread(write_kubeconfig, directory / "kubeconfig", server.kubeconfig)
        async with cluster.running(root_ca=server.ca_pem, signer=server.authority):
            yield Inside(cluster, cluster.client, server.url, (), cluster.node_agents, _never)
    finally:
        await asyncio.shield(server.stop())
        await webhooks.aclose()


async def _never() -> None:
    """What fails in a simulated cluster ends its task group, and with it the block."""
    await asyncio.Event().wait()


class _SimulatedStreams:
    """Commands are answered by the container's profile; nothing listens on a simulated address."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._streams = FleetStreams(cluster.node_agents, self.connect, lambda: None)

    async def exec(self, pod: Pod, options: PodExecOptions) -> CommandStreams:
        return await self._streams.exec(pod, options)

    async def attach(self, pod: Pod, options: PodExecOptions) -> CommandStreams:
        return await self._streams.attach(pod, options)

    async def connect_local(self, pod: Pod, port: int) -> socket.socket:
        raise bad_request("containers are simulated: there is no port to connect to")

    async def connect(self, ip: str, port: int) -> socket.socket:
        raise ConnectionRefusedError(f"containers are simulated: nothing listens on {ip}:{port}")
