"""Defaults of Services, Endpoints, LimitRanges, Secrets, Namespaces (Kubernetes: pkg/apis/core/v1/defaults.go)."""

from __future__ import annotations

import base64

from lightkube.models.core_v1 import (
    ClientIPConfig,
    EndpointSubset,
    LimitRangeItem,
    NamespaceSpec,
    ServicePort,
    ServiceSpec,
    SessionAffinityConfig,
)
from lightkube.resources.core_v1 import Endpoints, LimitRange, Namespace, Secret, Service
from lightkube.resources.discovery_v1 import EndpointSlice
from lightkube.resources.scheduling_v1 import PriorityClass

from antei.api.defaults.fill import change, each, fill, inside
from antei.api.objects import labels_of, replace_meta

__all__ = ["endpoint_slice", "endpoints", "limit_range", "namespace", "priority_class", "secret", "service"]

_AFFINITY_SECONDS = 3 * 60 * 60
_NAME_LABEL = "kubernetes.io/metadata.name"


def service(obj: Service) -> Service:
    return inside(obj, spec=_service_spec)


def _service_spec(spec: ServiceSpec) -> ServiceSpec:
    spec = fill(spec, sessionAffinity="None", type="ClusterIP")
    if spec.sessionAffinity == "None" and spec.sessionAffinityConfig is not None:
        spec = change(spec, sessionAffinityConfig=None)
    if spec.sessionAffinity == "ClientIP":
        config = spec.sessionAffinityConfig
        if config is None or config.clientIP is None or config.clientIP.timeoutSeconds is None:
            timeout = ClientIPConfig(timeoutSeconds=_AFFINITY_SECONDS)
            spec = change(spec, sessionAffinityConfig=SessionAffinityConfig(clientIP=timeout))
    spec = inside(spec, ports=each(_service_port))
    is_external = spec.type in ("NodePort", "LoadBalancer") or (spec.type == "ClusterIP" and spec.externalIPs)
    if is_external:
        spec = fill(spec, externalTrafficPolicy="Cluster")
    if spec.type in ("ClusterIP", "NodePort", "LoadBalancer"):
        spec = fill(spec, internalTrafficPolicy="Cluster")
    if spec.type == "LoadBalancer":
        spec = fill(spec, allocateLoadBalancerNodePorts=True)
    return spec


def _service_port(port: ServicePort) -> ServicePort:
    port = fill(port, protocol="TCP")
    return change(port, targetPort=port.port) if port.targetPort in (None, 0, "") else port


def endpoints(obj: Endpoints) -> Endpoints:
    def subset(one: EndpointSubset) -> EndpointSubset:
        return inside(one, ports=each(lambda port: fill(port, protocol="TCP")))

    return inside(obj, subsets=each(subset))


def endpoint_slice(obj: EndpointSlice) -> EndpointSlice:
    return inside(obj, ports=each(lambda port: change(fill(port, protocol="TCP"), name=port.name or "")))


def secret(obj: Secret) -> Secret:
    """stringData is only ever written: it goes into data (pkg/apis/core/v1/conversion.go)."""
    if obj.stringData:
        encoded = {key: base64.b64encode(text.encode()).decode() for key, text in obj.stringData.items()}
        obj = change(obj, data={**(obj.data or {}), **encoded})
    return fill(change(obj, stringData=None), type="Opaque")


def namespace(obj: Namespace) -> Namespace:
    """Its name as a label, and the finalizer that has everything in it deleted first (registry/core/namespace)."""
    name = obj.metadata.name if obj.metadata else None
    if name and labels_of(obj).get(_NAME_LABEL) != name:
        obj = replace_meta(obj, labels={**labels_of(obj), _NAME_LABEL: name})
    if obj.spec is None or obj.spec.finalizers is None:
        is_new = obj.metadata is None or obj.metadata.deletionTimestamp is None
        obj = change(obj, spec=NamespaceSpec(finalizers=["kubernetes"])) if is_new else obj
    return obj


def priority_class(obj: PriorityClass) -> PriorityClass:
    return fill(obj, preemptionPolicy="PreemptLowerPriority")


def limit_range(obj: LimitRange) -> LimitRange:
    return inside(obj, spec=lambda spec: change(spec, limits=each(_limit)(spec.limits)))


def _limit(item: LimitRangeItem) -> LimitRangeItem:
    """For containers `max` is the default limit, that the default request, and else `min` is."""
    if item.type != "Container":
        return item
    default = {**(item.max or {}), **(item.default or {})}
    request = {**(item.min or {}), **default, **(item.defaultRequest or {})}
    if default == (item.default or {}) and request == (item.defaultRequest or {}):
        return item
    return change(item, default=default or None, defaultRequest=request or None)
