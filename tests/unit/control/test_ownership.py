from __future__ import annotations

import asyncio
from typing import Any

import pytest
from lightkube.models.core_v1 import Container, PodSpec, PodTemplateSpec
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference
from lightkube.resources.apps_v1 import ControllerRevision, ReplicaSet
from lightkube.resources.core_v1 import Pod

from antei.api.errors import forbidden
from antei.api.objects import name_of, to_time
from antei.api.selectors import selector_of_map
from antei.control import revisions
from antei.control.adoption import sort_claims
from antei.control.expectations import Expectations
from antei.control.pod_control import slow_start
from antei.control.template_hash import hash_of, safe_encode
from antei.simulate.loop import run_virtual
from antei.world.virtual import EPOCH

KEY = ("default", "web")


def owner(**metadata: Any) -> ReplicaSet:
    from lightkube.models.apps_v1 import ReplicaSetSpec
    from lightkube.models.meta_v1 import LabelSelector

    return ReplicaSet(
        apiVersion="apps/v1",
        kind="ReplicaSet",
        metadata=ObjectMeta(name="web", namespace="default", uid="me", **metadata),
        spec=ReplicaSetSpec(selector=LabelSelector()),
    )


def pod(name: str = "p", labels: dict[str, str] | None = None, controller: str | None = None, **metadata: Any) -> Pod:
    references = [OwnerReference(apiVersion="apps/v1", kind="ReplicaSet", name="x", uid=controller, controller=True)]
    return Pod(
        metadata=ObjectMeta(
            name=name,
            namespace="default",
            uid=name,
            labels=labels,
            ownerReferences=references if controller else None,
            **metadata,
        )
    )


MATCHING = {"app": "web"}
DELETED = {"deletionTimestamp": to_time(EPOCH)}


@pytest.mark.parametrize(
    ("candidate", "its_owner", "fate"),
    [
        (pod(labels=MATCHING, controller="me"), owner(), "kept"),
        (pod(labels={"app": "x"}, controller="me"), owner(), "to_release"),
        (pod(labels={"app": "x"}, controller="me"), owner(**DELETED), None),
        (pod(labels=MATCHING, controller="other"), owner(), None),
        (pod(labels=MATCHING), owner(), "to_adopt"),
        (pod(labels=MATCHING, **DELETED), owner(), None),
        (pod(labels=MATCHING), owner(**DELETED), None),
        (pod(labels={"app": "x"}), owner(), None),
    ],
)
def test_the_controller_reference_decides_and_labels_only_among_orphans(
    candidate: Pod, its_owner: ReplicaSet, fate: str | None
) -> None:
    sorted_claims = sort_claims(its_owner, selector_of_map(MATCHING), [candidate])
    found = {name: getattr(sorted_claims, name) for name in ("kept", "to_adopt", "to_release")}
    assert [name for name, pods in found.items() if pods] == ([fate] if fate else [])


def test_what_is_expected_is_struck_out_when_it_is_seen_or_lapses() -> None:
    async def main() -> None:
        expectations = Expectations()
        assert expectations.unmet_for_seconds(KEY) == 0
        expectations.expect_creation(KEY, ("default", "p"))
        expectations.expect_deletion(KEY, "q")
        assert expectations.unmet_for_seconds(KEY) == 300
        expectations.observe(None, pod("p"))
        await asyncio.sleep(100)
        assert expectations.unmet_for_seconds(KEY) == 200
        expectations.observe(pod("q"), pod("q"))  # an update that does not delete it
        assert expectations.unmet_for_seconds(KEY) == 200
        expectations.observe(pod("q"), pod("q", **DELETED))
        assert expectations.unmet_for_seconds(KEY) == 0
        expectations.expect_deletion(KEY, "r")
        expectations.observe(pod("r"), None)
        assert expectations.unmet_for_seconds(KEY) == 0
        expectations.expect_creation(KEY, ("default", "lost"))
        await asyncio.sleep(300)
        assert expectations.unmet_for_seconds(KEY) == 0

    run_virtual(main())


def test_slow_start_doubles_its_batches_and_stops_at_the_first_failure() -> None:
    async def main() -> None:
        tried: list[int] = []

        async def call(number: int) -> None:
            tried.append(number)
            if number == 4:
                raise forbidden("pods", "x", "exceeded quota")

        result = await slow_start([lambda n=n: call(n) for n in range(20)])
        assert tried == [0, 1, 2, 3, 4, 5, 6]
        assert (result.done, len(result.errors)) == (6, 1)

    run_virtual(main())


def template(image: str) -> PodTemplateSpec:
    return PodTemplateSpec(
        metadata=ObjectMeta(labels={"app": "web"}), spec=PodSpec(containers=[Container(name="c", image=image)])
    )


def test_going_back_to_an_old_template_renumbers_its_revision() -> None:
    first = revisions.choose_revision(owner(), template("1"), [], None)
    assert (first.must_create, first.revision.revision) == (True, 1)
    history: list[ControllerRevision] = [first.revision]
    second = revisions.choose_revision(owner(), template("2"), history, None)
    assert (second.must_create, second.revision.revision) == (True, 2)
    history.append(second.revision)
    assert revisions.choose_revision(owner(), template("2"), history, None).revision is second.revision
    back = revisions.choose_revision(owner(), template("1"), history, None)
    assert (name_of(back.revision), back.must_renumber_to) == (name_of(first.revision), 3)
    assert revisions.template_of(first.revision) == template("1")


def test_the_oldest_unused_revisions_go_first() -> None:
    made = [revisions.new_revision(owner(), template(str(n)), n, None) for n in range(1, 6)]
    surplus = revisions.superfluous_revisions(list(reversed(made)), {name_of(made[4]), name_of(made[0])}, 1)
    assert [r.revision for r in surplus] == [2, 3]


def test_hashes_are_stable_and_in_kubernetes_alphabet() -> None:
    assert safe_encode("0123456789") == "456789bcdf"
    assert hash_of({"b": 1, "a": 2}) == hash_of({"a": 2, "b": 1})
    assert hash_of({"a": 1}) != hash_of({"a": 1}, 1)
    assert set(hash_of({"a": 1})) <= set("bcdfghjklmnpqrstvwxz2456789")
