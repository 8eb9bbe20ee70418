"""What the numbers of a manifest come to: seconds until ready, until a hang is noticed, until SIGKILL; what may go.

Everything here is pure. All durations are whole seconds. A `Range` has the least and the most; `most` is None where
nothing bounds it. The kubelet starts a probe's clock on its own, so that an attempt falls anywhere in a period.

    container starts                                                       hangs
    │◄─ initialDelay ─►│◄─ period ─►│                                        │◄─ up to a period ─►│ timeout │ …
                       ✗            ✗ … failureThreshold: killed                                  ✗ … × failureThreshold
    deleted                                     deadline
    │◄─ preStop ─►│ SIGTERM ◄─ what is left, 2 s at least ─►│ SIGKILL

Kubernetes: pkg/kubelet/prober/worker.go, pkg/kubelet/kuberuntime/kuberuntime_container.go (killContainer),
pkg/controller/disruption/disruption.go, pkg/controller/deployment/util/deployment_util.go.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lightkube.models.core_v1 import Container, LifecycleHandler, PodSpec, Probe
from lightkube.models.policy_v1 import PodDisruptionBudgetSpec

from antei.api.intorpercent import resolve

__all__ = [
    "Budget",
    "Hook",
    "Range",
    "Rollout",
    "Stop",
    "budget_at",
    "detection",
    "drain_seconds",
    "earliest_ready",
    "grace_seconds",
    "hook_of",
    "is_countable",
    "liveness_stop",
    "longest_start",
    "pod_ready",
    "pod_stop",
    "ready_after_start",
    "refusal",
    "rollout_of",
    "sleep_of",
    "stop_of",
]

DEFAULT_GRACE_SECONDS = 30
#: The kubelet's least grace period (calculateEffectiveGracePeriod), and what is left after a hook in any case
#: (minimumGracePeriodInSeconds).
MINIMUM_GRACE_SECONDS = 1
MINIMUM_STOP_SECONDS = 2
#: kubectl drain tries a refused eviction again after so long.
EVICTION_RETRY_SECONDS = 5
_SLEEP = re.compile(r"(?:\S*/)?sleep\s+(\d+(?:\.\d+)?)([smh]?)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Range:
    least: int
    most: int | None

    def __add__(self, other: Range) -> Range:
        most = None if self.most is None or other.most is None else self.most + other.most
        return Range(self.least + other.least, most)

    def times(self, count: int) -> Range:
        return Range(self.least * count, None if self.most is None else self.most * count)

    def __str__(self) -> str:
        if self.most is None:
            return f"{self.least} s or more"
        return f"{self.least} s" if self.least == self.most else f"{self.least} to {self.most} s"


def _period(probe: Probe) -> int:
    return probe.periodSeconds or 10


def _timeout(probe: Probe) -> int:
    return probe.timeoutSeconds or 1


def _failures(probe: Probe) -> int:
    return probe.failureThreshold or 3


def detection(probe: Probe) -> Range:
    """From the moment that a container hangs to the probe's verdict: attempts that get no answer take the timeout each.

    At best it hangs as an attempt begins, at worst as one has just been answered. Attempts do not overlap: one that
    takes longer than the period puts off the next.
    """
    between = max(_period(probe), _timeout(probe))
    best = (_failures(probe) - 1) * between + _timeout(probe)
    return Range(best, best + _period(probe))


def refusal(probe: Probe) -> Range:
    """As `detection`, of a container that fails at once: a refused connection, a status 500."""
    best = (_failures(probe) - 1) * _period(probe)
    return Range(best, best + _period(probe))


def longest_start(container: Container) -> int | None:
    """How long a start may take that is sure not to be killed for it; None where no probe kills.

    With a startup probe only that counts: liveness waits for it. The attempt that begins then is the last one.
    """
    probe = container.startupProbe or container.livenessProbe
    if probe is None:
        return None
    return (probe.initialDelaySeconds or 0) + (_failures(probe) - 1) * _period(probe)


def earliest_ready(container: Container) -> int:
    """Seconds from the container's start to ready, where it answers at once."""
    started = (container.startupProbe.initialDelaySeconds or 0) if container.startupProbe is not None else 0
    probe = container.readinessProbe
    if probe is None:
        return started
    first = max(started, probe.initialDelaySeconds or 0)
    return first + ((probe.successThreshold or 1) - 1) * _period(probe)


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
        lag = ((probe.successThreshold or 1) - (1 if container.startupProbe is not None else 0)) * _period(probe)
    return Range(least, max(least, longest + lag))


def pod_ready(spec: PodSpec) -> Range:
    """All containers of a pod, images pulled and init containers done."""
    ranges = [ready_after_start(container) for container in spec.containers]
    most = None if any(r.most is None for r in ranges) else max(r.most or 0 for r in ranges)
    return Range(max(r.least for r in ranges), most)


@dataclass(frozen=True, slots=True)
class Hook:
    """A preStop hook; `seconds` is None where only running it would tell. `is_command`: the image's `sleep`."""

    seconds: int | None
    is_command: bool = False


def sleep_of(command: Sequence[str] | None) -> int | None:
    """The seconds of a command that does nothing but sleep, rounded up: `sleep 5s`, `sh -c "sleep 5"`."""
    words = list(command or ())
    if len(words) == 3 and re.fullmatch(r"(?:\S*/)?(?:ba|da|a|z|k)?sh", words[0]) and re.fullmatch(r"-\w*c", words[1]):
        words = words[2].split()
    found = _SLEEP.fullmatch(" ".join(words).removesuffix(";").strip())
    if found is None:
        return None
    return -int(-(float(found[1]) * _UNITS[found[2]]) // 1)


def hook_of(container: Container) -> Hook | None:
    handler: LifecycleHandler | None = container.lifecycle.preStop if container.lifecycle is not None else None
    if handler is None:
        return None
    if handler.sleep is not None:
        return Hook(handler.sleep.seconds)
    seconds = sleep_of(handler.exec.command) if handler.exec is not None else None
    return Hook(seconds, is_command=seconds is not None)


def grace_seconds(spec: PodSpec) -> int:
    given = spec.terminationGracePeriodSeconds
    return DEFAULT_GRACE_SECONDS if given is None else given


@dataclass(frozen=True, slots=True)
class Stop:
    """From deletion on: when SIGTERM comes, how long the program then has, when SIGKILL comes at the latest.

    `sigterm` is a range where the hook's length is not known.
    """

    sigterm: Range
    left: Range
    sigkill: Range


def stop_of(container: Container, grace: int) -> Stop:
    """One grace period covers hook and SIGTERM; a hook that outlives it is abandoned. The kubelet takes 0 for 1 s, and
    leaves 2 s after SIGTERM whatever came before."""
    grace = max(grace, MINIMUM_GRACE_SECONDS)
    hook = hook_of(container)
    most = 0 if hook is None else grace if hook.seconds is None else min(hook.seconds, grace)
    least = 0 if hook is None or hook.seconds is None else most
    left = Range(max(MINIMUM_STOP_SECONDS, grace - most), max(MINIMUM_STOP_SECONDS, grace - least))
    earliest, latest = least + MINIMUM_STOP_SECONDS, most + MINIMUM_STOP_SECONDS
    return Stop(Range(least, most), left, Range(max(grace, earliest), max(grace, latest)))


def liveness_stop(container: Container, spec: PodSpec) -> Stop | None:
    """As `stop_of`, when its liveness probe has failed; None where it has none."""
    probe = container.livenessProbe
    if probe is None:
        return None
    grace = probe.terminationGracePeriodSeconds
    return stop_of(container, grace_seconds(spec) if grace is None else grace)


def pod_stop(spec: PodSpec) -> Range:
    """From deletion to the end of all its containers, which stop side by side: at once after SIGTERM, or by SIGKILL."""
    stops = [stop_of(container, grace_seconds(spec)) for container in spec.containers]
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
