"""Which disruption budgets are about a pod."""

from __future__ import annotations

from collections.abc import Iterable

from lightkube.resources.core_v1 import Pod
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api.objects import labels_of
from antei.api.selectors import selector_of

__all__ = ["budgets_of"]


def budgets_of(pod: Pod, budgets: Iterable[PodDisruptionBudget]) -> list[PodDisruptionBudget]:
    """Those of `budgets`, all of the pod's namespace, that select it; one with a broken selector selects nothing."""
    found = []
    for budget in budgets:
        try:
            selector = selector_of(budget.spec.selector if budget.spec else None)
        except ValueError:
            continue  # the disruption controller says so in the budget's status
        if selector.matches(labels_of(pod)):
            found.append(budget)
    return found
