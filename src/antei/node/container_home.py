"""What a container asks of its pod, and what it is told of its past."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lightkube.models.core_v1 import ContainerStatus
from lightkube.resources.core_v1 import Pod

from antei.node.downward import NodeFacts
from antei.node.volumes.mounter import VolumeMounter
from antei.runtime import ContainerRecord, Sandbox

__all__ = ["Adopted", "Home"]


class Home(Protocol):
    """What a container asks of its pod."""

    @property
    def pod(self) -> Pod:
        """The newest object."""
        ...

    @property
    def node_facts(self) -> NodeFacts: ...

    @property
    def sandbox(self) -> Sandbox: ...

    @property
    def volumes(self) -> VolumeMounter: ...

    async def wait_prepared(self) -> None:
        """Returns when volumes, address and sandbox are there."""
        ...

    def changed(self) -> None: ...

    def restart_all(self) -> None:
        """A rule of this container's says that all of the pod's begin anew; it waits until it is stopped for that."""
        ...


@dataclass(frozen=True, slots=True)
class Adopted:
    """What is left of a container from before a restart of the node: its runs in order, and what the API says."""

    records: Sequence[ContainerRecord] = ()
    status: ContainerStatus | None = None
    has_sandbox: bool = False
