"""The output of a container's first process from now on, and its stdin where it has one, as streams.

Output is read from the files that the container's pipes are collected in, at the reader's own pace.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from antei.api.pod_streams import CommandStreams, TerminalSize
from antei.runtime import Exit
from antei.runtime.process.logs import ContainerLog, Follower
from antei.runtime.process.state import StoredContainer

__all__ = ["open_attached"]

_POLL_SECONDS = 0.05


async def open_attached(
    directory: Path,
    log: ContainerLog,
    stored: StoredContainer,
    ended: asyncio.Event,
    exit_of: Callable[[], Exit | None],
    *,
    stdin: bool,
) -> CommandStreams:
    stdout, stderr = await asyncio.to_thread(log.follow)
    return _Attached(stdout, stderr, ended, exit_of)


class _Attached:
    """Implements `CommandStreams`."""

    def __init__(
        self, stdout: Follower, stderr: Follower, ended: asyncio.Event, exit_of: Callable[[], Exit | None]
    ) -> None:
        self._stdout = stdout
        self._stderr = stderr
        self._ended = ended
        self._exit_of = exit_of

    async def write_stdin(self, data: bytes) -> None:
        return

    async def close_stdin(self) -> None:
        return

    async def read_stdout(self) -> bytes:
        return await self._read(self._stdout)

    async def read_stderr(self) -> bytes:
        return await self._read(self._stderr)

    async def _read(self, follower: Follower) -> bytes:
        while True:
            was_over = self._ended.is_set()
            data = await asyncio.to_thread(follower.read)
            if data or was_over:
                return data
            try:
                async with asyncio.timeout(_POLL_SECONDS):
                    await self._ended.wait()
            except TimeoutError:
                continue

    async def resize(self, size: TerminalSize) -> None:
        return

    async def wait(self) -> int:
        await self._ended.wait()
        found = self._exit_of()
        return found.exit_code if found is not None else 0

    async def aclose(self) -> None:
        await asyncio.to_thread(self._stdout.close)
        await asyncio.to_thread(self._stderr.close)
