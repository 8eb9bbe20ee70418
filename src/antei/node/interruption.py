"""What cuts waits short: the pod is to end (asked once, it stays asked), or what is waited for has changed (`wake`)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

__all__ = ["Interruption"]

T = TypeVar("T")


class Interruption:
    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._woken = asyncio.Event()

    @property
    def is_asked(self) -> bool:
        return self._asked.is_set()

    def ask(self) -> None:
        self._asked.set()

    async def asked(self) -> None:
        """Returns when it is."""
        await self._asked.wait()

    def wake(self) -> None:
        """Ends the pause of now, or the next one."""
        self._woken.set()

    async def pause(self, seconds: float) -> None:
        """Sleeps, but not beyond the moment it is asked or woken."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.unless_asked(self._woken.wait())
        self._woken.clear()

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
