"""What a workload's manifest promises, in the few figures that a verdict needs. Pure.

The figures are those of one container: the one that the Service sends requests to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lightkube.models.core_v1 import Container, PodSpec, Probe
from lightkube.resources.apps_v1 import DaemonSet, Deployment, ReplicaSet, StatefulSet
from lightkube.resources.core_v1 import Service
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api import intorpercent
from antei.api.objects import name_of
from antei.api.probe_arithmetic import (
    DEFAULT_GRACE_SECONDS,
    Hook,
    detection,
    grace_seconds,
    hook_of,
    liveness_stop,
    longest_start,
    refusal,
)
from antei.rehearse.verdict.faults import FaultKind

__all__ = ["WorkloadFacts", "facts_of"]

#: How long the kubelet takes to notice that a container has ended (its relist period).
NOTICE_SECONDS = 1.0
#: --node-monitor-grace-period and --node-monitor-period of the node lifecycle controller.
NODE_GRACE_SECONDS = 55.0


@dataclass(frozen=True, slots=True)
class WorkloadFacts:
    """`budgets` are the names of those that select the pods; `max_unavailable` is None where nothing is rolled.

    `exits_at_once` says whether the program ends on SIGTERM without finishing what it has begun; None: not known.
    """

    name: str = ""
    kind: str = "Deployment"
    container: str = ""
    replicas: int = 1
    readiness: Probe | None = None
    liveness: Probe | None = None
    startup: Probe | None = None
    pre_stop: Hook | None = None
    grace_seconds: int = DEFAULT_GRACE_SECONDS
    liveness_kill_seconds: int = DEFAULT_GRACE_SECONDS  # from liveness failed to SIGKILL, at most
    longest_start_seconds: int | None = None  # None: no probe ends a slow start
    max_unavailable: int | None = None
    max_surge: int | None = None
    recreates: bool = False
    budgets: tuple[str, ...] = ()
    exits_at_once: bool | None = None

    @property
    def pre_stop_seconds(self) -> int:
        """From the deletion to SIGTERM; 0 where there is no hook, or where only running it tells."""
        return (self.pre_stop.seconds or 0) if self.pre_stop is not None else 0

    def predicted_detection(self, kind: FaultKind) -> float | None:
        """Seconds from such a fault until its pod's address is out of the slice, at worst; None: nothing detects it.

        The endpoint lag comes on top.
        """
        match kind:
            case FaultKind.HANG:
                return self._hang_detection()
            case FaultKind.EXIT:
                return NOTICE_SECONDS
            case FaultKind.NODE:
                return NODE_GRACE_SECONDS
            case FaultKind.DEPENDENCY | FaultKind.UNREADY:
                if self.readiness is None:
                    return None
                return float(max(detection(self.readiness).most or 0, refusal(self.readiness).most or 0))
            case _:
                return 0.0

    def _hang_detection(self) -> float | None:
        found = []
        if self.readiness is not None:
            found.append(detection(self.readiness).most)
        if self.liveness is not None:
            # Nobody answers SIGTERM: the container is ready until it is killed.
            found.append((detection(self.liveness).most or 0) + self.liveness_kill_seconds)
        return float(min(seconds for seconds in found if seconds is not None)) if found else None


def facts_of(
    workload: Deployment | StatefulSet | DaemonSet | ReplicaSet,
    *,
    service: Service | None = None,
    budgets: Sequence[PodDisruptionBudget] = (),
    replicas: int | None = None,
    exits_at_once: bool | None = None,
) -> WorkloadFacts:
    """Of a workload with its defaults. `budgets` are those that select its pods.

    `replicas` overrides the workload's own (a DaemonSet has none). Raises ValueError for one without containers.
    """
    spec = workload.spec
    template = spec.template if spec is not None else None
    pod = template.spec if template is not None else None
    if spec is None or pod is None or not pod.containers:
        raise ValueError(f"{workload.kind} {name_of(workload)} has no containers")
    container = _served_container(pod, service)
    wanted = getattr(spec, "replicas", None)
    count = replicas if replicas is not None else (1 if wanted is None else wanted)
    max_unavailable, max_surge, recreates = _strategy(workload, count)
    stop = liveness_stop(container, pod)
    return WorkloadFacts(
        name=name_of(workload),
        kind=workload.kind or type(workload).__name__,
        container=container.name,
        replicas=count,
        readiness=container.readinessProbe,
        liveness=container.livenessProbe,
        startup=container.startupProbe,
        pre_stop=hook_of(container),
        grace_seconds=grace_seconds(pod),
        liveness_kill_seconds=math.ceil((stop.sigkill.most or 0) if stop is not None else grace_seconds(pod)),
        longest_start_seconds=longest_start(container),
        max_unavailable=max_unavailable,
        max_surge=max_surge,
        recreates=recreates,
        budgets=tuple(name_of(budget) for budget in budgets),
        exits_at_once=exits_at_once,
    )


def _served_container(pod: PodSpec, service: Service | None) -> Container:
    """The one that has the Service's target port, by number or by name; else the first."""
    ports = (service.spec.ports if service is not None and service.spec is not None else None) or ()
    targets = [port.targetPort if port.targetPort is not None else port.port for port in ports]
    for container in pod.containers:
        if any(port.containerPort in targets or port.name in targets for port in container.ports or ()):
            return container
    return pod.containers[0]


def _strategy(
    workload: Deployment | StatefulSet | DaemonSet | ReplicaSet, replicas: int
) -> tuple[int | None, int | None, bool]:
    """(maxUnavailable, maxSurge, all at once), as numbers (Kubernetes: deployment/util, ResolveFenceposts)."""
    assert workload.spec is not None
    if isinstance(workload, ReplicaSet):
        return None, None, False
    if isinstance(workload, StatefulSet):
        return 1, 0, False
    if isinstance(workload, DaemonSet):
        rolling = workload.spec.updateStrategy.rollingUpdate if workload.spec.updateStrategy is not None else None
        unavailable = rolling.maxUnavailable if rolling is not None else None
        return intorpercent.resolve(unavailable if unavailable is not None else 1, replicas, round_up=True), 0, False
    strategy = workload.spec.strategy
    if strategy is not None and strategy.type == "Recreate":
        return None, None, True
    update = strategy.rollingUpdate if strategy is not None else None
    given_surge = update.maxSurge if update is not None else None
    given_unavailable = update.maxUnavailable if update is not None else None
    surge = intorpercent.resolve("25%" if given_surge is None else given_surge, replicas, round_up=True)
    unavailable_count = intorpercent.resolve(
        "25%" if given_unavailable is None else given_unavailable, replicas, round_up=False
    )
    return (unavailable_count or (0 if surge else 1)), surge, False
