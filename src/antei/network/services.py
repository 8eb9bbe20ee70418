"""Which connections go where: Services and EndpointSlices in, one table out. Pure.

Source: Kubernetes pkg/proxy/topology.go (CategorizeEndpoints) and pkg/proxy/endpointslicecache.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lightkube.models.core_v1 import ServicePort as ApiServicePort
from lightkube.models.discovery_v1 import Endpoint as ApiEndpoint
from lightkube.resources.core_v1 import Service
from lightkube.resources.discovery_v1 import EndpointSlice

from antei.api.objects import labels_of, name_of, namespace_of

__all__ = ["Endpoint", "ServicePort", "ServiceTable", "service_table"]

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
_PROTOCOLS = ("TCP", "UDP")
#: Kubernetes: pkg/apis/core/v1/defaults.go, three hours.
_DEFAULT_AFFINITY_SECONDS = 10800


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    ip: str
    port: int


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of one Service, and the endpoints that new connections to it go to; none: they are refused."""

    namespace: str
    name: str
    port_name: str
    protocol: str  # TCP or UDP
    port: int
    ips: tuple[str, ...]  # the ClusterIP, then externalIPs
    node_port: int | None
    endpoints: tuple[Endpoint, ...]
    affinity_seconds: int | None  # session affinity by client address, for so long after the last connection

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}:{self.port_name or self.port}"


@dataclass(frozen=True, slots=True)
class ServiceTable:
    """All of them, sorted, and in words what of the Services is not honoured."""

    ports: tuple[ServicePort, ...] = ()
    not_honoured: tuple[str, ...] = ()

    def find(self, namespace: str, name: str, port: int | str) -> ServicePort | None:
        """By port number or by port name, as an Ingress backend gives it."""
        for entry in self.ports:
            if (entry.namespace, entry.name) == (namespace, name) and port in (entry.port, entry.port_name):
                return entry
        return None


def service_table(
    services: Iterable[Service], slices: Iterable[EndpointSlice], own_ips: frozenset[str] = frozenset()
) -> ServiceTable:
    """The table. Headless and ExternalName Services have no entry, nor do those at `own_ips`, where antei listens."""
    slices_of: dict[tuple[str, str], list[EndpointSlice]] = {}
    for piece in slices:
        service_name = labels_of(piece).get(SERVICE_NAME_LABEL)
        if service_name and piece.addressType == "IPv4":
            slices_of.setdefault((namespace_of(piece), service_name), []).append(piece)
    ports: list[ServicePort] = []
    not_honoured: list[str] = []
    for service in services:
        key = namespace_of(service), name_of(service)
        if not _has_entry(service, own_ips):
            continue
        ports.extend(_ports_of(service, slices_of.get(key, [])))
        not_honoured.extend(_not_honoured(service))
    ports.sort(key=lambda entry: (entry.namespace, entry.name, entry.port, entry.protocol))
    return ServiceTable(tuple(ports), tuple(sorted(not_honoured)))


def _has_entry(service: Service, own_ips: frozenset[str]) -> bool:
    spec = service.spec
    if spec is None or spec.type == "ExternalName" or spec.clusterIP in (None, "", "None"):
        return False
    return spec.clusterIP not in own_ips


def _ports_of(service: Service, slices: list[EndpointSlice]) -> Iterable[ServicePort]:
    spec = service.spec
    if spec is None:
        return
    affinity_seconds: int | None = None
    if spec.sessionAffinity == "ClientIP":
        client_ip = spec.sessionAffinityConfig.clientIP if spec.sessionAffinityConfig else None
        affinity_seconds = (client_ip.timeoutSeconds if client_ip else None) or _DEFAULT_AFFINITY_SECONDS
    for port in spec.ports or ():
        protocol = port.protocol or "TCP"
        if protocol not in _PROTOCOLS:
            continue
        yield ServicePort(
            namespace=namespace_of(service),
            name=name_of(service),
            port_name=port.name or "",
            protocol=protocol,
            port=port.port,
            ips=(spec.clusterIP or "", *(ip for ip in spec.externalIPs or () if ":" not in ip)),
            node_port=port.nodePort or None,
            endpoints=_endpoints_of(port, protocol, slices),
            affinity_seconds=affinity_seconds,
        )


def _endpoints_of(port: ApiServicePort, protocol: str, slices: list[EndpointSlice]) -> tuple[Endpoint, ...]:
    """The ready endpoints; with none, those that still serve while they terminate."""
    ready: set[Endpoint] = set()
    draining: set[Endpoint] = set()
    for piece in slices:
        for slice_port in piece.ports or ():
            if (slice_port.name or "") != (port.name or "") or (slice_port.protocol or "TCP") != protocol:
                continue
            if slice_port.port is None:
                continue
            for endpoint in piece.endpoints or ():
                if not endpoint.addresses:
                    continue
                target = Endpoint(endpoint.addresses[0], slice_port.port)
                if _is_ready(endpoint):
                    ready.add(target)
                elif _serves_while_terminating(endpoint):
                    draining.add(target)
    return tuple(sorted(ready or draining))


def _is_ready(endpoint: ApiEndpoint) -> bool:
    return endpoint.conditions is None or endpoint.conditions.ready is not False


def _serves_while_terminating(endpoint: ApiEndpoint) -> bool:
    conditions = endpoint.conditions
    return conditions is not None and bool(conditions.serving) and bool(conditions.terminating)


def _not_honoured(service: Service) -> Iterable[str]:
    spec = service.spec
    if spec is None:
        return
    name = f"Service {namespace_of(service)}/{name_of(service)}"
    for port in spec.ports or ():
        if (port.protocol or "TCP") not in _PROTOCOLS:
            yield f"{name}: port {port.port} has protocol {port.protocol}, which is not supported: it is not served"
    for field in ("internalTrafficPolicy", "externalTrafficPolicy"):
        if getattr(spec, field) == "Local":
            yield f"{name}: {field} Local is not honoured: connections go to the endpoints of all nodes"
    for ip in spec.externalIPs or ():
        if ":" in ip:
            yield f"{name}: external address {ip} is IPv6, which is not supported: it is not served"
