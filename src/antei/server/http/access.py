"""What a request must be allowed to do: the attributes that rules are asked about, from its route and query.

The route that decides here is the one by which the request is served, so that no spelling of a path (`..`, `%2F`, `//`)
can be allowed as one thing and served as another.
"""

from __future__ import annotations

from dataclasses import replace

from antei.api.errors import bad_request
from antei.api.selectors import parse_field_selector
from antei.server.authorization.attributes import Attributes, of_path, of_resource
from antei.server.http.exchange import Exchange
from antei.server.http.routes import Route

__all__ = ["attributes_of"]

#: Those by which commands are run and ports are reached: a GET opens them too, and needs `create` none the less
#: (Kubernetes: AuthorizePodWebsocketUpgradeCreatePermission).
_STREAMS = ("attach", "exec", "portforward")


def attributes_of(exchange: Exchange, route: Route | None) -> tuple[Attributes, ...]:
    """All of them must be allowed. Raises 400 for a field selector that cannot be read."""
    is_watch = "watch" in exchange.query and bool(exchange.flag("watch"))
    if route is None:
        return (of_path(exchange.method, exchange.path, is_watch=is_watch),)
    served = route.served
    wanted = of_resource(
        exchange.method,
        served.group,
        served.version,
        served.plural,
        route.namespace or "",
        route.name,
        route.subresource,
        is_watch=is_watch,
        selected_name="" if route.name else _selected_name(exchange),
    )
    if route.is_watch:
        wanted = replace(wanted, verb="watch")
    if wanted.verb == "get" and wanted.resource == "pods" and wanted.subresource in _STREAMS:
        return wanted, replace(wanted, verb="create")
    return (wanted,)


def _selected_name(exchange: Exchange) -> str:
    text = exchange.query.get("fieldSelector", "")
    if "metadata.name" not in text:
        return ""
    try:
        selector = parse_field_selector(text)
    except ValueError as error:
        raise bad_request(str(error)) from error
    for requirement in selector.requirements:
        if requirement.field == "metadata.name" and requirement.operator == "=":
            return requirement.value
    return ""
