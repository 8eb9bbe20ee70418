"""Endpoints (v1): the older form of the same facts, which kubectl describe and many tools still read.

Ready addresses and not-ready ones stand apart, a pod that is being deleted in neither.
(Kubernetes: pkg/controller/endpoint/endpoints_controller.go.)
"""

from __future__ import annotations

from dataclasses import dataclass

from lightkube.models.core_v1 import EndpointAddress, EndpointPort, EndpointSubset
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Endpoints, Pod, Service

from antei.api.errors import ApiError
from antei.api.objects import is_terminating, labels_of, meta, name_of, namespace_of, replace, replace_meta
from antei.api.pods import is_ready
from antei.client import Client
from antei.client.events import EventRecorder
from antei.client.informer import Informer, Informers
from antei.control.controller import Key, Requeue, WorkQueue, enqueue_key
from antei.control.removal import remove
from antei.control.service_selection import (
    belongs_in_endpoints,
    enqueue_services_of_pod,
    find_port,
    hostname_in,
    index_pods_by_label,
    is_headless,
    pod_addresses,
    publishes_not_ready,
    selected_pods,
    selects_pods,
    target_of,
)
from antei.world import World

__all__ = ["EndpointsController", "Snapshot", "plan", "subsets_of"]

LABEL_HEADLESS = "service.kubernetes.io/headless"
LABEL_MANAGED_BY = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
#: Beyond it addresses are left out and the object says so (Kubernetes: maxCapacity).
MAX_ADDRESSES = 1000

#: (port, protocol, name, appProtocol) of each port.
Ports = tuple[tuple[int, str, str, str | None], ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    service: Service
    pods: tuple[Pod, ...]  # those it selects, sorted by name
    current: Endpoints | None


def plan(snapshot: Snapshot) -> Endpoints | None:
    """The object to create (without a resourceVersion) or to update; None where it is right already."""
    service, current = snapshot.service, snapshot.current
    subsets, is_cut = _cut(subsets_of(service, snapshot.pods))
    labels = {k: v for k, v in labels_of(service).items() if k not in (LABEL_HEADLESS, LABEL_MANAGED_BY)}
    labels[LABEL_MANAGED_BY] = MANAGER
    if is_headless(service):
        labels[LABEL_HEADLESS] = ""
    annotations = dict((meta(current).annotations if current is not None else None) or {})
    annotations.pop(OVER_CAPACITY, None)
    if is_cut:
        annotations[OVER_CAPACITY] = "truncated"
    if current is None:
        return Endpoints(
            apiVersion="v1",
            kind="Endpoints",
            metadata=ObjectMeta(
                name=name_of(service),
                namespace=namespace_of(service),
                labels=labels,
                annotations=annotations or None,
            ),
            subsets=subsets or None,
        )
    if (
        (current.subsets or []) == subsets
        and labels_of(current) == labels
        and (meta(current).annotations or {}) == annotations
    ):
        return None
    return replace(replace_meta(current, labels=labels, annotations=annotations or None), subsets=subsets or None)


def subsets_of(service: Service, pods: tuple[Pod, ...]) -> list[EndpointSubset]:
    """Addresses grouped by the ports they listen on, each sorted by address."""
    published = publishes_not_ready(service)
    has_ports = bool(service.spec and service.spec.ports)
    groups: dict[Ports, tuple[list[EndpointAddress], list[EndpointAddress]]] = {}
    for pod in pods:
        if not belongs_in_endpoints(pod, include_terminating=published):
            continue
        ports = _resolved_ports(service, pod)
        if not ports and (has_ports or not is_headless(service)):
            continue
        ready, not_ready = groups.setdefault(ports, ([], []))
        (ready if published or is_ready(pod) else not_ready).append(_address(service, pod))
    return [
        EndpointSubset(
            addresses=sorted(ready, key=_order) or None,
            notReadyAddresses=sorted(not_ready, key=_order) or None,
            ports=[EndpointPort(port=n, protocol=p, name=m or None, appProtocol=a) for n, p, m, a in ports] or None,
        )
        for ports, (ready, not_ready) in sorted(groups.items(), key=lambda item: repr(item[0]))
    ]


def _resolved_ports(service: Service, pod: Pod) -> Ports:
    found = []
    for port in (service.spec.ports if service.spec else None) or ():
        number = find_port(pod, port)
        if number is not None:
            found.append((number, port.protocol or "TCP", port.name or "", port.appProtocol))
    return tuple(sorted(found, key=repr))


def _address(service: Service, pod: Pod) -> EndpointAddress:
    return EndpointAddress(
        ip=pod_addresses(pod)[0],
        hostname=hostname_in(service, pod),
        nodeName=(pod.spec.nodeName if pod.spec else None) or None,
        targetRef=target_of(pod),
    )


def _order(address: EndpointAddress) -> tuple[str, str]:
    return address.ip, (address.targetRef.uid if address.targetRef else None) or ""


def _cut(subsets: list[EndpointSubset]) -> tuple[list[EndpointSubset], bool]:
    """At most MAX_ADDRESSES in all, ready ones before the others."""
    total = sum(len(s.addresses or ()) + len(s.notReadyAddresses or ()) for s in subsets)
    if total <= MAX_ADDRESSES:
        return subsets, False
    room = MAX_ADDRESSES
    ready: list[list[EndpointAddress]] = []
    for subset in subsets:
        ready.append((subset.addresses or [])[:room])
        room -= len(ready[-1])
    result = []
    for subset, addresses in zip(subsets, ready, strict=True):
        others = (subset.notReadyAddresses or [])[:room]
        room -= len(others)
        if addresses or others:
            result.append(replace(subset, addresses=addresses or None, notReadyAddresses=others or None))
    return result, True


class EndpointsController:
    """Keys are Services, which their Endpoints have the name of."""

    name = "endpoints-controller"

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder, world: World) -> None:
        self._client = client
        self._recorder = recorder
        self._services: Informer[Service] = informers.of(Service)
        self._pods: Informer[Pod] = informers.of(Pod)
        self._endpoints: Informer[Endpoints] = informers.of(Endpoints)

    def setup(self, informers: Informers, queue: WorkQueue) -> None:
        index_pods_by_label(self._pods)
        self._services.add_handler(enqueue_key(queue))
        self._pods.add_handler(enqueue_services_of_pod(queue, self._services))
        self._endpoints.add_handler(enqueue_key(queue))

    async def reconcile(self, key: Key) -> Requeue | None:
        namespace, name = key
        service = self._services.get(namespace, name)
        current = self._endpoints.get(namespace, name)
        if service is None:
            if current is not None and labels_of(current).get(LABEL_MANAGED_BY) == MANAGER:
                await remove(self._client, current)
            return None
        if is_terminating(service) or not selects_pods(service):
            return None
        wanted = plan(Snapshot(service, selected_pods(service, self._pods), current))
        if wanted is None:
            return None
        try:
            if current is None:
                await self._client.create(wanted)
            else:
                await self._client.update(wanted)
        except ApiError as error:
            if error.code not in (404, 409):
                text = f"Failed to update endpoint {namespace}/{name}: {error}"
                self._recorder.event(service, "Warning", "FailedToUpdateEndpoint", text)
            raise
        return None
