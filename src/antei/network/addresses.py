"""Which addresses a cluster uses. One cluster, one network namespace, so clusters side by side use the same ones.

    10.96.0.0/12    Services: 10.96.0.1 the API, 10.96.0.10 DNS
    10.128.0.<n>    the host address of virtual node n (from 1)
    10.244.<n>.0/24 the pods of node n

Where namespaces are not to be had, each 10.x.y.z is 127.x.y.z instead: on Linux all of 127.0.0.0/8 is the host's
loopback, so Services, nodes and pods keep addresses of their own without any privilege.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["CLUSTER_DOMAIN", "OWN_SERVICE_IPS", "ClusterAddresses", "on_loopback"]

CLUSTER_DOMAIN = "cluster.local"
_API, _DNS = "10.96.0.1", "10.96.0.10"
#: ClusterIPs at which antei itself listens, so that no endpoint is looked up for them.
OWN_SERVICE_IPS = frozenset({_API, _DNS})
#: Pods of one node: .2 to .254 of its /24.
FIRST_POD, LAST_POD = 2, 254
MAX_NODES = 254


def on_loopback(ip: str) -> str:
    """The loopback address that stands for a cluster address: 10.96.0.10 is 127.96.0.10."""
    return "127." + ip.partition(".")[2] if ip.startswith("10.") else ip


@dataclass(frozen=True, slots=True)
class ClusterAddresses:
    """The addresses of a cluster's parts, in the real ranges or on loopback."""

    node_names: tuple[str, ...]
    loopback: bool = False

    @classmethod
    def of(cls, node_names: Sequence[str], *, loopback: bool) -> ClusterAddresses:
        """Raises ValueError when there are more nodes than subnets."""
        if len(node_names) > MAX_NODES:
            raise ValueError(f"{len(node_names)} nodes: at most {MAX_NODES} have a subnet of their own")
        return cls(tuple(node_names), loopback)

    @property
    def service_cidr(self) -> str:
        return self._placed("10.96.0.0") + "/12"

    @property
    def pod_cidr_of_all(self) -> str:
        return self._placed("10.244.0.0") + "/16"

    @property
    def api(self) -> str:
        return self._placed(_API)

    @property
    def dns(self) -> str:
        return self._placed(_DNS)

    @property
    def nodes(self) -> dict[str, str]:
        """Node name to its host address."""
        return {name: self._placed(f"10.128.0.{number}") for number, name in enumerate(self.node_names, 1)}

    def pod_cidr(self, node_name: str) -> str:
        return f"{self._subnet(node_name)}.0/24"

    def pod(self, node_name: str, number: int) -> str:
        return f"{self._subnet(node_name)}.{number}"

    def placed_service(self, cluster_ip: str) -> str:
        """Where a ClusterIP of the API is answered."""
        return self._placed(cluster_ip)

    def _subnet(self, node_name: str) -> str:
        return self._placed(f"10.244.{self.node_names.index(node_name) + 1}")

    def _placed(self, ip: str) -> str:
        return on_loopback(ip) if self.loopback else ip
