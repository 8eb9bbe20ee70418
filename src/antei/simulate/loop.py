"""The virtual event loop: no threads, no sockets, time in whole nanoseconds, FIFO among equal deadlines.

    ready handles ──run all──► none left ──► clock jumps to the earliest timer ──► its handles become ready
                                   │
                                   └── no timer either: nothing can ever happen again ──► Deadlock, loudly

Given one seed for the world's chance, a run on this loop is a pure function of that seed.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import heapq
import io
import math
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar, TypeVarTuple, Unpack

__all__ = ["Deadlock", "Livelock", "VirtualLoop", "collect_runs", "run_virtual", "spare_collector"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_NANOSECONDS = 1_000_000_000
#: Steps without time moving after which a run, however big, is taken to spin for ever.
_STEPS_AT_ONE_INSTANT = 2_000_000


class Deadlock(RuntimeError):
    """Every task waits and no timer is set; the message lists the tasks and where they wait."""


class Livelock(RuntimeError):
    """Tasks keep waking each other while the clock stands still, or until long after all should be over."""


class VirtualLoop(asyncio.BaseEventLoop):
    def __init__(self, most_seconds: float = math.inf, most_steps: int = _STEPS_AT_ONE_INSTANT) -> None:
        """What goes on after so many seconds, or at one instant after so many steps, is taken to do so for ever."""
        super().__init__()
        self._most_steps = most_steps
        self._now_ns = 0
        self._most_ns = most_seconds * _NANOSECONDS
        self._sequence = 0
        self._timers: list[tuple[int, int, asyncio.TimerHandle]] = []
        self._steps_now = 0

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now_ns / _NANOSECONDS

    @property
    def now_nanoseconds(self) -> int:
        return self._now_ns

    def call_soon(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """As asyncio's, without what that does for debugging: it is called for each step of each task."""
        self._check_closed()  # type: ignore[attr-defined]
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        delay_ns = round(delay * _NANOSECONDS)
        return self._add_timer(self._now_ns + (delay_ns or _least(delay)), callback, args, context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        when_ns = round(when * _NANOSECONDS)
        if when_ns == self._now_ns:
            when_ns += _least(when - self.time())
        return self._add_timer(when_ns, callback, args, context)

    def run_in_executor(self, *_: Any) -> NoReturn:  # type: ignore[override]
        raise RuntimeError("a virtual loop has no threads: what needs one belongs to a real driver, not here")

    def _add_timer(
        self,
        when_ns: int,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
    ) -> asyncio.TimerHandle:
        self._check_closed()  # type: ignore[attr-defined]
        timer = asyncio.TimerHandle(when_ns / _NANOSECONDS, callback, args, self, context)
        self._sequence += 1
        heapq.heappush(self._timers, (max(when_ns, self._now_ns), self._sequence, timer))
        timer._scheduled = True  # type: ignore[attr-defined]
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are skipped when their time comes; most are compacted away before."""
        self._cancelled = getattr(self, "_cancelled", 0) + 1
        if self._cancelled > 100 and self._cancelled * 2 > len(self._timers):
            self._timers = [entry for entry in self._timers if not entry[2].cancelled()]
            heapq.heapify(self._timers)
            self._cancelled = 0

    def _run_once(self) -> None:
        """One round of asyncio's loop: `BaseEventLoop.run_forever` calls it until the loop is stopped."""
        ready = self._ready  # type: ignore[attr-defined]
        if not ready:
            self._advance(ready)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()
        self._steps_now += 1
        if self._steps_now > self._most_steps:
            raise Livelock(f"the clock stands at {self.time()} s: {_describe_tasks(self)}")

    def _advance(self, ready: Any) -> None:
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        if not self._timers:
            if self._stopping:  # type: ignore[attr-defined]
                return
            raise Deadlock(f"at {self.time()} s all wait and no timer is set: {_describe_tasks(self)}")
        when_ns = self._timers[0][0]
        if when_ns > self._now_ns:
            if when_ns > self._most_ns:
                self._most_ns = math.inf  # what is left is cancelled, and may take its time
                raise Livelock(f"it goes on after {self.time()} s: {_describe_tasks(self)}")
            self._now_ns = when_ns
            self._steps_now = 0
        while self._timers and self._timers[0][0] <= self._now_ns:
            _, _, timer = heapq.heappop(self._timers)
            timer._scheduled = False  # type: ignore[attr-defined]
            if not timer.cancelled():
                ready.append(timer)

    def _process_events(self, event_list: Any) -> None:
        """No selector, no events."""

    def _write_to_self(self) -> None:
        """No other thread, nothing to wake."""


def _least(delay: float) -> int:
    """A nanosecond for what is not over yet: whoever waits again for what floats left over must get past it."""
    return 1 if delay > 0 else 0


def spare_collector() -> None:
    """For a process that does nothing but simulate: objects of a cluster live long, and looking for garbage among
    millions of them again and again is what a big run would spend its time on."""
    gc.set_threshold(200_000, 50, 1_000)


def collect_runs() -> None:
    """Between one run and the next: a cluster that is done with is a knot of cycles, which the spared collector leaves
    until the machine is full of them."""
    if gc.get_count()[1]:
        gc.collect()


def run_virtual(
    main: Coroutine[Any, Any, T], *, most_seconds: float = math.inf, most_steps: int = _STEPS_AT_ONE_INSTANT
) -> T:
    """Runs a coroutine on a fresh virtual loop, cancels what it leaves behind, and returns its result.

    Raises what `main` raises, Deadlock or Livelock; and an ExceptionGroup of what was told to the loop's exception
    handler meanwhile: somebody went on after a mistake, but what came of it is worth nothing.
    """
    loop = VirtualLoop(most_seconds, most_steps)
    mistakes: list[Exception] = []

    def remember(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        loop.default_exception_handler(context)
        error = context.get("exception")
        if isinstance(error, Exception):
            error.add_note(context["message"])
            mistakes.append(error)

    loop.set_exception_handler(remember)
    try:
        asyncio.set_event_loop(loop)
        result = loop.run_until_complete(main)
        if mistakes:
            raise ExceptionGroup("mistakes in virtual time", mistakes)
        return result
    finally:
        try:
            _cancel_all(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


def _cancel_all(loop: VirtualLoop) -> None:
    # all_tasks is a set; in the order of their names the cancellations are the same in every run.
    tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


def _describe_tasks(loop: VirtualLoop) -> str:
    text = io.StringIO()
    for task in sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name()):
        frames = task.get_stack(limit=3)
        where = " < ".join(f"{f.f_code.co_filename.rsplit('/', 1)[-1]}:{f.f_lineno}" for f in reversed(frames))
        text.write(f"\n  {task.get_name()}: {where or 'not started'}")
    return text.getvalue()
