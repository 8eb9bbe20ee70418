"""EndpointSlices: which addresses a Service leads to, and in which state each of them is.

The first place where a readiness change or an eviction turns into traffic that goes elsewhere, so nothing here waits
or batches. Slices change as little as possible: an endpoint stays in the slice in which it is.
(Kubernetes: staging/src/k8s.io/endpointslice/reconciler.go.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightkube.models.discovery_v1 import Endpoint, EndpointConditions, EndpointPort
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Node, Pod, Service
from lightkube.resources.discovery_v1 import EndpointSlice

from antei.api.errors import ApiError
from antei.api.objects import (
    is_terminating,
    labels_of,
    name_of,
    namespace_of,
    owner_reference,
    replace,
    replace_meta,
    uid_of,
)
from antei.api.pods import is_ready
from antei.client import Client
from antei.client.events import EventRecorder
from antei.client.informer import Informer, Informers
from antei.control.assume import AssumeCache
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

__all__ = ["EndpointSliceController", "Plan", "Snapshot", "endpoint_of", "plan"]

LABEL_SERVICE = "kubernetes.io/service-name"
LABEL_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
LABEL_HEADLESS = "service.kubernetes.io/headless"
LABEL_ZONE = "topology.kubernetes.io/zone"
MANAGER = "endpointslice-controller.k8s.io"
#: --max-endpoints-per-slice.
MAX_ENDPOINTS = 100

_RESERVED_LABELS = {LABEL_SERVICE, LABEL_MANAGED_BY, LABEL_HEADLESS}
#: (name, port, protocol, appProtocol) of each port: pods whose named ports differ need slices of their own.
Ports = tuple[tuple[str, int, str, str | None], ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    service: Service
    pods: tuple[Pod, ...]  # those it selects, sorted by name
    zones: Mapping[str, str]  # node name → zone
    slices: tuple[EndpointSlice, ...]  # those of this controller


@dataclass(frozen=True, slots=True)
class Plan:
    create: tuple[EndpointSlice, ...] = ()
    update: tuple[EndpointSlice, ...] = ()
    delete: tuple[EndpointSlice, ...] = ()


@dataclass(slots=True)
class _Draft:
    """A slice that exists while it is decided what becomes of it."""

    original: EndpointSlice
    endpoints: list[Endpoint] = field(default_factory=list)
    is_changed: bool = False


def plan(snapshot: Snapshot) -> Plan:
    """The fewest changes after which the slices show the pods."""
    desired = _desired_endpoints(snapshot)
    drafts_by_ports: dict[Ports, list[_Draft]] = {}
    deleted: list[EndpointSlice] = []
    for existing in snapshot.slices:
        ports = _ports_of(existing)
        if existing.addressType == "IPv4" and ports in desired:
            drafts_by_ports.setdefault(ports, []).append(_Draft(existing))
        else:
            deleted.append(existing)
    created: list[EndpointSlice] = []
    drafts: list[_Draft] = []
    for ports, endpoints in desired.items():
        group = drafts_by_ports.get(ports, [])
        left = _keep_in_place(group, endpoints, _slice_labels(snapshot.service))
        created.extend(_new_slice(snapshot.service, ports, part) for part in _fill(group, left))
        drafts.extend(group)
    emptied = [draft for draft in drafts if not draft.endpoints]
    kept = [draft for draft in drafts if draft.endpoints]
    deleted.extend(draft.original for draft in emptied)
    if not created and not kept:
        # A Service without endpoints has one empty slice, so that it is seen to have none.
        placeholder = _new_slice(snapshot.service, (), [])
        empty = next((s for s in snapshot.slices if not s.endpoints and not s.ports and s.addressType == "IPv4"), None)
        if empty is None:
            created.append(placeholder)
        else:
            deleted.remove(empty)
            if labels_of(empty) != labels_of(placeholder):
                return Plan((), (replace_meta(empty, labels=labels_of(placeholder)),), tuple(deleted))
    labels = _slice_labels(snapshot.service)
    updated = tuple(
        replace(replace_meta(draft.original, labels=labels), endpoints=draft.endpoints)
        for draft in kept
        if draft.is_changed
    )
    return Plan(tuple(created), updated, tuple(deleted))


def endpoint_of(service: Service, pod: Pod, zone: str | None) -> Endpoint:
    """One pod as an endpoint: `serving` is its readiness, `ready` also wants it not to be going."""
    serving, terminating = is_ready(pod), is_terminating(pod)
    return Endpoint(
        addresses=list(pod_addresses(pod)),
        conditions=EndpointConditions(
            ready=publishes_not_ready(service) or (serving and not terminating),
            serving=serving,
            terminating=terminating,
        ),
        hostname=hostname_in(service, pod),
        nodeName=(pod.spec.nodeName if pod.spec else None) or None,
        targetRef=target_of(pod),
        zone=zone,
    )


def _desired_endpoints(snapshot: Snapshot) -> dict[Ports, dict[str, Endpoint]]:
    """Endpoints by pod uid, grouped by the ports they listen on."""
    service = snapshot.service
    has_ports = bool(service.spec and service.spec.ports)
    desired: dict[Ports, dict[str, Endpoint]] = {}
    for pod in snapshot.pods:
        if not belongs_in_endpoints(pod, include_terminating=True):
            continue
        ports = _resolved_ports(service, pod)
        if not ports and has_ports:
            continue
        node_name = (pod.spec.nodeName if pod.spec else None) or ""
        endpoint = endpoint_of(service, pod, snapshot.zones.get(node_name))
        desired.setdefault(ports, {})[uid_of(pod)] = endpoint
    return desired


def _resolved_ports(service: Service, pod: Pod) -> Ports:
    found = []
    for port in (service.spec.ports if service.spec else None) or ():
        number = find_port(pod, port)
        if number is not None:
            found.append((port.name or "", number, port.protocol or "TCP", port.appProtocol))
    return tuple(found)


def _ports_of(existing: EndpointSlice) -> Ports:
    return tuple((p.name or "", p.port or 0, p.protocol or "TCP", p.appProtocol) for p in existing.ports or ())


def _keep_in_place(group: Sequence[_Draft], desired: Mapping[str, Endpoint], labels: dict[str, str]) -> list[Endpoint]:
    """Fills the drafts with what stays where it is; returns the endpoints that have no place yet."""
    left = dict(desired)
    for draft in group:
        draft.is_changed = labels_of(draft.original) != labels
        for known in draft.original.endpoints or ():
            wanted = left.pop((known.targetRef.uid if known.targetRef else None) or "", None)
            if wanted is None:
                draft.is_changed = True
                continue
            draft.endpoints.append(wanted)
            draft.is_changed = draft.is_changed or wanted != known
    return list(left.values())


def _fill(group: Sequence[_Draft], left: list[Endpoint]) -> list[list[Endpoint]]:
    """Puts what is left into slices that change anyway, then into one with room for all; the rest needs new ones."""
    changing = sorted((d for d in group if d.is_changed and d.endpoints), key=lambda d: -len(d.endpoints))
    for draft in changing:
        room = MAX_ENDPOINTS - len(draft.endpoints)
        draft.endpoints.extend(left[:room])
        left = left[room:]
    if not left:
        return []
    # Also one that would be emptied: changing it costs no more than deleting it.
    roomy = [d for d in group if len(d.endpoints) + len(left) <= MAX_ENDPOINTS]
    if roomy:
        fullest = max(roomy, key=lambda d: len(d.endpoints))
        fullest.endpoints.extend(left)
        fullest.is_changed = True
        return []
    return [left[start : start + MAX_ENDPOINTS] for start in range(0, len(left), MAX_ENDPOINTS)]


def _slice_labels(service: Service) -> dict[str, str]:
    labels = {key: value for key, value in labels_of(service).items() if key not in _RESERVED_LABELS}
    if is_headless(service):
        labels[LABEL_HEADLESS] = ""
    return labels | {LABEL_SERVICE: name_of(service), LABEL_MANAGED_BY: MANAGER}


def _new_slice(service: Service, ports: Ports, endpoints: Iterable[Endpoint]) -> EndpointSlice:
    prefix = f"{name_of(service)}-"
    return EndpointSlice(
        apiVersion="discovery.k8s.io/v1",
        kind="EndpointSlice",
        metadata=ObjectMeta(
            generateName=prefix if len(prefix) <= 253 else name_of(service),
            namespace=namespace_of(service),
            labels=_slice_labels(service),
            ownerReferences=[owner_reference(service)],
        ),
        addressType="IPv4",
        ports=[EndpointPort(name=n, port=p, protocol=proto, appProtocol=app) for n, p, proto, app in ports],
        endpoints=list(endpoints),
    )


class EndpointSliceController:
    """Keys are Services."""

    name = "endpointslice-controller"

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder, world: World) -> None:
        self._client = client
        self._recorder = recorder
        self._services: Informer[Service] = informers.of(Service)
        self._pods: Informer[Pod] = informers.of(Pod)
        self._nodes: Informer[Node] = informers.of(Node)
        self._slices: Informer[EndpointSlice] = informers.of(EndpointSlice)
        self._assumed = AssumeCache(self._slices)

    def setup(self, informers: Informers, queue: WorkQueue) -> None:
        index_pods_by_label(self._pods)
        self._slices.add_index("managed-service", _service_keys)
        self._services.add_handler(enqueue_key(queue))
        self._pods.add_handler(enqueue_services_of_pod(queue, self._services))

        def slice_changed(old: EndpointSlice | None, new: EndpointSlice | None) -> None:
            changed = new if new is not None else old
            for key in _service_keys(changed) if changed is not None else ():
                queue.add((namespace_of(changed), key.partition("/")[2]))  # type: ignore[arg-type]

        def node_changed(old: Node | None, new: Node | None) -> None:
            if _zone(old) != _zone(new):
                for service in self._services.items():
                    queue.add((namespace_of(service), name_of(service)))

        self._slices.add_handler(slice_changed)
        self._nodes.add_handler(node_changed)

    async def reconcile(self, key: Key) -> Requeue | None:
        namespace, name = key
        service = self._services.get(namespace, name)
        if service is None or is_terminating(service) or not selects_pods(service):
            return None  # the slices of a Service that is gone are the garbage collector's
        changes = plan(self._snapshot(service))
        try:
            for obsolete in changes.delete:
                await remove(self._client, obsolete)
            for changed in changes.update:
                self._assumed.assume(await self._client.update(changed))
            for missing in changes.create:
                self._assumed.assume(await self._client.create(missing))
        except ApiError as error:
            if error.code not in (404, 409):
                text = f"Failed to update Endpoint Slices for Service {namespace}/{name}: {error}"
                self._recorder.event(service, "Warning", "FailedToUpdateEndpointSlices", text)
            raise
        return None

    def _snapshot(self, service: Service) -> Snapshot:
        key = f"{namespace_of(service)}/{name_of(service)}"
        slices = self._assumed.overlay(self._slices.by_index("managed-service", key), lambda s: key in _service_keys(s))
        pods = selected_pods(service, self._pods)
        zones: dict[str, str] = {}
        for node_name in {pod.spec.nodeName: None for pod in pods if pod.spec and pod.spec.nodeName}:
            zone = _zone(self._nodes.get("", node_name))
            if zone:
                zones[node_name] = zone
        return Snapshot(service, pods, zones, tuple(s for s in slices if not is_terminating(s)))


def _service_keys(existing: EndpointSlice) -> tuple[str, ...]:
    labels: Mapping[str, Any] = labels_of(existing)
    service = labels.get(LABEL_SERVICE)
    if not service or labels.get(LABEL_MANAGED_BY) != MANAGER:
        return ()
    return (f"{namespace_of(existing)}/{service}",)


def _zone(node: Node | None) -> str | None:
    return labels_of(node).get(LABEL_ZONE) if node is not None else None
