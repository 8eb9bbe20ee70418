"""Subresources that connect the client to something: `exec`, `attach`, `portforward`, `proxy`."""

from __future__ import annotations

from typing import Any, Protocol

from antei.api.errors import internal_error
from antei.server.http.exchange import Exchange
from antei.server.http.node_endpoints import NodeEndpoints
from antei.server.http.port_forward import PortForwards
from antei.server.http.proxy import Proxy
from antei.server.http.remote_command import RemoteCommands
from antei.server.http.resource_metrics import ResourceMetrics
from antei.server.http.routes import Route
from antei.server.http.streams import Streams
from antei.server.http.verbs import method_not_allowed
from antei.server.kubelets import Kubelets
from antei.server.pod_streams import PodStreams
from antei.server.registry import Registry

__all__ = ["Connect"]

_STREAM_METHODS = ("GET", "POST")
_PROXY_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class _Service(Protocol):
    async def serve(self, exchange: Exchange, route: Route) -> None: ...


class Connect:
    def __init__(
        self,
        registry: Registry,
        pod_streams: PodStreams | None,
        streams: Streams,
        kubelets: Kubelets | None,
        resource_metrics: ResourceMetrics,
    ) -> None:
        self._registry = registry
        self._served: dict[str, _Service] = {}
        if pod_streams is not None:
            commands = RemoteCommands(registry, pod_streams, streams)
            self._served = {
                "exec": commands,
                "attach": commands,
                "portforward": PortForwards(registry, pod_streams, streams),
                "proxy": Proxy(registry, pod_streams, streams, NodeEndpoints(registry, kubelets, resource_metrics)),
            }

    async def serve(self, exchange: Exchange, route: Route) -> None:
        """Raises ApiError while nothing has been answered."""
        if exchange.method not in (_PROXY_METHODS if route.subresource == "proxy" else _STREAM_METHODS):
            raise method_not_allowed()
        served = self._served.get(route.subresource)
        if served is None:
            raise internal_error("this server has no nodes")
        await self._registry.admit_connection(
            route.served.resource, route.namespace or "", route.name, route.subresource, _options(exchange, route)
        )
        await served.serve(exchange, route)


def _options(exchange: Exchange, route: Route) -> dict[str, Any]:
    """As admission is shown them: PodExecOptions, PodPortForwardOptions, PodProxyOptions."""
    served = route.served.resource.subresources[route.subresource]
    options: dict[str, Any] = {"kind": served.kind, "apiVersion": "v1"}
    match route.subresource:
        case "exec" | "attach":
            options |= {flag: True for flag in ("stdin", "stdout", "stderr", "tty") if exchange.flag(flag)}
            container, command = exchange.query.get("container"), exchange.values("command")
            options |= {"container": container} if container else {}
            options |= {"command": command} if command else {}
        case "portforward":
            ports = [int(port) for port in exchange.values("ports") if port.isdigit()]
            options |= {"ports": ports} if ports else {}
        case "proxy":
            options["path"] = exchange.path.partition("/proxy")[2]
    return options
