"""Reads containers' logs from the disk for `pods/log`.

    LOGS/NAMESPACE_NAME_UID/CONTAINER/ATTEMPT.log       a line: `<time> <stdout|stderr> <F|P> <text>`

Which run is read, and what is answered when there is none, is the kubelet's rule (Kubernetes: kubelet_pods.go,
validateContainerLogStatus; pkg/kubelet/kuberuntime/logs/logs.go). A log that is rotated while it is followed is
read on in its successors; without following, the newest file alone is read.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lightkube.models.core_v1 import ContainerState, ContainerStatus
from lightkube.resources.core_v1 import Pod

from antei.api.errors import bad_request
from antei.api.objects import name_of
from antei.api.pod_logs import PodLogOptions
from antei.node.container_config import log_path
from antei.node.context import NodeContext
from antei.runtime import RuntimeFailure

__all__ = ["ChosenRun", "LogFilter", "PodLogs", "choose_run"]

_CHUNK_BYTES = 64 * 1024
_POLL_SECONDS = 0.1
_ROTATED = re.compile(r"\.(\d{8}-\d{6})(?:\.(\d+))?$")


@dataclass(frozen=True, slots=True)
class ChosenRun:
    attempt: int
    container_id: str


class PodLogs:
    """Implements what the API server asks of a node (`antei.server.pod_logs.PodLogs`)."""

    def __init__(self, context: NodeContext) -> None:
        self._context = context

    async def read(self, pod: Pod, options: PodLogOptions) -> AsyncIterator[bytes]:
        """The log's text in pieces; with `follow` until the container ends.

        Raises ApiError (400) at the first step where there is no log to read.
        """
        run = choose_run(pod, options.container, options.previous)
        path = log_path(self._context, pod, options.container, await self._attempt_of(run))
        lines = LogFilter(options, self._context.world.clock.now())
        ended = asyncio.ensure_future(self._ended(run.container_id)) if options.follow else None
        try:
            start = await self._tail_offset(path, options.tail_lines)
            async with aclosing(self._pieces(path, start, ended)) as pieces:
                async for piece in pieces:
                    text = lines.take(piece)
                    if text:
                        yield text
                    if lines.is_full:
                        return
        finally:
            if ended is not None:
                ended.cancel()

    async def _attempt_of(self, run: ChosenRun) -> int:
        """As the runtime knows it: a status that is a moment old may count the restart that is under way already."""
        for record in await self._context.runtime.containers():
            if record.id == run.container_id:
                return record.attempt
        return run.attempt

    async def _pieces(self, path: Path, offset: int, ended: asyncio.Future[None] | None) -> AsyncGenerator[bytes, None]:
        """Of the newest file; with `ended` of those that follow it, too, until the container has ended."""
        files = self._context.files
        if ended is None:
            while piece := await files.read(path, offset, _CHUNK_BYTES):
                offset += len(piece)
                yield piece
            return
        current = (await files.size(path) or (None, 0))[0]
        read = {identity for file, identity in await self._chain(path) if file != path}
        while True:
            # Read once more after the end was noticed: the last lines may have come in between.
            was_over, is_rotated = ended.done(), False
            chain = await self._chain(path, current)
            for position, (file, identity) in enumerate(chain):
                if identity in read:
                    continue
                if identity != current:
                    current, offset = identity, 0
                while piece := await files.read(file, offset, _CHUNK_BYTES):
                    is_rotated = file == path and (await files.size(path) or (None, 0))[0] != identity
                    if is_rotated:
                        break  # it may be another file that was read
                    offset += len(piece)
                    yield piece
                if position < len(chain) - 1:
                    read.add(identity)
            if was_over and not is_rotated:
                return
            if not is_rotated:
                await asyncio.sleep(_POLL_SECONDS)

    async def _chain(self, path: Path, current: int | None = None) -> list[tuple[Path, int]]:
        """The log's files with their identities, the oldest first; while `current` is the newest, it alone."""
        files = self._context.files
        while True:
            newest = await files.size(path)
            if newest is not None and newest[0] == current:
                return [(path, newest[0])]
            rotated = [name for name in await files.names(path.parent) if name.startswith(f"{path.name}.")]
            found = []
            for name in [*sorted((name for name in rotated if _ROTATED.search(name)), key=_rotation), path.name]:
                size = await files.size(path.parent / name)
                if size is not None:
                    found.append((path.parent / name, size[0]))
            if (await files.size(path) or (None, 0))[0] == (newest or (None, 0))[0]:
                return found  # else it was rotated meanwhile, and a file may be missing among them

    async def _ended(self, container_id: str) -> None:
        try:
            await self._context.runtime.wait(container_id)
        except (RuntimeFailure, LookupError):
            return  # the runtime has forgotten it: it has long ended

    async def _tail_offset(self, path: Path, tail_lines: int | None) -> int:
        """Where the last so many lines begin, searched from the end."""
        if tail_lines is None:
            return 0
        size = (await self._context.files.size(path) or (0, 0))[1]
        position, seen = size, 0
        while position > 0:
            begin = max(0, position - _CHUNK_BYTES)
            chunk = await self._context.files.read(path, begin, position - begin)
            if not chunk:
                break
            for index in range(len(chunk) - 1, -1, -1):
                if chunk[index] != 0x0A or begin + index == size - 1:
                    continue
                seen += 1
                if seen == tail_lines:
                    return begin + index + 1
            position = begin
        return size if tail_lines == 0 else 0


def _rotation(name: str) -> tuple[str, int]:
    """When it was rotated, from 0.log.20260101-000000 or 0.log.20260101-000000.1."""
    found = _ROTATED.search(name)
    assert found is not None
    return found[1], int(found[2] or 0)


class LogFilter:
    """From bytes of a log to the text that was asked for: a pure machine that is fed pieces of any size."""

    def __init__(self, options: PodLogOptions, now: datetime) -> None:
        self._timestamps = options.timestamps
        self._left_bytes = options.limit_bytes
        self._stream = options.stream.lower().encode()
        since = options.since_time
        if options.since_seconds is not None:
            since = now - timedelta(seconds=options.since_seconds)
        # RFC 3339 in UTC with all its digits compares as text.
        self._since = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").encode() if since else b""
        self._rest = b""
        self._is_line_start = True

    @property
    def is_full(self) -> bool:
        return self._left_bytes is not None and self._left_bytes <= 0

    def take(self, piece: bytes) -> bytes:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        text = b"".join(self._render(line) for line in lines)
        if self._left_bytes is not None:
            text = text[: self._left_bytes]
            self._left_bytes -= len(text)
        return text

    def _render(self, line: bytes) -> bytes:
        timestamp, _, rest = line.partition(b" ")
        stream, _, rest = rest.partition(b" ")
        tags, _, content = rest.partition(b" ")
        if timestamp < self._since or (self._stream != b"all" and stream != self._stream):
            return b""
        # conmon has another word for it than the kubelet.
        prefix = timestamp.replace(b"+00:00", b"Z") + b" " if self._timestamps and self._is_line_start else b""
        self._is_line_start = not tags.startswith(b"P")
        return prefix + content + (b"\n" if self._is_line_start else b"")


def choose_run(pod: Pod, container: str, previous: bool) -> ChosenRun:
    """The run whose log is meant. Raises ApiError (400) where there is none."""
    where = f'container "{container}" in pod "{name_of(pod)}"'
    status = _status_of(pod, container)
    if status is None:
        raise bad_request(f"{where} is not available")
    state = status.state or ContainerState()
    last = status.lastState.terminated if status.lastState else None
    has_last = last is not None and bool(last.containerID)
    if previous:
        if last is None or not has_last:
            raise bad_request(f"previous terminated {where} not found")
        return ChosenRun(_attempt_before(status), _bare(last.containerID))
    if state.running is not None:
        return ChosenRun(status.restartCount, _bare(status.containerID))
    if state.terminated is not None and state.terminated.containerID:
        return ChosenRun(status.restartCount, _bare(state.terminated.containerID))
    if last is not None and has_last:
        attempt = status.restartCount if state.waiting is not None else _attempt_before(status)
        return ChosenRun(attempt, _bare(last.containerID))
    if state.terminated is not None or last is not None:
        raise bad_request(f"{where} is terminated")
    if state.waiting is None:
        raise bad_request(f"{where} is waiting to start - no logs yet")
    reasons = {"ErrImagePull": "image can't be pulled", "ImagePullBackOff": "trying and failing to pull image"}
    reason = state.waiting.reason or ""
    raise bad_request(f"{where} is waiting to start: {reasons.get(reason, reason)}")


def _status_of(pod: Pod, container: str) -> ContainerStatus | None:
    status = pod.status
    if status is None:
        return None
    of_all = [
        *(status.containerStatuses or ()),
        *(status.initContainerStatuses or ()),
        *(status.ephemeralContainerStatuses or ()),
    ]
    return next((s for s in of_all if s.name == container), None)


def _attempt_before(status: ContainerStatus) -> int:
    """The attempt that `lastState` tells of: while the container waits, the latest one itself."""
    is_waiting = status.state is not None and status.state.waiting is not None
    return status.restartCount if is_waiting else max(0, status.restartCount - 1)


def _bare(container_id: str | None) -> str:
    """`process://ab12` without its scheme, as the runtime knows it."""
    return (container_id or "").rpartition("://")[2]
