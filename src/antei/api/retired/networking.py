"""Ingress of extensions/v1beta1 and networking.k8s.io/v1beta1, EndpointSlice of discovery.k8s.io/v1beta1.

Sources: pkg/apis/networking/v1beta1/conversion.go and defaults.go, pkg/apis/discovery/v1beta1/conversion.go of
Kubernetes 1.21.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["ingress_from_v1", "ingress_to_v1", "slice_from_v1", "slice_to_v1"]

_HOSTNAME = "kubernetes.io/hostname"
_ZONE = "topology.kubernetes.io/zone"


def ingress_to_v1(obj: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(obj.get("spec"), dict):
        return obj
    spec = dict(obj["spec"])
    backend = spec.pop("backend", None)
    if isinstance(backend, dict):
        spec["defaultBackend"] = _backend_to_v1(backend)

    def path_to_v1(path: dict[str, Any]) -> dict[str, Any]:
        path = {"pathType": "ImplementationSpecific", **path}
        if isinstance(path.get("backend"), dict):
            path["backend"] = _backend_to_v1(path["backend"])
        return path

    return {**obj, "spec": _with_paths(spec, path_to_v1)}


def ingress_from_v1(obj: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(obj.get("spec"), dict):
        return obj
    spec = dict(obj["spec"])
    backend = spec.pop("defaultBackend", None)
    if backend is not None:
        spec["backend"] = _backend_from_v1(backend)
    return {
        **obj,
        "spec": _with_paths(spec, lambda path: {**path, "backend": _backend_from_v1(path.get("backend") or {})}),
    }


def _with_paths(spec: dict[str, Any], convert: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    rules = spec.get("rules")
    if not isinstance(rules, list):
        return spec
    converted = []
    for rule in rules:
        http = rule.get("http") if isinstance(rule, dict) else None
        paths = http.get("paths") if isinstance(http, dict) else None
        if isinstance(paths, list):
            new_paths = [convert(path) if isinstance(path, dict) else path for path in paths]
            rule = {**rule, "http": {**http, "paths": new_paths}}  # type: ignore[dict-item]
        converted.append(rule)
    return {**spec, "rules": converted}


def _backend_to_v1(backend: dict[str, Any]) -> dict[str, Any]:
    backend = dict(backend)
    name, port = backend.pop("serviceName", None), backend.pop("servicePort", None)
    if name is None and port is None:
        return backend
    service: dict[str, Any] = {"name": name}
    if port is not None:
        service["port"] = {"name": port} if isinstance(port, str) and port else {"number": port}
    return {**backend, "service": service}


def _backend_from_v1(backend: dict[str, Any]) -> dict[str, Any]:
    backend = dict(backend)
    service = backend.pop("service", None)
    if service is None:
        return backend
    port = service.get("port") or {}
    return {"serviceName": service.get("name"), "servicePort": port.get("name") or port.get("number") or 0, **backend}


def slice_to_v1(obj: dict[str, Any]) -> dict[str, Any]:
    endpoints = []
    for endpoint in obj.get("endpoints") or []:
        endpoint = dict(endpoint)
        topology = dict(endpoint.pop("topology", None) or {})
        hostname, zone = topology.pop(_HOSTNAME, None), topology.pop(_ZONE, None)
        if hostname is not None:
            endpoint.setdefault("nodeName", hostname)
        if zone is not None:
            endpoint["zone"] = zone
        if topology:
            endpoint["deprecatedTopology"] = topology
        endpoints.append(endpoint)
    return {**obj, "endpoints": endpoints}


def slice_from_v1(obj: dict[str, Any]) -> dict[str, Any]:
    endpoints = []
    for endpoint in obj.get("endpoints") or []:
        endpoint = dict(endpoint)
        topology = dict(endpoint.pop("deprecatedTopology", None) or {})
        if endpoint.get("nodeName"):
            topology[_HOSTNAME] = endpoint["nodeName"]
        zone = endpoint.pop("zone", None)
        if zone:
            topology[_ZONE] = zone
        if topology:
            endpoint["topology"] = topology
        endpoints.append(endpoint)
    return {**obj, "endpoints": endpoints}
