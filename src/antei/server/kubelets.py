"""What the server asks of the nodes about themselves: what they count, and what their pods use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from antei.world.measures import Measure

__all__ = ["ContainerUsage", "Kubelets", "PodUsage"]


@dataclass(frozen=True, slots=True)
class ContainerUsage:
    """`cpu_seconds` is what it has used since it started, so long ago; `id` tells one run from the next."""

    id: str
    name: str
    cpu_seconds: float
    memory_bytes: int
    age_seconds: float


@dataclass(frozen=True, slots=True)
class PodUsage:
    """The containers of a pod that run; the pod is in the store under this namespace and name, or no more."""

    uid: str
    namespace: str
    name: str
    node: str
    containers: tuple[ContainerUsage, ...]


class Kubelets(Protocol):
    def measures(self, node: str, path: str) -> Sequence[Measure] | None:
        """What a node counts: `path` is "" (of itself) or "probes". None: there is no such node here."""
        ...

    async def usage(self) -> Sequence[PodUsage]:
        """Of the pods of all nodes, at this moment; sorted by namespace and name."""
        ...
