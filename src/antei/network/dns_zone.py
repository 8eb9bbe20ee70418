"""What the cluster's DNS answers about `cluster.local` and the reverse zones. Pure.

    <service>.<ns>.svc                  A: the ClusterIP; headless: the ready endpoints; ExternalName: a CNAME
    <hostname>.<service>.<ns>.svc       A: one endpoint of a headless Service (10-244-1-5 where it has no hostname)
    _<port>._<protocol>.<service>.…     SRV: the named port
    10-244-1-5.<ns>.pod                 A: that address
    5.1.244.10.in-addr.arpa             PTR

Source: Kubernetes' DNS-Based Service Discovery specification (github.com/kubernetes/dns, docs/specification.md)
and CoreDNS' kubernetes plugin, with `pods insecure`, where they leave a choice.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.reversename
import dns.rrset
from lightkube.resources.core_v1 import Service
from lightkube.resources.discovery_v1 import EndpointSlice

from antei.api.objects import name_of, namespace_of
from antei.network.addresses import CLUSTER_DOMAIN

__all__ = ["TTL_SECONDS", "ClusterView", "answer", "is_ours"]

TTL_SECONDS = 5
DOMAIN = dns.name.from_text(CLUSTER_DOMAIN)
_REVERSE = dns.name.from_text("in-addr.arpa")
#: DNS-SD's version of the schema, which clients may ask for (TXT of dns-version).
_SCHEMA_VERSION = "1.1.0"
_MAX_ALIASES = 8


class ClusterView(Protocol):
    """What the zone is made of, as it is at this moment."""

    def service(self, namespace: str, name: str) -> Service | None: ...

    def slices(self, namespace: str, service_name: str) -> list[EndpointSlice]: ...

    def has_namespace(self, namespace: str) -> bool: ...

    def services_at(self, ip: str) -> list[Service]:
        """Those with this ClusterIP."""
        ...

    def slices_with(self, ip: str) -> list[EndpointSlice]:
        """Those that list this address."""
        ...

    def placed(self, cluster_ip: str) -> str:
        """Where a ClusterIP is answered: itself, or its loopback stand-in."""
        ...

    def owns(self, ip: str) -> bool:
        """Whether the address is in one of the cluster's ranges."""
        ...


@dataclass(frozen=True, slots=True)
class _Endpoint:
    host: str  # the first label of its name
    ip: str
    ports: tuple[tuple[str, str, int], ...]  # name, protocol in lower case, number


@dataclass(frozen=True, slots=True)
class _Found:
    """A name that exists, with the records of the type that was asked for (none: NODATA)."""

    answers: tuple[dns.rrset.RRset, ...] = ()
    additional: tuple[dns.rrset.RRset, ...] = ()
    alias: dns.name.Name | None = None  # where an ExternalName leads


def is_ours(name: dns.name.Name, view: ClusterView) -> bool:
    """Whether the cluster answers for this name; everything else is forwarded."""
    if name.is_subdomain(DOMAIN):
        return True
    ip = _reversed_ip(name)
    return ip is not None and view.owns(ip)


def answer(query: dns.message.QueryMessage, view: ClusterView) -> tuple[dns.message.Message, dns.name.Name | None]:
    """The response, and the name outside the zone that it ends at, if an ExternalName leads out of the cluster."""
    response = dns.message.make_response(query, recursion_available=True)
    response.flags |= dns.flags.AA
    question = query.question[0]
    name, kind = question.name, question.rdtype
    for _ in range(_MAX_ALIASES):
        found = _lookup(name, kind, view)
        if found is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
            break
        response.answer.extend(found.answers)
        response.additional.extend(found.additional)
        if found.alias is None or kind == dns.rdatatype.CNAME:
            break
        name = found.alias
        if not is_ours(name, view):
            return response, name
    else:
        response.set_rcode(dns.rcode.SERVFAIL)
    if not response.answer:
        response.authority.append(_soa())
    return response, None


def _lookup(name: dns.name.Name, kind: dns.rdatatype.RdataType, view: ClusterView) -> _Found | None:
    if not name.is_subdomain(DOMAIN):
        return _reverse(name, kind, view)
    labels = [label.decode("ascii", "replace").lower() for label in name.relativize(DOMAIN).labels]
    match labels:
        case []:
            return _apex(name, kind)
        case ["svc"] | ["pod"] | ["dns"]:
            return _Found()
        case ["dns-version"]:
            return _Found(_records(name, kind, dns.rdatatype.TXT, [f'"{_SCHEMA_VERSION}"']))
        case ["ns", "dns"]:
            return _Found()
        case [namespace, "svc" | "pod"]:
            return _Found() if view.has_namespace(namespace) else None
        case [dashed, _, "pod"]:
            ip = _dashed_ip(dashed)
            return _Found(_records(name, kind, dns.rdatatype.A, [ip])) if ip else None
        case [*rest, service_name, namespace, "svc"]:
            service = view.service(namespace, service_name)
            return _of_service(name, kind, rest, service, view) if service is not None else None
    return None


def _apex(name: dns.name.Name, kind: dns.rdatatype.RdataType) -> _Found:
    if kind == dns.rdatatype.SOA:
        return _Found((_soa(),))
    return _Found(_records(name, kind, dns.rdatatype.NS, [f"ns.dns.{CLUSTER_DOMAIN}."]))


def _of_service(
    name: dns.name.Name, kind: dns.rdatatype.RdataType, rest: list[str], service: Service, view: ClusterView
) -> _Found | None:
    """`rest` are the labels before the Service's own: none, a host, or a port and a protocol."""
    spec = service.spec
    if spec is None:
        return None
    if spec.type == "ExternalName":
        if rest or not spec.externalName:
            return None
        target = dns.name.from_text(spec.externalName)
        return _Found((_rrset(name, dns.rdatatype.CNAME, [target.to_text()]),), alias=target)
    own_name = dns.name.from_text(f"{name_of(service)}.{namespace_of(service)}.svc", DOMAIN)
    if spec.clusterIP not in (None, "", "None"):
        ip = view.placed(spec.clusterIP or "")
        ports = tuple((port.name or "", (port.protocol or "TCP").lower(), port.port) for port in spec.ports or ())
        endpoints = [_Endpoint("", ip, ports)]
    else:
        endpoints = list(_endpoints(view.slices(namespace_of(service), name_of(service))))
    match rest:
        case []:
            if kind == dns.rdatatype.SRV:
                return _srv(name, own_name, endpoints, lambda _port, _protocol: True)
            # A headless Service without a ready endpoint has no such name (CoreDNS: NXDOMAIN).
            if not endpoints:
                return None
            return _Found(_records(name, kind, dns.rdatatype.A, [endpoint.ip for endpoint in endpoints]))
        case [host] if not host.startswith("_"):
            ips = [endpoint.ip for endpoint in endpoints if endpoint.host and endpoint.host == host]
            return _Found(_records(name, kind, dns.rdatatype.A, ips)) if ips else None
        case [port_label, protocol_label] if port_label.startswith("_") and protocol_label.startswith("_"):
            wanted = port_label[1:], protocol_label[1:]
            found = _srv(name, own_name, endpoints, lambda port, protocol: (port, protocol) == wanted)
            return found if found is None or kind == dns.rdatatype.SRV else _Found()
    return None


def _srv(
    name: dns.name.Name,
    service: dns.name.Name,
    endpoints: Iterable[_Endpoint],
    wants: Callable[[str, str], bool],
) -> _Found | None:
    texts, additional = [], []
    for endpoint in endpoints:
        target = dns.name.from_text(endpoint.host, service) if endpoint.host else service
        numbers = [number for port, protocol, number in endpoint.ports if wants(port, protocol)]
        texts += [f"0 100 {number} {target.to_text()}" for number in numbers]
        if numbers:
            additional.append(_rrset(target, dns.rdatatype.A, [endpoint.ip]))
    if not texts:
        return None
    return _Found((_rrset(name, dns.rdatatype.SRV, texts),), tuple(additional))


def _endpoints(slices: Iterable[EndpointSlice]) -> Iterator[_Endpoint]:
    """The ready ones (which, where the Service publishes not-ready addresses, are all), each once."""
    seen: set[str] = set()
    for piece in slices:
        ports = tuple(
            (port.name or "", (port.protocol or "TCP").lower(), port.port)
            for port in piece.ports or ()
            if port.port is not None
        )
        for endpoint in piece.endpoints or ():
            is_ready = endpoint.conditions is None or endpoint.conditions.ready is not False
            if piece.addressType != "IPv4" or not endpoint.addresses or not is_ready:
                continue
            ip = endpoint.addresses[0]
            if ip not in seen:
                seen.add(ip)
                yield _Endpoint((endpoint.hostname or ip.replace(".", "-")).lower(), ip, ports)


def _reverse(name: dns.name.Name, kind: dns.rdatatype.RdataType, view: ClusterView) -> _Found | None:
    ip = _reversed_ip(name)
    if ip is None:
        return None
    targets = [f"{name_of(s)}.{namespace_of(s)}.svc.{CLUSTER_DOMAIN}." for s in view.services_at(ip)]
    for piece in view.slices_with(ip) if not targets else ():
        service_name = (piece.metadata.labels or {}).get("kubernetes.io/service-name") if piece.metadata else None
        for endpoint in piece.endpoints or ():
            if service_name and endpoint.addresses and endpoint.addresses[0] == ip and endpoint.hostname:
                parent = f"{service_name}.{namespace_of(piece)}.svc.{CLUSTER_DOMAIN}."
                targets.append(f"{endpoint.hostname}.{parent}")
    if not targets:
        return None
    return _Found(_records(name, kind, dns.rdatatype.PTR, list(dict.fromkeys(targets))))


def _reversed_ip(name: dns.name.Name) -> str | None:
    if not name.is_subdomain(_REVERSE):
        return None
    labels = [label.decode("ascii", "replace") for label in name.relativize(_REVERSE).labels]
    return _valid_ip(".".join(reversed(labels)))


def _dashed_ip(label: str) -> str | None:
    return _valid_ip(label.replace("-", ".")) if "." not in label else None


def _valid_ip(text: str) -> str | None:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        return None


def _records(
    name: dns.name.Name, wanted: dns.rdatatype.RdataType, kind: dns.rdatatype.RdataType, texts: list[str]
) -> tuple[dns.rrset.RRset, ...]:
    """The records if they are what was asked for; none: the name exists, but not with that type."""
    return (_rrset(name, kind, texts),) if texts and wanted in (kind, dns.rdatatype.ANY) else ()


def _rrset(name: dns.name.Name, kind: dns.rdatatype.RdataType, texts: list[str]) -> dns.rrset.RRset:
    return dns.rrset.from_text(name, TTL_SECONDS, dns.rdataclass.IN, kind, *texts)


def _soa() -> dns.rrset.RRset:
    text = f"ns.dns.{CLUSTER_DOMAIN}. hostmaster.{CLUSTER_DOMAIN}. 1 7200 1800 86400 {TTL_SECONDS}"
    return _rrset(DOMAIN, dns.rdatatype.SOA, [text])
