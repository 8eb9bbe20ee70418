"""What controllers ask of pods beyond `antei.api.pods`: when the next gets available, and which goes first.

Kubernetes: ActivePodsWithRanks in pkg/controller/controller_utils.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from lightkube.models.core_v1 import PodSpec, PodStatus
from lightkube.resources.core_v1 import Pod

from antei.api import conditions
from antei.api.objects import is_terminating, meta, name_of
from antei.api.pods import is_active, is_available, is_ready

__all__ = [
    "deletion_cost",
    "in_deletion_order",
    "next_available_in",
    "node_of",
    "phase_of",
    "restarts_of",
    "spec_of",
    "status_of",
]

_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASE_RANK = {"Pending": 0, "Unknown": 1, "Running": 2}


def status_of(pod: Pod) -> PodStatus:
    return pod.status if pod.status is not None else PodStatus()


def spec_of(pod: Pod) -> PodSpec:
    return pod.spec if pod.spec is not None else PodSpec(containers=[])


def phase_of(pod: Pod) -> str:
    """Pending, Running, Succeeded, Failed or Unknown; a pod that nobody has looked at yet is Pending."""
    return status_of(pod).phase or "Pending"


def node_of(pod: Pod) -> str:
    return spec_of(pod).nodeName or ""


def _ready_since(pod: Pod) -> datetime | None:
    condition = conditions.find(status_of(pod).conditions, "Ready")
    if condition is None or condition.status != "True":
        return None
    return condition.lastTransitionTime


def next_available_in(pods: Iterable[Pod], min_ready_seconds: int, now: datetime) -> float | None:
    """Seconds until the next of these pods gets available by the mere passing of time; None if none will."""
    if min_ready_seconds <= 0:
        return None  # what is ready is available
    waits = [
        (since + timedelta(seconds=min_ready_seconds) - now).total_seconds()
        for pod in pods
        if (since := _ready_since(pod)) is not None
        and not is_terminating(pod)
        and not is_available(pod, min_ready_seconds, now)
    ]
    return min(waits, default=None)


def restarts_of(pod: Pod) -> int:
    """The restart count of the container that restarted most."""
    return max((status.restartCount for status in status_of(pod).containerStatuses or ()), default=0)


def deletion_cost(pod: Pod) -> int:
    """The annotation's whole number; one that is none counts as 0."""
    value = (meta(pod).annotations or {}).get(_DELETION_COST, "0")
    try:
        return int(value)
    except ValueError:
        return 0


def in_deletion_order(pods: Sequence[Pod], related: Sequence[Pod], now: datetime) -> list[Pod]:
    """The pods, those first that a scale-down takes first.

    Not yet on a node, then by phase (Pending, Unknown, Running), not ready, cheap to delete, many neighbours, ready
    for a short time, many restarts, young. `related` are the pods of all sets with the same owner (the ReplicaSets
    of one Deployment): a pod that shares its node with more of them goes before one that is alone there.
    """
    neighbours: dict[str, int] = {}
    for pod in related:
        if is_active(pod):
            neighbours[node_of(pod)] = neighbours.get(node_of(pod), 0) + 1

    def rank(pod: Pod) -> tuple[int | float | bool | str, ...]:
        return (
            node_of(pod) != "",
            _PHASE_RANK.get(phase_of(pod), 2),
            is_ready(pod),
            deletion_cost(pod),
            -neighbours.get(node_of(pod), 0),
            _age(_ready_since(pod), now) if is_ready(pod) else 0.0,
            -restarts_of(pod),
            _age(meta(pod).creationTimestamp, now),
            name_of(pod),  # so that equals go in the same order in every run
        )

    return sorted(pods, key=rank)


def _age(since: datetime | None, now: datetime) -> float:
    """A rank that grows with age, in powers of two: pods of about one age are equals (LogarithmicScaleDown).

    No time at all counts as younger than any.
    """
    if since is None:
        return -1.0
    return float(int(max((now - since).total_seconds(), 0.0) * 1e9).bit_length())
