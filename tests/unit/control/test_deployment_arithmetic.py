from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightkube.models.apps_v1 import (
    DeploymentSpec,
    DeploymentStatus,
    DeploymentStrategy,
    ReplicaSetSpec,
    ReplicaSetStatus,
    RollingUpdateDeployment,
)
from lightkube.models.core_v1 import Container, PodSpec, PodTemplateSpec
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.resources.apps_v1 import Deployment, ReplicaSet

from antei.api.objects import meta, name_of, replace
from antei.control.deployment import history, rolling, scaling
from antei.control.deployment.plan import CreateReplicaSet, DeleteReplicaSet, Snapshot, UpdateReplicaSet, plan

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def template(image: str) -> PodTemplateSpec:
    return PodTemplateSpec(
        metadata=ObjectMeta(labels={"app": "web"}), spec=PodSpec(containers=[Container(name="web", image=image)])
    )


def deployment(replicas: int, surge: Any = 1, unavailable: Any = 1, image: str = "new", **spec: Any) -> Deployment:
    margins = RollingUpdateDeployment(maxSurge=surge, maxUnavailable=unavailable)
    return Deployment(
        apiVersion="apps/v1",
        kind="Deployment",
        metadata=ObjectMeta(name="web", namespace="default", uid="d", generation=1),
        spec=DeploymentSpec(
            replicas=replicas,
            selector=LabelSelector(matchLabels={"app": "web"}),
            template=template(image),
            strategy=DeploymentStrategy(type="RollingUpdate", rollingUpdate=margins),
            **spec,
        ),
    )


def replica_set(
    image: str, size: int, available: int = 0, age: int = 0, annotations: dict[str, str] | None = None
) -> ReplicaSet:
    return ReplicaSet(
        apiVersion="apps/v1",
        kind="ReplicaSet",
        metadata=ObjectMeta(
            name=f"web-{image}",
            uid=image,
            generation=1,
            annotations=annotations,
            creationTimestamp=NOW - timedelta(seconds=age),
        ),
        spec=ReplicaSetSpec(replicas=size, selector=LabelSelector(), template=template(image)),
        status=ReplicaSetStatus(replicas=size, availableReplicas=available, observedGeneration=1),
    )


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (4, "25%", "25%", (1, 1)),
        (10, "25%", "25%", (3, 2)),  # surge rounds up, unavailable down
        (3, "25%", "25%", (1, 0)),
        (3, 0, "25%", (0, 1)),  # both zero: one may be unavailable
        (1, 0, 0, (0, 1)),
        (2, 0, 5, (0, 2)),
        (0, 1, 1, (1, 0)),
        (4, None, None, (1, 1)),
    ],
)
def test_surge_rounds_up_unavailable_rounds_down_and_never_are_both_zero(
    replicas: int, surge: Any, unavailable: Any, expected: tuple[int, int]
) -> None:
    bounds = rolling.bounds_of(deployment(replicas, surge, unavailable))
    assert (bounds.max_surge, bounds.max_unavailable) == expected


@pytest.mark.parametrize(
    ("new", "total", "expected"),
    [(0, 4, 1), (1, 5, 1), (1, 4, 2), (4, 4, 4), (6, 6, 4), (0, 0, 4), (0, 9, 0)],
)
def test_the_new_replica_set_grows_into_the_room_that_the_surge_leaves(new: int, total: int, expected: int) -> None:
    assert rolling.new_size(rolling.Bounds(4, 1, 1), new, total) == expected


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        # (size, available) of the new one; of the old ones, oldest first; their sizes afterwards
        ((2, 0), [(3, 3)], [3]),  # what is new is not available: nothing more may go
        ((2, 2), [(3, 3)], [1]),
        ((1, 0), [(4, 4)], [3]),
        ((2, 0), [(3, 1)], [3]),
        ((0, 0), [(4, 2), (1, 1)], [2, 1]),  # what does not run anyway goes first
        ((4, 4), [(1, 1)], [0]),
    ],
)
def test_old_replica_sets_shrink_as_far_as_availability_allows(
    new: tuple[int, int], old: list[tuple[int, int]], expected: list[int]
) -> None:
    olds = [replica_set(f"old{i}", size, available, age=100 - i) for i, (size, available) in enumerate(old)]
    resizes = rolling.scale_down_old(rolling.Bounds(4, 1, 1), replica_set("new", *new), olds)
    sizes = {name_of(r.replica_set): r.size for r in resizes}
    assert [sizes.get(name_of(rs), rolling.size_of(rs)) for rs in olds] == expected


@given(
    replicas=st.integers(1, 20),
    surge=st.integers(0, 6),
    unavailable=st.integers(0, 6),
    new=st.tuples(st.integers(0, 20), st.integers(0, 20)),
    old=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=3),
)
def test_a_step_never_costs_available_pods_beyond_the_margin(
    replicas: int, surge: int, unavailable: int, new: tuple[int, int], old: list[tuple[int, int]]
) -> None:
    bounds = rolling.bounds_of(deployment(replicas, surge, unavailable))
    new_set = replica_set("new", max(new), min(new))
    olds = [replica_set(f"old{i}", max(pair), min(pair), age=i) for i, pair in enumerate(old)]
    before = sum(rolling.available_of(rs) for rs in [new_set, *olds])
    resizes = {name_of(r.replica_set): r.size for r in rolling.scale_down_old(bounds, new_set, olds)}
    # The worst case: of a shrinking ReplicaSet the ready pods stay, as its own ranking sees to.
    after = rolling.available_of(new_set) + sum(
        min(resizes.get(name_of(rs), rolling.size_of(rs)), rolling.available_of(rs)) for rs in olds
    )
    assert after >= min(before, bounds.min_available)
    total = sum(rolling.size_of(rs) for rs in [new_set, *olds])
    grown = rolling.new_size(bounds, rolling.size_of(new_set), total)
    if grown > rolling.size_of(new_set):
        assert total - rolling.size_of(new_set) + grown <= bounds.max_total


@pytest.mark.parametrize(
    ("replicas", "sizes", "expected"),
    [
        (15, {"old": 8, "new": 5}, {"old": 11, "new": 7}),
        (5, {"old": 8, "new": 5}, {"old": 5, "new": 3}),
        (0, {"old": 8, "new": 5}, {"old": 0, "new": 0}),
    ],
)
def test_a_resize_amid_a_rollout_is_shared_by_size(
    replicas: int, sizes: dict[str, int], expected: dict[str, int]
) -> None:
    was = {history.DESIRED_REPLICAS: "10", history.MAX_REPLICAS: "13"}
    old = replica_set("old", sizes["old"], sizes["old"], age=100, annotations=was)
    new = replica_set("new", sizes["new"], 0, annotations=was)
    resizes = scaling.proportional_sizes(deployment(replicas, 3, 2), new, [old])
    found = {name_of(r.replica_set).removeprefix("web-"): r.size for r in resizes}
    assert found == expected


def test_the_first_look_creates_the_replica_set_with_hash_revision_and_sizes() -> None:
    decided = plan(Snapshot(deployment(4), (), {}), NOW)
    (create,) = decided.actions
    assert isinstance(create, CreateReplicaSet)
    created = create.replica_set
    template_hash = meta(created).labels["pod-template-hash"]
    assert name_of(created) == f"web-{template_hash}"
    assert created.spec.selector.matchLabels == {"app": "web", "pod-template-hash": template_hash}
    assert created.spec.replicas == 4
    assert decided.revision == 1


def test_one_step_scales_up_and_only_the_next_scales_down() -> None:
    old = replica_set("old", 4, 4, age=100, annotations={history.REVISION: "1"})
    first = plan(Snapshot(deployment(4), (old,), {}), NOW)
    assert [type(action) for action in first.actions] == [CreateReplicaSet, UpdateReplicaSet]
    assert [action.replica_set.spec.replicas for action in first.actions] == [1, 3]
    new = replica_set("new", 1, 0, annotations={history.REVISION: "2"})
    three = replica_set("old", 3, 3, age=100, annotations={history.REVISION: "1"})
    (grow,) = plan(Snapshot(deployment(4), (three, new), {}), NOW).actions
    assert (name_of(grow.replica_set), grow.replica_set.spec.replicas) == ("web-new", 2)


def test_progress_is_judged_again_at_its_deadline_unless_the_deployment_goes_or_is_scaled() -> None:
    """Once it is over, whoever does not judge progress would ask for the next look at once, and again, for ever."""
    sets = (replica_set("new", 4, 0, annotations={history.DESIRED_REPLICAS: "4", history.MAX_REPLICAS: "5"}),)
    begun = deployment(4, progressDeadlineSeconds=60)
    begun = replace(begun, status=plan(Snapshot(begun, sets, {}), NOW).status)
    later, too_late = NOW + timedelta(seconds=40), NOW + timedelta(seconds=100)
    assert plan(Snapshot(begun, sets, {}), later).requeue_seconds == 20
    timed_out = plan(Snapshot(begun, sets, {}), too_late)
    assert [c.reason for c in timed_out.status.conditions or ()][-1] == "ProgressDeadlineExceeded"
    going = replace(begun, metadata=replace(meta(begun), deletionTimestamp=NOW))
    scaled = replace(begun, spec=replace(begun.spec, replicas=6))
    for one in (timed_out, plan(Snapshot(going, sets, {}), too_late), plan(Snapshot(scaled, sets, {}), too_late)):
        assert one.requeue_seconds is None


def test_a_rolled_out_deployment_drops_history_beyond_its_limit_lowest_revision_first() -> None:
    sets = [replica_set(f"v{n}", 0, age=100 - n, annotations={history.REVISION: str(n)}) for n in (3, 1, 2)]
    new = replica_set("new", 4, 4, annotations={history.REVISION: "4"})
    decided = plan(Snapshot(deployment(4, revisionHistoryLimit=1), (*sets, new), {}), NOW)
    assert [name_of(a.replica_set) for a in decided.actions if isinstance(a, DeleteReplicaSet)] == ["web-v1", "web-v2"]


def test_the_hash_label_is_no_difference_between_templates_but_all_else_is() -> None:
    labelled = PodTemplateSpec(
        metadata=ObjectMeta(labels={"app": "web", "pod-template-hash": "x"}), spec=template("a").spec
    )
    assert history.same_template(labelled, template("a"))
    assert not history.same_template(labelled, template("b"))


def test_a_collision_gives_another_hash() -> None:
    first = history.new_replica_set(deployment(1), 1, 1, 1)
    collided = replace(deployment(1), status=DeploymentStatus(collisionCount=1))
    assert name_of(history.new_replica_set(collided, 1, 1, 1)) != name_of(first)
