"""The objects of some manifests as one graph: workloads with their pods, and what selects, scales or exposes them.

Each object is read as the API server would read it: brought to the version of today, decoded, given its defaults and
validated. Selectors join them, within a namespace. Frozen, and without any input or output.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from lightkube.models.core_v1 import Container, PodSpec, Probe
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.resources.autoscaling_v2 import HorizontalPodAutoscaler
from lightkube.resources.core_v1 import Pod, Service
from lightkube.resources.networking_v1 import Ingress
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api.decode import decode_data
from antei.api.defaults import apply_defaults
from antei.api.errors import ApiError
from antei.api.objects import name_of, replace_meta
from antei.api.pods import is_sidecar
from antei.api.retired import ServedVersion, served_versions
from antei.api.selectors import Selector, selector_of, selector_of_map
from antei.api.validation import validate_create
from antei.check.path import Path, at, parse_path
from antei.check.positions import Positions
from antei.client.manifests import Document

__all__ = [
    "Graph",
    "Item",
    "PodContainer",
    "Workload",
    "graph_of",
    "item_of",
    "labels_text",
    "selector_in",
    "served_as",
]

#: Kinds that run pods, and where in them the pod template is.
_TEMPLATES: Mapping[str, Path] = {
    "Pod": (),
    "Deployment": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "ReplicationController": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
_SCALED = ("Deployment", "ReplicaSet", "ReplicationController", "StatefulSet")
_GROUPS = ("", "apps", "batch")
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One object. `data` is in the version of today, `obj` None where it cannot be read as its kind."""

    document: Document
    namespace: str
    data: Mapping[str, Any]
    served: ServedVersion | None = None
    obj: Any = None
    unknown_fields: tuple[str, ...] = ()
    problems: tuple[tuple[Path, str], ...] = ()  # what the API server would refuse it for
    positions: Positions | None = field(default=None, repr=False)

    @property
    def kind(self) -> str:
        return str(self.data.get("kind", ""))

    @property
    def name(self) -> str:
        metadata = self.data.get("metadata")
        return str((metadata.get("name") or metadata.get("generateName") or "?") if isinstance(metadata, dict) else "?")

    @property
    def title(self) -> str:
        return f"{self.kind or '?'}/{self.name}"


@cache
def _served() -> Mapping[tuple[str, str], ServedVersion]:
    return {(served.api_version, served.kind): served for served in served_versions()}


def served_as(data: Mapping[str, Any]) -> ServedVersion | None:
    return _served().get((str(data.get("apiVersion", "")), str(data.get("kind", ""))))


def item_of(
    document: Document, positions: Positions | None = None, *, namespace: str = "default", is_stored: bool = False
) -> Item:
    """`namespace` is that of an object that names none; what is stored already is not validated once more."""
    served = served_as(document.data)
    metadata = document.data.get("metadata")
    own = metadata.get("namespace") if isinstance(metadata, dict) else None
    if served is None:
        return Item(document, str(own or namespace), document.data, positions=positions)
    namespace = str(own or namespace) if served.resource.namespaced else ""
    try:
        data = served.upgraded(document.data)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        # A conversion moves fields, and supposes mappings and lists where they belong.
        problem = f"it cannot be read as {served.api_version} {served.kind}: {error}"
        return Item(document, namespace, document.data, served, problems=(((), problem),), positions=positions)
    try:
        decoded = decode_data(data, served.resource.type)
    except ApiError as error:
        problems = _causes(error)
        return Item(document, namespace, data, served, problems=problems, positions=positions)
    obj = apply_defaults(decoded.object)
    errors = [] if is_stored else validate_create(served.resource, _named(obj, namespace))
    return Item(
        document,
        namespace,
        data,
        served,
        obj,
        unknown_fields=tuple(
            text.removeprefix('unknown field "')[:-1] for text in decoded.warnings if text.startswith("unknown field")
        ),
        problems=tuple((parse_path(error.path), str(error)) for error in errors),
        positions=positions,
    )


def _named(obj: Any, namespace: str) -> Any:
    """As admission hands it on: with the request's namespace, and a generated name."""
    metadata = obj.metadata or ObjectMeta()
    name = metadata.name or (f"{metadata.generateName}x" if metadata.generateName else None)
    return replace_meta(obj, namespace=namespace or None, name=name)


def _causes(error: ApiError) -> tuple[tuple[Path, str], ...]:
    causes = (error.status.details.causes if error.status.details else None) or ()
    found = tuple((parse_path(cause.field or ""), f"{cause.field}: {cause.message}") for cause in causes)
    return found or (((), error.message),)


@dataclass(frozen=True, slots=True)
class PodContainer:
    """A container of a workload, and where in its object it is."""

    container: Container
    path: Path
    is_init: bool = False

    @property
    def is_sidecar(self) -> bool:
        return self.is_init and is_sidecar(self.container)

    def probes(self) -> Iterator[tuple[str, Probe]]:
        """Its probes by the names of their fields."""
        for name in PROBES:
            probe = getattr(self.container, name)
            if probe is not None:
                yield name, probe


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """What runs pods. `replicas` is None where no number is wanted of it (DaemonSet, Job, CronJob, Pod)."""

    item: Item
    metadata: ObjectMeta  # of its pods
    spec: PodSpec
    template: Path
    replicas: int | None

    @property
    def kind(self) -> str:
        return self.item.kind

    @property
    def name(self) -> str:
        return self.item.name

    @property
    def namespace(self) -> str:
        return self.item.namespace

    @property
    def title(self) -> str:
        return self.item.title

    @property
    def labels(self) -> Mapping[str, str]:
        return self.metadata.labels or {}

    @property
    def has_scale(self) -> bool:
        return self.kind in _SCALED

    @property
    def runs_on(self) -> bool:
        """Whether its containers are meant to run without end."""
        return self.kind not in ("Job", "CronJob") and (self.spec.restartPolicy or "Always") == "Always"

    @property
    def pod_spec_path(self) -> Path:
        return at(self.template, "spec")

    def containers(self) -> Iterator[PodContainer]:
        """Those that run as long as the pod does: its containers, then its sidecars."""
        for index, container in enumerate(self.spec.containers):
            yield PodContainer(container, at(self.pod_spec_path, "containers", index))
        for index, container in enumerate(self.spec.initContainers or ()):
            if is_sidecar(container):
                yield PodContainer(container, at(self.pod_spec_path, "initContainers", index), is_init=True)

    def all_containers(self) -> Iterator[PodContainer]:
        for index, container in enumerate(self.spec.initContainers or ()):
            yield PodContainer(container, at(self.pod_spec_path, "initContainers", index), is_init=True)
        for index, container in enumerate(self.spec.containers):
            yield PodContainer(container, at(self.pod_spec_path, "containers", index))


@dataclass(frozen=True, slots=True)
class Graph:
    """`live_pods` are the running pods of a namespace that was read from a cluster."""

    items: tuple[Item, ...]
    workloads: tuple[Workload, ...]
    live_pods: tuple[Pod, ...] = ()

    def of_kind(self, kind: str, namespace: str | None = None) -> Iterator[Item]:
        """Those that could be read."""
        for item in self.items:
            if item.kind == kind and item.obj is not None and namespace in (None, item.namespace):
                yield item

    def named(self, kind: str, namespace: str, name: str) -> Item | None:
        return next((item for item in self.of_kind(kind, namespace) if item.name == name), None)

    def services(self) -> Iterator[tuple[Item, Service]]:
        return ((item, item.obj) for item in self.of_kind("Service"))

    def budgets(self) -> Iterator[tuple[Item, PodDisruptionBudget]]:
        return ((item, item.obj) for item in self.of_kind("PodDisruptionBudget"))

    def ingresses(self) -> Iterator[tuple[Item, Ingress]]:
        return ((item, item.obj) for item in self.of_kind("Ingress"))

    def selected_by(self, item: Item) -> list[Workload]:
        """The workloads whose pods a Service or a budget selects."""
        selector = selector_in(item)
        return [w for w in self.workloads if w.namespace == item.namespace and selector.matches(w.labels)]

    def services_of(self, workload: Workload) -> list[Item]:
        return [item for item in self.of_kind("Service", workload.namespace) if _selects(item, workload)]

    def budgets_of(self, workload: Workload) -> list[Item]:
        return [item for item in self.of_kind("PodDisruptionBudget", workload.namespace) if _selects(item, workload)]

    def autoscaler_of(self, workload: Workload) -> HorizontalPodAutoscaler | None:
        for item in self.of_kind("HorizontalPodAutoscaler", workload.namespace):
            spec = item.obj.spec
            target = getattr(spec, "scaleTargetRef", None)
            is_v2 = isinstance(item.obj, HorizontalPodAutoscaler)
            if is_v2 and target is not None and (target.kind, target.name) == (workload.kind, workload.name):
                return item.obj
        return None


def _selects(item: Item, workload: Workload) -> bool:
    return selector_in(item).matches(workload.labels)


def selector_in(item: Item) -> Selector:
    """What a Service or a budget selects; nothing, where its selector cannot be read."""
    selector = item.obj.spec.selector if item.obj.spec is not None else None
    try:
        return selector_of(selector) if isinstance(selector, LabelSelector) else selector_of_map(selector)
    except ValueError:
        return Selector(matches_nothing=True)


def graph_of(items: Iterable[Item], live_pods: Iterable[Pod] = ()) -> Graph:
    read = tuple(items)
    workloads = tuple(workload for item in read if (workload := _workload(item)) is not None)
    return Graph(read, workloads, tuple(sorted(live_pods, key=name_of)))


def _workload(item: Item) -> Workload | None:
    template_path = _TEMPLATES.get(item.kind)
    if template_path is None or item.obj is None or item.served is None or item.served.resource.group not in _GROUPS:
        return None
    template = item.obj
    for step in template_path:
        template = getattr(template, str(step), None)
        if template is None:
            return None
    if template.spec is None or not template.spec.containers:
        return None
    replicas = item.obj.spec.replicas if item.kind in _SCALED else None
    return Workload(item, template.metadata or ObjectMeta(), template.spec, template_path, replicas)


def labels_text(labels: Mapping[str, str] | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or "no labels"
