"""Selectors, taints and silence: what is decided about nodes and because of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from lightkube.models.core_v1 import NodeSelectorTerm, Taint, Toleration
from lightkube.resources.core_v1 import Namespace, Node, Pod

from antei.api.conditions import find
from antei.control.namespace import Remainder, status_of
from antei.control.node_match import matches_term, tolerates, untolerated
from antei.control.nodelifecycle import Snapshot, plan
from antei.control.podgc import superfluous
from antei.control.tainteviction import evict_at

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def node(ready: str | None = "True", **spec: Any) -> Node:
    conditions = [{"type": "Ready", "status": ready}] if ready else []
    return Node.from_dict(
        {
            "metadata": {"name": "a", "labels": {"disk": "ssd", "cores": "8"}},
            "spec": spec,
            "status": {"conditions": conditions},
        }
    )


@pytest.mark.parametrize(
    ("expression", "matches"),
    [
        ({"key": "disk", "operator": "In", "values": ["hdd", "ssd"]}, True),
        ({"key": "disk", "operator": "NotIn", "values": ["ssd"]}, False),
        ({"key": "gpu", "operator": "NotIn", "values": ["x"]}, True),
        ({"key": "disk", "operator": "Exists"}, True),
        ({"key": "gpu", "operator": "DoesNotExist"}, True),
        ({"key": "cores", "operator": "Gt", "values": ["7"]}, True),
        ({"key": "cores", "operator": "Lt", "values": ["8"]}, False),
        ({"key": "disk", "operator": "Gt", "values": ["1"]}, False),
        ({"key": "gpu", "operator": "Gt", "values": ["1"]}, False),
    ],
)
def test_a_term_matches_labels(expression: dict[str, Any], matches: bool) -> None:
    assert matches_term(NodeSelectorTerm.from_dict({"matchExpressions": [expression]}), node()) is matches


def test_a_term_matches_the_name_and_an_empty_one_nothing() -> None:
    by_name = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}
    assert matches_term(NodeSelectorTerm.from_dict(by_name), node())
    assert not matches_term(NodeSelectorTerm(), node())


TAINT = Taint(key="k", value="v", effect="NoSchedule")


@pytest.mark.parametrize(
    ("toleration", "covers"),
    [
        (Toleration(key="k", value="v"), True),
        (Toleration(key="k", value="other"), False),
        (Toleration(key="k", operator="Exists", effect="NoSchedule"), True),
        (Toleration(key="k", operator="Exists", effect="NoExecute"), False),
        (Toleration(operator="Exists"), True),
        (Toleration(key="other", operator="Exists"), False),
    ],
)
def test_a_toleration_covers_a_taint(toleration: Toleration, covers: bool) -> None:
    assert tolerates(toleration, TAINT) is covers
    assert (untolerated([TAINT], [toleration], ("NoSchedule",)) is None) is covers


@pytest.mark.parametrize(
    ("ready", "silent_seconds", "status", "check_after_seconds"),
    [
        ("True", 0, "True", 50),
        ("True", 49, "True", 1),
        ("True", 50, "Unknown", None),
        ("False", 10, "False", 40),
        (None, 50, None, 10),
        (None, 60, "Unknown", None),
    ],
)
def test_silence_becomes_news_after_50_s_and_after_60_s_for_a_node_that_never_spoke(
    ready: str | None, silent_seconds: int, status: str | None, check_after_seconds: float | None
) -> None:
    known = node(ready)
    found = plan(Snapshot(known, NOW - timedelta(seconds=silent_seconds)), NOW)
    conditions = found.conditions if found.conditions is not None else (known.status and known.status.conditions)
    current = find(conditions or (), "Ready")
    assert (current.status if current is not None else None) == status
    assert found.check_after_seconds == check_after_seconds


def test_taints_follow_the_conditions_and_others_are_left_alone() -> None:
    mine = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
    stale = {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}
    found = plan(Snapshot(node("True", taints=[mine, stale], unschedulable=True), NOW), NOW)
    assert [(t.key, t.effect) for t in found.taints or ()] == [
        ("dedicated", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ]
    assert plan(Snapshot(node("True", taints=[mine]), NOW), NOW).taints is None


@pytest.mark.parametrize(
    ("tolerations", "seconds"),
    [
        ([], 0),
        ([{"key": "x", "operator": "Exists", "tolerationSeconds": 300}], 300),
        ([{"key": "x", "operator": "Exists"}], None),
        ([{"key": "x", "operator": "Exists", "tolerationSeconds": -1}], 0),
        ([{"key": "other", "operator": "Exists"}], 0),
    ],
)
def test_when_a_pod_has_to_go(tolerations: list[dict[str, Any]], seconds: int | None) -> None:
    pod = Pod.from_dict({"metadata": {"name": "web"}, "spec": {"containers": [], "tolerations": tolerations}})
    taint = Taint(key="x", effect="NoExecute", timeAdded=NOW)
    expected = None if seconds is None else NOW + timedelta(seconds=seconds)
    assert evict_at(pod, [taint], NOW) == expected
    assert evict_at(pod, [], NOW) is None


def test_the_oldest_pods_beyond_the_threshold_are_superfluous() -> None:
    def ended(name: str, created: str, reason: str | None = None) -> Pod:
        return Pod.from_dict(
            {
                "metadata": {"name": name, "creationTimestamp": f"2026-01-0{created}T00:00:00Z"},
                "status": {"reason": reason},
            }
        )

    pods = [ended("new", "3"), ended("old", "1"), ended("evicted", "4", "Evicted")]
    assert [p.metadata.name for p in superfluous(pods, 1) if p.metadata] == ["evicted", "old"]
    assert superfluous(pods, 3) == []


def test_a_namespace_says_what_holds_it() -> None:
    remainder = Remainder({"pods.": 2, "jobs.batch": 1}, {"example.com/hold": 1}, ("pods: no",))
    status = status_of(Namespace.from_dict({"metadata": {"name": "shop"}}), remainder, NOW)
    said = {c.type: (c.status, c.reason, c.message) for c in status.conditions or ()}
    assert said["NamespaceContentRemaining"] == (
        "True",
        "SomeResourcesRemain",
        "Some resources are remaining: jobs.batch has 1 resource instances, pods. has 2 resource instances",
    )
    assert said["NamespaceFinalizersRemaining"][2] == (
        "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
    )
    assert said["NamespaceDeletionContentFailure"][:2] == ("True", "ContentDeletionFailed")
