"""The nodes of this process as the API server asks them: what they count, what their pods use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightkube.resources.core_v1 import Pod

from antei.api.objects import name_of, namespace_of, uid_of
from antei.node.agent import NodeAgent
from antei.runtime import ContainerRecord, Runtime
from antei.runtime.usage import Measuring, Usage
from antei.server.kubelets import ContainerUsage, PodUsage
from antei.world import World
from antei.world.measures import Measure

__all__ = ["NodeKubelets"]

_NOTHING = Usage(0.0, 0)


class NodeKubelets:
    """Implements `antei.server.kubelets.Kubelets`. `agents` has those that run now, by node, and may change."""

    def __init__(self, agents: Mapping[str, NodeAgent], runtime: Runtime, world: World) -> None:
        self._agents = agents
        self._runtime = runtime
        self._world = world

    def measures(self, node: str, path: str) -> Sequence[Measure] | None:
        agent = self._agents.get(node)
        if agent is None:
            return None
        return (agent.measures.probes if path == "probes" else agent.measures.general).all()

    async def usage(self) -> Sequence[PodUsage]:
        """A runtime that cannot tell has containers that use nothing."""
        used = await self._runtime.usage() if isinstance(self._runtime, Measuring) else {}
        running: dict[str, list[ContainerRecord]] = {}
        for record in await self._runtime.containers():
            if record.exit is None:
                running.setdefault(record.pod_uid, []).append(record)
        found = [
            self._of(pod, node, running.get(uid_of(pod), ()), used)
            for node, agent in self._agents.items()
            for pod in agent.pods
        ]
        return sorted(found, key=lambda pod: (pod.namespace, pod.name))

    def _of(self, pod: Pod, node: str, records: Sequence[ContainerRecord], used: Mapping[str, Usage]) -> PodUsage:
        now = self._world.clock.now()
        containers = []
        for record in sorted(records, key=lambda record: record.name):
            usage = used.get(record.id, _NOTHING)
            age_seconds = (now - record.started_at).total_seconds()
            containers.append(
                ContainerUsage(record.id, record.name, usage.cpu_seconds, usage.memory_bytes, age_seconds)
            )
        return PodUsage(uid_of(pod), namespace_of(pod), name_of(pod), node, tuple(containers))
