"""The output of a container's first process from now on, and its stdin where it has one, as streams.

Output is read from the files that the container's pipes are collected in, at the reader's own pace.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal as signals
from collections.abc import Callable
from pathlib import Path

from antei.api.pod_streams import CommandStreams, TerminalSize
from antei.runtime import Exit
from antei.runtime.process import processes
from antei.runtime.process.command_streams import set_terminal_size
from antei.runtime.process.descriptors import Writer
from antei.runtime.process.logs import ContainerLog, Follower
from antei.runtime.process.standard_streams import stdin_path
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
    """Raises OSError when the container's files are gone."""
    stdout, stderr = await asyncio.to_thread(log.follow)
    writer: Writer | None = None
    if stdin and stored.stdin:
        try:
            writer = Writer(os.open(stdin_path(directory), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError as error:
            if error.errno != errno.ENXIO:  # ENXIO: nobody reads it any more
                await asyncio.to_thread(_close, stdout, stderr)
                raise
    return _Attached(stored, stdout, stderr, writer, ended, exit_of)


class _Attached:
    """Implements `CommandStreams`."""

    def __init__(
        self,
        stored: StoredContainer,
        stdout: Follower,
        stderr: Follower,
        stdin: Writer | None,
        ended: asyncio.Event,
        exit_of: Callable[[], Exit | None],
    ) -> None:
        self._stored = stored
        self._stdin = stdin
        self._stdout = stdout
        self._stderr = stderr
        self._ended = ended
        self._exit_of = exit_of

    async def write_stdin(self, data: bytes) -> None:
        if self._stdin is None:
            return
        writing = asyncio.ensure_future(self._stdin.write(data))
        over = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({writing, over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            writing.cancel()
            over.cancel()

    async def close_stdin(self) -> None:
        """The container's own stdin goes on, unless it is to end with the first who attached."""
        if self._stdin is None:
            return
        self._stdin.close()
        self._stdin = None
        if self._stored.stdin_once and not self._stored.terminal:
            for keeper in self._stored.keepers:
                await asyncio.to_thread(processes.send, keeper, signals.SIGKILL)

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
        if not self._stored.terminal or self._ended.is_set():
            return
        with contextlib.suppress(OSError):  # it is gone with its container
            terminal = os.open(self._stored.terminal, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                set_terminal_size(terminal, size)
            finally:
                os.close(terminal)

    async def wait(self) -> int:
        await self._ended.wait()
        found = self._exit_of()
        return found.exit_code if found is not None else 0

    async def aclose(self) -> None:
        await self.close_stdin()
        await asyncio.to_thread(_close, self._stdout, self._stderr)


def _close(*followers: Follower) -> None:
    for follower in followers:
        follower.close()
