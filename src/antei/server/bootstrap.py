"""What every cluster has from its first second: namespaces, priority classes, the Services of the API and of DNS.

Kubernetes creates these in the post-start hooks of its API server (pkg/controlplane, pkg/registry/scheduling/rest)
and in its add-ons. What exists is left as it is, but for the addresses, which follow the running process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from lightkube.models.apiregistration_v1 import APIServiceCondition, APIServiceSpec, APIServiceStatus
from lightkube.models.core_v1 import EndpointAddress, EndpointPort, EndpointSubset, ServicePort, ServiceSpec
from lightkube.models.discovery_v1 import Endpoint, EndpointConditions
from lightkube.models.discovery_v1 import EndpointPort as SlicePort
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.models.networking_v1 import IngressClassSpec
from lightkube.resources.apiregistration_v1 import APIService
from lightkube.resources.core_v1 import Endpoints, Namespace, Service
from lightkube.resources.discovery_v1 import EndpointSlice
from lightkube.resources.networking_v1 import IngressClass
from lightkube.resources.scheduling_v1 import PriorityClass
from lightkube.resources.storage_v1 import StorageClass

from antei.api.metrics_v1beta1 import METRICS_GROUP
from antei.api.objects import meta, replace, to_time
from antei.api.resources import resource_of
from antei.server.admission import SYSTEM_NAMESPACES
from antei.server.caller import STARTING, calling
from antei.server.registry import Registry
from antei.store import Key

__all__ = ["API_SERVICE_ADDRESS", "DNS_SERVICE_ADDRESS", "bootstrap", "together"]

#: The first and the tenth address of the Service range, where every cluster has them.
API_SERVICE_ADDRESS = "10.96.0.1"
DNS_SERVICE_ADDRESS = "10.96.0.10"


async def bootstrap(registry: Registry, *, provisioner: str, api_endpoints: Sequence[tuple[str, int]]) -> None:
    """Creates what is missing; `api_endpoints` are the (address, port) at which pods reach the API server.

    What is there is not created again: neither a quota that is full nor a webhook that is not up yet may be in the way.
    """
    with calling(STARTING):
        await _bootstrap(registry, provisioner, api_endpoints)


async def _bootstrap(registry: Registry, provisioner: str, api_endpoints: Sequence[tuple[str, int]]) -> None:
    await together(
        _ensure(registry, Namespace(apiVersion="v1", kind="Namespace", metadata=ObjectMeta(name=name)))
        for name in SYSTEM_NAMESPACES
    )
    plain = (*_priority_classes(), _storage_class(provisioner), _ingress_class(), _api_service(), _dns_service())
    addresses = (_api_slice(api_endpoints), _api_endpoints(api_endpoints))
    await together(
        [
            *(_ensure(registry, obj) for obj in plain),
            *(_ensure(registry, obj, replace_fields=("endpoints", "ports", "subsets")) for obj in addresses),
            _ensure_metrics_service(registry),
        ]
    )


async def together(writes: Iterable[Coroutine[Any, Any, None]]) -> None:
    """All of them at once, begun in this order: a store on disk makes a commit of them where it made one of each.

    Returns when all have ended, and raises what the first of those raised that failed.
    """
    for ended in await asyncio.gather(*writes, return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended


async def _ensure(registry: Registry, obj: Any, replace_fields: Sequence[str] = ()) -> None:
    resource = resource_of(type(obj))
    metadata = meta(obj)
    namespace, name = metadata.namespace or "", metadata.name or ""
    stored = registry.store.get(Key(resource.bucket, namespace, name))
    if stored is None:
        await registry.create(resource, namespace, obj)
        return
    current = stored.object
    changes = {field: getattr(obj, field) for field in replace_fields if hasattr(obj, field)}
    if changes and any(getattr(current, field) != value for field, value in changes.items()):
        await registry.update(resource, namespace, name, replace(current, **changes))


async def _ensure_metrics_service(registry: Registry) -> None:
    """What clients look for before they ask for metrics.k8s.io; here that group is the API server's own."""
    name, resource = f"v1beta1.{METRICS_GROUP}", resource_of(APIService)
    spec = APIServiceSpec(group=METRICS_GROUP, version="v1beta1", groupPriorityMinimum=100, versionPriority=100)
    metadata = ObjectMeta(name=name)
    await _ensure(
        registry, APIService(apiVersion="apiregistration.k8s.io/v1", kind="APIService", metadata=metadata, spec=spec)
    )
    current = (await registry.get(resource, "", name)).object
    if current.status is None or not current.status.conditions:
        condition = APIServiceCondition(
            type="Available",
            status="True",
            lastTransitionTime=to_time(registry.world.clock.now()),
            reason="Local",
            message="Local APIServices are always available",
        )
        changed = replace(current, status=APIServiceStatus(conditions=[condition]))
        await registry.update(resource, "", name, changed, subresource="status")


def _priority_classes() -> list[PriorityClass]:
    """Kubernetes: pkg/apis/scheduling/v1/helpers.go."""
    return [
        PriorityClass(
            apiVersion="scheduling.k8s.io/v1",
            kind="PriorityClass",
            metadata=ObjectMeta(name=name),
            value=value,
            description=description,
        )
        for name, value, description in (
            (
                "system-cluster-critical",
                2_000_000_000,
                "Used for system critical pods that must run in the cluster, but can be moved to another node"
                " if necessary.",
            ),
            (
                "system-node-critical",
                2_000_001_000,
                "Used for system critical pods that must not be moved from their current node.",
            ),
        )
    ]


def _storage_class(provisioner: str) -> StorageClass:
    return StorageClass(
        apiVersion="storage.k8s.io/v1",
        kind="StorageClass",
        metadata=ObjectMeta(name="standard", annotations={"storageclass.kubernetes.io/is-default-class": "true"}),
        provisioner=provisioner,
        reclaimPolicy="Delete",
        volumeBindingMode="Immediate",
        allowVolumeExpansion=True,
    )


def _ingress_class() -> IngressClass:
    return IngressClass(
        apiVersion="networking.k8s.io/v1",
        kind="IngressClass",
        metadata=ObjectMeta(name="antei", annotations={"ingressclass.kubernetes.io/is-default-class": "true"}),
        spec=IngressClassSpec(controller="antei.dev/ingress"),
    )


def _api_service() -> Service:
    return Service(
        apiVersion="v1",
        kind="Service",
        metadata=ObjectMeta(
            name="kubernetes", namespace="default", labels={"component": "apiserver", "provider": "kubernetes"}
        ),
        spec=ServiceSpec(
            clusterIP=API_SERVICE_ADDRESS,
            ports=[ServicePort(name="https", port=443, protocol="TCP", targetPort=443)],
        ),
    )


def _dns_service() -> Service:
    """Reserves the address; the name server itself listens there."""
    return Service(
        apiVersion="v1",
        kind="Service",
        metadata=ObjectMeta(
            name="kube-dns",
            namespace="kube-system",
            labels={"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"},
        ),
        spec=ServiceSpec(
            clusterIP=DNS_SERVICE_ADDRESS,
            ports=[
                ServicePort(name="dns", port=53, protocol="UDP", targetPort=53),
                ServicePort(name="dns-tcp", port=53, protocol="TCP", targetPort=53),
            ],
        ),
    )


def _api_slice(endpoints: Sequence[tuple[str, int]]) -> EndpointSlice:
    return EndpointSlice(
        apiVersion="discovery.k8s.io/v1",
        kind="EndpointSlice",
        metadata=ObjectMeta(
            name="kubernetes", namespace="default", labels={"kubernetes.io/service-name": "kubernetes"}
        ),
        addressType="IPv4",
        endpoints=[
            Endpoint(addresses=[address], conditions=EndpointConditions(ready=True)) for address, _ in endpoints
        ],
        ports=[SlicePort(name="https", port=port, protocol="TCP") for _, port in endpoints[:1]],
    )


def _api_endpoints(endpoints: Sequence[tuple[str, int]]) -> Endpoints:
    return Endpoints(
        apiVersion="v1",
        kind="Endpoints",
        metadata=ObjectMeta(
            name="kubernetes",
            namespace="default",
            # The legacy object must not be mirrored into a second slice.
            labels={"endpointslice.kubernetes.io/skip-mirror": "true"},
        ),
        subsets=[
            EndpointSubset(
                addresses=[EndpointAddress(ip=address) for address, _ in endpoints],
                ports=[EndpointPort(name="https", port=port, protocol="TCP") for _, port in endpoints[:1]],
            )
        ]
        if endpoints
        else [],
    )
