"""One pod, one decision: a node, or the reasons why there is none. Pure.

Source: pkg/scheduler/schedule_one.go, pkg/scheduler/framework/types.go (FitError).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from antei.control.scheduler.filters import Filter, Rejection, filters_for
from antei.control.scheduler.pod_facts import PodFacts, PodSet, priority_of
from antei.control.scheduler.scores import best_node
from antei.control.scheduler.state import ClusterState, NodeState
from antei.control.scheduler.volumes import PodVolumes

__all__ = ["Chosen", "Decision", "Unschedulable", "decide", "nodes_to_find"]

#: Fewer feasible nodes than this are never enough to stop looking.
_LEAST_FEASIBLE_NODES = 100


@dataclass(frozen=True, slots=True)
class Chosen:
    node_name: str
    examined: int  # nodes looked at; the next pod's search begins behind them


@dataclass(frozen=True, slots=True)
class Unschedulable:
    message: str


Decision = Chosen | Unschedulable


def decide(
    facts: PodFacts, state: ClusterState, volumes: PodVolumes, siblings: PodSet | None = None, start: int = 0
) -> Decision:
    """Looks at nodes from the `start`-th on, until enough of them are feasible for the best to be good."""
    if not state.nodes:
        return Unschedulable("no nodes available to schedule pods")
    nodes = list(state.nodes.values())
    if volumes.problem:
        final = {node.name: Rejection((volumes.problem,), is_final=True) for node in nodes}
        return Unschedulable(_message(facts, nodes, final, f"{volumes.problem}."))
    filters = filters_for(facts, state, volumes)
    wanted = nodes_to_find(len(nodes))
    feasible: list[NodeState] = []
    rejections: dict[str, Rejection] = {}
    examined = 0
    for offset in range(len(nodes)):
        node = nodes[(start + offset) % len(nodes)]
        examined += 1
        rejection = _rejection(filters, node)
        if rejection is not None:
            rejections[node.name] = rejection
            continue
        feasible.append(node)
        if len(feasible) >= wanted:
            break
    if feasible:
        chosen = best_node(facts, feasible, state, siblings, volumes.chosen_node())
        return Chosen(chosen.name, examined)
    return Unschedulable(_message(facts, nodes, rejections, _histogram(rejections)))


def nodes_to_find(node_count: int) -> int:
    """With many nodes a part of them is enough: 50 % less 1 % for each 125 nodes, at least 5 % and 100 nodes."""
    if node_count < _LEAST_FEASIBLE_NODES:
        return node_count
    percentage = max(5, 50 - node_count // 125)
    return max(_LEAST_FEASIBLE_NODES, node_count * percentage // 100)


def _rejection(filters: list[Filter], node: NodeState) -> Rejection | None:
    for check in filters:
        rejection = check(node)
        if rejection is not None:
            return rejection
    return None


def _histogram(rejections: dict[str, Rejection]) -> str:
    counts = Counter(reason for rejection in rejections.values() for reason in rejection.reasons)
    return ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items())) + "."


def _message(facts: PodFacts, nodes: list[NodeState], rejections: dict[str, Rejection], reasons: str) -> str:
    head = f"0/{len(nodes)} nodes are available: {reasons}"
    preemption = _preemption(facts, nodes, rejections)
    return f"{head} {preemption}" if preemption else head


def _preemption(facts: PodFacts, nodes: list[NodeState], rejections: dict[str, Rejection]) -> str:
    """What kube-scheduler adds where no pod can be evicted for this one.

    Empty where there would be victims: pods of lower priority are left alone, and it must not say that there are none.
    """
    counts: Counter[str] = Counter()
    for node in nodes:
        if rejections[node.name].is_final:
            counts["Preemption is not helpful for scheduling"] += 1
            continue
        lowest = node.lowest_priority()
        if lowest is not None and lowest < priority_of(facts.pod):
            return ""
        counts["No preemption victims found for incoming pod"] += 1
    text = ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items()))
    return f"preemption: 0/{len(nodes)} nodes are available: {text}."
