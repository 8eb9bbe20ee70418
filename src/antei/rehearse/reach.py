"""How the load gets to the workload: one LoadSpec a kind of load, and the address it goes to. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from lightkube.resources.core_v1 import Node, Service

from antei.api.objects import name_of, namespace_of
from antei.rehearse.load import (
    Attribution,
    Kind,
    LoadClient,
    LoadSpec,
    ServedBy,
    Target,
    UnansweredPorts,
    Via,
    target_of_service,
    target_of_url,
)
from antei.rehearse.workload import Workload
from antei.world.sockets import Sockets

__all__ = ["LOADS", "Unreachable", "external_address", "load_factory", "load_specs"]

#: What --load says, and what it stands for.
LOADS = {
    "new": (Kind.HTTP, "new connections"),
    "keep-alive": (Kind.HTTP_KEEP_ALIVE, "keep-alive"),
    "users": (Kind.HTTP_USERS, "users"),
    "grpc": (Kind.GRPC, "gRPC"),
    "tcp": (Kind.TCP, "TCP"),
}
#: Pods that say so are named in the report.
SERVED_BY_HEADER = "X-Served-By"


class Unreachable(Exception):
    """The Service cannot be reached from here; the message says what would help."""


def load_specs(
    workload: Workload, loads: Sequence[str], *, rate: float, path: str, via: Via, url: str, timeout_seconds: float
) -> list[LoadSpec]:
    """Raises ValueError for a path or host that is none."""
    specs = []
    for load in loads:
        kind, words = LOADS[load]
        where = url or f"{via.value} {name_of(workload.service)}"
        specs.append(
            LoadSpec(
                name=f"{where}, {words}",
                kind=kind,
                url=url,
                service="" if url else name_of(workload.service),
                port=0 if url else workload.port,
                via=via,
                host=workload.host if via is Via.INGRESS or not url else "",
                path=path,
                rate=rate,
                timeout_seconds=timeout_seconds,
                served_by=ServedBy(header=SERVED_BY_HEADER),
            )
        )
    return specs


def load_factory(
    specs: Sequence[LoadSpec],
    service: Service,
    sockets: Sockets,
    attribution: Attribution | None = None,
    ports: UnansweredPorts | None = None,
) -> Callable[[float], Sequence[LoadClient]]:
    """Makes fresh clients for each scenario. Raises LookupError or ValueError where there is no way to the Service."""
    targets: list[Target] = [target_of_url(spec) if spec.url else target_of_service(spec, service) for spec in specs]

    def make(origin: float) -> Sequence[LoadClient]:
        return [
            LoadClient(spec, target, sockets, origin=origin, attribution=attribution, ports=ports)
            for spec, target in zip(specs, targets, strict=True)
        ]

    return make


def external_address(service: Service, nodes: Sequence[Node], api_url: str) -> tuple[str, int]:
    """Where a Service is reached from outside its cluster: its load balancer, else a node port. Raises Unreachable.

    On a cluster whose API is on this machine, so are its node ports (antei, kind, minikube).
    """
    where = f"Service {namespace_of(service)}/{name_of(service)}"
    ports = (service.spec.ports if service.spec is not None else None) or []
    balancer = service.status.loadBalancer if service.status is not None else None
    for ingress in (balancer.ingress if balancer is not None else None) or ():
        if ports and (ingress.ip or ingress.hostname):
            return ingress.ip or ingress.hostname or "", ports[0].port
    node_port = next((port.nodePort for port in ports if port.nodePort), None)
    if node_port is None:
        raise Unreachable(
            f"{where} has neither a load balancer nor a node port: make it reachable (kubectl port-forward breaks with"
            " its pod) and say where by --url"
        )
    host = urlsplit(api_url).hostname or ""
    if host in ("127.0.0.1", "localhost", "::1"):
        return "127.0.0.1", node_port
    for kind in ("ExternalIP", "InternalIP"):
        for node in nodes:
            for address in (node.status.addresses if node.status is not None else None) or ():
                if address.type == kind:
                    return address.address, node_port
    raise Unreachable(f"{where} has node port {node_port}, but no node says its address: give --url")
