"""Which nodes can take a pod, and in Kubernetes' words why the others cannot.

What depends on the pod alone is worked out once (`filters_for`); each filter is then asked for each node, and the
first that refuses a node gives its reasons. (Kubernetes: pkg/scheduler/framework/plugins.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lightkube.models.core_v1 import Taint, TopologySpreadConstraint
from lightkube.resources.core_v1 import Node

from antei.api.objects import labels_of
from antei.api.selectors import Requirement, Selector, selector_of
from antei.control.node_match import matches_node_affinity, tolerates, untolerated
from antei.control.scheduler.node_state import NodeState
from antei.control.scheduler.pod_facts import HostPort, PodFacts, PodSet, Term, with_pod_labels
from antei.control.scheduler.state import ClusterState
from antei.control.scheduler.volumes import PodVolumes

__all__ = ["Filters", "Rejection", "filters_for", "spread_set"]

_UNSCHEDULABLE = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")
_ANY_ADDRESS = ("0.0.0.0", "::", "")


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a node cannot take the pod. `is_final`: not even without its other pods."""

    reasons: tuple[str, ...]
    is_final: bool = False


Filter = Callable[[NodeState], Rejection | None]


@dataclass(frozen=True, slots=True)
class Filters:
    """In Kubernetes' order: all, and without those that are about cordons and taints, which few nodes have."""

    of_all: Sequence[Filter]
    of_open: Sequence[Filter]

    def reject(self, node: NodeState) -> Rejection | None:
        for check in self.of_open if node.is_open else self.of_all:
            rejection = check(node)
            if rejection is not None:
                return rejection
        return None


def filters_for(facts: PodFacts, state: ClusterState, volumes: PodVolumes) -> Filters:
    """The filters that can refuse this pod at all."""
    of_closed = (_unschedulable(facts), _taints(facts))
    found = _filters_for(facts, state, volumes, *of_closed)
    return Filters(found, [check for check in found if check not in of_closed])


def _filters_for(
    facts: PodFacts, state: ClusterState, volumes: PodVolumes, unschedulable: Filter, taints: Filter
) -> list[Filter]:
    found: list[Filter] = [unschedulable]
    spec = facts.pod.spec
    if spec is None:
        return found
    if spec.nodeName:
        found.append(_node_name(spec.nodeName))
    found.append(taints)
    if spec.nodeSelector or (spec.affinity and spec.affinity.nodeAffinity):
        found.append(_node_affinity(facts))
    if facts.host_ports:
        found.append(_host_ports(facts.host_ports))
    found.append(_resources(facts))
    if volumes.bound:
        found.append(_volumes(volumes))
    if any(c.whenUnsatisfiable == "DoNotSchedule" for c in spec.topologySpreadConstraints or ()):
        found.append(_topology_spread(facts, state))
    if facts.affinity or facts.anti_affinity or state.anti_affinity_terms:
        found.append(_inter_pod_affinity(facts, state))
    return found


def _unschedulable(facts: PodFacts) -> Filter:
    tolerations = (facts.pod.spec.tolerations if facts.pod.spec else None) or ()
    is_tolerated = any(tolerates(toleration, _UNSCHEDULABLE) for toleration in tolerations)
    rejection = Rejection(("node(s) were unschedulable",), is_final=True)

    def check(state: NodeState) -> Rejection | None:
        return rejection if state.is_unschedulable and not is_tolerated else None

    return check


def _node_name(wanted: str) -> Filter:
    rejection = Rejection(("node(s) didn't match the requested node name",), is_final=True)
    return lambda state: None if state.name == wanted else rejection


def _taints(facts: PodFacts) -> Filter:
    tolerations = facts.pod.spec.tolerations if facts.pod.spec else None
    rejection = Rejection(("node(s) had untolerated taint(s)",), is_final=True)

    def check(state: NodeState) -> Rejection | None:
        if not state.taints:
            return None
        return rejection if untolerated(state.taints, tolerations, ("NoSchedule", "NoExecute")) else None

    return check


def _node_affinity(facts: PodFacts) -> Filter:
    rejection = Rejection(("node(s) didn't match Pod's node affinity/selector",), is_final=True)
    return lambda state: None if matches_node_affinity(facts.pod, state.node) else rejection


def _host_ports(wanted: Sequence[HostPort]) -> Filter:
    rejection = Rejection(("node(s) didn't have free ports for the requested pod ports",))

    def check(state: NodeState) -> Rejection | None:
        for used in state.host_ports:
            if any(_collide(port, used) for port in wanted):
                return rejection
        return None

    return check


def _collide(left: HostPort, right: HostPort) -> bool:
    if (left.protocol, left.port) != (right.protocol, right.port):
        return False
    return left.ip == right.ip or left.ip in _ANY_ADDRESS or right.ip in _ANY_ADDRESS


def _resources(facts: PodFacts) -> Filter:
    wanted = [(name, amount) for name, amount in facts.requests.amounts.items() if amount > 0]

    def check(state: NodeState) -> Rejection | None:
        allocatable, requested = state.allocatable, state.requested
        reasons = []
        is_final = False
        if len(state.pods) + 1 > allocatable.get("pods", 0):
            reasons.append("Too many pods")
        for name, amount in wanted:
            capacity = allocatable.get(name, 0)
            if amount > capacity - requested[name]:
                reasons.append(f"Insufficient {name}")
                is_final = is_final or amount > capacity
        return Rejection(tuple(reasons), is_final) if reasons else None

    return check


def _volumes(volumes: PodVolumes) -> Filter:
    def check(state: NodeState) -> Rejection | None:
        reason = volumes.rejects(state.node)
        return Rejection((reason,), is_final=True) if reason else None

    return check


def spread_set(facts: PodFacts, constraint: TopologySpreadConstraint) -> PodSet:
    """The pods that a spread constraint counts: those of the pod's namespace that are not being deleted."""
    selector = with_pod_labels(constraint.labelSelector, facts.labels, constraint.matchLabelKeys)
    return PodSet((facts.namespace,), selector_of(selector), with_terminating=False)


def _topology_spread(facts: PodFacts, state: ClusterState) -> Filter:
    """The skew, this pod included, between a node's domain and the emptiest one must stay within maxSkew."""
    constraints = [
        constraint
        for constraint in (facts.pod.spec.topologySpreadConstraints if facts.pod.spec else None) or ()
        if constraint.whenUnsatisfiable == "DoNotSchedule"
    ]
    prepared = []
    for constraint in constraints:
        pod_set = spread_set(facts, constraint)
        eligible = [s for s in state.nodes.values() if _counts_for(constraint, constraints, facts, s.node)]
        counts = state.by_topology(state.counts(pod_set), constraint.topologyKey, [s.name for s in eligible])
        domains = {s.labels[constraint.topologyKey] for s in eligible}
        least = min((counts[domain] for domain in domains), default=0)
        if len(domains) < (constraint.minDomains or 1):
            least = 0
        own = 1 if pod_set.selector.matches(facts.labels) else 0
        prepared.append((constraint.topologyKey, constraint.maxSkew, counts, least, own))
    missing = Rejection(
        ("node(s) didn't match pod topology spread constraints (missing required label)",), is_final=True
    )
    skewed = Rejection(("node(s) didn't match pod topology spread constraints",))

    def check(node_state: NodeState) -> Rejection | None:
        labels = node_state.labels
        for key, max_skew, counts, least, own in prepared:
            value = labels.get(key)
            if value is None:
                return missing
            if counts[value] + own - least > max_skew:
                return skewed
        return None

    return check


def _counts_for(
    constraint: TopologySpreadConstraint,
    all_constraints: Sequence[TopologySpreadConstraint],
    facts: PodFacts,
    node: Node,
) -> bool:
    """Whether a node's domain exists for a constraint: it has all the labels, and the policies let it in."""
    labels = labels_of(node)
    if any(other.topologyKey not in labels for other in all_constraints):
        return False
    if (constraint.nodeAffinityPolicy or "Honor") == "Honor" and not matches_node_affinity(facts.pod, node):
        return False
    if constraint.nodeTaintsPolicy == "Honor":
        tolerations = facts.pod.spec.tolerations if facts.pod.spec else None
        return untolerated(node.spec.taints if node.spec else None, tolerations, ("NoSchedule", "NoExecute")) is None
    return True


def _inter_pod_affinity(facts: PodFacts, state: ClusterState) -> Filter:
    existing: list[tuple[str, Counter[str]]] = [
        (term.topology_key, state.by_topology(by_node, term.topology_key))
        for term, by_node in state.anti_affinity_terms.items()
        if state.is_in(term.pods, facts)
    ]
    own_anti = [(t.topology_key, state.by_topology(state.counts(t.pods), t.topology_key)) for t in facts.anti_affinity]
    own = [(t.topology_key, state.by_topology(state.counts(_joint(t, facts)), t.topology_key)) for t in facts.affinity]
    # The first of pods that want to be together has nobody to join.
    is_first = not any(counts for _, counts in own) and all(state.is_in(t.pods, facts) for t in facts.affinity)
    unmatched = Rejection(("node(s) didn't match pod affinity rules",), is_final=True)
    repelled = Rejection(("node(s) didn't match pod anti-affinity rules",))
    repelled_by_existing = Rejection(("node(s) didn't satisfy existing pods anti-affinity rules",))

    def check(node_state: NodeState) -> Rejection | None:
        labels = node_state.labels
        if not _joins(own, labels, is_first):
            return unmatched
        if _meets(own_anti, labels):
            return repelled
        return repelled_by_existing if _meets(existing, labels) else None

    return check


def _joint(term: Term, facts: PodFacts) -> PodSet:
    """Pods count for affinity when they match all of a pod's terms (those, here, that look at the same namespaces)."""
    pods = term.pods
    requirements: list[Requirement] = []
    for other in facts.affinity:
        if other.pods.namespaces == pods.namespaces and other.pods.namespace_selector == pods.namespace_selector:
            if other.pods.selector.matches_nothing:
                return other.pods
            requirements.extend(other.pods.selector.requirements)
    return PodSet(pods.namespaces, Selector(tuple(requirements)), pods.namespace_selector)


def _joins(wanted: Sequence[tuple[str, Mapping[str, int]]], labels: Mapping[str, str], is_first: bool) -> bool:
    if any(key not in labels for key, _ in wanted):
        return False
    return is_first or all(counts.get(labels[key]) for key, counts in wanted)


def _meets(avoided: Sequence[tuple[str, Mapping[str, int]]], labels: Mapping[str, str]) -> bool:
    return any(key in labels and counts.get(labels[key]) for key, counts in avoided)
