"""Webhooks over HTTPS, with an HTTP client that is loaded when the first one is called: most clusters have none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from antei.server.webhooks import Endpoint
from antei.world.sockets import Sockets

if TYPE_CHECKING:
    from antei.server.webhook_calls import WebhookCalls

__all__ = ["HttpsWebhooks"]


class HttpsWebhooks:
    """Implements `antei.server.webhooks.WebhookTransport`; connections are kept and used again until `aclose`."""

    def __init__(self, cluster_sockets: Callable[[], Sockets] | None, placed: Callable[[str], str] = str) -> None:
        """`placed` is the address at which a cluster IP is answered there; without sockets there are no Services."""
        self._cluster_sockets = cluster_sockets
        self._placed = placed
        self._calls: WebhookCalls | None = None

    async def post(self, endpoint: Endpoint, path: str, body: bytes) -> tuple[int, bytes]:
        if self._calls is None:
            # In a thread, so that nobody waits meanwhile: it is 8 MB and 80 ms.
            module = await asyncio.to_thread(import_module, "antei.server.webhook_calls")
            self._calls = self._calls or module.WebhookCalls(self._cluster_sockets, self._placed)
        return await self._calls.post(endpoint, path, body)

    async def aclose(self) -> None:
        if self._calls is not None:
            await self._calls.aclose()
