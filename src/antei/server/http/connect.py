"""Subresources that connect the client to something: `exec`, `attach`, `portforward`, `proxy`."""

from __future__ import annotations

from antei.api.errors import internal_error
from antei.server.http.exchange import Exchange
from antei.server.http.remote_command import RemoteCommands
from antei.server.http.routes import Route
from antei.server.http.streams import Streams
from antei.server.http.verbs import method_not_allowed
from antei.server.pod_streams import PodStreams
from antei.server.registry import Registry

__all__ = ["Connect"]

_STREAM_METHODS = ("GET", "POST")


class Connect:
    def __init__(self, registry: Registry, pod_streams: PodStreams | None, streams: Streams) -> None:
        self._commands = RemoteCommands(registry, pod_streams, streams) if pod_streams is not None else None

    async def serve(self, exchange: Exchange, route: Route) -> None:
        """Raises ApiError while nothing has been answered."""
        if not route.name or exchange.method not in _STREAM_METHODS:
            raise method_not_allowed()
        if self._commands is None:
            raise internal_error("this server has no nodes")
        await self._commands.serve(exchange, route)
