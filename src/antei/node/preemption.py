"""Which pods of a node make room for a critical one that was bound to it: pure.

Guaranteed pods go only where all others together would not do, then Burstable ones, then BestEffort ones; of each the
fewest, and of as few the smallest. Kubernetes: pkg/kubelet/preemption/preemption.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from lightkube.resources.core_v1 import Pod

from antei.api.pods import pod_requests, qos_class
from antei.node.local_storage import is_critical

__all__ = ["NoVictims", "victims"]

_ZERO = Decimal(0)


class NoVictims(Exception):
    """Ending every pod that may be ended would not make room enough."""

    def __init__(self, missing: Mapping[str, Decimal]) -> None:
        listed = "".join(f"(res: {name}, q: {_units(name, amount)}), " for name, amount in missing.items())
        super().__init__(f"no set of running pods found to reclaim resources: [{listed}]")


def victims(pod: Pod, others: Sequence[Pod], missing: Mapping[str, Decimal]) -> list[Pod]:
    """`missing`: how much of each resource the pod lacks (cpu in cores, memory in bytes, pods). Raises NoVictims."""
    of_class: dict[str, list[Pod]] = {"BestEffort": [], "Burstable": [], "Guaranteed": []}
    for other in others:
        if _may_end(pod, other):
            of_class[qos_class(other)].append(other)
    best_effort, burstable, guaranteed = of_class.values()
    left = _without(missing, [*best_effort, *burstable, *guaranteed])
    if left:
        raise NoVictims(left)
    chosen = _fewest(guaranteed, _without(missing, [*best_effort, *burstable]))
    chosen = [*_fewest(burstable, _without(missing, [*best_effort, *chosen])), *chosen]
    return [*_fewest(best_effort, _without(missing, chosen)), *chosen]


def _may_end(pod: Pod, other: Pod) -> bool:
    if is_critical(pod) and not is_critical(other):
        return True
    return _priority(pod) > _priority(other)


def _priority(pod: Pod) -> int:
    return (pod.spec.priority if pod.spec is not None else None) or 0


def _fewest(pods: Sequence[Pod], missing: Mapping[str, Decimal]) -> list[Pod]:
    """Again and again the pod that leaves the least missing."""
    chosen: list[Pod] = []
    rest = list(pods)
    while missing:
        if not rest:
            raise NoVictims(missing)
        best = min(rest, key=lambda pod: (_distance(pod, missing), _size(pod)))
        rest.remove(best)
        chosen.append(best)
        missing = _without(missing, [best])
    return chosen


def _distance(pod: Pod, missing: Mapping[str, Decimal]) -> Decimal:
    """The squares of the shares of what is missing that the pod would leave missing."""
    shares = (max(_ZERO, amount - _request(pod, name)) / amount for name, amount in missing.items())
    return sum((share * share for share in shares), _ZERO)


def _size(pod: Pod) -> tuple[Decimal, Decimal]:
    return _request(pod, "memory"), _request(pod, "cpu")


def _without(missing: Mapping[str, Decimal], pods: Sequence[Pod]) -> dict[str, Decimal]:
    left = {name: amount - sum((_request(pod, name) for pod in pods), _ZERO) for name, amount in missing.items()}
    return {name: amount for name, amount in left.items() if amount > 0}


def _request(pod: Pod, name: str) -> Decimal:
    return Decimal(1) if name == "pods" else pod_requests(pod).get(name, _ZERO)


def _units(name: str, amount: Decimal) -> int:
    return int(amount * 1000) if name == "cpu" else int(amount)
