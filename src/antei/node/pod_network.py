"""What the node asks of the network: an address for each pod. `antei.network` implements it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from lightkube.resources.core_v1 import Pod

from antei.world.sockets import PodAddress

__all__ = ["PodNetwork"]


class PodNetwork(Protocol):
    async def attach(self, pod_uid: str, node_name: str, user_namespace: Path | None = None) -> PodAddress:
        """Gives the pod its address on that node. Again for one uid, also after a restart of antei: the same address.

        `user_namespace`: whose users rule the pod's network, where they are not this machine's.

        Raises OSError when no address is left or the kernel refuses.
        """
        ...

    async def detach(self, pod_uid: str) -> None:
        """Takes the address back; no error when there is none."""
        ...

    def resolv_conf(self, pod: Pod) -> str:
        """The pod's /etc/resolv.conf under its dnsPolicy and dnsConfig."""
        ...
