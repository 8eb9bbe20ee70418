"""What is said of a pod that does not get ready."""

from __future__ import annotations

import pytest
from lightkube.models.core_v1 import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateWaiting,
    ContainerStatus,
    PodStatus,
)
from lightkube.resources.core_v1 import Pod

from antei.cli.progress import refusal_of

RUNNING = ContainerState(running=ContainerStateRunning())


def waiting(reason: str, message: str | None) -> ContainerState:
    return ContainerState(waiting=ContainerStateWaiting(reason=reason, message=message))


def status(state: ContainerState) -> ContainerStatus:
    return ContainerStatus(name="a", image="i", imageID="", ready=False, restartCount=0, state=state)


@pytest.mark.parametrize(
    ("states", "refusal"),
    [
        ([RUNNING], None),
        ([waiting("ContainerCreating", None)], None),
        ([waiting("CrashLoopBackOff", "back-off 10s")], None),
        ([RUNNING, waiting("ImagePullBackOff", "Back-off pulling image")], "Back-off pulling image"),
        ([waiting("CreateContainerConfigError", 'secret "x" not found')], 'secret "x" not found'),
    ],
)
def test_a_pod_that_cannot_be_made_says_why(states: list[ContainerState], refusal: str | None) -> None:
    statuses = [status(state) for state in states]
    assert refusal_of(Pod(status=PodStatus(containerStatuses=statuses))) == refusal
    assert refusal_of(Pod(status=PodStatus(initContainerStatuses=statuses))) == refusal


def test_a_pod_of_which_nothing_is_known_yet_says_nothing() -> None:
    assert refusal_of(Pod()) is None
