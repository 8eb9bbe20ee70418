"""The audit log: who asked for what, and what became of it, a JSON line a request, written beside the loop.

Kubernetes: apiserver/pkg/audit, apiserver/plugin/pkg/audit/log. Where more events wait than fit, the newest are dropped
and counted: a disk that hangs must not hold up the API.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path

__all__ = ["AuditLog"]

_LOG = logging.getLogger(__name__)
#: Kubernetes: --audit-log-batch-buffer-size.
_MOST_WAITING = 10_000
_MODE = 0o600


class AuditLog:
    """The file is opened for each batch, so that it may be rotated by moving it away."""

    def __init__(self, file: Path, most_waiting: int = _MOST_WAITING) -> None:
        self._file = file
        self._most_waiting = most_waiting
        self._waiting: deque[bytes] = deque()
        self._wakeup = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        self.dropped = 0

    async def start(self) -> None:
        """Raises OSError for a file that cannot be written."""
        await asyncio.to_thread(self._append, ())
        self._writing = asyncio.create_task(self._write(), name="audit log")

    def record(self, event: bytes) -> None:
        """`event` is JSON without line breaks. Never waits."""
        if len(self._waiting) >= self._most_waiting:
            self.dropped += 1
            if self.dropped == 1:
                _LOG.warning("the audit log %s is behind: events are dropped", self._file)
            return
        self._waiting.append(event)
        self._wakeup.set()

    async def aclose(self) -> None:
        """Writes what still waits."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
            self._writing = None
            await self._write_waiting()

    async def _write(self) -> None:
        while True:
            await self._wakeup.wait()
            self._wakeup.clear()
            # A batch that has been begun is finished: whoever cancels waits for it.
            await asyncio.shield(self._write_waiting())

    async def _write_waiting(self) -> None:
        batch = list(self._waiting)
        self._waiting.clear()
        try:
            await asyncio.to_thread(self._append, batch)
        except OSError as error:
            self.dropped += len(batch)
            _LOG.warning("%d events are lost to the audit log %s: %s", len(batch), self._file, error)

    def _append(self, batch: Sequence[bytes]) -> None:
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, _MODE)
        with os.fdopen(descriptor, "ab") as opened:
            opened.write(b"".join(line + b"\n" for line in batch))
