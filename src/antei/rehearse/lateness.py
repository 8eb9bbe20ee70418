"""New pods of the workload that take longer than they would by themselves. On an embedded cluster only.

SlowStarts      a container stands still as soon as it runs: its program is slow, and every probe notices
LateReadiness   a pod gets ready later, as where its image must be fetched first: no other probe notices
"""

from __future__ import annotations

import asyncio
import logging

from lightkube.resources.core_v1 import Pod

from antei.api.objects import name_of, uid_of
from antei.rehearse.stage import Stage
from antei.runtime import ContainerRecord, Exit, RuntimeFailure

__all__ = ["LateReadiness", "SlowStarts"]

_LOG = logging.getLogger(__name__)


class _NewPods:
    """Holds each run of a container of a pod that was not there at the last `aim`. Implements Observer."""

    def __init__(self, stage: Stage, length_seconds: float) -> None:
        self._stage = stage
        self._target = stage.target
        self._known = stage.hit.known
        self._length_seconds = length_seconds
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_over = False

    def started(self, pod: Pod, record: ContainerRecord) -> None:
        is_new = uid_of(pod) not in self._known and self._stage.workload.owns(pod)
        if not self._is_over and is_new and self._is_meant(pod, record.name):
            task = asyncio.create_task(self._hold(pod, record.name), name=f"late start of {name_of(pod)}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _is_meant(self, pod: Pod, container: str) -> bool:
        raise NotImplementedError

    async def _hold(self, pod: Pod, container: str) -> None:
        raise NotImplementedError

    async def end(self) -> None:
        """Those that are held go on, and no other is held."""
        self._is_over = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def probed(self, pod: Pod, container: str, kind: str, failure: str | None) -> None: ...

    def pre_stop(self, pod: Pod, container: str) -> None: ...

    def signalled(self, pod: Pod, container: str, signal: str) -> None: ...

    def ended(self, pod: Pod, container: str, end: Exit) -> None: ...


class SlowStarts(_NewPods):
    """Pauses this container at each of its starts."""

    def __init__(self, stage: Stage, container: str, length_seconds: float) -> None:
        super().__init__(stage, length_seconds)
        self._container = container

    def _is_meant(self, pod: Pod, container: str) -> bool:
        return container == self._container

    async def _hold(self, pod: Pod, container: str) -> None:
        try:
            await self._target.pause(pod, container)
            try:
                await asyncio.sleep(self._length_seconds)
            finally:
                await self._target.resume(pod, container)
        except (LookupError, RuntimeFailure) as error:
            _LOG.info("slow start of %s: %s", name_of(pod), error)


class LateReadiness(_NewPods):
    """Fails the readiness of a pod from its first container's start on."""

    def __init__(self, stage: Stage, length_seconds: float) -> None:
        super().__init__(stage, length_seconds)
        self._held: dict[str, Pod] = {}  # by uid

    def _is_meant(self, pod: Pod, container: str) -> bool:
        if uid_of(pod) in self._held:
            return False
        self._held[uid_of(pod)] = pod
        self._target.block_readiness(pod)  # before its first probe
        return True

    async def _hold(self, pod: Pod, container: str) -> None:
        await asyncio.sleep(self._length_seconds)
        self._target.unblock_readiness(pod)

    async def end(self) -> None:
        await super().end()
        for pod in self._held.values():
            self._target.unblock_readiness(pod)
