"""podFailurePolicy and successPolicy: what a failed pod, or a set of successes, means for its Job. Pure.

Kubernetes: pkg/controller/job/pod_failure_policy.go and success_policy.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightkube.models.batch_v1 import (
    PodFailurePolicy,
    PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyRule,
    SuccessPolicy,
)
from lightkube.models.core_v1 import ContainerStatus, PodCondition
from lightkube.resources.core_v1 import Pod

from antei.api.objects import name_of, namespace_of
from antei.control.job.indexes import parse_indexes
from antei.control.pod_state import status_of

__all__ = ["Match", "match_failure", "match_success"]


@dataclass(frozen=True, slots=True)
class Match:
    """`action` is that of the first rule that matches: Ignore, Count, FailIndex, FailJob, or None without one."""

    action: str | None = None
    message: str | None = None  # of FailJob

    @property
    def is_counted(self) -> bool:
        """Whether the failure counts towards backoffLimit."""
        return self.action != "Ignore"


def match_failure(policy: PodFailurePolicy | None, pod: Pod) -> Match:
    for number, rule in enumerate(policy.rules if policy is not None else ()):
        message = _matched(rule, pod, number)
        if message is not None:
            return Match(rule.action, message if rule.action == "FailJob" else None)
    return Match()


def _matched(rule: PodFailurePolicyRule, pod: Pod, number: int) -> str | None:
    """Kubernetes' words for the match, or None."""
    where = f"{namespace_of(pod)}/{name_of(pod)}"
    if rule.onExitCodes is not None:
        container = _failed_container(pod, rule.onExitCodes)
        if container is None or container.state is None or container.state.terminated is None:
            return None
        return (
            f"Container {container.name} for pod {where} failed with exit code "
            f"{container.state.terminated.exitCode} matching {rule.action} rule at index {number}"
        )
    for condition in status_of(pod).conditions or ():
        if any(_fits(condition, pattern.type, pattern.status) for pattern in rule.onPodConditions or ()):
            return f"Pod {where} has condition {condition.type} matching {rule.action} rule at index {number}"
    return None


def _fits(condition: PodCondition, type: str, status: str | None) -> bool:
    return condition.type == type and condition.status == (status or "True")


def _failed_container(pod: Pod, wanted: PodFailurePolicyOnExitCodesRequirement) -> ContainerStatus | None:
    status = status_of(pod)
    for container in [*(status.containerStatuses or ()), *(status.initContainerStatuses or ())]:
        ended = container.state.terminated if container.state is not None else None
        if ended is None or ended.exitCode == 0 or wanted.containerName not in (None, container.name):
            continue
        if (ended.exitCode in wanted.values) == (wanted.operator == "In"):
            return container
    return None


def match_success(policy: SuccessPolicy | None, completions: int, succeeded: frozenset[int]) -> str | None:
    """The message of the first rule that is met."""
    for number, rule in enumerate(policy.rules if policy is not None else ()):
        wanted = parse_indexes(rule.succeededIndexes, completions) if rule.succeededIndexes is not None else None
        counted: Sequence[int] = sorted(succeeded if wanted is None else succeeded & wanted)
        needed = rule.succeededCount if rule.succeededCount is not None else len(wanted or ())
        if len(counted) >= needed:
            return f"Matched rules at index {number}"
    return None
