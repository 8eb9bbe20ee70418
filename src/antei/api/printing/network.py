"""Services, endpoints, ingresses, network policies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from lightkube.resources.core_v1 import Endpoints, Service
from lightkube.resources.discovery_v1 import EndpointSlice
from lightkube.resources.networking_v1 import Ingress, IngressClass, IPAddress, NetworkPolicy, ServiceCIDR

from antei.api.objects import meta, name_of
from antei.api.printing.cells import (
    AGE,
    NAME,
    NONE,
    UNKNOWN,
    UNSET,
    Column,
    Printer,
    Row,
    age_of,
    labels_text,
    limited,
    selector_text,
)

__all__ = ["NETWORK_PRINTERS"]

_SHOWN = 3
_INGRESS_CLASS_ANNOTATION = "kubernetes.io/ingress.class"


def _service(obj: Service, now: datetime) -> Row:
    spec = obj.spec
    addresses = (spec.clusterIPs if spec else None) or ([spec.clusterIP] if spec and spec.clusterIP else [])
    ports = []
    for port in (spec.ports if spec else None) or ():
        node_port = f":{port.nodePort}" if port.nodePort else ""
        ports.append(f"{port.port}{node_port}/{port.protocol or 'TCP'}")
    return Row(
        [
            name_of(obj),
            (spec.type if spec else None) or "ClusterIP",
            addresses[0] if addresses else NONE,
            _external_address(obj),
            ",".join(ports) or NONE,
            age_of(obj, now),
            labels_text(spec.selector if spec else None),
        ]
    )


def _external_address(obj: Service) -> str:
    spec = obj.spec
    if spec is None:
        return UNKNOWN
    external = spec.externalIPs or []
    match spec.type or "ClusterIP":
        case "ClusterIP" | "NodePort":
            return ",".join(external) or NONE
        case "LoadBalancer":
            balancer = obj.status.loadBalancer if obj.status else None
            entries = (balancer.ingress if balancer else None) or ()
            own = _addresses((entry.ip, entry.hostname) for entry in entries)
            return ",".join([*own, *external]) or "<pending>"
        case "ExternalName":
            return spec.externalName or ""
    return UNKNOWN


def _addresses(entries: Iterable[tuple[str | None, str | None]]) -> list[str]:
    """Addresses or names of a load balancer, each once, sorted."""
    return sorted({ip or hostname or "" for ip, hostname in entries} - {""})


def _ingress(obj: Ingress, now: datetime) -> Row:
    spec = obj.spec
    annotations = meta(obj).annotations or {}
    ingress_class = (spec.ingressClassName if spec else None) or annotations.get(_INGRESS_CLASS_ANNOTATION) or NONE
    balancer = obj.status.loadBalancer if obj.status else None
    entries = (balancer.ingress if balancer else None) or ()
    return Row(
        [
            name_of(obj),
            ingress_class,
            _hosts([rule.host or "" for rule in (spec.rules if spec else None) or ()]),
            ",".join(_addresses((entry.ip, entry.hostname) for entry in entries)),
            "80, 443" if spec and spec.tls else "80",
            age_of(obj, now),
        ]
    )


def _hosts(hosts: Sequence[str]) -> str:
    named = [host for host in hosts if host]
    if not named:
        return "*"
    text = ",".join(named[:_SHOWN])
    return f"{text} + {len(hosts) - _SHOWN} more..." if len(named) > _SHOWN else text


def _ingress_class(obj: IngressClass, now: datetime) -> Row:
    spec = obj.spec
    parameters = NONE
    if spec is not None and spec.parameters is not None:
        group = f".{spec.parameters.apiGroup}" if spec.parameters.apiGroup else ""
        parameters = f"{spec.parameters.kind}{group}/{spec.parameters.name}"
    return Row([name_of(obj), (spec.controller if spec else None) or "", parameters, age_of(obj, now)])


def _endpoints(obj: Endpoints, now: datetime) -> Row:
    found = []
    for subset in obj.subsets or ():
        for port in subset.ports or [None]:  # type: ignore[list-item]
            for address in subset.addresses or ():
                host = f"[{address.ip}]" if ":" in address.ip and port is not None else address.ip
                found.append(f"{host}:{port.port}" if port is not None else host)
    return Row([name_of(obj), limited(found, _SHOWN) or NONE, age_of(obj, now)])


def _endpoint_slice(obj: EndpointSlice, now: datetime) -> Row:
    ports = []
    for port in obj.ports or ():
        if port.name and port.port is None:
            ports.append(port.name)
        else:
            ports.append("*" if port.port is None else str(port.port))
    addresses = [address for endpoint in obj.endpoints or () for address in endpoint.addresses]
    return Row(
        [
            name_of(obj),
            obj.addressType,
            limited(ports, _SHOWN) or UNSET,
            limited(addresses, _SHOWN) or UNSET,
            age_of(obj, now),
        ]
    )


def _network_policy(obj: NetworkPolicy, now: datetime) -> Row:
    return Row([name_of(obj), selector_text(obj.spec.podSelector if obj.spec else None), age_of(obj, now)])


def _ip_address(obj: IPAddress, now: datetime) -> Row:
    parent = obj.spec.parentRef if obj.spec else None
    if parent is None:
        return Row([name_of(obj), NONE])
    parts = [parent.resource, parent.group or "", parent.namespace or "", parent.name]
    return Row([name_of(obj), "/".join(part for part in parts if part)])


def _service_cidr(obj: ServiceCIDR, now: datetime) -> Row:
    return Row([name_of(obj), ",".join((obj.spec.cidrs if obj.spec else None) or ()), age_of(obj, now)])


NETWORK_PRINTERS: Mapping[str, Printer] = {
    "/services": Printer(
        (
            NAME,
            Column("Type", description="How the Service is exposed."),
            Column("Cluster-IP", description="The address of the Service within the cluster."),
            Column("External-IP", description="The addresses by which it is reached from outside."),
            Column("Port(s)", description="The ports that the Service exposes."),
            AGE,
            Column("Selector", description="The labels of the pods that receive its traffic.", priority=1),
        ),
        _service,
    ),
    "/endpoints": Printer((NAME, Column("Endpoints", description="Addresses and ports."), AGE), _endpoints),
    "discovery.k8s.io/endpointslices": Printer(
        (
            NAME,
            Column("AddressType", description="The type of address carried by this slice."),
            Column("Ports", description="The network ports exposed by each endpoint."),
            Column("Endpoints", description="The addresses of the endpoints."),
            AGE,
        ),
        _endpoint_slice,
    ),
    "networking.k8s.io/ingresses": Printer(
        (
            NAME,
            Column("Class", description="The name of the IngressClass resource that should be used"),
            Column("Hosts", description="Hosts that incoming requests are matched against before the ingress rule"),
            Column("Address", description="Address is a list containing ingress points for the load-balancer"),
            Column("Ports", description="Ports of TLS configurations that open"),
            AGE,
        ),
        _ingress,
    ),
    "networking.k8s.io/ingressclasses": Printer(
        (
            NAME,
            Column("Controller", description="Controller that is responsible for handling this class"),
            Column("Parameters", description="A reference to a resource with additional parameters"),
            AGE,
        ),
        _ingress_class,
    ),
    "networking.k8s.io/networkpolicies": Printer(
        (NAME, Column("Pod-Selector", description="The pods that the policy applies to."), AGE), _network_policy
    ),
    "networking.k8s.io/ipaddresses": Printer(
        (NAME, Column("ParentRef", description="The object that holds this address.")), _ip_address
    ),
    "networking.k8s.io/servicecidrs": Printer(
        (NAME, Column("CIDRs", description="The ranges of Service addresses."), AGE), _service_cidr
    ),
}
