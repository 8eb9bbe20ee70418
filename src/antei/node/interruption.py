"""The one thing that cuts waits short: the pod is to end. Asked once, it stays asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

__all__ = ["Interruption"]

T = TypeVar("T")


class Interruption:
    def __init__(self) -> None:
        self._asked = asyncio.Event()

    @property
    def is_asked(self) -> bool:
        return self._asked.is_set()

    def ask(self) -> None:
        self._asked.set()

    async def pause(self, seconds: float) -> None:
        """Sleeps, but not beyond the moment it is asked."""
        await self.unless_asked(asyncio.sleep(seconds))

    async def unless_asked(self, work: Awaitable[T]) -> T | None:
        """What `work` gives; None, the work being cancelled, when it is asked first. What `work` raises is raised."""
        task = asyncio.ensure_future(work)
        asked = asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            task.cancel()
            asked.cancel()
