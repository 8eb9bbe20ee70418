"""Requests that fail are made again; a mistake of ours is not hidden, and stops nothing but the key it was made for."""

from __future__ import annotations

import asyncio
import logging

import pytest

from antei.api.errors import ApiError, internal_error
from antei.control.controller import Key, Requeue, WorkQueue, run_controller
from antei.simulate.loop import run_virtual


class Failing:
    """Fails with these errors, one after the other, then succeeds."""

    name = "failing"

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.tried_at: list[float] = []

    def setup(self, informers: object, queue: WorkQueue) -> None: ...

    async def reconcile(self, key: Key) -> Requeue | None:
        self.tried_at.append(round(asyncio.get_running_loop().time(), 3))
        if self.errors:
            raise self.errors.pop(0)
        return None


async def _run(controller: Failing) -> None:
    queue = WorkQueue()
    queue.add(("default", "web"))
    running = asyncio.create_task(run_controller(controller, queue))
    await asyncio.wait({running}, timeout=10)
    running.cancel()
    await asyncio.gather(running, return_exceptions=not running.done())


class Impatient(Failing):
    """Asks to look again at once, whatever it sees."""

    async def reconcile(self, key: Key) -> Requeue | None:
        await super().reconcile(key)
        return Requeue(0)


class Mistaken(Failing):
    """Never gets one of its keys right; notes the others."""

    def __init__(self, hopeless: Key) -> None:
        super().__init__()
        self._hopeless = hopeless
        self.done: list[Key] = []
        self.is_hopeless = asyncio.Event()
        self._mistakes = 0

    async def reconcile(self, key: Key) -> Requeue | None:
        if key == self._hopeless:
            self._mistakes += 1
            if self._mistakes == 3:
                self.is_hopeless.set()
            raise KeyError(key[1])
        self.done.append(key)
        return None


def _refused() -> ApiError:
    return internal_error("no")


def test_a_request_that_fails_is_made_again_also_where_several_were_under_way(
    caplog: pytest.LogCaptureFixture,
) -> None:
    several = ExceptionGroup("tasks", [_refused(), ExceptionGroup("more", [ConnectionResetError("reset")])])
    controller = Failing(_refused(), several, OSError("lost"))
    with caplog.at_level(logging.ERROR):
        run_virtual(_run(controller))
    assert controller.tried_at == [0, 0.005, 0.015, 0.035]


def test_who_wants_to_look_again_at_once_lets_others_run_meanwhile() -> None:
    controller = Impatient()
    run_virtual(_run(controller))
    assert controller.tried_at[:3] == [0, 0.005, 0.01]
    assert len(controller.tried_at) in (2000, 2001)  # as the last of them falls on the end


@pytest.mark.parametrize("mistake", [KeyError("x"), ExceptionGroup("tasks", [_refused(), KeyError("x")])])
def test_a_mistake_is_not_hidden(mistake: Exception) -> None:
    with pytest.raises(ExceptionGroup):
        run_virtual(_run(Failing(mistake)))


def test_a_mistake_stops_neither_the_controller_nor_its_neighbours(caplog: pytest.LogCaptureFixture) -> None:
    hopeless = ("default", "odd")
    controller = Mistaken(hopeless)

    async def session() -> None:
        queue = WorkQueue()
        running = asyncio.create_task(run_controller(controller, queue, workers=1))
        for key in (hopeless, ("default", "one")):
            queue.add(key)
        await controller.is_hopeless.wait()
        queue.add(("default", "two"))
        await asyncio.sleep(0.005)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    with caplog.at_level(logging.ERROR):
        asyncio.run(session())
    assert controller.done == [("default", "one"), ("default", "two")]
    first = caplog.records[0]
    assert "failing: default/odd; again in 0.005 s" in first.getMessage()
    assert first.exc_info is not None
    assert first.exc_info[0] is KeyError
