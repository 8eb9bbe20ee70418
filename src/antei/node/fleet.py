"""All nodes of a cluster as the API server asks for them: logs, commands and connections, by the pod's node.

Implements `antei.server.pod_logs.PodLogs` and `antei.server.pod_streams.PodStreams`.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from lightkube.resources.core_v1 import Pod

from antei.api.errors import bad_request
from antei.api.mirror_pods import as_run
from antei.api.objects import name_of
from antei.api.pod_logs import PodLogOptions
from antei.api.pod_streams import CommandStreams, PodExecOptions
from antei.node.agent import NodeAgent
from antei.node.streams import NodeStreams

__all__ = ["FleetLogs", "FleetStreams"]


class FleetLogs:
    """Logs are read by the agent of the node that the pod is on. `agents`: by the names of their nodes, as they are."""

    def __init__(self, agents: Mapping[str, NodeAgent]) -> None:
        self._agents = agents

    async def read(self, pod: Pod, options: PodLogOptions) -> AsyncIterator[bytes]:
        async for piece in _agent_of(self._agents, pod).logs.read(as_run(pod), options):
            yield piece


class FleetStreams:
    """Commands run on the node that the pod is on; connections begin where nodes are on the network.

    `dial`: opens a connection to an address of the cluster. `host_namespace`: where pods of the host's network are.
    """

    def __init__(
        self,
        agents: Mapping[str, NodeAgent],
        dial: Callable[[str, int], Awaitable[socket.socket]],
        host_namespace: Callable[[], str | None],
    ) -> None:
        self._agents = agents
        self._dial = dial
        self._host_namespace = host_namespace

    async def exec(self, pod: Pod, options: PodExecOptions) -> CommandStreams:
        return await self._of(pod).exec(as_run(pod), options)

    async def attach(self, pod: Pod, options: PodExecOptions) -> CommandStreams:
        return await self._of(pod).attach(as_run(pod), options)

    async def connect_local(self, pod: Pod, port: int) -> socket.socket:
        return await self._of(pod).connect_local(as_run(pod), port, self._host_namespace())

    async def connect(self, ip: str, port: int) -> socket.socket:
        return await self._dial(ip, port)

    def _of(self, pod: Pod) -> NodeStreams:
        return _agent_of(self._agents, pod).streams


def _agent_of(agents: Mapping[str, NodeAgent], pod: Pod) -> NodeAgent:
    agent = agents.get((pod.spec.nodeName if pod.spec is not None else None) or "")
    if agent is None:
        raise bad_request(f"pod {name_of(pod)} does not have a host assigned")
    return agent
