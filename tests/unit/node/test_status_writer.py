from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest
from lightkube.models.core_v1 import PodCondition, PodStatus
from lightkube.resources.core_v1 import Pod

from antei.api.errors import ApiError, conflict, internal_error, not_found
from antei.api.objects import meta, replace, replace_meta
from antei.control.pod_state import status_of
from antei.node.status_writer import StatusWriter, merged_status
from antei.simulate.loop import run_virtual

POD = msgspec.convert({"metadata": {"name": "web", "namespace": "default", "uid": "u", "resourceVersion": "5"}}, Pod)


class Api:
    """Has one pod, and answers each write after a second, with the errors it is told first."""

    def __init__(self, *errors: ApiError) -> None:
        self.errors = list(errors)
        self.pod = POD
        self.writes: list[Pod] = []
        self.gets = 0
        self.under_way = 0
        self.most_at_once = 0

    async def get(self, kind: type[Pod], name: str, namespace: str) -> Pod:
        self.gets += 1
        return self.pod

    async def update(self, pod: Pod, subresource: str) -> Pod:
        assert subresource == "status"
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        await asyncio.sleep(1)
        self.under_way -= 1
        self.writes.append(pod)
        if self.errors:
            raise self.errors.pop(0)
        self.pod = replace_meta(pod, resourceVersion=str(10 + len(self.writes)))
        return self.pod


def write(api: Any, main: Callable[[StatusWriter], Coroutine[Any, Any, None]]) -> None:
    async def session() -> None:
        writer = StatusWriter(api, POD)
        task = asyncio.ensure_future(writer.run())
        await main(writer)
        task.cancel()

    run_virtual(session())


def test_the_latest_state_wins_and_one_write_is_under_way() -> None:
    api = Api()

    async def main(writer: StatusWriter) -> None:
        for phase in ("Pending", "Running", "Failed"):
            writer.publish(PodStatus(phase=phase))
            await asyncio.sleep(0.4)
        await writer.flush()

    write(api, main)
    assert [status_of(pod).phase for pod in api.writes] == ["Pending", "Failed"]
    assert api.most_at_once == 1


def test_what_others_say_stays_and_what_has_no_value_any_more_goes() -> None:
    old = PodCondition(type="Ready", status="False", reason="ContainersNotReady", observedGeneration=2)
    gate, pending = PodCondition(type="gate", status="True"), PodCondition(type="PodResizePending", status="True")
    seen = PodStatus(phase="Pending", reason="Evicted", nominatedNodeName="node-1", conditions=[gate, pending, old])
    ready, told = PodCondition(type="Ready", status="True"), PodCondition(type="DisruptionTarget", status="True")
    assert merged_status(seen, PodStatus(phase="Running", conditions=[told, ready])) == PodStatus(
        phase="Running",
        nominatedNodeName="node-1",
        conditions=[gate, PodCondition(type="Ready", status="True", observedGeneration=2), told],
    )
    assert merged_status(None, seen) is seen


def test_who_was_slower_looks_again_and_writes_over_what_others_wrote() -> None:
    api = Api(conflict("pods", "web", "the object has been modified"))
    theirs = PodStatus(conditions=[PodCondition(type="gate", status="True")])
    api.pod = replace_meta(replace(POD, status=theirs), resourceVersion="6")

    async def main(writer: StatusWriter) -> None:
        writer.publish(PodStatus(phase="Running"))
        await writer.flush()

    write(api, main)
    assert [meta(pod).resourceVersion for pod in api.writes] == ["5", "6"]
    assert api.pod.status == PodStatus(phase="Running", conditions=theirs.conditions)


def test_an_equal_status_is_not_written_again() -> None:
    api = Api()

    async def main(writer: StatusWriter) -> None:
        for _ in range(3):
            writer.publish(PodStatus(phase="Running"))
            await writer.flush()

    write(api, main)
    assert len(api.writes) == 1


def test_a_failed_write_is_tried_again_after_a_pause() -> None:
    api = Api(internal_error("no"), internal_error("no"))

    async def main(writer: StatusWriter) -> None:
        writer.publish(PodStatus(phase="Running"))
        await writer.flush()
        assert round(asyncio.get_running_loop().time(), 3) == 3.6  # three seconds of writes, 0.2 s and 0.4 s of pause

    write(api, main)


@pytest.mark.parametrize("error", [not_found("pods", "web"), conflict("pods", "web", "modified")], ids=["404", "409"])
def test_a_pod_that_is_gone_or_another_needs_no_status(error: ApiError) -> None:
    api = Api(error)
    api.pod = replace_meta(POD, uid="of another", resourceVersion="9")

    async def main(writer: StatusWriter) -> None:
        writer.publish(PodStatus(phase="Running"))
        await writer.flush()

    write(api, main)
    assert len(api.writes) == 1


def test_one_who_is_always_slower_pauses_before_it_tries_again() -> None:
    api = Api(*(conflict("pods", "web", "modified") for _ in range(5)))

    async def main(writer: StatusWriter) -> None:
        writer.publish(PodStatus(phase="Running"))
        await writer.flush()
        assert round(asyncio.get_running_loop().time(), 3) == 6.2

    write(api, main)


def seen(version: int, ready: str) -> Pod:
    status = PodStatus(phase="Running", conditions=[PodCondition(type="Ready", status=ready)])
    return replace(replace_meta(POD, resourceVersion=str(version)), status=status)


def test_what_others_overwrite_before_an_answer_is_there_is_said_again() -> None:
    api = Api()

    async def main(writer: StatusWriter) -> None:
        writer.publish(seen(0, "True").status or PodStatus())
        await asyncio.sleep(0.9)
        api.pod = seen(12, "False")  # the answer to come is of version 11
        writer.observe(api.pod)
        await writer.flush()
        assert [meta(pod).resourceVersion for pod in api.writes] == ["5", "12"]
        assert api.writes[1].status == seen(12, "True").status

    write(api, main)


def test_what_others_overwrote_is_said_again_but_not_for_an_older_state() -> None:
    api = Api()

    async def main(writer: StatusWriter) -> None:
        writer.publish(PodStatus(phase="Running", conditions=[PodCondition(type="Ready", status="True")]))
        await writer.flush()
        for pod in (seen(7, "False"), seen(11, "True")):
            writer.observe(pod)
            await writer.flush()
        assert len(api.writes) == 1
        writer.observe(seen(12, "False"))
        await writer.flush()
        assert len(api.writes) == 2

    write(api, main)
