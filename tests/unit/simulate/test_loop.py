"""The virtual loop keeps its promises: exact time, FIFO, no threads, loud deadlocks."""

from __future__ import annotations

import asyncio

import pytest

from antei.simulate.loop import Deadlock, Livelock, VirtualLoop, run_virtual

pytestmark = pytest.mark.lasts(10)


async def _now() -> float:
    return asyncio.get_running_loop().time()


def test_a_sleep_takes_exactly_its_virtual_seconds_and_no_real_ones() -> None:
    async def main() -> float:
        await asyncio.sleep(86_400)
        await asyncio.sleep(0.1)
        await asyncio.sleep(0.2)
        return await _now()

    assert run_virtual(main()) == 86_400.3


def test_equal_deadlines_fire_in_the_order_in_which_they_were_set() -> None:
    async def main() -> list[int]:
        order: list[int] = []
        loop = asyncio.get_running_loop()
        for number in range(200):
            loop.call_later(5, order.append, number)
        await asyncio.sleep(5)
        return order

    assert run_virtual(main()) == list(range(200))


def test_a_timeout_fires_at_its_second() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(7):
                await asyncio.Event().wait()
        return await _now()

    assert run_virtual(main()) == 7


def test_waiting_for_what_nobody_will_do_is_a_deadlock_that_names_the_task() -> None:
    async def main() -> None:
        await asyncio.create_task(asyncio.Event().wait(), name="the one that waits")

    with pytest.raises(Deadlock, match="the one that waits"):
        run_virtual(main())


def test_spinning_without_time_is_a_livelock() -> None:
    async def main() -> None:
        ours, theirs = asyncio.Event(), asyncio.Event()

        async def answer() -> None:
            while True:
                await theirs.wait()
                theirs.clear()
                ours.set()

        other = asyncio.create_task(answer())
        while not other.done():
            theirs.set()
            await ours.wait()
            ours.clear()

    with pytest.raises(Livelock):
        run_virtual(main())


def test_what_goes_on_for_too_long_is_a_livelock_too() -> None:
    ended: list[float] = []

    async def main() -> None:
        try:
            for _ in range(1000):
                await asyncio.sleep(10)
        finally:
            await asyncio.sleep(3)
            ended.append(await _now())

    with pytest.raises(Livelock, match=r"after 60\.0 s"):
        run_virtual(main(), most_seconds=65)
    assert ended == [63]


def test_threads_are_refused() -> None:
    async def main() -> None:
        await asyncio.to_thread(print, "never")

    with pytest.raises(RuntimeError, match="no threads"):
        run_virtual(main())


def test_cancelled_timers_neither_fire_nor_keep_the_clock_going() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        fired: list[int] = []
        timers = [loop.call_later(1000, fired.append, n) for n in range(500)]
        for timer in timers:
            timer.cancel()
        await asyncio.sleep(1)
        assert fired == []
        return await _now()

    assert run_virtual(main()) == 1


def test_what_main_leaves_behind_is_cancelled_before_the_loop_closes() -> None:
    ended: list[str] = []

    async def worker() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append("worker")

    async def main() -> None:
        main.task = asyncio.create_task(worker())  # type: ignore[attr-defined]
        await asyncio.sleep(1)

    run_virtual(main())
    assert ended == ["worker"]


def test_time_is_whole_nanoseconds() -> None:
    async def main() -> int:
        for _ in range(10):
            await asyncio.sleep(0.1)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        return loop.now_nanoseconds

    assert run_virtual(main()) == 1_000_000_000


def test_what_floats_leave_of_a_delay_moves_the_clock() -> None:
    async def wait_until(moment: float) -> None:
        loop = asyncio.get_running_loop()
        while moment > loop.time():  # noqa: ASYNC110 - that it ends is what is tested
            await asyncio.sleep(moment - loop.time())
        while moment + 1e-13 > loop.time():
            fired = loop.create_future()
            loop.call_at(moment + 1e-13, fired.set_result, None)
            await fired

    run_virtual(wait_until(0.1 + 0.2))
