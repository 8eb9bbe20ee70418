"""Cluster IPs and node ports: what a Service asks for, what is free, and what it keeps.

Nothing is recorded apart from the Services themselves: what is taken is what stored Services hold, plus what writes
under way have been given. So it survives restarts and cannot drift.

Kubernetes: pkg/registry/core/service/storage/alloc.go, pkg/registry/core/service/{ipallocator,portallocator}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import TypeVar

from lightkube.models.core_v1 import ServicePort, ServiceSpec
from lightkube.resources.core_v1 import Service

from antei.api.errors import FieldError, FieldErrorType, internal_error, invalid
from antei.api.objects import meta, replace
from antei.api.resources import resource_of
from antei.store import Store
from antei.world import Chance

__all__ = ["NODE_PORTS", "SERVICE_NETWORK", "ServiceAllocator", "first_address", "with_allocations_kept"]

SERVICE_NETWORK = IPv4Network("10.96.0.0/12")
NODE_PORTS = range(30000, 32768)
#: The part of the network that is left to Services which name their address (Kubernetes: calculateRangeOffset).
_STATIC_BAND_MOST = 256
_HEADLESS = "None"
K = TypeVar("K")


def first_address(network: IPv4Network) -> str:
    """The address of the Service `default/kubernetes`."""
    return str(network.network_address + 1)


@dataclass(slots=True)
class _Claims:
    """What the write of one Service takes, and what is wrong with it."""

    errors: list[FieldError] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    ports: list[tuple[str, int]] = field(default_factory=list)  # (protocol, number)


class ServiceAllocator:
    def __init__(
        self,
        store: Store,
        chance: Chance,
        network: IPv4Network = SERVICE_NETWORK,
        node_ports: range = NODE_PORTS,
    ) -> None:
        self.network = network
        self._store = store
        self._chance = chance
        self._node_ports = node_ports
        self._addresses_under_way: dict[str, int] = {}
        self._ports_under_way: dict[tuple[str, int], int] = {}

    def allocate(self, new: Service) -> tuple[Service, Callable[[], None]]:
        """The Service with its addresses and ports, and what to call when its write has ended, well or not.

        Raises 422 for what is taken or out of range.
        """
        claims = _Claims()
        spec = self._with_families(new.spec or ServiceSpec(), claims)
        spec = self._with_address(new, spec, claims)
        spec = self._with_node_ports(new, spec, claims)
        if claims.errors:
            raise invalid("Service", meta(new).name or "", claims.errors)
        for address in claims.addresses:
            self._addresses_under_way[address] = self._addresses_under_way.get(address, 0) + 1
        for port in claims.ports:
            self._ports_under_way[port] = self._ports_under_way.get(port, 0) + 1

        def release() -> None:
            for address in claims.addresses:
                _forget(self._addresses_under_way, address)
            for port in claims.ports:
                _forget(self._ports_under_way, port)

        return replace(new, spec=spec), release

    def _with_families(self, spec: ServiceSpec, claims: _Claims) -> ServiceSpec:
        """This cluster is IPv4 only."""
        if spec.type == "ExternalName":
            return replace(spec, ipFamilies=None, ipFamilyPolicy=None)
        headless_without_selector = spec.clusterIP == _HEADLESS and not spec.selector
        policy = spec.ipFamilyPolicy or ("RequireDualStack" if headless_without_selector else "SingleStack")
        families = spec.ipFamilies or (["IPv4", "IPv6"] if policy == "RequireDualStack" else ["IPv4"])
        if headless_without_selector:
            return replace(spec, ipFamilies=families, ipFamilyPolicy=policy)
        if policy == "RequireDualStack":
            detail = "this cluster is not configured for dual-stack services"
            claims.errors.append(FieldError(FieldErrorType.INVALID, "spec.ipFamilyPolicy", policy, detail))
        for index, family in enumerate(spec.ipFamilies or ()):
            if family != "IPv4":
                detail = "not configured on this cluster"
                claims.errors.append(FieldError(FieldErrorType.INVALID, f"spec.ipFamilies[{index}]", family, detail))
        return replace(spec, ipFamilies=families, ipFamilyPolicy=policy)

    def _with_address(self, service: Service, spec: ServiceSpec, claims: _Claims) -> ServiceSpec:
        if spec.type == "ExternalName":
            return replace(spec, clusterIP=None, clusterIPs=None)
        wanted = spec.clusterIP or (spec.clusterIPs[0] if spec.clusterIPs else "")
        if wanted == _HEADLESS:
            return replace(spec, clusterIP=_HEADLESS, clusterIPs=[_HEADLESS])
        taken = self._taken_addresses(service)
        if wanted:
            problem = self._address_problem(wanted, taken)
            if problem:
                detail = f"failed to allocate IP {wanted}: {problem}"
                claims.errors.append(FieldError(FieldErrorType.INVALID, "spec.clusterIPs", [wanted], detail))
                return spec
        else:
            wanted = self._free_address(taken)
        claims.addresses.append(wanted)
        return replace(spec, clusterIP=wanted, clusterIPs=[wanted])

    def _address_problem(self, wanted: str, taken: set[str]) -> str:
        try:
            address = ip_address(wanted)
        except ValueError:
            return f"invalid IP address: {wanted}"
        usable = isinstance(address, IPv4Address) and address in self.network
        if not usable or address in (self.network.network_address, self.network.broadcast_address):
            return (
                f"the provided IP ({wanted}) is not in the valid range. "
                f"The range of valid IPs is {self.network.with_prefixlen}"
            )
        return "provided IP is already allocated" if wanted in taken else ""

    def _taken_addresses(self, service: Service) -> set[str]:
        taken = set(self._addresses_under_way)
        for other in self._others(service):
            taken.update(other.clusterIPs or [other.clusterIP or ""])
        if (meta(service).namespace, meta(service).name) != ("default", "kubernetes"):
            taken.add(first_address(self.network))
        return taken

    def _free_address(self, taken: set[str]) -> str:
        """Anywhere in the upper band, from a random place on; in the lower band only when that is full."""
        size = self.network.num_addresses
        band = min(max(16, size // 16), _STATIC_BAND_MOST) if size > 32 else 0
        start = int(self._chance.uniform(band, size - 1))
        for offset in _ring(max(start, 1), max(band, 1), size - 1):
            address = str(self.network.network_address + offset)
            if address not in taken:
                return address
        for offset in range(1, band):
            address = str(self.network.network_address + offset)
            if address not in taken:
                return address
        raise internal_error("failed to allocate a serviceIP: range is full")

    def _with_node_ports(self, service: Service, spec: ServiceSpec, claims: _Claims) -> ServiceSpec:
        ports = spec.ports or []
        if not _needs_node_ports(spec):
            return spec
        taken = self._taken_ports(service)
        result: list[ServicePort] = []
        for index, port in enumerate(ports):
            protocol = port.protocol or "TCP"
            number = port.nodePort or 0
            if number:
                problem = self._port_problem(protocol, number, taken, claims)
                if problem:
                    path = f"spec.ports[{index}].nodePort"
                    claims.errors.append(FieldError(FieldErrorType.INVALID, path, number, problem))
                    result.append(port)
                    continue
            else:
                number = self._free_port(protocol, taken, claims, ports)
            claims.ports.append((protocol, number))
            result.append(replace(port, nodePort=number))
        return replace(spec, ports=result)

    def _port_problem(self, protocol: str, number: int, taken: set[tuple[str, int]], claims: _Claims) -> str:
        if number not in self._node_ports:
            bounds = f"{self._node_ports.start}-{self._node_ports.stop - 1}"
            return f"provided port is not in the valid range. The range of valid ports is {bounds}"
        if any(number == other for _, other in taken) or (protocol, number) in claims.ports:
            return "provided port is already allocated"
        return ""

    def _taken_ports(self, service: Service) -> set[tuple[str, int]]:
        taken = set(self._ports_under_way)
        for other in self._others(service):
            for port in other.ports or ():
                if port.nodePort:
                    taken.add((port.protocol or "TCP", port.nodePort))
        return taken

    def _free_port(
        self, protocol: str, taken: set[tuple[str, int]], claims: _Claims, ports: Iterable[ServicePort]
    ) -> int:
        used = {number for _, number in taken} | {number for _, number in claims.ports}
        used |= {port.nodePort for port in ports if port.nodePort}
        first, last = self._node_ports.start, self._node_ports.stop
        for number in _ring(int(self._chance.uniform(first, last)), first, last):
            if number not in used:
                return number
        raise internal_error("failed to allocate a nodePort: range is full")

    def _others(self, service: Service) -> Iterable[ServiceSpec]:
        own = (meta(service).namespace, meta(service).name)
        for stored in self._store.list(resource_of(Service).bucket).items:
            if (stored.key.namespace, stored.key.name) != own and stored.object.spec is not None:
                yield stored.object.spec


def _ring(start: int, first: int, end: int) -> Iterable[int]:
    """All numbers from `first` to before `end`, beginning at `start`."""
    yield from range(start, end)
    yield from range(first, start)


def _forget(counts: dict[K, int], key: K) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]


def _needs_node_ports(spec: ServiceSpec) -> bool:
    if spec.type == "NodePort":
        return True
    return spec.type == "LoadBalancer" and spec.allocateLoadBalancerNodePorts is not False


def with_allocations_kept(new: ServiceSpec, old: ServiceSpec) -> ServiceSpec:
    """The new spec with what the old one had been given and the client did not repeat.

    Kubernetes: pkg/registry/core/service/strategy.go, patchAllocatedValues and dropTypeDependentFields.
    """
    new = _without_what_its_type_lacks(new, old)
    if new.type == "ExternalName":
        return _without_addresses(new, old)
    if old.type != "ExternalName":
        if not new.clusterIP and not new.clusterIPs:
            new = replace(new, clusterIP=old.clusterIP, clusterIPs=old.clusterIPs)
        new = replace(
            new, ipFamilies=new.ipFamilies or old.ipFamilies, ipFamilyPolicy=new.ipFamilyPolicy or old.ipFamilyPolicy
        )
    return replace(new, ports=_kept_node_ports(new, old) or None)


def _without_what_its_type_lacks(new: ServiceSpec, old: ServiceSpec) -> ServiceSpec:
    """Without the fields of the old type that the client left as they were."""
    balanced = ("allocateLoadBalancerNodePorts", "loadBalancerClass") if new.type != "LoadBalancer" else ()
    external = ("externalTrafficPolicy", "healthCheckNodePort") if new.type not in ("LoadBalancer", "NodePort") else ()
    dropped = {name: None for name in (*balanced, *external) if getattr(new, name) == getattr(old, name)}
    return replace(new, **dropped) if old.type != new.type else new


def _without_addresses(new: ServiceSpec, old: ServiceSpec) -> ServiceSpec:
    """What an ExternalName drops when it was something else; an address of its own choice is left to validation."""
    if new.clusterIP in (None, "", old.clusterIP):
        new = replace(new, clusterIP=None, clusterIPs=None, ipFamilies=None, ipFamilyPolicy=None)
    given = {port.nodePort for port in old.ports or () if port.nodePort}
    ports = [replace(port, nodePort=None) if port.nodePort in given else port for port in new.ports or ()]
    return replace(new, ports=ports or None)


def _kept_node_ports(new: ServiceSpec, old: ServiceSpec) -> list[ServicePort]:
    numbers = {(port.protocol or "TCP", port.port): port.nodePort for port in old.ports or () if port.nodePort}
    given = set(numbers.values())
    ports = list(new.ports or ())
    if _needs_node_ports(new) and _needs_node_ports(old):
        repeated = {port.nodePort for port in ports if port.nodePort}
        for index, port in enumerate(ports):
            kept = numbers.get((port.protocol or "TCP", port.port))
            if not port.nodePort and kept and kept not in repeated:
                ports[index] = replace(port, nodePort=kept)
    elif _needs_node_ports(old) and not _needs_node_ports(new) and new.type != "LoadBalancer":
        ports = [replace(port, nodePort=None) if port.nodePort in given else port for port in ports]
    return ports
