"""Rules of nodes: each container once, none after its pod, stops that keep the grace period, restarts that back off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from antei.api.objects import name_of, uid_of
from antei.api.pods import is_sidecar, is_terminal
from antei.runtime.simulated import Happening
from antei.simulate.invariants.base import Quiet
from antei.simulate.invariants.ground import Ground
from antei.simulate.invariants.population import PODS, Population
from antei.store import Change, ChangeType

__all__ = ["GraceKept", "NothingLeft", "OnceAtATime", "RestartsBackOff"]

_ROUNDING = 0.01
_LOOK_AGAIN_SECONDS = 10.0
#: Until a container is run again that is due: what its node takes for any start, and for a sandbox.
_LATE_SECONDS = 5.0


class OnceAtATime(Quiet):
    """No container is started while it runs."""

    name: ClassVar[str] = "once-at-a-time"

    def happened(self, happening: Happening, pod_uid: str) -> None:
        if happening.what != "started":
            return
        running = self._ground.cluster.runtime.running_of(pod_uid, happening.container)
        if len(running) > 1:
            self._fail(f"{happening.pod} {happening.container} runs {len(running)} times", _short(happening))


class NothingLeft(Quiet):
    """A pod's object goes when its containers have ended, not before."""

    name: ClassVar[str] = "nothing-left"

    def wrote(self, change: Change) -> None:
        if change.stored.key.bucket != PODS or change.type is not ChangeType.DELETED:
            return
        pod = change.stored.object
        uid = uid_of(pod)
        if uid in self._ground.faults.forced or _was_taken_away(change):
            self._ground.faults.forced.add(uid)
            return
        running = self._ground.cluster.runtime.running_of(uid)
        if running:
            self._fail(f"pod {name_of(pod)} is gone, and {', '.join(r.name for r in running)} runs", name_of(pod))


def _was_taken_away(change: Change) -> bool:
    """Whether it was somebody other than its node who removed the object: its node is silent, or it has none."""
    before = change.previous.object if change.previous is not None else None
    pod = before if before is not None else change.stored.object
    return pod.spec.nodeName is None or any(
        condition.type == "DisruptionTarget" and condition.reason in ("DeletionByPodGC", "DeletionByTaintManager")
        for condition in (pod.status.conditions if pod.status is not None else None) or ()
    )


@dataclass(slots=True)
class _Stop:
    began: float
    signal: str


class GraceKept(Quiet):
    """SIGKILL comes when the grace period is over: never before, never long after."""

    name: ClassVar[str] = "grace-kept"
    #: The window after a hook that took all of it, and what the node takes itself.
    LATE_SECONDS = 2.0 + 3.0

    def __init__(self, ground: Ground, population: Population) -> None:
        super().__init__(ground, population)
        self._stops: dict[tuple[str, str, int], _Stop] = {}

    def wrote(self, change: Change) -> None:
        if change.stored.key.bucket != PODS or change.type is ChangeType.DELETED:
            return
        life = self._population.pods[uid_of(change.stored.object)]
        if life.deletions and change.previous is not None and life.deletions[-1][0] == self._ground.now:
            seconds = life.due_at() - self._ground.now + self.LATE_SECONDS
            self._ground.later(seconds, lambda: self._is_over(life.uid))

    def happened(self, happening: Happening, pod_uid: str) -> None:
        key = (pod_uid, happening.container, happening.attempt)
        if happening.what == "exited":
            self._stops.pop(key, None)
            return
        if happening.what != "signalled":
            return
        now = self._ground.now
        if happening.detail != "SIGKILL":
            self._stops.setdefault(key, _Stop(now, happening.detail))
            return
        life = self._population.pods.get(pod_uid)
        if life is None or pod_uid in self._ground.faults.forced:
            return
        stop = self._stops.get(key)
        least = life.due_at()
        if stop is not None:
            # SIGTERM comes after the hook; a probe may have begun all this, with a grace period of its own.
            began = stop.began - self._hook_seconds(life.pod, happening.container)
            if life.deleted_at is None or began < life.deleted_at:
                own = self._probe_grace(life.pod, happening.container)
                least = min(least, max(stop.began + 2.0, began + own))
        if now < least - _ROUNDING:
            since = life.deleted_at if life.deleted_at is not None else (stop.began if stop is not None else now)
            self._early(happening, now - since, least - since)

    def _early(self, happening: Happening, after: float, grace: float) -> None:
        self._fail(
            f"{happening.pod} {happening.container}: SIGKILL {after:.2f} s after the stop began, of {grace:g} s",
            _short(happening),
        )

    def _probe_grace(self, pod: Any, container: str) -> float:
        whole = float(pod.spec.terminationGracePeriodSeconds or 0)
        for found in (*pod.spec.containers, *(pod.spec.initContainers or ())):
            if found.name == container:
                own = [
                    probe.terminationGracePeriodSeconds
                    for probe in (found.livenessProbe, found.startupProbe)
                    if probe is not None and probe.terminationGracePeriodSeconds is not None
                ]
                return float(min([whole, *own]))
        return whole

    def _hook_seconds(self, pod: Any, container: str) -> float:
        for found in pod.spec.containers:
            hook = found.lifecycle.preStop if found.name == container and found.lifecycle is not None else None
            if hook is not None and hook.sleep is not None:
                return float(hook.sleep.seconds)
        return 0.0

    def _is_over(self, uid: str) -> None:
        """So long after the deletion nothing of it may run, if its node was there and could know it all the time."""
        life, faults, now = self._population.pods.get(uid), self._ground.faults, self._ground.now
        if life is None or life.deleted_at is None or uid in faults.forced:
            return
        node = life.pod.spec.nodeName or ""
        if not faults.is_node_there(node):
            self._ground.later(_LOOK_AGAIN_SECONDS, lambda: self._is_over(uid))
            return
        # A node that starts anew begins the stop again; one whose watch is late or broken begins it late.
        began = max(faults.node_started_at(node), faults.unsettled_until)
        due = life.due_at(began) + self.LATE_SECONDS
        if now < due - _ROUNDING:
            self._ground.later(due - now, lambda: self._is_over(uid))
            return
        running = self._ground.cluster.runtime.running_of(uid)
        if running:
            self._fail(
                f"pod {life.name} was deleted {now - life.deleted_at:.1f} s ago with {life.deletions[-1][1]:g} s of"
                f" grace, and {', '.join(r.name for r in running)} runs",
                life.name,
            )


@dataclass(slots=True)
class _Runs:
    """One container of a pod: the restart delay as Kubernetes counts it."""

    ended_at: float = 0.0
    started_at: float = 0.0
    delay_seconds: float = 0.0
    since: float = 0.0
    is_known: bool = True

    def is_forgotten(self, ended_at: float) -> bool:
        return self.delay_seconds == 0 or ended_at - self.since > 600

    def due(self, ended_at: float) -> float:
        """How long after its end it is run again."""
        return 0.0 if self.is_forgotten(ended_at) else self.delay_seconds


class RestartsBackOff(Quiet):
    """A container that ends is run again at once, then after 10 s, 20 s … 300 s; ten minutes of running forgive.

    Never before, and in peace never long after.
    """

    name: ClassVar[str] = "restarts-back-off"

    def __init__(self, ground: Ground, population: Population) -> None:
        super().__init__(ground, population)
        self._runs: dict[tuple[str, str], _Runs] = {}

    def happened(self, happening: Happening, pod_uid: str) -> None:
        if happening.what not in ("started", "exited"):
            return
        key, now = (pod_uid, happening.container), self._ground.now
        runs = self._runs.setdefault(key, _Runs())
        if happening.what == "exited":
            runs.ended_at = now
            self._ground.later(runs.due(now) + _LATE_SECONDS, lambda: self._runs_again(key, happening, now))
            return
        before, runs.started_at = runs.ended_at, now
        if happening.attempt == 0 or not before:
            return
        life = self._population.pods.get(pod_uid)
        node = (life.pod.spec.nodeName or "") if life is not None else ""
        if life is None or self._is_ordered(life.pod, happening.container):
            return
        if self._ground.faults.was_node_away(node, runs.since or before):
            # A node that starts anew has forgotten how often it was.
            runs.delay_seconds, runs.since = 0.0, now
            runs.is_known = False
            return
        if not runs.is_known:
            return
        needed = runs.due(before)
        if now < before + needed - _ROUNDING:
            who = f"{happening.pod} {happening.container}"
            self._fail(f"{who} runs again {now - before:.2f} s after its end, {needed:g} s are due", _short(happening))
        runs.delay_seconds = 10.0 if runs.is_forgotten(before) else min(300.0, runs.delay_seconds * 2)
        runs.since = now

    def _runs_again(self, key: tuple[str, str], happening: Happening, ended_at: float) -> None:
        """Unless its pod goes, or it may have ended for good, or its node was not there or knew nothing of it."""
        life, faults, runs = self._population.pods.get(key[0]), self._ground.faults, self._runs[key]
        if life is None or life.deleted_at is not None or runs.ended_at != ended_at or runs.started_at >= ended_at:
            return
        pod, node = life.pod, life.pod.spec.nodeName or ""
        if (pod.spec.restartPolicy or "Always") != "Always" or is_terminal(pod) or self._is_ordered(pod, key[1]):
            return
        if not runs.is_known or faults.was_node_away(node, runs.since or ended_at) or not self._ground.is_settled:
            return
        if faults.unsettled_until > ended_at or self._ground.cluster.runtime.running_of(*key):
            return
        self._fail(
            f"{happening.pod} {key[1]} ended {self._ground.now - ended_at:.1f} s ago, and does not run again",
            _short(happening),
        )

    def _is_ordered(self, pod: Any, container: str) -> bool:
        """Init containers run again when their pod is set up anew, too."""
        return any(c.name == container and not is_sidecar(c) for c in pod.spec.initContainers or ())


def _short(happening: Happening) -> str:
    return happening.pod.rpartition("/")[2]
