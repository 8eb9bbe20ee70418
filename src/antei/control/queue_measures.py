"""What work queues count of themselves, under client-go's names (component-base/metrics/prometheus/workqueue)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias

from antei.world.measures import Labels, Measures

__all__ = ["QueueMeasures", "QueuesMeasures"]

Key: TypeAlias = tuple[str, str]
_BOUNDS = tuple(10.0**power for power in range(-8, 2))


class QueuesMeasures:
    """Of all queues of a process, told apart by name."""

    def __init__(self, measures: Measures) -> None:
        label = ("name",)
        self._queues: dict[str, QueueMeasures] = {}
        self.adds = measures.counter("workqueue_adds_total", "Keys that were added.", label)
        self.retries = measures.counter("workqueue_retries_total", "Keys that were added again.", label)
        self.queued = measures.histogram(
            "workqueue_queue_duration_seconds", "How long keys waited.", label, bounds=_BOUNDS
        )
        self.worked = measures.histogram(
            "workqueue_work_duration_seconds", "How long keys were worked on.", label, bounds=_BOUNDS
        )
        measures.sampled("workqueue_depth", "Keys that wait.", label, lambda: self._each(lambda q: len(q.waiting)))
        measures.sampled(
            "workqueue_unfinished_work_seconds",
            "Time spent so far on keys that are not done.",
            label,
            lambda: self._each(lambda queue: sum(queue.running())),
        )
        measures.sampled(
            "workqueue_longest_running_processor_seconds",
            "Time spent so far on the slowest of them.",
            label,
            lambda: self._each(lambda queue: max(queue.running(), default=0.0)),
        )

    def of(self, name: str) -> QueueMeasures:
        queue = self._queues[name] = QueueMeasures(self, name)
        return queue

    def _each(self, value: Callable[[QueueMeasures], float]) -> list[tuple[Labels, float]]:
        return [((name,), float(value(queue))) for name, queue in self._queues.items()]


class QueueMeasures:
    """Told by its queue what happens to keys."""

    def __init__(self, shared: QueuesMeasures, name: str) -> None:
        self._shared = shared
        self._labels = (name,)
        self.waiting: dict[Key, float] = {}  # since when, on the loop's clock
        self._active: dict[Key, float] = {}
        shared.adds.add(self._labels, 0)
        shared.retries.add(self._labels, 0)

    def added(self, key: Key) -> None:
        self._shared.adds.add(self._labels)
        self.waiting[key] = asyncio.get_running_loop().time()

    def taken(self, key: Key) -> None:
        now = asyncio.get_running_loop().time()
        self._shared.queued.observe(now - self.waiting.pop(key, now), self._labels)
        self._active[key] = now

    def done(self, key: Key) -> None:
        now = asyncio.get_running_loop().time()
        self._shared.worked.observe(now - self._active.pop(key, now), self._labels)

    def failed(self) -> None:
        self._shared.retries.add(self._labels)

    def running(self) -> list[float]:
        """For how long each key has been worked on that is not done."""
        now = asyncio.get_running_loop().time()
        return [now - since for since in self._active.values()]
