"""What the server asks of whoever runs containers: commands in them, their terminals, connections into them."""

from __future__ import annotations

import socket
from typing import Protocol

from lightkube.resources.core_v1 import Pod

from antei.api.pod_streams import CommandStreams, PodExecOptions

__all__ = ["PodStreams"]


class PodStreams(Protocol):
    async def exec(self, pod: Pod, options: PodExecOptions) -> CommandStreams:
        """Starts the command. `options.container` names a container of the pod.

        Raises ApiError where there is nothing to run it in (400, `container not found ("x")`).
        """
        ...

    async def attach(self, pod: Pod, options: PodExecOptions) -> CommandStreams:
        """Joins the container's own first process, without disturbing it. Raises ApiError as `exec`."""
        ...

    async def connect_local(self, pod: Pod, port: int) -> socket.socket:
        """A connection to the port on the pod's own loopback, from inside the pod. Raises OSError, ApiError."""
        ...

    async def connect(self, ip: str, port: int) -> socket.socket:
        """A connection to an address of the cluster's network, as a node has it. Raises OSError."""
        ...
