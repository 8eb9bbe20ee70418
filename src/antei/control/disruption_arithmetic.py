"""The arithmetic of disruption budgets, pure: pods, scales and a budget in, its status out.

(Kubernetes: pkg/controller/disruption/disruption.go, staging/src/k8s.io/component-helpers/apps/poddisruptionbudget.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from lightkube.models.meta_v1 import Condition
from lightkube.models.policy_v1 import PodDisruptionBudgetStatus
from lightkube.resources.core_v1 import Pod
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api import intorpercent, pods
from antei.api.conditions import with_condition
from antei.api.objects import is_terminating, meta, name_of, replace, to_time

__all__ = ["DELETION_TIMEOUT", "BudgetError", "Count", "count", "disrupted_at", "failed_status", "status_of"]

#: How long an evicted pod counts as gone although nobody has seen its deletion.
DELETION_TIMEOUT = timedelta(minutes=2)


class BudgetError(Exception):
    """The budget cannot be worked out; until it can, nothing may be disrupted."""


@dataclass(frozen=True, slots=True)
class Count:
    expected: int
    desired_healthy: int
    current_healthy: int
    disrupted: Mapping[str, datetime]  # pods by name, with the time of their eviction
    recheck_at: datetime | None = None  # when the first entry of `disrupted` expires
    not_deleted: tuple[Pod, ...] = ()  # pods whose entry has expired

    @property
    def allowed(self) -> int:
        """Nothing is allowed where no pod is expected: the first pods may be there before their count is."""
        return max(0, self.current_healthy - self.desired_healthy) if self.expected > 0 else 0


def count(budget: PodDisruptionBudget, selected: Sequence[Pod], scales: Mapping[str, int], now: datetime) -> Count:
    """`scales` are the wanted replicas by uid of each controller.

    Raises BudgetError for a value that is neither a number nor a percentage.
    """
    expected, desired = _expected(budget, len(selected), sum(scales.values()))
    known = {name: disrupted_at(value) for name, value in _disrupted_pods(budget).items()}
    kept: dict[str, datetime] = {}
    expired: list[Pod] = []
    for pod in selected:
        at = known.get(name_of(pod))
        if at is None or is_terminating(pod):
            continue
        if at + DELETION_TIMEOUT <= now:
            expired.append(pod)
        else:
            kept[name_of(pod)] = at
    healthy = sum(1 for pod in selected if not is_terminating(pod) and name_of(pod) not in kept and pods.is_ready(pod))
    recheck_at = min(kept.values()) + DELETION_TIMEOUT if kept else None
    return Count(expected, desired, healthy, kept, recheck_at, tuple(expired))


def _expected(budget: PodDisruptionBudget, selected: int, scale: int) -> tuple[int, int]:
    """(expected pods, healthy ones that are wanted); percentages of either field round up."""
    spec = budget.spec
    if spec is None or (spec.maxUnavailable is None and spec.minAvailable is None):
        return 0, 0
    try:
        if spec.maxUnavailable is not None:
            return scale, max(0, scale - intorpercent.resolve(spec.maxUnavailable, scale, round_up=True))
        if isinstance(spec.minAvailable, int):
            return selected, spec.minAvailable
        return scale, intorpercent.resolve(spec.minAvailable, scale, round_up=True)
    except ValueError as error:
        raise BudgetError(str(error)) from error


def _disrupted_pods(budget: PodDisruptionBudget) -> Mapping[str, object]:
    return (budget.status.disruptedPods if budget.status is not None else None) or {}


def disrupted_at(value: object) -> datetime:
    """A time from `disruptedPods`, which the type leaves open: as it was written, or as JSON has it."""
    if isinstance(value, datetime):
        return value
    return datetime.fromisoformat(str(value)).astimezone(UTC)


def status_of(budget: PodDisruptionBudget, counted: Count, now: datetime) -> PodDisruptionBudgetStatus:
    generation = meta(budget).generation
    allowed = counted.allowed
    condition = Condition(
        type="DisruptionAllowed",
        status="True" if allowed > 0 else "False",
        reason="SufficientPods" if allowed > 0 else "InsufficientPods",
        message="",
        observedGeneration=generation,
        lastTransitionTime=to_time(now),
    )
    return PodDisruptionBudgetStatus(
        currentHealthy=counted.current_healthy,
        desiredHealthy=counted.desired_healthy,
        expectedPods=counted.expected,
        disruptionsAllowed=allowed,
        disruptedPods={name: _as_json(at) for name, at in counted.disrupted.items()} or None,
        observedGeneration=generation,
        conditions=with_condition(budget.status.conditions if budget.status else None, condition),
    )


def failed_status(budget: PodDisruptionBudget, message: str, now: datetime) -> PodDisruptionBudgetStatus:
    """Nothing may be disrupted; all else stays as it was last known."""
    status = budget.status or PodDisruptionBudgetStatus()
    condition = Condition(
        type="DisruptionAllowed",
        status="False",
        reason="SyncFailed",
        message=message,
        observedGeneration=status.observedGeneration,
        lastTransitionTime=to_time(now),
    )
    return replace(
        status,
        currentHealthy=status.currentHealthy or 0,
        desiredHealthy=status.desiredHealthy or 0,
        expectedPods=status.expectedPods or 0,
        disruptionsAllowed=0,
        conditions=with_condition(status.conditions, condition),
    )


def _as_json(moment: datetime) -> str:
    return to_time(moment).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
