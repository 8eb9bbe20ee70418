from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from lightkube.models.core_v1 import Container, ContainerStatus, PodCondition, PodSpec, PodStatus
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod

from antei.api.objects import name_of
from antei.control.pod_state import in_deletion_order, next_available_in
from antei.control.replicaset.plan import Plan, Snapshot, plan

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def pod(
    name: str,
    *,
    node: str = "a",
    phase: str = "Running",
    ready_for: float | None = 100.0,
    cost: str | None = None,
    restarts: int = 0,
    age: float = 1000.0,
    **metadata: Any,
) -> Pod:
    since = NOW - timedelta(seconds=ready_for or 0)
    ready = PodCondition(type="Ready", status="False" if ready_for is None else "True", lastTransitionTime=since)
    return Pod(
        metadata=ObjectMeta(
            name=name,
            creationTimestamp=NOW - timedelta(seconds=age),
            annotations={"controller.kubernetes.io/pod-deletion-cost": cost} if cost is not None else None,
            **metadata,
        ),
        spec=PodSpec(containers=[Container(name="c")], nodeName=node or None),
        status=PodStatus(
            phase=phase,
            conditions=[ready],
            containerStatuses=[ContainerStatus(name="c", image="", imageID="", ready=True, restartCount=restarts)],
        ),
    )


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (pod("z", node=""), pod("a")),
        (pod("z", phase="Pending"), pod("a", phase="Running")),
        (pod("z", ready_for=None), pod("a")),
        (pod("z", cost="-5"), pod("a")),
        (pod("z"), pod("a", cost="100")),
        (pod("z"), pod("a", node="lonely")),
        (pod("z", ready_for=5), pod("a", ready_for=500)),
        (pod("z", restarts=3), pod("a", restarts=1)),
        (pod("z", age=10), pod("a", age=1000)),
        (pod("a", age=1000), pod("b", age=1010)),  # of about one age: by name
    ],
    ids=["unassigned", "pending", "not ready", "cheap", "dear", "crowded", "ready late", "restarts", "young", "name"],
)
def test_a_scale_down_takes_the_pod_that_matters_least(first: Pod, then: Pod) -> None:
    neighbours = [pod(f"n{i}", node="a") for i in range(3)]
    ordered = in_deletion_order([then, first], [then, first, *neighbours], NOW)
    assert [name_of(p) for p in ordered] == [name_of(first), name_of(then)]


def test_the_next_pod_to_get_available_says_when() -> None:
    pods = [pod("a", ready_for=4), pod("b", ready_for=7.5), pod("c", ready_for=None), pod("d", ready_for=99)]
    assert next_available_in(pods, 10, NOW) == 2.5
    assert next_available_in(pods[2:], 10, NOW) is None


@pytest.mark.parametrize(
    ("replicas", "have", "flags", "create", "delete"),
    [
        (3, 1, {}, 2, 0),
        (3, 3, {}, 0, 0),
        (1, 3, {}, 0, 2),
        (0, 1, {}, 0, 1),
        (2000, 0, {}, 500, 0),
        (3, 1, {"has_unseen_writes": True}, 0, 0),
        (1, 3, {"is_deleting": True}, 0, 0),
    ],
)
def test_a_replica_set_makes_up_the_difference(
    replicas: int, have: int, flags: dict[str, bool], create: int, delete: int
) -> None:
    active = tuple(pod(f"p{i}") for i in range(have))
    rules = {"has_unseen_writes": False, "is_deleting": False, **flags}
    decided = plan(Snapshot(replicas=replicas, active=have, surplus_from=active, related=active, **rules), NOW)
    assert (decided.create, len(decided.delete)) == (create, delete)
    assert isinstance(decided, Plan)
