"""Addresses for simulated pods: what `antei.node.pod_network.PodNetwork` asks for."""

from __future__ import annotations

from ipaddress import IPv4Network

from lightkube.resources.core_v1 import Pod

from antei.runtime.simulated.driver import SimulatedRuntime
from antei.world.sockets import PodAddress

__all__ = ["SimulatedPodNetwork"]


class SimulatedPodNetwork:
    """Gives each node a /24 of `cidr` and each pod an address the runtime answers on, reused as late as possible."""

    def __init__(self, runtime: SimulatedRuntime, cidr: str = "10.244.0.0/16") -> None:
        self._runtime = runtime
        self._free_subnets = IPv4Network(cidr).subnets(new_prefix=24)
        self._hosts: dict[str, list[str]] = {}  # node -> addresses not given out yet, the next one last
        self._leases: dict[str, tuple[str, str]] = {}  # pod uid -> (node, ip)

    async def attach(self, pod_uid: str, node_name: str) -> PodAddress:
        if pod_uid not in self._leases:
            if node_name not in self._hosts:
                subnet = next(self._free_subnets, None)
                if subnet is None:
                    raise OSError(f"no pod subnet left for node {node_name}")
                self._hosts[node_name] = [str(host) for host in subnet.hosts()][:0:-1]  # without .1, the node's own
            if not self._hosts[node_name]:
                raise OSError(f"no pod address left on node {node_name}")
            self._leases[pod_uid] = (node_name, self._hosts[node_name].pop())
            self._runtime.bind_pod(pod_uid, self._leases[pod_uid][1])
        return PodAddress(self._leases[pod_uid][1], None)

    async def detach(self, pod_uid: str) -> None:
        lease = self._leases.pop(pod_uid, None)
        if lease is not None:
            node_name, ip = lease
            self._runtime.unbind_address(ip)
            self._hosts[node_name].insert(0, ip)

    def resolv_conf(self, pod: Pod) -> str:
        return ""
