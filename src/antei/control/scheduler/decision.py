"""One pod, one decision: a node, or the reasons why there is none. Pure.

Source: pkg/scheduler/schedule_one.go, pkg/scheduler/framework/types.go (FitError).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from antei.control.scheduler.filters import Rejection, filters_for
from antei.control.scheduler.node_state import NodeState
from antei.control.scheduler.pod_facts import PodFacts, PodSet
from antei.control.scheduler.preemption import Hopeless, Preemption, Sacrifice, preempt
from antei.control.scheduler.scores import best_node
from antei.control.scheduler.state import ClusterState
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
    """`preemption`: who goes for it. `is_hopeless`: nobody could, and no node is kept for the pod any longer."""

    message: str
    preemption: Preemption | None = None
    is_hopeless: bool = False


Decision = Chosen | Unschedulable


def decide(
    facts: PodFacts,
    state: ClusterState,
    volumes: PodVolumes,
    siblings: PodSet | None = None,
    start: int = 0,
    sacrifice: Sacrifice | None = None,
) -> Decision:
    """Looks at nodes from the `start`-th on, until enough of them are feasible for the best to be good.

    The node that others are leaving for this pod is looked at first, and taken if it will do.
    """
    if not state.nodes:
        return Unschedulable("no nodes available to schedule pods")
    nodes = list(state.nodes.values())
    if volumes.problem:
        final = {node.name: Rejection((volumes.problem,), is_final=True) for node in nodes}
        return _unschedulable(facts, state, volumes, final, f"{volumes.problem}.", sacrifice, start)
    nominated = state.nodes.get(state.nominated_node(facts.uid) or "")
    if nominated is not None and not _look(facts, state, volumes, [nominated], 1)[1]:
        return Chosen(nominated.name, 0)
    first = start % len(nodes)
    in_turn = nodes[first:] + nodes[:first]
    feasible, rejections = _look(facts, state, volumes, in_turn, nodes_to_find(len(nodes)))
    if feasible:
        chosen = best_node(facts, feasible, state, siblings, volumes.chosen_node())
        return Chosen(chosen.name, len(feasible) + len(rejections))
    return _unschedulable(facts, state, volumes, rejections, _histogram(rejections), sacrifice, start)


def _look(
    facts: PodFacts, state: ClusterState, volumes: PodVolumes, nodes: Sequence[NodeState], wanted: int
) -> tuple[list[NodeState], dict[str, Rejection]]:
    """The first `wanted` feasible nodes, and why those before them are not: with the pods that are to come counted,
    and also without them, since they need not come (RunFilterPluginsWithNominatedPods)."""
    feasible: list[NodeState] = []
    rejections: dict[str, Rejection] = {}
    with state.with_nominated(facts) as are_some_coming:
        filters = filters_for(facts, state, volumes)
        for node in nodes:
            rejection = filters.reject(node)
            if rejection is not None:
                rejections[node.name] = rejection
                continue
            feasible.append(node)
            if len(feasible) >= wanted:
                break
    if not are_some_coming:
        return feasible, rejections
    filters = filters_for(facts, state, volumes)
    for node in feasible:
        rejection = filters.reject(node)
        if rejection is not None:
            rejections[node.name] = rejection
    return [node for node in feasible if node.name not in rejections], rejections


def nodes_to_find(node_count: int) -> int:
    """With many nodes a part of them is enough: 50 % less 1 % for each 125 nodes, at least 5 % and 100 nodes."""
    if node_count < _LEAST_FEASIBLE_NODES:
        return node_count
    percentage = max(5, 50 - node_count // 125)
    return max(_LEAST_FEASIBLE_NODES, node_count * percentage // 100)


def _histogram(rejections: dict[str, Rejection]) -> str:
    counts = Counter(reason for rejection in rejections.values() for reason in rejection.reasons)
    return ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items())) + "."


def _unschedulable(
    facts: PodFacts,
    state: ClusterState,
    volumes: PodVolumes,
    rejections: dict[str, Rejection],
    reasons: str,
    sacrifice: Sacrifice | None,
    start: int,
) -> Unschedulable:
    """Says why, and what comes of having others go; where some are to go, Kubernetes says nothing of it here."""

    def fits(node: NodeState) -> Rejection | None:
        return _look(facts, state, volumes, [node], 1)[1].get(node.name)

    head = f"0/{len(state.nodes)} nodes are available: {reasons}"
    outcome = preempt(facts, state, rejections, fits, sacrifice or Sacrifice(), start)
    if isinstance(outcome, Preemption):
        return Unschedulable(head, outcome)
    return Unschedulable(f"{head} {outcome.message}", is_hopeless=isinstance(outcome, Hopeless))
