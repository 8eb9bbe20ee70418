"""A work queue tells how long keys wait and are worked on."""

from __future__ import annotations

import asyncio

from antei.control.controller import WorkQueue
from antei.control.queue_measures import QueuesMeasures
from antei.simulate.loop import run_virtual
from antei.world.measures import Counter, Histogram, Measures, Sampled


def test_a_queue_counts_what_happens_to_its_keys() -> None:
    measures = Measures()

    async def session() -> dict[str, float]:
        queue = WorkQueue(QueuesMeasures(measures).of("deployment"))
        queue.add(("default", "a"))
        queue.add(("default", "a"))  # it waits already
        queue.add(("default", "b"))
        await asyncio.sleep(2)
        key = await queue.take()
        await asyncio.sleep(3)
        seen = {m.name: value for m in measures.all() if isinstance(m, Sampled) for _, value in m.sample()}
        queue.done(key)
        queue.add_failed(key)
        queue.close()
        return seen

    sampled = run_virtual(session())
    assert sampled == {
        "workqueue_depth": 1,
        "workqueue_unfinished_work_seconds": 3,
        "workqueue_longest_running_processor_seconds": 3,
    }
    by_name = {measure.name: measure for measure in measures.all()}
    adds, retries = by_name["workqueue_adds_total"], by_name["workqueue_retries_total"]
    waited, worked = by_name["workqueue_queue_duration_seconds"], by_name["workqueue_work_duration_seconds"]
    assert isinstance(adds, Counter)
    assert isinstance(retries, Counter)
    assert isinstance(waited, Histogram)
    assert isinstance(worked, Histogram)
    assert (adds.values, retries.values) == ({("deployment",): 2}, {("deployment",): 1})
    assert waited.values["deployment",][-1] == 2
    assert worked.values["deployment",][-1] == 3
