from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from lightkube.models.apps_v1 import (
    RollingUpdateStatefulSetStrategy,
    StatefulSetOrdinals,
    StatefulSetPersistentVolumeClaimRetentionPolicy,
    StatefulSetSpec,
    StatefulSetUpdateStrategy,
)
from lightkube.models.core_v1 import (
    Container,
    PersistentVolumeClaimSpec,
    PodCondition,
    PodSpec,
    PodStatus,
    PodTemplateSpec,
    Volume,
)
from lightkube.models.core_v1 import PersistentVolumeClaim as ClaimTemplate
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta, OwnerReference
from lightkube.resources.apps_v1 import StatefulSet
from lightkube.resources.core_v1 import Pod

from antei.api.objects import name_of, replace, replace_meta
from antei.control.statefulset import identity
from antei.control.statefulset.plan import (
    Action,
    CreateClaims,
    CreatePod,
    DeletePod,
    Revisions,
    Snapshot,
    UpdateClaim,
    plan,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def template(image: str) -> PodTemplateSpec:
    return PodTemplateSpec(
        metadata=ObjectMeta(labels={"app": "db"}),
        spec=PodSpec(containers=[Container(name="db", image=image)], volumes=[Volume(name="data"), Volume(name="tmp")]),
    )


REVISIONS = Revisions("old", template("1"), "new", template("2"))


def stateful_set(replicas: int = 3, *, unavailable: Any = None, partition: int = 0, **spec: Any) -> StatefulSet:
    rolling = RollingUpdateStatefulSetStrategy(partition=partition, maxUnavailable=unavailable)
    return StatefulSet(
        apiVersion="apps/v1",
        kind="StatefulSet",
        metadata=ObjectMeta(name="db", namespace="default", uid="set"),
        spec=StatefulSetSpec(
            replicas=replicas,
            serviceName="db",
            selector=LabelSelector(matchLabels={"app": "db"}),
            template=template("2"),
            updateStrategy=StatefulSetUpdateStrategy(type="RollingUpdate", rollingUpdate=rolling),
            volumeClaimTemplates=[ClaimTemplate(metadata=ObjectMeta(name="data"), spec=PersistentVolumeClaimSpec())],
            **spec,
        ),
    )


def pod(ordinal: int, kind: str = "new") -> Pod:
    """`kind`: new or old, with a mark: ! not ready, x failed, - being deleted, ? pending."""
    revision, mark = (kind[:-1], kind[-1]) if kind[-1] in "!x-?" else (kind, "")
    made = identity.new_pod(stateful_set(), template("1"), revision, ordinal)
    phase = {"x": "Failed", "?": "Pending"}.get(mark, "Running")
    ready = PodCondition(type="Ready", status="True" if mark in ("", "-") else "False", lastTransitionTime=NOW)
    made = replace_meta(made, uid=f"u{ordinal}", deletionTimestamp=NOW if mark == "-" else None)
    return replace(made, status=PodStatus(phase=phase, conditions=[ready]))


def claims(*ordinals: int) -> dict[str, Any]:
    return {name_of(c): c for n in ordinals for c in identity.claims_for(stateful_set(), n)}


def told(actions: list[Action]) -> list[str]:
    signs = {CreatePod: "+", DeletePod: "-", CreateClaims: "claims ", UpdateClaim: "claim "}
    return [
        signs[type(a)] + (name_of(a.claim) if isinstance(a, UpdateClaim) else name_of(a.pod))  # type: ignore[union-attr, index]
        for a in actions
    ]


def decide(the_set: StatefulSet, kinds: list[str | None]) -> list[str]:
    pods = tuple(pod(ordinal, kind) for ordinal, kind in enumerate(kinds) if kind is not None)
    return told(plan(Snapshot(the_set, REVISIONS, pods, claims(*range(9))), NOW))


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([], ["+db-0"]),
        (["new"], ["+db-1"]),
        (["new!"], []),  # wait until it is ready
        (["new-"], []),
        (["newx"], ["-db-0"]),
        (["new", None, "new"], ["+db-1"]),
        (["new"] * 3, []),
        (["new"] * 5, ["-db-4"]),
        (["new"] * 4 + ["new-"], []),
        (["new!", "new", "new", "new"], []),  # no scale-down while another is not well
        (["new", "new", "new", "new!"], ["-db-3"]),  # but of the one that is not
        (["old"] * 3, ["-db-2"]),
        (["old", "old", "new"], ["-db-1"]),
        (["old", "old", "new!"], []),
        (["old", "old", None], ["+db-2"]),
    ],
)
def test_one_pod_after_the_other(kinds: list[str | None], expected: list[str]) -> None:
    assert decide(stateful_set(), kinds) == expected


@pytest.mark.parametrize(
    ("kinds", "unavailable", "expected"),
    [
        ([], None, ["+db-0", "+db-1", "+db-2"]),
        (["new!", None, "newx"], None, ["+db-1", "-db-2"]),
        (["new"] * 5, None, ["-db-4", "-db-3"]),
        (["old"] * 3, None, ["-db-2"]),
        (["old"] * 3, 2, ["-db-2", "-db-1"]),
        (["old", "old", "new!"], None, []),
        (["old", "old", "new!"], 2, ["-db-1"]),
        (["old!", "old!", "old!"], None, ["-db-2"]),  # a broken version does not block its own repair
        (["old!", "old", "old"], None, ["-db-0"]),
    ],
)
def test_parallel_takes_all_steps_at_once_but_updates_within_max_unavailable(
    kinds: list[str | None], unavailable: Any, expected: list[str]
) -> None:
    assert decide(stateful_set(podManagementPolicy="Parallel", unavailable=unavailable), kinds) == expected


def test_a_partition_ends_the_update_and_revives_what_is_below_it_as_it_was() -> None:
    partitioned = stateful_set(partition=2)
    assert decide(partitioned, ["old", "old", "old"]) == ["-db-2"]
    assert decide(partitioned, ["old", "old", "new"]) == []
    (create,) = plan(Snapshot(partitioned, REVISIONS, (), claims(0, 1, 2)), NOW)
    assert isinstance(create, CreatePod)
    assert identity.revision_name_of(create.pod) == "old"


def test_ordinals_may_start_elsewhere() -> None:
    shifted = stateful_set(2, ordinals=StatefulSetOrdinals(start=5))
    assert told(plan(Snapshot(shifted, REVISIONS, (), {}), NOW)) == ["+db-5"]
    assert told(plan(Snapshot(shifted, REVISIONS, (pod(5), pod(6), pod(0)), claims(0, 5, 6)), NOW)) == ["-db-0"]


def test_a_pods_own_claim_takes_the_place_of_the_volume_of_its_name() -> None:
    made = identity.new_pod(stateful_set(), template("1"), "r", 4)
    assert made.spec is not None
    volumes = {
        v.name: v.persistentVolumeClaim.claimName if v.persistentVolumeClaim else None for v in made.spec.volumes or ()
    }
    assert volumes == {"data": "data-db-4", "tmp": None}


def test_a_pod_waits_for_a_claim_that_is_going_away_and_a_pending_one_gets_a_missing_claim() -> None:
    (data,) = identity.claims_for(stateful_set(), 0)
    stale = OwnerReference(apiVersion="v1", kind="Pod", name="db-0", uid="gone")
    for leaving in (replace_meta(data, deletionTimestamp=NOW), replace_meta(data, ownerReferences=[stale])):
        assert plan(Snapshot(stateful_set(), REVISIONS, (), {name_of(data): leaving}), NOW) == []
    assert told(plan(Snapshot(stateful_set(), REVISIONS, (pod(0, "new?"),), {}), NOW)) == ["claims db-0"]


@pytest.mark.parametrize(
    ("when_deleted", "when_scaled", "ordinal", "owner"),
    [
        ("Retain", "Retain", 0, None),
        ("Retain", "Retain", 7, None),
        ("Delete", "Retain", 0, "StatefulSet"),
        ("Delete", "Retain", 7, "StatefulSet"),
        ("Retain", "Delete", 0, None),
        ("Retain", "Delete", 7, "Pod"),
        ("Delete", "Delete", 0, "StatefulSet"),
        ("Delete", "Delete", 7, "Pod"),
    ],
)
def test_the_retention_policy_says_who_owns_a_claim(
    when_deleted: str, when_scaled: str, ordinal: int, owner: str | None
) -> None:
    policy = StatefulSetPersistentVolumeClaimRetentionPolicy(whenDeleted=when_deleted, whenScaled=when_scaled)
    the_set = stateful_set(persistentVolumeClaimRetentionPolicy=policy)
    (plain,) = identity.claims_for(stateful_set(), ordinal)
    kept = identity.with_retention(the_set, plain, ordinal, pod(ordinal))
    references = (kept.metadata.ownerReferences if kept.metadata else None) or []
    assert [reference.kind for reference in references] == ([owner] if owner else [])
    assert identity.with_retention(stateful_set(), kept, ordinal, pod(ordinal)) == plain
