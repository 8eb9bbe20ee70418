"""Which of the nodes that can take a pod should: each score is 0 to 100, weighted as kube-scheduler's default profile.

Source: pkg/scheduler/apis/config/v1/default_plugins.go and the Score methods of pkg/scheduler/framework/plugins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from antei.control.node_match import matches_term, untolerated
from antei.control.scheduler.filters import spread_set
from antei.control.scheduler.node_state import NodeState
from antei.control.scheduler.pod_facts import PodFacts, PodSet
from antei.control.scheduler.state import ClusterState

__all__ = ["DEFAULT_SPREAD", "best_node"]

_WEIGHT_TAINTS = 3
_WEIGHT_NODE_AFFINITY = 2
_WEIGHT_SPREAD = 2
_WEIGHT_POD_AFFINITY = 2
_WEIGHT_LEAST_ALLOCATED = 1
_WEIGHT_BALANCED = 1
#: What required affinity of the pods that are there counts for a newcomer they would like (hardPodAffinityWeight).
_HARD_AFFINITY_WEIGHT = 1
#: (topology key, maxSkew) of SystemDefaultSpreading, for pods that bring no constraints of their own.
DEFAULT_SPREAD = (("kubernetes.io/hostname", 3), ("topology.kubernetes.io/zone", 5))


def best_node(
    facts: PodFacts, nodes: Sequence[NodeState], state: ClusterState, siblings: PodSet | None, preferred: str | None
) -> NodeState:
    """The node with the highest score; among equals the one with fewest pods, then the one that joined first.

    `siblings` are the pods of the same Service or controller, `preferred` is where a volume is being made already.
    """
    if len(nodes) == 1:
        return nodes[0]
    totals = [0] * len(nodes)
    for weight, scores in (
        (_WEIGHT_TAINTS, _taints(facts, nodes)),
        (_WEIGHT_NODE_AFFINITY, _node_affinity(facts, nodes)),
        (_WEIGHT_SPREAD, _spread(facts, nodes, state, siblings)),
        (_WEIGHT_POD_AFFINITY, _pod_affinity(facts, nodes, state)),
        (_WEIGHT_LEAST_ALLOCATED, _least_allocated(facts, nodes)),
        (_WEIGHT_BALANCED, _balanced(facts, nodes)),
    ):
        if scores:
            totals = [total + weight * int(score) for total, score in zip(totals, scores, strict=True)]
    for node in nodes:
        if node.name == preferred:
            return node
    highest = max(totals)
    best = [node for node, total in zip(nodes, totals, strict=True) if total == highest]
    return min(best, key=lambda node: (len(node.pods), node.position))


def _normalized(raw: Sequence[float], *, reverse: bool = False) -> list[float]:
    highest = max(raw)
    if highest <= 0:
        return [100.0 if reverse else 0.0] * len(raw)
    scaled = [100 * value // highest for value in raw]
    return [100 - value for value in scaled] if reverse else scaled


def _taints(facts: PodFacts, nodes: Sequence[NodeState]) -> list[float]:
    """Fewer taints that would rather not have the pod; nothing where no node has any, and all are equal."""
    if not any(state.shunning_taints for state in nodes):
        return []
    tolerations = facts.pod.spec.tolerations if facts.pod.spec else None
    counts = []
    for state in nodes:
        shunned = [untolerated([taint], tolerations, ("PreferNoSchedule",)) for taint in state.shunning_taints]
        counts.append(float(sum(taint is not None for taint in shunned)))
    return _normalized(counts, reverse=True)


def _node_affinity(facts: PodFacts, nodes: Sequence[NodeState]) -> list[float]:
    affinity = facts.pod.spec.affinity.nodeAffinity if facts.pod.spec and facts.pod.spec.affinity else None
    terms = affinity.preferredDuringSchedulingIgnoredDuringExecution if affinity else None
    if not terms:
        return []
    return _normalized([float(sum(t.weight for t in terms if matches_term(t.preference, s.node))) for s in nodes])


def _least_allocated(facts: PodFacts, nodes: Sequence[NodeState]) -> list[float]:
    requests = facts.requests
    return [state.free_share(requests) for state in nodes]


def _balanced(facts: PodFacts, nodes: Sequence[NodeState]) -> list[float]:
    """Shares of CPU and memory that stay alike, so that neither is used up with the other left over."""
    wanted = facts.requests.amounts
    if not wanted.get("cpu") and not wanted.get("memory"):
        return []
    scores = []
    for state in nodes:
        shares = [
            min(1.0, (state.requested[name] + wanted.get(name, 0)) / capacity)
            for name in ("cpu", "memory")
            if (capacity := state.allocatable.get(name, 0))
        ]
        deviation = abs(shares[0] - shares[1]) / 2 if len(shares) == 2 else 0.0
        scores.append((1 - deviation) * 100)
    return scores


def _spread(facts: PodFacts, nodes: Sequence[NodeState], state: ClusterState, siblings: PodSet | None) -> list[float]:
    """Domains with fewer of the pods that the constraints, or else the defaults, are about."""
    constraints = (facts.pod.spec.topologySpreadConstraints if facts.pod.spec else None) or ()
    soft: list[tuple[str, int, PodSet]]
    if constraints:
        soft = [
            (c.topologyKey, c.maxSkew, spread_set(facts, c))
            for c in constraints
            if c.whenUnsatisfiable == "ScheduleAnyway"
        ]
    else:
        soft = [(key, max_skew, siblings) for key, max_skew in DEFAULT_SPREAD] if siblings is not None else []
    if not soft:
        return []
    raw = [0.0] * len(nodes)
    has_all_labels = [True] * len(nodes)
    for key, max_skew, pod_set in soft:
        counts = state.counts(pod_set)
        values = [s.labels.get(key) for s in nodes]
        distinct = set(values)
        if None in distinct:
            distinct.discard(None)
            if constraints:
                found = zip(has_all_labels, values, strict=True)
                has_all_labels = [has and value is not None for has, value in found]
        weight = math.log(len(distinct) + 2)
        empty = float(max_skew - 1)
        # Of hundreds of domains few have any of these pods.
        cost: dict[str | None, float] = {None: 0.0}
        for value, count in state.by_topology(counts, key).items():
            cost[value] = count * weight + empty
        raw = [so_far + cost.get(value, empty) for so_far, value in zip(raw, values, strict=True)]
    return _least_is_best(raw, has_all_labels)


def _least_is_best(raw: Sequence[float], is_scored: Sequence[bool]) -> list[float]:
    whole = {value: round(value) for value in set(raw)}  # far fewer than there are nodes
    scored = [whole[value] for value, counts in zip(raw, is_scored, strict=True) if counts]
    if not scored:
        return []
    least, most = min(scored), max(scored)
    if most == 0:
        return [100.0 if counts else 0.0 for counts in is_scored]
    scores = {value: 100 * (most + least - rounded) / most for value, rounded in whole.items()}
    return [scores[value] if counts else 0.0 for value, counts in zip(raw, is_scored, strict=True)]


def _pod_affinity(facts: PodFacts, nodes: Sequence[NodeState], state: ClusterState) -> list[float]:
    """Near the pods it likes and those that like it, far from the others."""
    by_key: list[tuple[str, int, Mapping[str, int]]] = [
        (t.topology_key, t.weight * sign, state.by_topology(state.counts(t.pods), t.topology_key))
        for sign, terms in ((1, facts.preferred_affinity), (-1, facts.preferred_anti_affinity))
        for t in terms
    ]
    for terms, hard_weight in ((state.preferred_terms, 0), (state.affinity_terms, _HARD_AFFINITY_WEIGHT)):
        for term, by_node in terms.items():
            if state.is_in(term.pods, facts):
                domains = state.by_topology(by_node, term.topology_key)
                by_key.append((term.topology_key, hard_weight or term.weight, domains))
    if not by_key:
        return []
    raw = [float(sum(weight * counts.get(s.labels.get(key, ""), 0) for key, weight, counts in by_key)) for s in nodes]
    least, most = min(raw), max(raw)
    return [100 * (value - least) / (most - least) for value in raw] if most > least else []
