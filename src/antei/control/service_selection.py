"""Which pods a Service selects, and what an endpoint of it looks like: shared by EndpointSlices and Endpoints.

Source: k8s.io/endpointslice (utils.go, util/controller_utils.go) and pkg/controller/endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lightkube.models.core_v1 import ObjectReference, ServicePort
from lightkube.resources.core_v1 import Pod, Service

from antei.api import pods
from antei.api.objects import is_terminating, key_of, labels_of, meta, name_of, namespace_of
from antei.client.informer import Informer
from antei.control.controller import WorkQueue

__all__ = [
    "belongs_in_endpoints",
    "enqueue_services_of_pod",
    "find_port",
    "hostname_in",
    "index_pods_by_label",
    "is_headless",
    "pod_addresses",
    "publishes_not_ready",
    "selected_pods",
    "selects_pods",
    "target_of",
]

_TOLERATE_UNREADY = "service.alpha.kubernetes.io/tolerate-unready-endpoints"


def selects_pods(service: Service) -> bool:
    """False for Services whose endpoints are somebody else's: no selector, or an external name."""
    spec = service.spec
    return spec is not None and bool(spec.selector) and spec.type != "ExternalName"


def matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.items())


def index_pods_by_label(informer: Informer[Pod]) -> None:
    """Makes `by_index("label", "namespace/key=value")` find pods, so that no Service walks through all of them."""
    informer.add_index("label", _label_entries)


def _label_entries(pod: Pod) -> Iterable[str]:
    namespace = namespace_of(pod)
    return [f"{namespace}/{key}={value}" for key, value in labels_of(pod).items()]


def selected_pods(service: Service, informer: Informer[Pod]) -> tuple[Pod, ...]:
    """The pods that match, sorted by name."""
    selector: Mapping[str, str] = (service.spec.selector if service.spec else None) or {}
    namespace = namespace_of(service)
    candidates = min((informer.by_index("label", f"{namespace}/{k}={v}") for k, v in selector.items()), key=len)
    return tuple(sorted((pod for pod in candidates if matches(selector, labels_of(pod))), key=name_of))


def publishes_not_ready(service: Service) -> bool:
    if service.spec is not None and service.spec.publishNotReadyAddresses:
        return True
    return (meta(service).annotations or {}).get(_TOLERATE_UNREADY) == "true"


def is_headless(service: Service) -> bool:
    return service.spec is None or service.spec.clusterIP in (None, "", "None")


def belongs_in_endpoints(pod: Pod, *, include_terminating: bool) -> bool:
    status = pod.status
    if status is None or pods.is_terminal(pod) or not pod_addresses(pod):
        return False
    return include_terminating or not is_terminating(pod)


def pod_addresses(pod: Pod) -> tuple[str, ...]:
    """The pod's IPv4 addresses."""
    status = pod.status
    if status is None:
        return ()
    found = [entry.ip for entry in status.podIPs or () if entry.ip]
    if not found and status.podIP:
        found = [status.podIP]
    return tuple(ip for ip in found if ":" not in ip)


def find_port(pod: Pod, port: ServicePort) -> int | None:
    """The container port that this port leads to in this pod; None where a name is in none of its containers."""
    return pods.find_port(pod, port.targetPort or port.port, port.protocol or "TCP")


def hostname_in(service: Service, pod: Pod) -> str | None:
    """The name under which the pod is found below the Service's, where it asks for one."""
    spec = pod.spec
    if spec is None or not spec.hostname or spec.subdomain != name_of(service):
        return None
    return spec.hostname


def target_of(pod: Pod) -> ObjectReference:
    metadata = meta(pod)
    return ObjectReference(kind="Pod", namespace=metadata.namespace, name=metadata.name, uid=metadata.uid)


def enqueue_services_of_pod(queue: WorkQueue, services: Informer[Service]) -> Callable[[Pod | None, Pod | None], None]:
    """A handler that queues the Services which select the pod, or did before it changed."""

    def handler(old: Pod | None, new: Pod | None) -> None:
        if old is not None and new is not None and _as_endpoint(old) == _as_endpoint(new):
            return
        for pod in (old, new):
            if pod is None:
                continue
            for service in services.items(namespace_of(pod)):
                selector = service.spec.selector if service.spec else None
                if selector and matches(selector, labels_of(pod)):
                    queue.add(key_of(service))

    return handler


def _as_endpoint(pod: Pod) -> tuple[Any, ...]:
    """All that an endpoint shows of a pod (Kubernetes: podEndpointsChanged)."""
    spec = pod.spec
    return (
        labels_of(pod),
        is_terminating(pod),
        pods.is_ready(pod),
        pod.status.phase if pod.status else None,
        pod_addresses(pod),
        spec and (spec.nodeName, spec.hostname, spec.subdomain),
    )
