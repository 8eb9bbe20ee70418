"""What all controllers share: informers fill a work queue with keys, workers reconcile them one at a time.

    informer handler ─► queue.add(key) ─► worker ─► controller.reconcile(key) ─┬─► done: failures forgotten
                              ▲                                                ├─► Requeue(after): again then
                              └────────────── backoff, doubling ◄──────────────┴─► any error: again

One key is never reconciled twice at once; a key that is added meanwhile is reconciled once more afterwards.
(client-go: util/workqueue.) A request that failed is logged in a line. A mistake of the controller's own is reported
(`antei.world.mistakes`), and everything else goes on: one ends a whole kube-controller-manager, which is then started
again, but nobody starts antei again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from antei.api.errors import ApiError
from antei.api.objects import Object, controller_of, key_of, namespace_of
from antei.client.informer import Informer, Informers
from antei.control.queue_measures import QueueMeasures
from antei.world.mistakes import report_mistake

__all__ = [
    "Controller",
    "Requeue",
    "WorkQueue",
    "enqueue_key",
    "enqueue_owner",
    "index_by_controller",
    "run_controller",
]

_LOG = logging.getLogger(__name__)
Key = tuple[str, str]
T = TypeVar("T", bound=Object)


@dataclass(frozen=True, slots=True)
class Requeue:
    """Reconcile this key again after so long, whatever happens until then."""

    after_seconds: float


class Controller(Protocol):
    """One module of `control/` each: a pure `plan` and a short `reconcile` that performs it."""

    @property
    def name(self) -> str: ...

    def setup(self, informers: Informers, queue: WorkQueue) -> None:
        """Adds handlers and indexes to the informers it reads; called once, before anything runs."""
        ...

    async def reconcile(self, key: Key) -> Requeue | None: ...


class WorkQueue:
    """Keys to reconcile, each at most once; with delays and with backoff after failures."""

    # client-go's DefaultControllerRateLimiter.
    FIRST_BACKOFF_SECONDS = 0.005
    BACKOFF_CAP_SECONDS = 1000.0

    def __init__(self, measures: QueueMeasures | None = None) -> None:
        """`measures` are told what happens to keys. Added to on a running loop only."""
        self._measures = measures
        self._ready: deque[Key] = deque()
        self._queued: set[Key] = set()
        self._active: set[Key] = set()
        self._again: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self.taken = 0  # keys so far

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def waiting(self) -> tuple[Key, ...]:
        """Those that are to be reconciled as soon as somebody has time."""
        return tuple(self._ready)

    def add(self, key: Key) -> None:
        if key in self._active:
            self._again.add(key)
            return
        if key in self._queued:
            return
        self._queued.add(key)
        self._ready.append(key)
        if self._measures is not None:
            self._measures.added(key)
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                break

    def add_after(self, key: Key, delay_seconds: float) -> None:
        """Adds the key after a delay; of several delays for one key the earliest counts.

        A delay of nothing is one of the least backoff: who asks to look again at once, each time anew and whatever it
        sees, must not keep everybody else from running.
        """
        delay_seconds = max(delay_seconds, self.FIRST_BACKOFF_SECONDS)
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= loop.time() + delay_seconds:
                return
            timer.cancel()
        self._timers[key] = loop.call_later(delay_seconds, self._fire, key)

    def add_failed(self, key: Key) -> float:
        """Adds the key after its backoff, which doubles with each failure; returns that delay in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        if self._measures is not None:
            self._measures.failed()
        delay_seconds = min(self.FIRST_BACKOFF_SECONDS * 2 ** min(failures, 30), self.BACKOFF_CAP_SECONDS)
        self.add_after(key, delay_seconds)
        return delay_seconds

    def forget(self, key: Key) -> None:
        self._failures.pop(key, None)

    async def take(self) -> Key:
        while not self._ready:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                raise
        key = self._ready.popleft()
        self._queued.discard(key)
        self._active.add(key)
        self.taken += 1
        if self._measures is not None:
            self._measures.taken(key)
        return key

    def done(self, key: Key) -> None:
        self._active.discard(key)
        if self._measures is not None:
            self._measures.done(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _fire(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)


async def run_controller(controller: Controller, queue: WorkQueue, workers: int = 4) -> None:
    """Reconciles until cancelled. The informers the controller reads must be synced."""
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(workers):
                group.create_task(_work(controller, queue), name=f"{controller.name} worker {number}")
    finally:
        queue.close()


async def _work(controller: Controller, queue: WorkQueue) -> None:
    while True:
        key = await queue.take()
        try:
            result = await controller.reconcile(key)
        except Exception as error:  # noqa: BLE001 - one key that goes wrong must not stop the others
            delay_seconds = queue.add_failed(key)
            _tell_failed(f"{controller.name}: {'/'.join(key)}", error, delay_seconds)
        else:
            queue.forget(key)
            if result is not None:
                queue.add_after(key, result.after_seconds)
        finally:
            queue.done(key)


def _tell_failed(what: str, error: Exception, delay_seconds: float) -> None:
    if not _is_of_the_api(error):
        report_mistake(f"{what}; again in {delay_seconds:.3f} s", error)
        return
    # A conflict only means that somebody was faster; the newer state is on its way.
    level = logging.DEBUG if isinstance(error, ApiError) and error.code in (404, 409) else logging.WARNING
    _LOG.log(level, "%s: %s; again in %.3f s", what, error, delay_seconds)


def _is_of_the_api(error: BaseException) -> bool:
    """Whether it is nothing but refused or lost requests, one or several that were under way at once."""
    if isinstance(error, ExceptionGroup):
        return all(_is_of_the_api(part) for part in error.exceptions)
    return isinstance(error, ApiError | OSError)


def enqueue_key(queue: WorkQueue) -> Callable[[Object | None, Object | None], None]:
    """A handler that queues the changed object itself."""

    def handler(old: Object | None, new: Object | None) -> None:
        obj = new if new is not None else old
        if obj is not None:
            queue.add(key_of(obj))

    return handler


def enqueue_owner(queue: WorkQueue, owner_kind: str) -> Callable[[Object | None, Object | None], None]:
    """A handler that queues the controlling owner of the changed object, where it is of that kind."""

    def handler(old: Object | None, new: Object | None) -> None:
        for obj in (old, new):
            if obj is None:
                continue
            owner = controller_of(obj)
            if owner is not None and owner.kind == owner_kind:
                queue.add((namespace_of(obj), owner.name))

    return handler


def index_by_controller(informer: Informer[T]) -> None:
    """Makes `informer.by_index("controller", uid)` give what the object with that uid controls."""
    informer.add_index("controller", _controller_uids)


def _controller_uids(obj: Object) -> tuple[str, ...]:
    owner = controller_of(obj)
    return (owner.uid,) if owner is not None else ()
