"""One node as the scheduler sees it: what it offers, what is taken, and what follows from both, worked out once.

Filters and scores look at hundreds of nodes for each pod, of which one has changed since the pod before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from lightkube.models.core_v1 import Taint
from lightkube.resources.core_v1 import Node

from antei.api.objects import labels_of, name_of
from antei.api.quantity import to_int, to_millis
from antei.control.scheduler.pod_facts import HostPort, PodFacts, Requests

__all__ = ["NodeState"]


class NodeState:
    """`position`: in order of appearance, breaks ties. `is_open`: neither cordoned nor tainted.

    Amounts are in units as those of `Requests`.
    """

    __slots__ = (
        "_asked",
        "_share",
        "allocatable",
        "host_ports",
        "is_open",
        "is_unschedulable",
        "labels",
        "name",
        "node",
        "pods",
        "position",
        "requested",
        "scored_cpu_millis",
        "scored_memory_bytes",
        "shunning_taints",
        "taints",
    )

    def __init__(self, node: Node, position: int) -> None:
        self.position = position
        self.requested: Counter[str] = Counter()
        self.scored_cpu_millis = 0
        self.scored_memory_bytes = 0
        self.host_ports: Counter[HostPort] = Counter()
        self.pods: dict[str, PodFacts] = {}
        # What the pod that was scored last asks, and the share that this leaves; those after it often ask the same.
        self._asked: Requests | None = None
        self._share = 0.0
        self.describe(node)

    def describe(self, node: Node) -> None:
        """What the node says of itself is this now."""
        taints = (node.spec.taints if node.spec else None) or ()
        self.node = node
        self.name = name_of(node)
        self.labels: Mapping[str, str] = labels_of(node)
        self.allocatable = _allocatable_of(node)
        self.is_unschedulable = bool(node.spec and node.spec.unschedulable)
        self.taints: tuple[Taint, ...] = tuple(t for t in taints if t.effect in ("NoSchedule", "NoExecute"))
        self.is_open = not self.is_unschedulable and not self.taints
        self.shunning_taints: tuple[Taint, ...] = tuple(t for t in taints if t.effect == "PreferNoSchedule")
        self._asked = None

    def add(self, facts: PodFacts, sign: int = 1) -> None:
        if sign > 0:
            self.pods[facts.uid] = facts
        else:
            self.pods.pop(facts.uid, None)
        for name, amount in facts.requests.amounts.items():
            self.requested[name] += sign * amount
        self.scored_cpu_millis += sign * facts.requests.scored_cpu_millis
        self.scored_memory_bytes += sign * facts.requests.scored_memory_bytes
        for port in facts.host_ports:
            self.host_ports[port] += sign
            if not self.host_ports[port]:
                del self.host_ports[port]
        self._asked = None

    def free_share(self, requests: Requests) -> float:
        """The mean of the free shares of CPU and memory, in percent, after a pod that asks for this is there."""
        if requests is not self._asked:
            cpu = _free(self.allocatable.get("cpu", 0), self.scored_cpu_millis + requests.scored_cpu_millis)
            memory = _free(self.allocatable.get("memory", 0), self.scored_memory_bytes + requests.scored_memory_bytes)
            self._asked, self._share = requests, (cpu + memory) / 2
        return self._share


def _free(capacity: int, requested: int) -> float:
    return (capacity - requested) * 100 / capacity if 0 < requested <= capacity else 0.0


def _allocatable_of(node: Node) -> dict[str, int]:
    amounts = (
        (node.status.allocatable if node.status else None) or (node.status.capacity if node.status else None) or {}
    )
    return {name: to_millis(amount) if name == "cpu" else to_int(amount) for name, amount in amounts.items()}
