"""The service table in the kernel: nftables maps in the cluster's namespace, each change one transaction.

    prerouting, output ─► translate ─► services / node_ports: (address, protocol, port) ─► verdict: goto e3, n3 or s-…
        e3, n3   one of 3 endpoints at random: a lookup of (address, protocol, port, random number below 3), the number
                 being handed over in the packet's mark, which nothing else here uses
        s-<id>   session affinity: the client's endpoint if there is one in a set, otherwise one at random
    postrouting ─► a pod that reaches itself through its Service calls from the node's address; what leaves the cluster
                   from the address of the way out
    forward, output (filter) ─► what is still for a Service address has no endpoint: reset, or port unreachable

Only the first packet of a connection asks; connection tracking keeps established ones where they are. `flush` and
`add` of all elements travel in one transaction, so that a packet sees either the old table or the new one.
"""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from antei.network.addresses import ClusterAddresses
from antei.network.services import Endpoint, ServicePort, ServiceTable
from antei.world import namespaces

__all__ = ["OUTSIDE", "NftablesBackend", "Ruleset", "Transaction"]

#: The device that leads out of the cluster's namespace, where there is one.
OUTSIDE = "outside"

_TABLE = "ip antei"
#: A transaction takes some 3 ms, 10 ms for 300 Services; after this long something is wrong.
_NFT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Transaction:
    """The text for `nft -f -`, and what the kernel holds besides the fixed parts once it has gone through."""

    text: str
    chains: frozenset[str]
    sets: frozenset[str]


@dataclass(slots=True)
class Ruleset:
    """What a table looks like in nftables. Pure."""

    service_cidr: str
    hairpin_source: str  # whom a pod sees calling when it called itself

    def rebuild(self, table: ServiceTable) -> Transaction:
        """Everything anew: the first time, and after a transaction that failed."""
        body = _Body.of(table)
        text = f"add table {_TABLE}\ndelete table {_TABLE}\n{self._fixed()}\n{body.text()}"
        return Transaction(text, frozenset(body.chains), frozenset(body.sets))

    def update(self, table: ServiceTable, before: Transaction) -> Transaction:
        """Only the elements, and the chains that they go to; clients' affinity is kept."""
        body = _Body.of(table)
        flushed = [f"flush map {_TABLE} {name}" for name in ("services", "node_ports", "endpoints", "node_endpoints")]
        flushed.append(f"flush set {_TABLE} hairpin")
        # Rules first, all of them: a chain or a set goes only when no rule speaks of it any more.
        flushed += [f"flush chain {_TABLE} {chain}" for chain in sorted(before.chains)]
        flushed += [f"delete chain {_TABLE} {chain}" for chain in sorted(before.chains - body.chains.keys())]
        flushed += [f"delete set {_TABLE} {name}" for name in sorted(before.sets - body.sets.keys())]
        return Transaction("\n".join(flushed) + "\n" + body.text(), frozenset(body.chains), frozenset(body.sets))

    def _fixed(self) -> str:
        return f"""
table {_TABLE} {{
  map services {{
    type ipv4_addr . inet_proto . inet_service : verdict
  }}
  map node_ports {{
    type inet_proto . inet_service : verdict
  }}
  map endpoints {{
    type ipv4_addr . inet_proto . inet_service . mark : ipv4_addr . inet_service
  }}
  map node_endpoints {{
    type inet_proto . inet_service . mark : ipv4_addr . inet_service
  }}
  set hairpin {{
    type ipv4_addr . ipv4_addr
  }}
  chain translate {{
    ip daddr . meta l4proto . th dport vmap @services
    fib daddr type local meta l4proto . th dport vmap @node_ports
  }}
  chain prerouting {{
    type nat hook prerouting priority -100
    jump translate
  }}
  chain output {{
    type nat hook output priority -100
    jump translate
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat
    ct status dnat ip saddr . ip daddr @hairpin snat to {self.hairpin_source}
    oifname "{OUTSIDE}" masquerade
  }}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    reject with icmp type port-unreachable
  }}
  chain refuse_forwarded {{
    type filter hook forward priority filter
    ip daddr {self.service_cidr} goto refuse
  }}
  chain refuse_own {{
    type filter hook output priority filter
    ip daddr {self.service_cidr} fib daddr type != local goto refuse
  }}
}}"""


@dataclass(slots=True)
class _Body:
    """The elements of each map, the rules of each chain, the declaration of each set."""

    elements: dict[str, list[str]] = field(default_factory=dict)
    chains: dict[str, list[str]] = field(default_factory=dict)
    sets: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, table: ServiceTable) -> _Body:
        body = cls()
        pod_ips: dict[str, None] = {}
        taken: set[str] = set()
        for port in table.ports:
            pod_ips.update(dict.fromkeys(endpoint.ip for endpoint in port.endpoints))
            if not port.endpoints:
                continue
            protocol = port.protocol.lower()
            keys = [(f"{ip} . {protocol} . {port.port}", "services", "endpoints", "e") for ip in port.ips]
            if port.node_port is not None:
                keys.append((f"{protocol} . {port.node_port}", "node_ports", "node_endpoints", "n"))
            for key, map_name, endpoint_map, letter in keys:
                if key in taken:  # two Services with one external address and port: the first has it
                    continue
                taken.add(key)
                body._entry(port, key, map_name, endpoint_map, letter)
        body.elements["hairpin"] = [f"{ip} . {ip}" for ip in pod_ips]
        return body

    def _entry(self, port: ServicePort, key: str, map_name: str, endpoint_map: str, letter: str) -> None:
        if port.affinity_seconds is not None:
            self._add(map_name, f"{key} : goto {self._affine(port, port.affinity_seconds)}")
            return
        count = len(port.endpoints)
        chain = f"{letter}{count}"
        address = "ip daddr . " if letter == "e" else ""
        self.chains[chain] = [
            f"meta mark set numgen random mod {count} "
            f"dnat ip to {address}meta l4proto . th dport . meta mark map @{endpoint_map}"
        ]
        self._add(map_name, f"{key} : goto {chain}")
        for number, endpoint in enumerate(port.endpoints):
            self._add(endpoint_map, f"{key} . {number} : {endpoint.ip} . {endpoint.port}")

    def _affine(self, port: ServicePort, seconds: int) -> str:
        """A chain for the port and one for each endpoint with the set of its clients, as kube-proxy has them."""
        chain = "s-" + _digest(str(port), port.protocol)
        if chain in self.chains:
            return chain
        known, choices = [], []
        for number, endpoint in enumerate(port.endpoints):
            digest = _digest(str(port), port.protocol, endpoint.ip, str(endpoint.port), str(seconds))
            target, clients = f"t-{digest}", f"c-{digest}"
            self.sets[clients] = f"{{ type ipv4_addr; flags dynamic,timeout; timeout {seconds}s; size 65535; }}"
            self.chains[target] = [
                f"update @{clients} {{ ip saddr timeout {seconds}s }}",
                f"meta l4proto {port.protocol.lower()} dnat ip to {endpoint.ip}:{endpoint.port}",
            ]
            known.append(f"ip saddr @{clients} goto {target}")
            choices.append(f"{number} : goto {target}")
        self.chains[chain] = [*known, f"numgen random mod {len(choices)} vmap {{ {', '.join(choices)} }}"]
        return chain

    def _add(self, name: str, element: str) -> None:
        self.elements.setdefault(name, []).append(element)

    def text(self) -> str:
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        for name, declaration in self.sets.items():
            yield f"add set {_TABLE} {name} {declaration}"
        for chain in self.chains:
            yield f"add chain {_TABLE} {chain}"
        for chain, rules in self.chains.items():
            for rule in rules:
                yield f"add rule {_TABLE} {chain} {rule}"
        for name, elements in self.elements.items():
            if elements:
                yield f"add element {_TABLE} {name} {{ {', '.join(elements)} }}"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


class NftablesBackend:
    """Puts tables into force in the cluster's namespace; `nft` runs from a thread that has entered it."""

    def __init__(self, namespace: str, addresses: ClusterAddresses) -> None:
        self._namespace = namespace
        first_node = next(iter(addresses.nodes.values()), addresses.api)
        self._ruleset = Ruleset(addresses.service_cidr, hairpin_source=first_node)
        self._thread = ThreadPoolExecutor(1, "nftables")
        self._in_force: Transaction | None = None
        self._udp_endpoints: frozenset[Endpoint] = frozenset()

    async def start(self) -> None:
        """Raises OSError when there is no `nft` or the namespace may not be entered."""
        await self._run(partial(namespaces.enter, self._namespace))
        await self._run(partial(_nft, "list tables\n"))

    async def apply(self, table: ServiceTable) -> None:
        """Raises OSError when the kernel does not take the table; then the one before is still in force."""
        before = self._in_force
        transaction = self._ruleset.rebuild(table) if before is None else self._ruleset.update(table, before)
        self._in_force = None  # if it fails, the next one starts from nothing
        await self._run(partial(_nft, transaction.text))
        self._in_force = transaction
        udp_endpoints = frozenset(e for port in table.ports if port.protocol == "UDP" for e in port.endpoints)
        gone = self._udp_endpoints - udp_endpoints
        self._udp_endpoints = udp_endpoints
        if gone:
            await self._run(partial(_forget_udp, gone))

    def close(self) -> None:
        """Ends the thread. The table stays in force."""
        self._thread.shutdown(wait=False)

    async def _run(self, function: Callable[[], object]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, function)


def _forget_udp(endpoints: frozenset[Endpoint]) -> None:
    """Imported here: netlink is loaded in the thread, and by clusters with namespaces alone."""
    from antei.network.conntrack import forget_udp

    forget_udp(endpoints)


def _nft(text: str) -> None:
    try:
        done = subprocess.run(["nft", "-f", "-"], input=text.encode(), capture_output=True, timeout=_NFT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise OSError(f"nft did not end within {_NFT_SECONDS:g} s") from error
    if done.returncode != 0:
        raise OSError(f"nft: {done.stderr.decode(errors='replace').strip()[:2000]}")
