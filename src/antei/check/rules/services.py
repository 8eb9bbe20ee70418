"""Rules over Services and Ingresses: whether requests get anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from lightkube.models.networking_v1 import IngressBackend, IngressSpec, ServiceBackendPort

from antei.check.model import Edit, Options, Problem, Rule, Severity, rule, set_field
from antei.check.path import Path, at
from antei.check.rules.budgets import nothing_selected
from antei.check.workload import Graph, Item, Workload

__all__ = ["RULES"]


@rule(
    "service-selects-nothing",
    Severity.WARNING,
    title="The Service selects no pods",
    reason="A Service without endpoints refuses every connection.",
    source="pkg/controller/endpointslice/endpointslice_controller.go",
)
def service_selects_nothing(graph: Graph, options: Options) -> Iterable[Problem]:
    for item, service in graph.services():
        if service.spec is None or not service.spec.selector or graph.selected_by(item):
            continue
        if not any(w.namespace == item.namespace for w in graph.workloads):
            continue  # nothing was given that it could select
        text, edits = nothing_selected(graph, item, ("spec", "selector"), dict(service.spec.selector))
        yield Problem(item, ("spec", "selector"), text, edits)


@rule(
    "service-port-unknown",
    Severity.ERROR,
    title="A Service names a port that its pods do not have",
    reason=(
        "A targetPort given by name is looked up in each pod; pods without a port of that name are no endpoints of it,"
        " so that every connection is refused. A number that no container declares may be a slip, too."
    ),
    source="staging/src/k8s.io/endpointslice/utils.go (FindPort)",
)
def service_port_unknown(graph: Graph, options: Options) -> Iterable[Problem]:
    for item, service in graph.services():
        workloads = graph.selected_by(item)
        for index, port in enumerate((service.spec.ports if service.spec is not None else None) or ()):
            target = port.targetPort if port.targetPort is not None else port.port
            for workload in workloads:
                yield from _unknown_port(item, at("spec", "ports", index, "targetPort"), target, workload)


def _unknown_port(item: Item, path: Path, target: int | str, workload: Workload) -> Iterator[Problem]:
    ports = [port for found in workload.containers() for port in found.container.ports or ()]
    shown = ", ".join(f"{p.name} ({p.containerPort})" if p.name else str(p.containerPort) for p in ports) or "none"
    edits: tuple[Edit, ...] = ()
    if isinstance(target, str):
        names = [port.name for port in ports if port.name]
        if target in names:
            return
        close = get_close_matches(target, names, n=1) or (names if len(names) == 1 else [])
        if close:
            edits = (set_field(close[0], path),)
        elif len(ports) == 1:
            edits = (set_field(ports[0].containerPort, path),)
        hint = f"; did you mean {close[0]}?" if close else ""
        yield Problem(
            item,
            path,
            f'0 pods of {workload.title} have a port named "{target}" (they have {shown}): every connection is'
            f" refused{hint}",
            edits,
        )
    elif ports and target not in [port.containerPort for port in ports]:
        # A container may listen where it does not say so; only its author knows whether this is a slip.
        text = f"port {target} is none of the ports of {workload.title} (they have {shown})"
        yield Problem(item, path, text, severity=Severity.WARNING)


@rule(
    "ingress-backend-unknown",
    Severity.ERROR,
    title="An Ingress leads to a Service or port that is not there",
    reason="Requests for such a path are answered with 503 by the ingress controller, or with its default page.",
    source="pkg/apis/networking/types.go (IngressServiceBackend)",
)
def ingress_backend_unknown(graph: Graph, options: Options) -> Iterable[Problem]:
    for item, ingress in graph.ingresses():
        services = {found.name: found for found in graph.of_kind("Service", item.namespace)}
        if not services or ingress.spec is None:
            continue
        for path, backend in _backends(ingress.spec):
            if backend.service is None:
                continue
            name = backend.service.name
            service = services.get(name)
            if service is None:
                close = get_close_matches(name, list(services), n=1)
                hint = f"; did you mean {close[0]}?" if close else ""
                edits = (set_field(close[0], path, "service", "name"),) if close else ()
                yield Problem(item, at(path, "service", "name"), f"there is no Service {name}: 503{hint}", edits)
                continue
            yield from _unknown_backend_port(item, at(path, "service", "port"), backend.service.port, service)


def _backends(spec: IngressSpec) -> Iterator[tuple[Path, IngressBackend]]:
    if spec.defaultBackend is not None:
        yield ("spec", "defaultBackend"), spec.defaultBackend
    for i, ingress_rule in enumerate(spec.rules or ()):
        for j, path in enumerate((ingress_rule.http.paths if ingress_rule.http is not None else None) or ()):
            if path.backend is not None:
                yield ("spec", "rules", i, "http", "paths", j, "backend"), path.backend


def _unknown_backend_port(item: Item, path: Path, port: ServiceBackendPort | None, service: Item) -> Iterator[Problem]:
    ports = service.obj.spec.ports or []
    name, number = (port.name, port.number) if port is not None else (None, None)
    if any((name and p.name == name) or (number and p.port == number) for p in ports) or not (name or number):
        return
    shown = ", ".join(f"{p.name} ({p.port})" if p.name else str(p.port) for p in ports) or "none"
    edits: tuple[Edit, ...] = ()
    if len(ports) == 1:
        edits = (set_field({"number": ports[0].port}, path),)
    yield Problem(item, path, f"Service {service.name} has no port {name or number} (it has {shown}): 503", edits)


RULES: tuple[Rule, ...] = (
    service_selects_nothing,
    service_port_unknown,
    ingress_backend_unknown,
)
