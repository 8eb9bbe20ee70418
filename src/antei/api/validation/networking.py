"""Ingresses and NetworkPolicies (Kubernetes: pkg/apis/networking/validation/validation.go)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from lightkube.models.networking_v1 import HTTPIngressPath, IngressBackend
from lightkube.resources.networking_v1 import Ingress, IngressClass, NetworkPolicy

from antei.api import names
from antei.api.errors import FieldError
from antei.api.validation.containers import PROTOCOLS
from antei.api.validation.fields import (
    cidr,
    dns_subdomain,
    forbidden,
    immutable,
    invalid,
    messages,
    not_supported,
    port_number_or_name,
    required,
    too_long,
)
from antei.api.validation.metadata import label_selector

__all__ = ["ingress", "ingress_class", "ingress_class_update", "network_policy"]

_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_FORBIDDEN_IN_PATHS = ("//", "/./", "/../", "%2f", "%2F")
_FORBIDDEN_SUFFIXES = ("/..", "/.")
_CLASS_ANNOTATION = "kubernetes.io/ingress.class"


def ingress(obj: Ingress, *, is_new: bool = True) -> list[FieldError]:
    spec = obj.spec
    annotations = (obj.metadata.annotations if obj.metadata else None) or {}
    errors: list[FieldError] = []
    class_name = spec.ingressClassName if spec else None
    if is_new and class_name is not None and _CLASS_ANNOTATION in annotations:
        place = f"metadata.annotations.{_CLASS_ANNOTATION}"
        detail = "can not be set when the class field is also set"
        errors.append(invalid(place, annotations[_CLASS_ANNOTATION], detail))
    if spec is None or (not spec.rules and spec.defaultBackend is None):
        detail = "either `defaultBackend` or `rules` must be specified"
        return [*errors, invalid("spec", (spec.rules if spec else None) or [], detail)]
    if spec.defaultBackend is not None:
        errors += _backend("spec.defaultBackend", spec.defaultBackend)
    for index, rule in enumerate(spec.rules or ()):
        place = f"spec.rules[{index}]"
        errors += _host(f"{place}.host", rule.host or "")
        if rule.http is not None:
            errors += _paths(f"{place}.http.paths", rule.http.paths)
    for index, tls in enumerate(spec.tls or ()):
        for position, host in enumerate(tls.hosts or ()):
            errors += _host(f"spec.tls[{index}].hosts[{position}]", host, may_be_ip=True)
        if tls.secretName:
            errors += dns_subdomain(f"spec.tls[{index}].secretName", tls.secretName)
    if class_name is not None:
        errors += dns_subdomain("spec.ingressClassName", class_name)
    return errors


def _host(path: str, host: str, *, may_be_ip: bool = False) -> list[FieldError]:
    if not host:
        return []
    if not may_be_ip and _is_ip(host):
        return [invalid(path, host, "must be a DNS name, not an IP address")]
    check = names.wildcard_dns1123_subdomain if "*" in host else names.dns1123_subdomain
    return messages(path, host, check(host))


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _paths(path: str, paths: Sequence[HTTPIngressPath]) -> list[FieldError]:
    if not paths:
        return [required(path)]
    errors: list[FieldError] = []
    for index, one in enumerate(paths):
        place = f"{path}[{index}]"
        errors += _path(place, one)
        errors += _backend(f"{place}.backend", one.backend)
    return errors


def _path(path: str, one: HTTPIngressPath) -> list[FieldError]:
    errors: list[FieldError] = []
    text = one.path or ""
    if not one.pathType:
        return [required(f"{path}.pathType", "pathType must be specified")]
    match one.pathType:
        case "Exact" | "Prefix":
            if not text.startswith("/"):
                errors.append(invalid(f"{path}.path", text, "must be an absolute path"))
            if text:
                for sequence in _FORBIDDEN_IN_PATHS:
                    if sequence in text:
                        errors.append(invalid(f"{path}.path", text, f"must not contain '{sequence}'"))
                for suffix in _FORBIDDEN_SUFFIXES:
                    if text.endswith(suffix):
                        errors.append(invalid(f"{path}.path", text, f"cannot end with '{suffix}'"))
        case "ImplementationSpecific":
            if text and not text.startswith("/"):
                errors.append(invalid(f"{path}.path", text, "must be an absolute path"))
        case _:
            errors.append(not_supported(f"{path}.pathType", one.pathType, _PATH_TYPES))
    return errors


def _backend(path: str, backend: IngressBackend) -> list[FieldError]:
    service = backend.service
    if backend.resource is not None:
        if service is not None:
            return [invalid(path, "", "cannot set both resource and service backends")]
        errors = [] if backend.resource.kind else [required(f"{path}.resource.kind")]
        return errors if backend.resource.name else [*errors, required(f"{path}.resource.name")]
    if service is None:
        return [invalid(path, "", "resource or service backend is required")]
    errors = []
    if not service.name:
        errors.append(required(f"{path}.service.name"))
    else:
        errors += messages(f"{path}.service.name", service.name, names.dns1123_label(service.name))
    port = service.port
    if port is not None and port.name and port.number:
        errors.append(invalid(path, "", "cannot set both port name & port number"))
    elif port is not None and port.name:
        errors += port_number_or_name(f"{path}.service.port.name", port.name)
    elif port is not None and port.number:
        errors += port_number_or_name(f"{path}.service.port.number", port.number)
    else:
        errors.append(required(path, "port name or number is required"))
    return errors


def ingress_update(new: Ingress, old: Ingress) -> list[FieldError]:
    del old
    return ingress(new, is_new=False)


def ingress_class(obj: IngressClass) -> list[FieldError]:
    errors: list[FieldError] = []
    spec = obj.spec
    controller = (spec.controller if spec else None) or ""
    if len(controller) > 250:
        errors.append(too_long("spec.controller", 250))
    if not controller:
        errors.append(required("spec.controller"))
    elif "/" not in controller.strip("/"):
        detail = 'must be a domain-prefixed path (such as "acme.io/foo")'
        errors.append(invalid("spec.controller", controller, detail))
    return errors


def ingress_class_update(new: IngressClass, old: IngressClass) -> list[FieldError]:
    before = old.spec.controller if old.spec else None
    after = new.spec.controller if new.spec else None
    return ingress_class(new) + immutable("spec.controller", after, before)


def network_policy(obj: NetworkPolicy) -> list[FieldError]:
    spec = obj.spec
    if spec is None:
        return []
    errors = label_selector("spec.podSelector", spec.podSelector)
    for direction, peers in (("ingress", "from_"), ("egress", "to")):
        for index, rule in enumerate(getattr(spec, direction) or ()):
            place = f"spec.{direction}[{index}]"
            for position, port in enumerate(rule.ports or ()):
                errors += _policy_port(f"{place}.ports[{position}]", port)
            given = getattr(rule, peers) or ()
            for position, peer in enumerate(given):
                errors += _peer(f"{place}.{peers.rstrip('_')}[{position}]", peer)
    types = spec.policyTypes or []
    if len(types) > 2:
        errors.append(invalid("spec.policyTypes", types, "may not specify more than two policyTypes"))
        return errors
    for index, kind in enumerate(types):
        if kind not in ("Egress", "Ingress"):
            errors.append(not_supported(f"spec.policyTypes[{index}]", kind, ("Egress", "Ingress")))
    return errors


def _policy_port(path: str, port: Any) -> list[FieldError]:
    errors: list[FieldError] = []
    if port.protocol and port.protocol not in PROTOCOLS:
        errors.append(not_supported(f"{path}.protocol", port.protocol, PROTOCOLS))
    if port.port is None:
        if port.endPort is not None:
            errors.append(required(f"{path}.port", "must be specified if `endPort` is used"))
        return errors
    errors += port_number_or_name(f"{path}.port", port.port)
    if port.endPort is not None:
        if isinstance(port.port, str):
            detail = "may not be set when `port` is non-numeric"
            errors.append(invalid(f"{path}.endPort", port.endPort, detail))
        elif port.endPort < port.port:
            detail = "must be greater than or equal to `port`"
            errors.append(invalid(f"{path}.endPort", port.endPort, detail))
    return errors


def _peer(path: str, peer: Any) -> list[FieldError]:
    errors = label_selector(f"{path}.podSelector", peer.podSelector)
    errors += label_selector(f"{path}.namespaceSelector", peer.namespaceSelector)
    has_selector = peer.podSelector is not None or peer.namespaceSelector is not None
    block = peer.ipBlock
    if block is None:
        return errors if has_selector else [*errors, required(path, "must specify a peer")]
    if has_selector:
        errors.append(forbidden(path, "may not specify both ipBlock and another peer"))
    if not block.cidr:
        return [*errors, required(f"{path}.ipBlock.cidr")]
    found = cidr(f"{path}.ipBlock.cidr", block.cidr)
    if found:
        return errors + found
    outer = ipaddress.ip_network(block.cidr, strict=False)
    for index, excluded in enumerate(block.except_ or ()):
        place = f"{path}.ipBlock.except[{index}]"
        found = cidr(place, excluded)
        errors += found
        if found:
            continue
        inner: Any = ipaddress.ip_network(excluded, strict=False)
        if inner.version != outer.version or inner == outer or not inner.subnet_of(outer):
            errors.append(invalid(place, excluded, "must be a strict subset of `cidr`"))
    return errors
