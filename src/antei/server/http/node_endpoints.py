"""`nodes/NAME/proxy/…`: what a kubelet answers itself, as far as clients ask for it through the API server."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from lightkube.resources.core_v1 import Node, Pod

from antei.api.resources import resource_of
from antei.server.http.exchange import Exchange
from antei.server.http.metrics import respond_measures
from antei.server.http.resource_metrics import ResourceMetrics
from antei.server.kubelets import Kubelets
from antei.server.registry import Registry
from antei.store import Stored

__all__ = ["NodeEndpoints"]

_TEXT = b"text/plain; charset=utf-8"


class NodeEndpoints:
    def __init__(self, registry: Registry, kubelets: Kubelets | None, resource_metrics: ResourceMetrics) -> None:
        self._registry = registry
        self._kubelets = kubelets
        self._resource_metrics = resource_metrics

    async def serve(self, exchange: Exchange, node: str, path: bytes) -> None:
        """Raises 404 when there is no such node."""
        await self._registry.get(resource_of(Node), "", node)
        match path.rstrip(b"/"):
            case b"/healthz":
                await exchange.respond(b"ok", content_type=_TEXT)
            case b"/pods" | b"/runningpods":
                items = [msgspec.Raw(stored.data) for stored in await self._pods(node)]
                listed = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}
                await exchange.respond(msgspec.json.encode(listed))
            case b"/metrics/resource":
                await respond_measures(exchange, await self._resource_metrics.measures(node))
            case b"/metrics" | b"/metrics/probes":
                part = path.rstrip(b"/").removeprefix(b"/metrics").lstrip(b"/").decode()
                measures = self._kubelets.measures(node, part) if self._kubelets is not None else None
                await respond_measures(exchange, measures or ())
            case _:
                await exchange.respond(b"404 page not found\n", 404, _TEXT)

    async def _pods(self, node: str) -> Sequence[Stored]:
        listed, _ = await self._registry.list(resource_of(Pod), None, field_selector=f"spec.nodeName={node}")
        return listed
