from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from lightkube.models.core_v1 import PodCondition, PodStatus
from lightkube.resources.core_v1 import Pod

from antei.api.errors import ApiError, conflict, internal_error, not_found
from antei.node.status_writer import StatusWriter
from antei.simulate.loop import run_virtual

POD = msgspec.convert({"metadata": {"name": "web", "namespace": "default", "uid": "u", "resourceVersion": "5"}}, Pod)


class Api:
    """Answers each patch after a second, with the errors it is told first."""

    def __init__(self, *errors: ApiError) -> None:
        self.errors = list(errors)
        self.patches: list[dict[str, Any]] = []
        self.under_way = 0
        self.most_at_once = 0

    async def patch(self, kind: type[Pod], name: str, namespace: str, patch: dict[str, Any], **_: Any) -> Pod:
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        await asyncio.sleep(1)
        self.under_way -= 1
        self.patches.append(patch)
        if self.errors:
            raise self.errors.pop(0)
        return msgspec.convert({"metadata": {"resourceVersion": str(10 + len(self.patches))}}, Pod)


def write(api: Any, main: Callable[[StatusWriter], Coroutine[Any, Any, None]]) -> None:
    async def session() -> None:
        writer = StatusWriter(api, POD)
        task = asyncio.ensure_future(writer.run())
        await main(writer)
        task.cancel()

    run_virtual(session())


def test_the_latest_state_wins_and_one_patch_is_under_way() -> None:
    api = Api()

    async def main(writer: StatusWriter) -> None:
        for phase in ("Pending", "Running", "Failed"):
            writer.publish(PodStatus(phase=phase))
            await asyncio.sleep(0.4)
        await writer.flush()

    write(api, main)
    assert [patch["status"]["phase"] for patch in api.patches] == ["Pending", "Failed"]
    assert api.most_at_once == 1


def test_what_has_no_value_any_more_is_cleared_and_the_uid_is_a_precondition() -> None:
    api = Api()

    async def main(writer: StatusWriter) -> None:
        writer.publish(PodStatus(phase="Running", conditions=[PodCondition(type="Ready", status="True")]))
        await writer.flush()

    write(api, main)
    ready = {"type": "Ready", "status": "True", "reason": None, "message": None}
    status = {"phase": "Running", "conditions": [ready], "reason": None, "message": None}
    assert api.patches == [{"metadata": {"uid": "u"}, "status": status}]


def test_an_equal_status_is_not_written_again() -> None:
    api = Api()

    async def main(writer: StatusWriter) -> None:
        for _ in range(3):
            writer.publish(PodStatus(phase="Running"))
            await writer.flush()

    write(api, main)
    assert len(api.patches) == 1


def test_a_failed_patch_is_tried_again_after_a_pause() -> None:
    api = Api(internal_error("no"), internal_error("no"))

    async def main(writer: StatusWriter) -> None:
        writer.publish(PodStatus(phase="Running"))
        await writer.flush()
        assert round(asyncio.get_running_loop().time(), 3) == 3.6  # three seconds of patches, 0.2 s and 0.4 s of pause

    write(api, main)


def test_a_pod_that_is_gone_or_another_needs_no_status() -> None:
    for error in (not_found("pods", "web"), conflict("pods", "web", "Precondition failed: UID in precondition: u")):
        api = Api(error)

        async def main(writer: StatusWriter) -> None:
            writer.publish(PodStatus(phase="Running"))
            await writer.flush()

        write(api, main)
        assert len(api.patches) == 1


def test_what_others_overwrote_is_said_again_but_not_for_an_older_state() -> None:
    def seen(version: int, ready: str) -> Pod:
        status = PodStatus(phase="Running", conditions=[PodCondition(type="Ready", status=ready)])
        metadata = msgspec.structs.replace(POD.metadata, resourceVersion=str(version))
        return msgspec.structs.replace(POD, status=status, metadata=metadata)

    api = Api()

    async def main(writer: StatusWriter) -> None:
        writer.publish(PodStatus(phase="Running", conditions=[PodCondition(type="Ready", status="True")]))
        await writer.flush()
        for pod in (seen(7, "False"), seen(11, "True")):
            writer.observe(pod)
            await writer.flush()
        assert len(api.patches) == 1
        writer.observe(seen(12, "False"))
        await writer.flush()
        assert len(api.patches) == 2

    write(api, main)
