"""What the numbers of a manifest come to for its pods, rollouts, budgets and drains. Pure; durations are whole seconds.

What they come to for one container is in `antei.api.probe_arithmetic`.
Kubernetes: pkg/controller/disruption/disruption.go, pkg/controller/deployment/util/deployment_util.go.
"""

from __future__ import annotations

from dataclasses import dataclass

from lightkube.models.core_v1 import Container, PodSpec
from lightkube.models.policy_v1 import PodDisruptionBudgetSpec

from antei.api.intorpercent import resolve
from antei.api.probe_arithmetic import Range, deletion_stop, longest_start, period_of

__all__ = [
    "Budget",
    "Rollout",
    "budget_at",
    "drain_seconds",
    "earliest_ready",
    "is_countable",
    "pod_ready",
    "pod_stop",
    "ready_after_start",
    "rollout_of",
]

#: kubectl drain tries a refused eviction again after so long.
EVICTION_RETRY_SECONDS = 5


def earliest_ready(container: Container) -> int:
    """Seconds from the container's start to ready, where it answers at once."""
    started = (container.startupProbe.initialDelaySeconds or 0) if container.startupProbe is not None else 0
    probe = container.readinessProbe
    if probe is None:
        return started
    first = max(started, probe.initialDelaySeconds or 0)
    return first + ((probe.successThreshold or 1) - 1) * period_of(probe)


def ready_after_start(container: Container) -> Range:
    """From the container's start to ready: from a start that takes no time to the longest that survives liveness."""
    least = earliest_ready(container)
    longest = longest_start(container)
    if longest is None:
        return Range(least, None)
    lag = 0
    if container.readinessProbe is not None:
        probe = container.readinessProbe
        # After a startup probe readiness is tried at once; else the next attempt comes within a period.
        lag = ((probe.successThreshold or 1) - (1 if container.startupProbe is not None else 0)) * period_of(probe)
    return Range(least, max(least, longest + lag))


def pod_ready(spec: PodSpec) -> Range:
    """All containers of a pod, images pulled and init containers done."""
    ranges = [ready_after_start(container) for container in spec.containers]
    most = None if any(r.most is None for r in ranges) else max(r.most or 0 for r in ranges)
    return Range(max(r.least for r in ranges), most)


def pod_stop(spec: PodSpec) -> Range:
    """From deletion to the end of all its containers, which stop side by side: at once after SIGTERM, or by SIGKILL."""
    stops = [deletion_stop(container, spec) for container in spec.containers]
    return Range(max(stop.sigterm.least for stop in stops), max(stop.sigkill.most or 0 for stop in stops))


@dataclass(frozen=True, slots=True)
class Budget:
    """A budget at one number of replicas, all of them healthy."""

    replicas: int
    desired_healthy: int
    allowed: int


def budget_at(spec: PodDisruptionBudgetSpec, replicas: int) -> Budget:
    """Percentages of both fields round up. Raises ValueError for a value that is neither number nor percentage."""
    if spec.maxUnavailable is not None:
        desired = max(0, replicas - resolve(spec.maxUnavailable, replicas, round_up=True))
    elif spec.minAvailable is not None:
        desired = resolve(spec.minAvailable, replicas, round_up=True)
    else:
        return Budget(replicas, 0, 0)
    return Budget(replicas, desired, max(0, replicas - desired) if replicas else 0)


def is_countable(spec: PodDisruptionBudgetSpec | None) -> bool:
    """Whether it says one thing, and that a number or a percentage: what Kubernetes would take."""
    if spec is None or (spec.minAvailable is None) == (spec.maxUnavailable is None):
        return False
    try:
        budget_at(spec, 1)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Rollout:
    """`steps` batches of at most `batch` pods. `gives_up` is when it counts as failed if a pod does not get ready."""

    steps: int
    batch: int
    ready_at_least: int
    duration: Range
    gives_up: int | None = None


def rollout_of(
    replicas: int,
    *,
    max_surge: int,
    max_unavailable: int,
    ready: Range,
    stop: Range,
    min_ready: int = 0,
    waits_for_end: bool = False,
    progress_deadline: int | None = None,
) -> Rollout:
    """A rolling update, or with both margins 0 a Recreate: all at once, when the old pods have ended.

    `waits_for_end`: a replacement starts when the old pod is gone (StatefulSet, DaemonSet without surge, Recreate).
    The progress deadline bounds each step: one that takes longer is reported, not undone.
    """
    if replicas == 0:
        return Rollout(0, 0, 0, Range(0, 0), progress_deadline)
    batch = max_surge + max_unavailable or replicas
    steps = -(-replicas // batch)
    step = ready + Range(min_ready, min_ready)
    if progress_deadline is not None and (step.most is None or step.most > progress_deadline):
        step = Range(step.least, max(step.least, progress_deadline))
    if waits_for_end:
        step = step + stop
    at_least = 0 if batch == replicas and not max_surge and not max_unavailable else replicas - max_unavailable
    return Rollout(steps, min(batch, replicas), max(0, at_least), step.times(steps), progress_deadline)


def drain_seconds(pods: int, allowed: int | None, *, ready: Range, stop: Range, waits_for_end: bool) -> Range | None:
    """How long a drain takes for `pods` of one workload on a node; None where it never ends.

    `allowed` pods may be away at a time (None: no budget). The next are evicted when replacements of the last are
    ready, and a refused eviction is tried again every 5 s.
    """
    if pods == 0:
        return Range(0, 0)
    if allowed is None:
        return stop
    if allowed == 0:
        return None
    waits = -(-pods // allowed) - 1
    between = ready + Range(0, EVICTION_RETRY_SECONDS)
    if waits_for_end:
        between = between + stop
    return between.times(waits) + stop
