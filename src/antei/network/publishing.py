"""Which ports of the host's loopback lead where, with namespaces and without."""

from __future__ import annotations

import asyncio
import logging
import socket

from antei.network.addresses import ClusterAddresses
from antei.network.datagrams import DatagramRelay
from antei.network.relay import Dial, Relay
from antei.network.services import Endpoint, ServicePort, ServiceTable
from antei.world import Chance
from antei.world.sockets import Sockets

__all__ = ["LOOPBACK", "LoopbackBackend", "NodePortPublisher", "connect"]

_LOG = logging.getLogger(__name__)
LOOPBACK = "127.0.0.1"
_AFFINITY_KEPT_MOST = 65536


async def connect(sockets: Sockets, ip: str, port: int) -> socket.socket:
    """A TCP connection from where `sockets` opens. Raises OSError."""
    opened = sockets.open(socket.AF_INET, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(opened, (ip, port))
    except BaseException:
        opened.close()
        raise
    return opened


class NodePortPublisher:
    """With namespaces: each NodePort on 127.0.0.1, leading to that port of a node, where nftables balances."""

    def __init__(self, relay: Relay, datagrams: DatagramRelay, sockets: Sockets, node_ip: str) -> None:
        self._relay = relay
        self._datagrams = datagrams
        self._sockets = sockets
        self._node_ip = node_ip

    def publish(self, table: ServiceTable) -> None:
        self._relay.publish(
            {
                (LOOPBACK, entry.node_port): self._dial(entry.node_port)
                for entry in table.ports
                if entry.node_port is not None and entry.protocol == "TCP"
            }
        )
        numbers = [entry.node_port for entry in table.ports if entry.protocol == "UDP"]
        self._datagrams.publish({(LOOPBACK, number): (self._node_ip, number) for number in numbers if number})

    def _dial(self, port: int) -> Dial:
        async def dial(_client_ip: str) -> socket.socket:
            return await connect(self._sockets, self._node_ip, port)

        return dial


class LoopbackBackend:
    """Without namespaces, `proxy.Backend` in userspace: each Service on its loopback address, NodePorts on 127.0.0.1
    and on the nodes' loopback addresses. TCP only."""

    def __init__(self, relay: Relay, sockets: Sockets, addresses: ClusterAddresses, chance: Chance) -> None:
        self._relay = relay
        self._sockets = sockets
        self._addresses = addresses
        self._chance = chance
        self._said: set[str] = set()
        self._affinity: dict[tuple[str, str], tuple[Endpoint, float]] = {}  # (port, client) to (endpoint, last used)

    async def apply(self, table: ServiceTable) -> None:
        wanted: dict[tuple[str, int], Dial] = {}
        for entry in table.ports:
            if entry.protocol != "TCP":
                if str(entry) not in self._said:
                    _LOG.warning("Service %s is %s: not served without network namespaces", entry, entry.protocol)
                    self._said.add(str(entry))
                continue
            dial = self._dial(entry)
            for ip in entry.ips:
                wanted.setdefault((self._addresses.placed_service(ip), entry.port), dial)
            if entry.node_port is not None:
                for ip in (LOOPBACK, *self._addresses.nodes.values()):
                    wanted.setdefault((ip, entry.node_port), dial)
        self._relay.publish(wanted)

    def _dial(self, entry: ServicePort) -> Dial:
        async def dial(client_ip: str) -> socket.socket:
            endpoint = self._choose(entry, client_ip)
            return await connect(self._sockets, endpoint.ip, endpoint.port)

        return dial

    def _choose(self, entry: ServicePort, client_ip: str) -> Endpoint:
        if not entry.endpoints:
            raise ConnectionRefusedError(f"{entry} has no endpoint")
        key, now = (str(entry), client_ip), asyncio.get_running_loop().time()
        if entry.affinity_seconds is not None:
            known = self._affinity.pop(key, None)
            if known is not None and known[0] in entry.endpoints and now - known[1] < entry.affinity_seconds:
                self._affinity[key] = known[0], now
                return known[0]
        count = len(entry.endpoints)
        chosen = entry.endpoints[min(int(self._chance.uniform(0, count)), count - 1)]
        if entry.affinity_seconds is not None:
            self._affinity[key] = chosen, now
            if len(self._affinity) > _AFFINITY_KEPT_MOST:
                del self._affinity[next(iter(self._affinity))]
        return chosen
