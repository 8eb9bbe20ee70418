"""Where one pod goes, and in which words it is refused."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.resources.core_v1 import Node, PersistentVolume, Pod

from antei.api.selectors import selector_of_map
from antei.control.scheduler.decision import Chosen, Unschedulable, decide, nodes_to_find
from antei.control.scheduler.pod_facts import PodSet, facts_of
from antei.control.scheduler.state import ClusterState
from antei.control.scheduler.volumes import PodVolumes

HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"


def node(name: str, zone: str | None = None, cpu: str = "4", **spec: Any) -> Node:
    labels = {HOSTNAME: name} | ({ZONE: zone} if zone else {})
    allocatable = {"cpu": cpu, "memory": "8Gi", "pods": "10", "ephemeral-storage": "10Gi"}
    return Node.from_dict(
        {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": {"allocatable": allocatable}}
    )


def pod(name: str = "new", labels: dict[str, str] | None = None, cpu: str = "100m", **spec: Any) -> Pod:
    container: dict[str, Any] = {"name": "main", "image": "main", "resources": {"requests": {"cpu": cpu}}}
    container |= spec.pop("container", {})
    metadata = {"name": name, "namespace": "default", "uid": name, "labels": labels or {}}
    return Pod.from_dict({"metadata": metadata, "spec": {"containers": [container], **spec}})


def cluster(*nodes: Node, **placed: list[Pod]) -> ClusterState:
    """`placed` are the pods of each node."""
    state = ClusterState()
    for each in nodes:
        state.set_node(each)
    for node_name, pods in placed.items():
        for each in pods:
            state.set_pod(each, node_name)
    return state


def outcome(state: ClusterState, new: Pod, volumes: PodVolumes | None = None, siblings: PodSet | None = None) -> str:
    decision = decide(facts_of(new), state, volumes or PodVolumes(), siblings)
    return decision.node_name if isinstance(decision, Chosen) else decision.message


def affinity(kind: str, labels: dict[str, str], key: str = HOSTNAME) -> dict[str, Any]:
    term = {"topologyKey": key, "labelSelector": {"matchLabels": labels}}
    return {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}


def node_affinity(*expressions: dict[str, Any]) -> dict[str, Any]:
    terms = {"nodeSelectorTerms": [{"matchExpressions": list(expressions)}]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}


FINAL = "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
NO_VICTIMS = "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
HELD = {"hostPort": 80, "containerPort": 80}
WEB = {"app": "web"}


@pytest.mark.parametrize(
    ("state", "new", "message"),
    [
        (cluster(), pod(), "no nodes available to schedule pods"),
        (cluster(node("a")), pod(cpu="5"), f"1 Insufficient cpu. {FINAL}"),
        (cluster(node("a"), a=[pod("x", cpu="3900m")]), pod(cpu="200m"), f"1 Insufficient cpu. {NO_VICTIMS}"),
        (
            cluster(node("a")),
            pod(container={"resources": {"requests": {"memory": "9Gi", "ephemeral-storage": "11Gi"}}}),
            f"1 Insufficient ephemeral-storage, 1 Insufficient memory. {FINAL}",
        ),
        (cluster(node("a"), a=[pod(str(n)) for n in range(10)]), pod(), f"1 Too many pods. {NO_VICTIMS}"),
        (cluster(node("a", unschedulable=True)), pod(), f"1 node(s) were unschedulable. {FINAL}"),
        (
            cluster(node("a", taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}])),
            pod(),
            f"1 node(s) had untolerated taint(s). {FINAL}",
        ),
        (
            cluster(node("a")),
            pod(nodeSelector={"disk": "ssd"}),
            f"1 node(s) didn't match Pod's node affinity/selector. {FINAL}",
        ),
        (
            cluster(node("a")),
            pod(**node_affinity({"key": HOSTNAME, "operator": "NotIn", "values": ["a"]})),
            f"1 node(s) didn't match Pod's node affinity/selector. {FINAL}",
        ),
        (
            cluster(node("a"), a=[pod("x", container={"ports": [HELD]})]),
            pod(container={"ports": [HELD]}),
            f"1 node(s) didn't have free ports for the requested pod ports. {NO_VICTIMS}",
        ),
        (
            cluster(node("a"), a=[pod("x", WEB)]),
            pod(labels=WEB, **affinity("podAntiAffinity", WEB)),
            f"1 node(s) didn't match pod anti-affinity rules. {NO_VICTIMS}",
        ),
        (
            cluster(node("a"), a=[pod("x", {"app": "db"}, **affinity("podAntiAffinity", WEB))]),
            pod(labels=WEB),
            f"1 node(s) didn't satisfy existing pods anti-affinity rules. {NO_VICTIMS}",
        ),
        (
            cluster(node("a"), a=[pod("x", WEB)]),
            pod(**affinity("podAffinity", {"app": "db"})),
            f"1 node(s) didn't match pod affinity rules. {FINAL}",
        ),
        (
            cluster(node("a")),
            pod(topologySpreadConstraints=[{"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule"}]),
            f"1 node(s) didn't match pod topology spread constraints (missing required label). {FINAL}",
        ),
    ],
)
def test_a_refusal_is_worded_as_kubernetes_does(state: ClusterState, new: Pod, message: str) -> None:
    said = outcome(state, new)
    assert said.removeprefix("0/1 nodes are available: ") == message


def test_nothing_is_said_of_victims_where_there_would_be_some() -> None:
    state = cluster(node("a"), a=[pod("x", cpu="4", priority=-5)])
    assert outcome(state, pod()) == "0/1 nodes are available: 1 Insufficient cpu."


def test_a_problem_with_a_claim_keeps_the_pod_from_all_nodes() -> None:
    state = cluster(node("a"), node("b"))
    volumes = PodVolumes(problem="pod has unbound immediate PersistentVolumeClaims")
    assert outcome(state, pod(), volumes) == (
        "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims. "
        "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    )


def test_a_volume_holds_its_pod_to_its_nodes() -> None:
    term = {"matchExpressions": [{"key": HOSTNAME, "operator": "In", "values": ["b"]}]}
    spec = {"nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}}
    volume = PersistentVolume.from_dict({"metadata": {"name": "disk"}, "spec": spec})
    assert outcome(cluster(node("a"), node("b")), pod(), PodVolumes(bound=(volume,))) == "b"


@pytest.mark.parametrize(
    ("state", "new", "chosen"),
    [
        (cluster(node("a"), node("b"), a=[pod("x", cpu="2")]), pod(), "b"),
        (cluster(node("a"), node("b")), pod(), "a"),
        (
            cluster(node("a", taints=[{"key": "k", "effect": "PreferNoSchedule"}]), node("b")),
            pod(),
            "b",
        ),
        (
            cluster(node("a", taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}])),
            pod(tolerations=[{"key": "k", "operator": "Exists"}]),
            "a",
        ),
        (
            cluster(node("a"), node("b"), b=[pod("x", {"app": "db"})]),
            pod(**affinity("podAffinity", {"app": "db"})),
            "b",
        ),
        (cluster(node("a")), pod(labels=WEB, **affinity("podAffinity", WEB)), "a"),
        (
            cluster(node("a", "z1"), node("b", "z2"), a=[pod("x", WEB)]),
            pod(labels=WEB, **affinity("podAntiAffinity", WEB, ZONE)),
            "b",
        ),
    ],
    ids=[
        "least allocated",
        "first among equals",
        "rather not there",
        "tolerated",
        "with the pod it wants",
        "first of those that want each other",
        "another zone",
    ],
)
def test_the_better_node_is_chosen(state: ClusterState, new: Pod, chosen: str) -> None:
    assert outcome(state, new) == chosen


def test_a_hard_spread_bounds_the_skew_and_looks_past_pods_that_are_going() -> None:
    constraint = {
        "maxSkew": 1,
        "topologyKey": ZONE,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": WEB},
    }
    new = pod(labels=WEB, topologySpreadConstraints=[constraint])
    full = node("b", "z2", unschedulable=True)
    state = cluster(node("a", "z1"), full, a=[pod("x", WEB)])
    assert "1 node(s) didn't match pod topology spread constraints" in outcome(state, new)
    going = Pod.from_dict(
        {
            "metadata": {
                "name": "x",
                "namespace": "default",
                "uid": "x",
                "labels": WEB,
                "deletionTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {"containers": [{"name": "main", "image": "main"}]},
        }
    )
    state.set_pod(going, "a")
    assert outcome(state, new) == "a"


def test_replicas_spread_over_nodes_by_default_even_where_another_is_emptier() -> None:
    siblings = PodSet(("default",), selector_of_map(WEB), with_terminating=False)
    state = cluster(node("a", "z1"), node("b", "z2"), a=[pod("x", WEB)], b=[pod("y", cpu="1")])
    assert outcome(state, pod(labels=WEB), siblings=siblings) == "b"


def test_a_node_that_comes_after_its_pods_knows_them() -> None:
    state = ClusterState()
    state.set_pod(pod("x", cpu="4"), "a")
    state.set_node(node("a"))
    assert "Insufficient cpu" in outcome(state, pod())
    state.remove_pod("x")
    assert outcome(state, pod()) == "a"


@pytest.mark.parametrize(("nodes", "found"), [(3, 3), (99, 99), (100, 100), (1000, 420), (5000, 500), (6000, 300)])
def test_with_many_nodes_a_part_of_them_is_enough(nodes: int, found: int) -> None:
    assert nodes_to_find(nodes) == found


def test_the_decision_is_the_same_each_time() -> None:
    state = cluster(*(node(f"n{n}", f"z{n % 3}") for n in range(20)))
    first = [decide(facts_of(pod()), state, PodVolumes()) for _ in range(3)]
    assert first[0] == first[1] == first[2]
    assert not isinstance(first[0], Unschedulable)
