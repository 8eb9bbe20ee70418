"""What is rehearsed: a Service, the controller behind it, and the others that it may depend on. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from lightkube.models.core_v1 import PodTemplateSpec
from lightkube.models.networking_v1 import IngressBackend
from lightkube.resources.apps_v1 import DaemonSet, Deployment, ReplicaSet, StatefulSet
from lightkube.resources.core_v1 import Pod, Service
from lightkube.resources.networking_v1 import Ingress

from antei.api.objects import labels_of, name_of, namespace_of
from antei.api.selectors import selector_of

__all__ = ["OWNER_KINDS", "NoWorkload", "Owner", "Workload", "find_workload", "replicas_of", "selects"]

Owner: TypeAlias = Deployment | StatefulSet | DaemonSet | ReplicaSet
OWNER_KINDS: tuple[type[Owner], ...] = (Deployment, StatefulSet, DaemonSet, ReplicaSet)


class NoWorkload(Exception):
    """There is nothing to rehearse; the message says what was looked for and what there is."""


@dataclass(frozen=True, slots=True)
class Workload:
    """`owner` is the controller whose pods the Service selects; `dependencies` are the namespace's other ones.

    `host` and `path` are those of the Ingress rule that leads to the Service, where there is one.
    """

    service: Service
    owner: Owner
    dependencies: tuple[Owner, ...] = ()
    ingress: Ingress | None = None
    host: str = ""
    path: str = "/"
    port: int = 80
    node_port: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        return namespace_of(self.service)

    @property
    def name(self) -> str:
        return f"{type(self.owner).__name__.lower()}/{name_of(self.owner)}"

    def owns(self, pod: Pod) -> bool:
        """Whether the pod is one that the Service sends requests to."""
        return namespace_of(pod) == self.namespace and is_subset(self.labels, labels_of(pod))


def find_workload(
    services: Sequence[Service],
    owners: Sequence[Owner],
    ingresses: Sequence[Ingress],
    wanted: str = "",
) -> Workload:
    """The Service of that name; else the first that an Ingress leads to, that has a node port, or that has pods.

    All of one namespace. Raises NoWorkload.
    """
    backed = [(service, owner) for service in services if (owner := _owner_of(service, owners)) is not None]
    if wanted:
        backed = [(service, owner) for service, owner in backed if name_of(service) == wanted]
        if not backed:
            there = ", ".join(name_of(service) for service in services) or "none"
            raise NoWorkload(f"there is no Service {wanted!r} with a workload behind it; Services: {there}")
    if not backed:
        raise NoWorkload("there is no Service with a Deployment, StatefulSet, DaemonSet or ReplicaSet behind it")
    routes = list(_routes(ingresses))
    routed = [name for _, _, _, name in routes]

    def rank(entry: tuple[Service, Owner]) -> tuple[int, int]:
        service = entry[0]
        if name_of(service) in routed:
            return 0, routed.index(name_of(service))
        if _is_headless(service):
            return 3, 0
        return (1 if _node_port(service) is not None else 2), 0

    service, owner = min(backed, key=rank)
    if _is_headless(service):
        raise NoWorkload(f"Service {name_of(service)} is headless: there is no address to send requests to")
    route = next((entry for entry in routes if entry[3] == name_of(service)), None)
    ports = (service.spec.ports if service.spec is not None else None) or []
    return Workload(
        service=service,
        owner=owner,
        dependencies=_dependencies(owner, owners, services),
        ingress=route[0] if route else None,
        host=route[1] if route else "",
        path=route[2] if route else "/",
        port=ports[0].port if ports else 80,
        node_port=_node_port(service),
        labels=(service.spec.selector if service.spec is not None else None) or {},
    )


def replicas_of(owner: Owner) -> int:
    """How many pods it is to have; of a DaemonSet, how many nodes want one."""
    if isinstance(owner, DaemonSet):
        return (owner.status.desiredNumberScheduled or 0) if owner.status is not None else 0
    replicas = owner.spec.replicas if owner.spec is not None else None
    return 1 if replicas is None else replicas


def template_of(owner: Owner) -> PodTemplateSpec | None:
    return owner.spec.template if owner.spec is not None else None


def selects(owner: Owner, pod: Pod) -> bool:
    """Whether the pod is one of this controller's, by its labels."""
    selector = owner.spec.selector if owner.spec is not None else None
    return (
        selector is not None
        and namespace_of(pod) == namespace_of(owner)
        and selector_of(selector).matches(labels_of(pod))
    )


def is_subset(wanted: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return bool(wanted) and all(labels.get(name) == value for name, value in wanted.items())


def _owner_of(service: Service, owners: Iterable[Owner]) -> Owner | None:
    selector = (service.spec.selector if service.spec is not None else None) or {}
    for owner in owners:
        if isinstance(owner, ReplicaSet) and owner.metadata is not None and owner.metadata.ownerReferences:
            continue  # a Deployment's
        template = template_of(owner)
        labels = (template.metadata.labels if template is not None and template.metadata is not None else None) or {}
        if is_subset(selector, labels):
            return owner
    return None


def _dependencies(owner: Owner, owners: Sequence[Owner], services: Sequence[Service]) -> tuple[Owner, ...]:
    """Those that a Service makes reachable: what nobody can call, nobody depends on."""
    reachable = [found for service in services if (found := _owner_of(service, owners)) is not None]
    return tuple(other for other in owners if other is not owner and any(other is one for one in reachable))


def _routes(ingresses: Iterable[Ingress]) -> Iterable[tuple[Ingress, str, str, str]]:
    """(Ingress, host, path, Service) of all rules, in order."""
    for ingress in ingresses:
        spec = ingress.spec
        if spec is None:
            continue
        for rule in spec.rules or ():
            for path in (rule.http.paths if rule.http is not None else None) or ():
                if name := _service_name(path.backend):
                    yield ingress, rule.host or "", path.path or "/", name
        if spec.defaultBackend is not None and (name := _service_name(spec.defaultBackend)):
            yield ingress, "", "/", name


def _service_name(backend: IngressBackend) -> str:
    return backend.service.name if backend.service is not None else ""


def _node_port(service: Service) -> int | None:
    ports = (service.spec.ports if service.spec is not None else None) or ()
    return next((port.nodePort for port in ports if port.nodePort), None)


def _is_headless(service: Service) -> bool:
    return service.spec is not None and service.spec.clusterIP == "None"
