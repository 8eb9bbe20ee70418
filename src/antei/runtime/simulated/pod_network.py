"""Addresses for simulated pods: what `antei.node.pod_network.PodNetwork` asks for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from lightkube.resources.core_v1 import Pod

from antei.runtime.simulated.driver import SimulatedRuntime
from antei.world.sockets import PodAddress

__all__ = ["SimulatedPodNetwork"]


class SimulatedPodNetwork:
    """Gives each node a /24 of `cidr` and each pod an address the runtime answers on, reused as late as possible."""

    def __init__(self, runtime: SimulatedRuntime, cidr: str = "10.244.0.0/16") -> None:
        self._runtime = runtime
        self._free_subnets = IPv4Network(cidr).subnets(new_prefix=24)
        self._hosts: dict[str, Iterator[IPv4Address]] = {}  # node -> addresses not given out yet
        self._returned: dict[str, deque[str]] = {}  # node -> those that were, the one unused for longest first
        self._leases: dict[str, tuple[str, str]] = {}  # pod uid -> (node, ip)

    async def attach(self, pod_uid: str, node_name: str, user_namespace: Path | None = None) -> PodAddress:
        if pod_uid not in self._leases:
            if node_name not in self._hosts:
                subnet = next(self._free_subnets, None)
                if subnet is None:
                    raise OSError(f"no pod subnet left for node {node_name}")
                hosts = subnet.hosts()
                next(hosts)  # .1 is the node's own
                self._hosts[node_name] = hosts
            ip = self._next_address(node_name)
            self._leases[pod_uid] = (node_name, ip)
            self._runtime.bind_pod(pod_uid, ip)
        return PodAddress(self._leases[pod_uid][1], None)

    async def detach(self, pod_uid: str) -> None:
        lease = self._leases.pop(pod_uid, None)
        if lease is not None:
            node_name, ip = lease
            self._runtime.unbind_address(ip)
            self._returned.setdefault(node_name, deque()).append(ip)

    def _next_address(self, node_name: str) -> str:
        fresh = next(self._hosts[node_name], None)
        if fresh is not None:
            return str(fresh)
        returned = self._returned.get(node_name)
        if not returned:
            raise OSError(f"no pod address left on node {node_name}")
        return returned.popleft()

    def resolv_conf(self, pod: Pod) -> str:
        return ""
