"""Which pods would have to go so that a more important one fits: the state is tried out, and left as it was.

    rejected nodes ─► not final? ─► without all less important pods: fits? ─► as many back as there is room for
                                                                                     │ budgets' pods first
    the node that loses least ◄── fewest violated budgets, least important pods ◄────┘

Source: pkg/scheduler/framework/plugins/defaultpreemption/default_preemption.go, framework/preemption/preemption.go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from lightkube.resources.core_v1 import Pod
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api.conditions import find
from antei.api.objects import is_terminating, labels_of, name_of, namespace_of
from antei.api.selectors import selector_of
from antei.control.scheduler.filters import Rejection
from antei.control.scheduler.node_state import NodeState
from antei.control.scheduler.pod_facts import PodFacts, priority_of
from antei.control.scheduler.state import ClusterState

__all__ = ["PREEMPTED", "Hopeless", "Ineligible", "Preemption", "Sacrifice", "preempt"]

#: The reason of the condition DisruptionTarget on a pod that made room.
PREEMPTED = "PreemptionByScheduler"
#: Of many nodes a part is tried: this share, and at least so many (DefaultPreemptionArgs).
_TRIED_SHARE, _TRIED_LEAST = 0.1, 100
#: Makes every priority positive, so that more pods never weigh less than fewer.
_PRIORITY_OFFSET = 2**31


def _as_it_is(pod: Pod) -> Pod:
    return pod


@dataclass(frozen=True, slots=True)
class Sacrifice:
    """What is to be known of pods that may have to go: `newest` gives a pod with its status as it is now."""

    budgets: tuple[PodDisruptionBudget, ...] = ()
    newest: Callable[[Pod], Pod] = _as_it_is


@dataclass(frozen=True, slots=True)
class Preemption:
    """The victims, the most important first, and the node that they leave to the pod."""

    node_name: str
    victims: tuple[Pod, ...]
    violations: int = 0  # how many of them their budgets would keep


@dataclass(frozen=True, slots=True)
class Ineligible:
    """The pod may not have others go, or waits for those that are going."""

    message: str


@dataclass(frozen=True, slots=True)
class Hopeless:
    """No node would take the pod, whoever went."""

    message: str


Fits = Callable[[NodeState], Rejection | None]


def preempt(
    facts: PodFacts,
    state: ClusterState,
    rejections: Mapping[str, Rejection],
    fits: Fits,
    sacrifice: Sacrifice,
    start: int = 0,
) -> Preemption | Ineligible | Hopeless:
    """`fits` says what is in the pod's way on a node, as `state` has it when it is asked."""
    refusal = _ineligible(facts, state, rejections, sacrifice)
    if refusal is not None:
        return refusal
    nodes = list(state.nodes.values())
    counts: Counter[str] = Counter()
    found: list[Preemption] = []
    enough = max(_TRIED_LEAST, int(len(nodes) * _TRIED_SHARE))
    for offset in range(len(nodes)):
        node = nodes[(start + offset) % len(nodes)]
        if _is_final(rejections, node):
            counts["Preemption is not helpful for scheduling"] += 1
            continue
        outcome = _on_node(facts, state, node, fits, sacrifice)
        if isinstance(outcome, Preemption):
            found.append(outcome)
            if len(found) >= enough and any(not each.violations for each in found):
                break
        else:
            counts.update(outcome)
    if found:
        return min(found, key=_loss)
    text = ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items()))
    return Hopeless(f"preemption: 0/{len(nodes)} nodes are available: {text}.")


def _ineligible(
    facts: PodFacts, state: ClusterState, rejections: Mapping[str, Rejection], sacrifice: Sacrifice
) -> Ineligible | None:
    spec = facts.pod.spec
    if spec is not None and spec.preemptionPolicy == "Never":
        return Ineligible("preemption: not eligible due to preemptionPolicy=Never.")
    name = state.nominated_node(facts.uid)
    node = state.nodes.get(name) if name else None
    if node is None or _is_final(rejections, node):
        return None
    for other in _less_important(facts, node):
        if _makes_room(sacrifice.newest(other.pod)):
            return Ineligible("preemption: not eligible due to a terminating pod on the nominated node.")
    return None


def _is_final(rejections: Mapping[str, Rejection], node: NodeState) -> bool:
    rejection = rejections.get(node.name)
    return rejection is not None and rejection.is_final


def _makes_room(pod: Pod) -> bool:
    condition = find(pod.status.conditions if pod.status else None, "DisruptionTarget")
    return is_terminating(pod) and condition is not None and (condition.status, condition.reason) == ("True", PREEMPTED)


def _less_important(facts: PodFacts, node: NodeState) -> list[PodFacts]:
    own = priority_of(facts.pod)
    return [other for other in node.pods.values() if priority_of(other.pod) < own]


def _on_node(
    facts: PodFacts, state: ClusterState, node: NodeState, fits: Fits, sacrifice: Sacrifice
) -> Preemption | tuple[str, ...]:
    """The fewest victims of one node; else why even without them the pod does not fit."""
    candidates = _less_important(facts, node)
    if not candidates:
        return ("No preemption victims found for incoming pod",)
    ordered = sorted(candidates, key=lambda each: _importance(sacrifice.newest(each.pod)))
    with _without(state, ordered, node.name) as put_back:
        rejection = fits(node)
        if rejection is not None:
            return rejection.reasons
        kept_by_budgets, others = _split(ordered, sacrifice)
        victims = []
        violations = 0
        for candidate in [*kept_by_budgets, *others]:
            if put_back(candidate, fits):
                continue
            victims.append(candidate)
            violations += candidate in kept_by_budgets
    if not victims:
        return ("expected at least one victim pod on node",)
    victims.sort(key=lambda each: _importance(sacrifice.newest(each.pod)))
    return Preemption(node.name, tuple(sacrifice.newest(each.pod) for each in victims), violations)


@contextmanager
def _without(
    state: ClusterState, pods: Sequence[PodFacts], node_name: str
) -> Iterator[Callable[[PodFacts, Fits], bool]]:
    """The state without these pods of a node; what it yields puts one back if there is room. Afterwards all are."""
    out = {each.uid: each for each in pods}
    for uid in out:
        state.remove_pod(uid)

    def put_back(pod: PodFacts, fits: Fits) -> bool:
        state.place(pod, node_name)
        if fits(state.nodes[node_name]) is None:
            del out[pod.uid]
            return True
        state.remove_pod(pod.uid)
        return False

    try:
        yield put_back
    finally:
        for pod in out.values():
            state.place(pod, node_name)


def _split(pods: Sequence[PodFacts], sacrifice: Sacrifice) -> tuple[list[PodFacts], list[PodFacts]]:
    """Those that a budget has nothing left for, once the more important ones have had their share, and the others."""
    left = {id(budget): _allowed(budget) for budget in sacrifice.budgets}
    violating: list[PodFacts] = []
    others: list[PodFacts] = []
    for pod in pods:
        is_violating = False
        for budget in _budgets_of(pod.pod, sacrifice.budgets):
            if name_of(pod.pod) in ((budget.status.disruptedPods if budget.status else None) or {}):
                continue  # it has been counted when it was evicted
            left[id(budget)] -= 1
            is_violating = is_violating or left[id(budget)] < 0
        (violating if is_violating else others).append(pod)
    return violating, others


def _allowed(budget: PodDisruptionBudget) -> int:
    return (budget.status.disruptionsAllowed if budget.status else None) or 0


def _budgets_of(pod: Pod, budgets: Iterable[PodDisruptionBudget]) -> Iterator[PodDisruptionBudget]:
    """An empty selector is of no pod here, other than where pods are evicted (filterPodsWithPDBViolation)."""
    if not labels_of(pod):
        return
    for budget in budgets:
        if namespace_of(budget) != namespace_of(pod):
            continue
        try:
            selector = selector_of(budget.spec.selector if budget.spec else None)
        except ValueError:
            continue  # the disruption controller says so in the budget's status
        if selector.requirements and selector.matches(labels_of(pod)):
            yield budget


def _importance(pod: Pod) -> tuple[int, float]:
    """Sorts the most important first: by priority, then who has run for longest."""
    return -priority_of(pod), _started(pod)


def _started(pod: Pod) -> float:
    moment = pod.status.startTime if pod.status else None
    return moment.timestamp() if moment is not None else float("inf")


def _loss(candidate: Preemption) -> tuple[float, ...]:
    """Violated budgets, the highest priority, the sum of priorities, how many, how long the first have run."""
    priorities = [priority_of(victim) for victim in candidate.victims]
    highest = priorities[0]
    earliest = min(_started(victim) for victim in candidate.victims if priority_of(victim) == highest)
    weight = sum(priority + _PRIORITY_OFFSET for priority in priorities)
    return candidate.violations, highest, weight, len(priorities), -earliest
