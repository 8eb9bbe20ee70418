"""A simulated command as streams: its whole answer is stdout, and comes when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from antei.api.pod_streams import TerminalSize
from antei.runtime import ExecResult, RuntimeFailure

__all__ = ["SimulatedStreams"]


class SimulatedStreams:
    """Implements `CommandStreams`; input is swallowed."""

    def __init__(self, running: Coroutine[Any, Any, ExecResult]) -> None:
        self._running = asyncio.ensure_future(running)
        self._has_been_read = False

    async def write_stdin(self, data: bytes) -> None:
        return

    async def close_stdin(self) -> None:
        return

    async def read_stdout(self) -> bytes:
        if self._has_been_read:
            return b""
        await asyncio.wait({self._running})
        self._has_been_read = True
        return self._running.result().output if self._running.exception() is None else b""

    async def read_stderr(self) -> bytes:
        return b""

    async def resize(self, size: TerminalSize) -> None:
        return

    async def wait(self) -> int:
        try:
            return (await asyncio.shield(self._running)).exit_code
        except RuntimeFailure as failure:
            raise RuntimeError(failure.message) from failure

    async def aclose(self) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
