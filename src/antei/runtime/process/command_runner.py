"""Runs one command to its end with a bound on its output and on its time; kills all of it when it is given up."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from antei.runtime import ExecResult
from antei.runtime.process.processes import child_ended, kill_tree, reap, spawn

__all__ = ["run_command"]

_READ_BYTES = 64 * 1024


async def run_command(
    argv: Sequence[str], env: Mapping[str, str], *, timeout_seconds: float | None, output_limit_bytes: int
) -> ExecResult:
    """stdout and stderr as they come, cut at the limit; TimeoutError, or a cancellation, after everything is killed."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    output = _Output(reader, output_limit_bytes)
    loop = asyncio.get_running_loop()
    try:
        try:
            pid = await _spawned(argv, env, writer)
        finally:
            os.close(writer)
        loop.add_reader(reader, output.read)
        try:
            async with asyncio.timeout(timeout_seconds):
                status = await child_ended(pid)
        except (TimeoutError, asyncio.CancelledError):
            await _until_done(asyncio.to_thread(kill_tree, pid))
            reap(pid)
            raise
        output.read()  # what a background process may still print is not waited for
    finally:
        loop.remove_reader(reader)
        os.close(reader)
    exit_code = os.waitstatus_to_exitcode(status)
    return ExecResult(128 - exit_code if exit_code < 0 else exit_code, bytes(output.kept))


class _Output:
    def __init__(self, descriptor: int, limit_bytes: int) -> None:
        self._descriptor = descriptor
        self._limit_bytes = limit_bytes
        self.kept = bytearray()

    def read(self) -> None:
        """Takes what is there; more than the limit is read and dropped, so that the command does not block."""
        for _ in range(16):
            try:
                data = os.read(self._descriptor, _READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                asyncio.get_running_loop().remove_reader(self._descriptor)
                return
            self.kept += data[: self._limit_bytes - len(self.kept)]


async def _spawned(argv: Sequence[str], env: Mapping[str, str], writer: int) -> int:
    """Not to be interrupted between the start of the process and the knowledge of its pid."""
    starting = asyncio.ensure_future(
        asyncio.to_thread(spawn, argv, env, {0: (os.devnull, os.O_RDONLY), 1: writer, 2: writer})
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        pid = await starting
        await _until_done(asyncio.to_thread(kill_tree, pid))
        reap(pid)
        raise


async def _until_done(cleanup: Coroutine[Any, Any, None]) -> None:
    """Awaits a clean-up to its end, however often the task is cancelled meanwhile."""
    task = asyncio.ensure_future(cleanup)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            continue
    task.result()
