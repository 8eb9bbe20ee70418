"""Which Service an HTTP request goes to: Ingress objects in, a routing table out. Pure.

Host: the exact one, then a wildcard (one label), then rules without a host. Path, within that host: Exact, then the
longest prefix, element by element. Of two Ingresses with the same host and path the older one has it, as with
ingress-nginx. Source: kubernetes.io/docs/concepts/services-networking/ingress (path types, hostname wildcards).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from lightkube.models.networking_v1 import IngressBackend
from lightkube.resources.networking_v1 import Ingress, IngressClass

from antei.api.objects import key_of, meta, name_of, namespace_of

__all__ = ["CLASS_NAME", "CONTROLLER", "Backend", "IngressTable", "ingress_table", "is_served", "served_classes"]

CLASS_NAME = "antei"
CONTROLLER = "antei.dev/ingress"
_CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Backend:
    namespace: str
    service: str
    port: int | str  # number or name


@dataclass(frozen=True, slots=True)
class _Path:
    elements: tuple[str, ...]
    exact: str | None  # the whole path, for pathType Exact
    backend: Backend

    def matches(self, path: str, elements: tuple[str, ...]) -> bool:
        if self.exact is not None:
            return path == self.exact
        return elements[: len(self.elements)] == self.elements


@dataclass(slots=True)
class IngressTable:
    _hosts: dict[str, list[_Path]] = field(default_factory=dict)  # "" is any host; best match first
    _host_defaults: dict[str, Backend] = field(default_factory=dict)
    _default: Backend | None = None
    tls_secrets: dict[str, tuple[str, str]] = field(default_factory=dict)  # host to (namespace, secret)

    def route(self, host: str, path: str) -> Backend | None:
        """`host` as the request's Host header says it; None: no rule and no default backend, so 404."""
        name = host.rsplit(":", 1)[0] if ":" in host and not host.endswith("]") else host
        name = name.lower().rstrip(".")
        elements = _elements(path)
        for candidate in (name, "*." + name.partition(".")[2], ""):
            paths = self._hosts.get(candidate)
            if paths is None and candidate not in self._host_defaults:
                continue
            for rule in paths or ():
                if rule.matches(path, elements):
                    return rule.backend
            return self._host_defaults.get(candidate, self._default)
        return self._default


def served_classes(classes: Iterable[IngressClass]) -> frozenset[str]:
    """The class names that this controller answers to."""
    ours = {name_of(item) for item in classes if item.spec is not None and item.spec.controller == CONTROLLER}
    return frozenset({CLASS_NAME, *ours})


def is_served(ingress: Ingress, classes: frozenset[str]) -> bool:
    """Whether the Ingress is ours: its class is, or it names none."""
    annotation = (meta(ingress).annotations or {}).get(_CLASS_ANNOTATION)
    name = (ingress.spec.ingressClassName if ingress.spec else None) or annotation
    return name is None or name in classes


def ingress_table(ingresses: Iterable[Ingress]) -> IngressTable:
    """The table of the Ingresses that are served."""
    table = IngressTable()
    for ingress in sorted(ingresses, key=lambda item: (meta(item).creationTimestamp or _LONG_AGO, key_of(item))):
        _add(table, ingress)
    for paths in table._hosts.values():
        # Stable: among equals the older Ingress stays first.
        paths.sort(key=lambda rule: (rule.exact is None, -len(rule.elements)))
    return table


def _add(table: IngressTable, ingress: Ingress) -> None:
    spec = ingress.spec
    if spec is None:
        return
    namespace = namespace_of(ingress)
    default = _backend(namespace, spec.defaultBackend)
    for rule in spec.rules or ():
        host = (rule.host or "").lower()
        paths = table._hosts.setdefault(host, [])
        if default is not None:
            table._host_defaults.setdefault(host, default)
        for path in rule.http.paths if rule.http else ():
            backend = _backend(namespace, path.backend)
            if backend is None:
                continue
            text = path.path or "/"
            paths.append(_Path(_elements(text), text if path.pathType == "Exact" else None, backend))
    if default is not None and not spec.rules and table._default is None:
        table._default = default
    for tls in spec.tls or ():
        for host in tls.hosts or ("",):
            if tls.secretName:
                table.tls_secrets.setdefault(host.lower(), (namespace, tls.secretName))


def _backend(namespace: str, backend: IngressBackend | None) -> Backend | None:
    """None as well for a backend that is no Service (`resource`)."""
    service = backend.service if backend is not None else None
    if service is None or service.port is None:
        return None
    port = service.port.number or service.port.name
    return Backend(namespace, service.name, port) if port else None


def _elements(path: str) -> tuple[str, ...]:
    return tuple(element for element in path.split("/") if element)
