"""What a path names: a kind in a version, a namespace, an object, a subresource.

/api/v1/namespaces/NS/pods/NAME/log        /apis/GROUP/VERSION/namespaces/NS/deployments/NAME/scale
/api/v1/nodes/NAME                         /apis/GROUP/VERSION/deployments (all namespaces)
/api/v1/namespaces/NS/services/NAME:PORT/proxy/and/any/path
/api/v1/watch/namespaces/NS/pods[/NAME]    the older form of ?watch=1
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache

from antei.api.retired import ServedVersion, served_versions
from antei.server.catalog import Catalog

__all__ = ["CONNECT_SUBRESOURCES", "SERVED_SUBRESOURCES", "Route", "resolve"]

#: Those that connect the client to something.
CONNECT_SUBRESOURCES = frozenset({"attach", "exec", "portforward", "proxy"})
#: Subresources that are served.
SERVED_SUBRESOURCES = CONNECT_SUBRESOURCES | {
    "approval",
    "binding",
    "ephemeralcontainers",
    "eviction",
    "finalize",
    "log",
    "resize",
    "scale",
    "status",
    "token",
}


@dataclass(frozen=True, slots=True)
class Route:
    served: ServedVersion
    namespace: str | None  # None: all namespaces, or a cluster-scoped kind
    name: str
    subresource: str
    is_watch: bool = False  # the path itself asks for a watch


@cache
def _by_path() -> dict[tuple[str, str, str], ServedVersion]:
    return {(served.group, served.version, served.plural): served for served in served_versions()}


def resolve(path: str, catalog: Catalog | None = None) -> Route | None:
    """The route of a path; None where nothing is served there. Without a catalog only built-in kinds are known."""
    found = _built_in(path)
    return found if found is not None or catalog is None else _resolved(path, catalog.served)


@lru_cache(maxsize=8192)
def _built_in(path: str) -> Route | None:
    return _resolved(path, lambda group, version, plural: _by_path().get((group, version, plural)))


def _resolved(path: str, find: Callable[[str, str, str], ServedVersion | None]) -> Route | None:
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    is_watch = rest[0] == "watch" and len(rest) > 1
    if is_watch:
        rest = rest[1:]
    namespace = None
    if rest[0] == "namespaces" and len(rest) > 2 and not (group == "" and rest[2] in ("status", "finalize")):
        namespace, rest = rest[1], rest[2:]
        if not namespace:
            return None
    if len(rest) > 3 and rest[2] == "proxy":
        rest = rest[:3]  # what follows is the path on the other side
    served = find(group, version, rest[0])
    if served is None or len(rest) > 3 or "" in rest:
        return None
    resource = served.resource
    if namespace is not None and not resource.namespaced:
        return None
    name = rest[1] if len(rest) > 1 else ""
    if resource.namespaced and name and namespace is None:
        return None
    subresource = rest[2] if len(rest) > 2 else ""
    if subresource and (subresource not in SERVED_SUBRESOURCES or subresource not in resource.subresources):
        return None
    if is_watch and subresource:
        return None
    return Route(served, namespace, name, subresource, is_watch)
