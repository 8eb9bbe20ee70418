"""What the parts of a node share: one frozen value, made by the agent, handed to every worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lightkube.resources.core_v1 import Pod, Service

from antei.client import Client
from antei.client.events import EventRecorder
from antei.node.files import Files
from antei.node.measures import NodeMeasures
from antei.node.observer import NO_CALM, NOBODY, UNBLOCKED, Calm, Observer, ProbeBlock
from antei.node.pod_network import PodNetwork
from antei.runtime import Runtime
from antei.world import World
from antei.world.sockets import ProbeTransport

__all__ = ["NodeContext", "TokenSource", "VolumeMap", "as_it_says"]


class VolumeMap(Protocol):
    """Stand-ins for volume sources that this machine cannot mount (`volumes:` of antei.yaml)."""

    def local_directory(self, source: object) -> Path | None:
        """The directory that stands in for a volume source (NFSVolumeSource, …); None where none is named."""
        ...

    def line_for(self, source: object) -> str | None:
        """What to write under `volumes:` to map this source; None for a kind that cannot be mapped."""
        ...


class TokenSource(Protocol):
    async def token(self, pod: Pod, audience: str, expiration_seconds: int) -> str:
        """A signed token of the pod's service account, bound to the pod. Raises ApiError."""
        ...


def as_it_says(service: Service) -> Service:
    """Where pods have a network of their own, a Service is reached at its ClusterIP."""
    return service


@dataclass(frozen=True)
class NodeContext:
    """`directory` is the node's own; without `tokens` no service account token is written.

    `reached` gives a Service the address and ports at which pods of this machine reach it, for their environment.
    """

    node_name: str
    node_ip: str
    client: Client
    runtime: Runtime
    network: PodNetwork
    transport: ProbeTransport
    files: Files
    volume_map: VolumeMap
    recorder: EventRecorder
    world: World
    directory: Path
    allocatable: Mapping[str, str]
    tokens: TokenSource | None = None
    reached: Callable[[Service], Service] = as_it_says
    observer: Observer = NOBODY
    probe_block: ProbeBlock = UNBLOCKED
    calm: Calm = NO_CALM
    measures: NodeMeasures = field(default_factory=NodeMeasures)

    def pod_directory(self, pod_uid: str) -> Path:
        return self.directory / "pods" / pod_uid

    def log_directory(self, pod: Pod) -> Path:
        """The kubelet's own layout: NAMESPACE_NAME_UID/CONTAINER/ATTEMPT.log."""
        metadata = pod.metadata
        assert metadata is not None
        return self.directory / "logs" / f"{metadata.namespace}_{metadata.name}_{metadata.uid}"

    def event(self, pod: Pod, event_type: str, reason: str, message: str, field_path: str = "") -> None:
        self.recorder.event(pod, event_type, reason, message, field_path)
