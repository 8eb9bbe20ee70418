"""Which pods are made late, and that none stays so."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod

from antei.rehearse.lateness import LateReadiness, SlowStarts
from antei.rehearse.stage import Hit

LONG_SECONDS = 3600.0


class Target:
    def __init__(self) -> None:
        self.blocked: list[str] = []
        self.paused: list[tuple[str, str]] = []

    def block_readiness(self, pod: Pod) -> None:
        self.blocked.append(pod.metadata.uid)

    def unblock_readiness(self, pod: Pod) -> None:
        if pod.metadata.uid in self.blocked:
            self.blocked.remove(pod.metadata.uid)

    async def pause(self, pod: Pod, container: str) -> None:
        self.paused.append((pod.metadata.uid, container))

    async def resume(self, pod: Pod, container: str) -> None:
        self.paused.remove((pod.metadata.uid, container))


def pod(uid: str, app: str = "chat") -> Pod:
    return Pod(metadata=ObjectMeta(name=uid, namespace="default", uid=uid, labels={"app": app}))


def run_of(container: str) -> Any:
    return SimpleNamespace(name=container)


@pytest.fixture
def stage() -> Any:
    """`old` was there before."""
    workload = SimpleNamespace(owns=lambda pod: pod.metadata.labels["app"] == "chat")
    return SimpleNamespace(target=Target(), hit=Hit(known=frozenset({"old"})), workload=workload)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_only_new_pods_of_the_workload_get_ready_late(stage: Any) -> None:
    late = LateReadiness(stage, LONG_SECONDS)
    for one in (pod("old"), pod("database", app="mysql"), pod("new")):
        late.started(one, run_of("chat"))
    assert stage.target.blocked == ["new"]
    await late.end()


async def test_a_pod_is_held_once_from_its_first_container_on(stage: Any) -> None:
    late = LateReadiness(stage, 0.0)
    late.started(pod("new"), run_of("chat"))
    await turns()
    assert stage.target.blocked == []
    late.started(pod("new"), run_of("sidecar"))
    assert stage.target.blocked == []
    await late.end()


@pytest.mark.parametrize("has_begun", [False, True])
async def test_at_the_end_no_pod_stays_blocked_and_no_other_is(stage: Any, has_begun: bool) -> None:
    late = LateReadiness(stage, LONG_SECONDS)
    late.started(pod("new"), run_of("chat"))
    if has_begun:
        await turns()
    await late.end()
    late.started(pod("newer"), run_of("chat"))
    assert stage.target.blocked == []


async def test_the_container_that_is_served_stands_still_at_each_of_its_starts_until_the_end(stage: Any) -> None:
    slow = SlowStarts(stage, "chat", LONG_SECONDS)
    slow.started(pod("new"), run_of("sidecar"))
    slow.started(pod("new"), run_of("chat"))
    await turns()
    assert stage.target.paused == [("new", "chat")]
    await slow.end()
    assert stage.target.paused == []
