"""Pipes and terminals on the loop: read only when somebody asks, written as far as the other side takes it."""

from __future__ import annotations

import asyncio
import errno
import os

__all__ = ["Reader", "Writer"]

_CHUNK_BYTES = 64 * 1024


class Reader:
    """The reading end of a pipe, or a terminal's master. `over` is set when what feeds it has ended.

    What a background process may print after that is not waited for.
    """

    def __init__(self, descriptor: int, over: asyncio.Event) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._over = over

    async def read(self) -> bytes:
        """b"" at the end."""
        while True:
            is_over = self._over.is_set()  # before the look: what was written until then is still to be had
            if self._descriptor < 0:
                return b""
            try:
                return os.read(self._descriptor, _CHUNK_BYTES)
            except BlockingIOError:
                if is_over:
                    return b""
            except OSError as error:
                if error.errno == errno.EIO:  # nobody has the terminal open any more
                    return b""
                raise
            await self._wait()

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self._descriptor, ready.set)
        waits = [asyncio.ensure_future(ready.wait()), asyncio.ensure_future(self._over.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            if self._descriptor >= 0:
                loop.remove_reader(self._descriptor)

    def close(self) -> None:
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


class Writer:
    """The writing end of a pipe, or a terminal's master. What the other side no longer takes is dropped."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor

    async def write(self, data: bytes) -> None:
        """Waits until all of it is taken."""
        rest = memoryview(data)
        while rest and self._descriptor >= 0:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                await self._wait()
            except OSError as error:
                if error.errno not in (errno.EPIPE, errno.EIO):
                    raise
                return

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_writer(self._descriptor, ready.set)
        try:
            await ready.wait()
        finally:
            if self._descriptor >= 0:
                loop.remove_writer(self._descriptor)

    def close(self) -> None:
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_writer(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
