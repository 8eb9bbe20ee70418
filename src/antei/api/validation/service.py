"""Services, Endpoints and EndpointSlices (Kubernetes: ValidateService in pkg/apis/core/validation/validation.go,
pkg/apis/discovery/validation/validation.go)."""

from __future__ import annotations

from collections.abc import Sequence

from lightkube.models.core_v1 import ServicePort, ServiceSpec
from lightkube.resources.core_v1 import Endpoints, Service
from lightkube.resources.discovery_v1 import EndpointSlice

from antei.api import names
from antei.api.errors import FieldError, FieldErrorType
from antei.api.validation.containers import PROTOCOLS
from antei.api.validation.fields import (
    cidr,
    dns_label,
    dns_subdomain,
    duplicate,
    forbidden,
    immutable,
    invalid,
    ip_address,
    messages,
    not_supported,
    one_of,
    port_number_or_name,
    required,
)
from antei.api.validation.metadata import labels

__all__ = ["endpoint_slice", "endpoint_slice_update", "endpoints", "service", "service_update"]

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_MAX_AFFINITY_SECONDS = 86_400
_NODE_PORTS = range(30000, 32768)


def service(obj: Service) -> list[FieldError]:
    spec = obj.spec
    if spec is None:
        return [required("spec.ports")]
    is_headless = spec.clusterIP == "None"
    errors: list[FieldError] = []
    if not spec.ports and not is_headless and spec.type != "ExternalName":
        errors.append(required("spec.ports"))
    errors += _type_rules(spec, is_headless=is_headless)
    errors += _ports("spec.ports", spec.ports or ())
    errors += labels("spec.selector", spec.selector)
    errors += _affinity(spec)
    errors += _cluster_ips(spec)
    for index, ip in enumerate(spec.externalIPs or ()):
        errors += ip_address(f"spec.externalIPs[{index}]", ip)
    errors += one_of("spec.type", spec.type, _TYPES)
    errors += _node_ports(spec)
    seen: set[tuple[str | None, int]] = set()
    for index, port in enumerate(spec.ports or ()):
        key = (port.protocol, port.port)
        if key in seen:
            errors.append(duplicate(f"spec.ports[{index}]", {"protocol": port.protocol, "port": port.port}))
        seen.add(key)
    for index, source in enumerate(spec.loadBalancerSourceRanges or ()):
        errors += cidr(f"spec.LoadBalancerSourceRanges[{index}]", source.strip())
    if spec.allocateLoadBalancerNodePorts is not None and spec.type != "LoadBalancer":
        detail = "may only be used when `type` is 'LoadBalancer'"
        errors.append(forbidden("spec.allocateLoadBalancerNodePorts", detail))
    return errors + _traffic_policies(spec)


def _type_rules(spec: ServiceSpec, *, is_headless: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    if spec.type in ("LoadBalancer", "NodePort") and is_headless:
        errors.append(invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {spec.type} services"))
    if spec.type != "ExternalName":
        return errors
    if spec.clusterIP or spec.clusterIPs:
        errors.append(forbidden("spec.clusterIPs", "may not be set for ExternalName services"))
    for name in ("ipFamilies", "ipFamilyPolicy"):
        if getattr(spec, name):
            errors.append(forbidden(f"spec.{name}", "may not be set for ExternalName services"))
    canonical_name = (spec.externalName or "").removesuffix(".")
    if not canonical_name:
        return [*errors, required("spec.externalName")]
    return errors + dns_subdomain("spec.externalName", canonical_name)


def _ports(path: str, ports: Sequence[ServicePort]) -> list[FieldError]:
    errors: list[FieldError] = []
    taken: set[str] = set()
    for index, port in enumerate(ports):
        place = f"{path}[{index}]"
        if port.name:
            errors += dns_label(f"{place}.name", port.name)
            if port.name in taken:
                errors.append(duplicate(f"{place}.name", port.name))
            taken.add(port.name)
        elif len(ports) > 1:
            errors.append(required(f"{place}.name"))
        errors += messages(f"{place}.port", port.port, names.port_number(port.port))
        errors += one_of(f"{place}.protocol", port.protocol, PROTOCOLS)
        if port.targetPort is not None:
            errors += port_number_or_name(f"{place}.targetPort", port.targetPort)
        if port.appProtocol is not None:
            errors += messages(f"{place}.appProtocol", port.appProtocol, names.qualified_name(port.appProtocol))
    return errors


def _affinity(spec: ServiceSpec) -> list[FieldError]:
    errors = one_of("spec.sessionAffinity", spec.sessionAffinity, ("ClientIP", "None"))
    config = spec.sessionAffinityConfig
    if spec.sessionAffinity == "ClientIP" and config is not None and config.clientIP is not None:
        timeout = config.clientIP.timeoutSeconds
        if timeout is not None and not 0 < timeout <= _MAX_AFFINITY_SECONDS:
            detail = f"must be greater than 0 and less than {_MAX_AFFINITY_SECONDS}"
            errors.append(invalid("spec.sessionAffinityConfig.clientIP.timeoutSeconds", timeout, detail))
    return errors


def _cluster_ips(spec: ServiceSpec) -> list[FieldError]:
    if spec.type == "ExternalName":
        return []
    errors: list[FieldError] = []
    addresses = spec.clusterIPs or ([spec.clusterIP] if spec.clusterIP else [])
    if spec.clusterIP and addresses[0] != spec.clusterIP:
        errors.append(invalid("spec.clusterIPs", addresses, "first value must match `clusterIP`"))
    for index, address in enumerate(addresses):
        if address not in ("", "None"):
            errors += ip_address(f"spec.clusterIPs[{index}]", address)
    for index, family in enumerate(spec.ipFamilies or ()):
        if family not in ("IPv4", "IPv6"):
            errors.append(not_supported(f"spec.ipFamilies[{index}]", family, ("IPv4", "IPv6")))
    policies = ("PreferDualStack", "RequireDualStack", "SingleStack")
    if spec.ipFamilyPolicy is not None and spec.ipFamilyPolicy not in policies:
        errors.append(not_supported("spec.ipFamilyPolicy", spec.ipFamilyPolicy, policies))
    return errors


def _node_ports(spec: ServiceSpec) -> list[FieldError]:
    """The range is its allocator's to check upstream (registry/core/service/portallocator); the error is the same."""
    errors: list[FieldError] = []
    seen: set[tuple[str | None, int]] = set()
    for index, port in enumerate(spec.ports or ()):
        if not port.nodePort:
            continue
        place = f"spec.ports[{index}].nodePort"
        if spec.type == "ClusterIP":
            errors.append(forbidden(place, "may not be used when `type` is 'ClusterIP'"))
        elif port.nodePort not in _NODE_PORTS:
            detail = "provided port is not in the valid range. The range of valid ports is 30000-32767"
            errors.append(invalid(place, port.nodePort, detail))
        key = (port.protocol, port.nodePort)
        if key in seen:
            errors.append(duplicate(place, port.nodePort))
        seen.add(key)
    return errors


def _traffic_policies(spec: ServiceSpec) -> list[FieldError]:
    errors: list[FieldError] = []
    external, internal = spec.externalTrafficPolicy, spec.internalTrafficPolicy
    is_external = spec.type in ("NodePort", "LoadBalancer") or bool(spec.externalIPs)
    if external and not is_external:
        detail = "may only be set for externally-accessible services"
        errors.append(invalid("spec.externalTrafficPolicy", external, detail))
    elif external and external not in ("Cluster", "Local"):
        errors.append(not_supported("spec.externalTrafficPolicy", external, ("Cluster", "Local")))
    if internal and internal not in ("Cluster", "Local"):
        errors.append(not_supported("spec.internalTrafficPolicy", internal, ("Cluster", "Local")))
    return errors


def service_update(new: Service, old: Service) -> list[FieldError]:
    errors = service(new)
    after, before = new.spec, old.spec
    if after is None or before is None or "ExternalName" in (after.type, before.type):
        return errors
    if before.clusterIP and after.clusterIP and after.clusterIP != before.clusterIP:
        errors.append(invalid("spec.clusterIPs[0]", [after.clusterIP], "may not change once set"))
    return errors


def endpoints(obj: Endpoints) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, subset in enumerate(obj.subsets or ()):
        place = f"subsets[{index}]"
        if not subset.addresses and not subset.notReadyAddresses:
            errors.append(required(place, "must specify `addresses` or `notReadyAddresses`"))
        for name in ("addresses", "notReadyAddresses"):
            for position, address in enumerate(getattr(subset, name) or ()):
                errors += ip_address(f"{place}.{name}[{position}].ip", address.ip)
        for position, port in enumerate(subset.ports or ()):
            where = f"{place}.ports[{position}]"
            if len(subset.ports or ()) > 1 and not port.name:
                errors.append(required(f"{where}.name"))
            elif port.name:
                errors += dns_label(f"{where}.name", port.name)
            errors += messages(f"{where}.port", port.port, names.port_number(port.port))
            errors += one_of(f"{where}.protocol", port.protocol, PROTOCOLS)
    return errors


def endpoint_slice(obj: EndpointSlice) -> list[FieldError]:
    errors = one_of("addressType", obj.addressType, ("FQDN", "IPv4", "IPv6"))
    given = obj.endpoints or []
    if len(given) > 1000:
        errors.append(_too_many("endpoints", 1000))
    for index, endpoint in enumerate(given):
        place = f"endpoints[{index}].addresses"
        if not endpoint.addresses:
            errors.append(required(place, "must contain at least 1 address"))
        for position, address in enumerate(endpoint.addresses):
            if obj.addressType in ("IPv4", "IPv6"):
                errors += ip_address(f"{place}[{position}]", address)
    taken: set[str] = set()
    for index, port in enumerate(obj.ports or ()):
        place = f"ports[{index}]"
        if port.name:
            errors += dns_label(f"{place}.name", port.name)
        if (port.name or "") in taken:
            errors.append(duplicate(f"{place}.name", port.name or ""))
        taken.add(port.name or "")
        errors += one_of(f"{place}.protocol", port.protocol, PROTOCOLS)
    return errors


def _too_many(path: str, limit: int) -> FieldError:
    return FieldError(FieldErrorType.TOO_MANY, path, "", f"must have at most {limit} items")


def endpoint_slice_update(new: EndpointSlice, old: EndpointSlice) -> list[FieldError]:
    return endpoint_slice(new) + immutable("addressType", new.addressType, old.addressType)
