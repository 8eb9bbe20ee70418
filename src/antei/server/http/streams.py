"""What all streamed answers share: they end when the client goes, when their time is up, and when the server stops."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from antei.server.http.exchange import Exchange

__all__ = ["Streams"]


class Streams:
    """The streams that are open now."""

    def __init__(self) -> None:
        self._limits: dict[asyncio.Timeout, None] = {}
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._limits)

    def close(self) -> None:
        """Ends all streams, and those that would begin later."""
        self._is_closed = True
        now = asyncio.get_running_loop().time()
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(now)

    async def run(
        self,
        exchange: Exchange,
        work: Coroutine[Any, Any, None],
        seconds: float | None = None,
        *,
        watches_client: bool = True,
    ) -> None:
        """Runs `work` until it ends or must end; then it has been cancelled and its clean-up has run.

        Work that reads the request's body sees for itself when the client goes: then `watches_client` is False.
        """
        limit = asyncio.timeout(0 if self._is_closed else seconds)
        closer: asyncio.Task[None] | None = None
        try:
            async with limit:
                self._limits[limit] = None
                if watches_client:
                    closer = asyncio.create_task(_end_with_client(exchange, limit))
                await work
        except TimeoutError:
            if not limit.expired():
                raise
        finally:
            self._limits.pop(limit, None)
            if closer is not None:
                closer.cancel()


async def _end_with_client(exchange: Exchange, limit: asyncio.Timeout) -> None:
    await exchange.wait_disconnected()
    if not limit.expired():
        limit.reschedule(asyncio.get_running_loop().time())
