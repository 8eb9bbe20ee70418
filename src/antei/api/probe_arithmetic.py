"""What the figures of probes, hooks and grace periods come to: seconds until a hang is noticed, until SIGKILL.

Everything here is pure. All durations are whole seconds. A `Range` has the least and the most; `most` is None where
nothing bounds it. The kubelet starts a probe's clock on its own, so that an attempt falls anywhere in a period.

    container starts                                                       hangs
    │◄─ initialDelay ─►│◄─ period ─►│                                        │◄─ up to a period ─►│ timeout │ …
                       ✗            ✗ … failureThreshold: killed                                  ✗ … × failureThreshold
    deleted                                     deadline
    │◄─ preStop ─►│ SIGTERM ◄─ what is left, 2 s at least ─►│ SIGKILL

Kubernetes: pkg/kubelet/prober/worker.go, pkg/kubelet/kuberuntime/kuberuntime_container.go (killContainer),
pkg/kubelet/pod_workers.go (calculateEffectiveGracePeriod).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lightkube.models.core_v1 import Container, LifecycleHandler, PodSpec, Probe

__all__ = [
    "DEFAULT_GRACE_SECONDS",
    "MINIMUM_STOP_SECONDS",
    "Hook",
    "Range",
    "Stop",
    "deletion_stop",
    "detection",
    "grace_seconds",
    "hook_of",
    "liveness_stop",
    "longest_start",
    "period_of",
    "refusal",
    "sleep_of",
    "stop_of",
]

DEFAULT_GRACE_SECONDS = 30
#: The kubelet's least grace period of a pod that is deleted (calculateEffectiveGracePeriod).
MINIMUM_GRACE_SECONDS = 1
#: What a container gets after SIGTERM at the least (minimumGracePeriodInSeconds).
MINIMUM_STOP_SECONDS = 2
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


def period_of(probe: Probe) -> int:
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
    between = max(period_of(probe), _timeout(probe))
    best = (_failures(probe) - 1) * between + _timeout(probe)
    return Range(best, best + period_of(probe))


def refusal(probe: Probe) -> Range:
    """As `detection`, of a container that fails at once: a refused connection, a status 500."""
    best = (_failures(probe) - 1) * period_of(probe)
    return Range(best, best + period_of(probe))


def longest_start(container: Container) -> int | None:
    """How long a start may take that is sure not to be killed for it; None where no probe kills.

    With a startup probe only that counts: liveness waits for it. The attempt that begins then is the last one.
    """
    probe = container.startupProbe or container.livenessProbe
    if probe is None:
        return None
    return (probe.initialDelaySeconds or 0) + (_failures(probe) - 1) * period_of(probe)


@dataclass(frozen=True, slots=True)
class Hook:
    """A preStop hook; `seconds` is None where only running it tells. `is_command`: `sleep` run in the container."""

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
    """One grace period covers hook and SIGTERM; a hook that outlives it is abandoned, and without one none runs. After
    SIGTERM 2 s are left whatever came before."""
    hook = hook_of(container) if grace > 0 else None
    most = 0 if hook is None else grace if hook.seconds is None else min(hook.seconds, grace)
    least = 0 if hook is None or hook.seconds is None else most
    left = Range(max(MINIMUM_STOP_SECONDS, grace - most), max(MINIMUM_STOP_SECONDS, grace - least))
    earliest, latest = least + MINIMUM_STOP_SECONDS, most + MINIMUM_STOP_SECONDS
    return Stop(Range(least, most), left, Range(max(grace, earliest), max(grace, latest)))


def deletion_stop(container: Container, spec: PodSpec) -> Stop:
    """As `stop_of`, when its pod is deleted: the kubelet takes a grace period of 0 for 1 s."""
    return stop_of(container, max(grace_seconds(spec), MINIMUM_GRACE_SECONDS))


def liveness_stop(container: Container, spec: PodSpec) -> Stop | None:
    """As `stop_of`, when its liveness probe has failed; None where it has none."""
    probe = container.livenessProbe
    if probe is None:
        return None
    grace = probe.terminationGracePeriodSeconds
    return stop_of(container, grace_seconds(spec) if grace is None else grace)
