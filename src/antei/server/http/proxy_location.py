"""Where a proxied request goes: from `https:web:8443` to an address and a port.

Kubernetes: apimachinery/pkg/util/net/port_split.go (SplitSchemeNamePort), pkg/registry/core/{pod/strategy.go,
service/storage/storage.go} (ResourceLocation).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace

from lightkube.resources.core_v1 import Endpoints, Node, Pod, Service

from antei.api.errors import ApiError, bad_request, service_unavailable
from antei.api.pods import find_port
from antei.api.resources import resource_of
from antei.server.http.routes import Route
from antei.server.registry import Registry

__all__ = ["Location", "Locator", "Target", "endpoint_of", "split_target"]

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Target:
    scheme: str  # http or https
    name: str
    port: str  # a number, a name, or nothing


@dataclass(frozen=True, slots=True)
class Location:
    scheme: str
    ip: str
    port: int

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


def split_target(text: str) -> Target | None:
    """Of "name", "name:port" or "scheme:name:port", whose scheme and port may be empty; None for anything else."""
    parts = text.split(":")
    match parts:
        case [name]:
            target = Target("http", name, "")
        case [name, port]:
            target = Target("http", name, port)
        case [("" | "http" | "https") as scheme, name, port]:
            target = Target(scheme or "http", name, port)
        case _:
            return None
    return target if target.name else None


class Locator:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def locate(self, route: Route) -> Location:
        """Raises ApiError: 400 for what names nothing, 404, 503 where nobody is there to answer."""
        kind = route.served.plural
        target = split_target(route.name)
        if target is None:
            raise bad_request(f'invalid {kind.removesuffix("s")} request "{route.name}"')
        namespace = route.namespace or ""
        stored = await self._registry.get(route.served.resource, namespace, target.name)
        if kind == "pods":
            return _of_pod(stored.object, target)
        if kind == "nodes":
            return _of_node(stored.object, target)
        return await self._of_service(stored.object, target, namespace)

    async def _of_service(self, service: Service, target: Target, namespace: str) -> Location:
        ports = (service.spec.ports if service.spec else None) or []
        name = target.port
        if target.port.isascii() and target.port.isdigit():
            found = next((port for port in ports if port.port == int(target.port)), None)
            if found is None:
                raise service_unavailable(f'no service port {int(target.port)} found for service "{target.name}"')
            name = found.name or ""
        elif not target.port and len(ports) == 1:
            name = ports[0].name or ""
        try:
            stored = await self._registry.get(resource_of(Endpoints), namespace, target.name)
        except ApiError as error:
            if error.code != 404:
                raise
            raise service_unavailable(f'no endpoints available for service "{target.name}"') from error
        found_endpoint = endpoint_of(stored.object, name)
        if found_endpoint is None:
            raise service_unavailable(f'no endpoints available for service "{target.name}"')
        return replace(_checked(*found_endpoint), scheme=target.scheme)


def endpoint_of(endpoints: Endpoints, port_name: str) -> tuple[str, int] | None:
    """The first ready address that has a port of this name."""
    for subset in endpoints.subsets or ():
        for port in subset.ports or ():
            if (port.name or "") == port_name and subset.addresses:
                return subset.addresses[0].ip, port.port
    return None


def _of_pod(pod: Pod, target: Target) -> Location:
    port = _number(target.port)
    if port is None and target.port:
        port = find_port(pod, target.port)
        if port is None:
            raise bad_request(f'pod "{target.name}" has no port "{target.port}"')
    if port is None:
        declared = [p.containerPort for c in (pod.spec.containers if pod.spec else ()) for p in c.ports or ()]
        port = declared[0] if declared else _DEFAULT_PORTS[target.scheme]
    ip = (pod.status.podIP if pod.status else None) or ""
    return replace(_checked(ip, port), scheme=target.scheme)


def _of_node(node: Node, target: Target) -> Location:
    addresses = (node.status.addresses if node.status else None) or ()
    ip = next((address.address for address in addresses if address.type == "InternalIP"), "")
    port = _number(target.port)
    if port is None:
        raise bad_request(f'invalid node port "{target.port}"')
    return replace(_checked(ip, port), scheme=target.scheme)


def _number(text: str) -> int | None:
    """Raises 400 for a number that is no port."""
    if not (text.isascii() and text.isdigit()):
        return None
    if len(text) > 5 or not 0 < int(text) <= 65535:
        raise bad_request(f"invalid port {text}")
    return int(text)


def _checked(ip: str, port: int) -> Location:
    """Whoever may write an address may not by that reach what only this machine itself may."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        raise bad_request("address not allowed") from None
    # Without network namespaces pods have loopback addresses of their own, but never those that programs listen on.
    is_host = address.is_loopback and (address.version == 6 or address in ipaddress.ip_network("127.0.0.0/16"))
    if is_host or address.is_link_local or address.is_multicast or address.is_unspecified:
        raise bad_request("address not allowed")
    return Location("http", ip, port)
