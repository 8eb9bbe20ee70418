"""What `antei check --explain` shows of each workload: the numbers that its probes, hooks and budgets come to. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from lightkube.models.core_v1 import Container

from antei.api.intorpercent import resolve
from antei.api.objects import name_of
from antei.api.probe_arithmetic import Range, Stop, deletion_stop, detection, liveness_stop, longest_start
from antei.check.arithmetic import (
    Budget,
    Rollout,
    budget_at,
    drain_seconds,
    earliest_ready,
    is_countable,
    pod_ready,
    pod_stop,
    rollout_of,
)
from antei.check.workload import Graph, Item, Workload
from antei.control.deployment.rolling import Bounds, bounds_of, is_rolling

__all__ = [
    "BudgetFigures",
    "ContainerFigures",
    "Drain",
    "WorkloadFigures",
    "bounds_in",
    "explain",
    "replica_range",
    "rollout_figures",
]

#: As many counts of replicas as a budget is shown at.
_MOST_COUNTS = 50


@dataclass(frozen=True, slots=True)
class ContainerFigures:
    """`hang_unready` and `hang_restarted` count from the hang; `hang_killed` to the end of the hung container."""

    name: str
    earliest_ready: int
    longest_start: int | None
    hang_unready: Range | None
    hang_restarted: Range | None
    hang_killed: Range | None
    stop: Stop


@dataclass(frozen=True, slots=True)
class BudgetFigures:
    name: str
    text: str
    counts: tuple[Budget, ...]  # from 1 (or an autoscaler's least) to the replicas (or an autoscaler's most)
    now: Budget | None
    observed: int | None = None  # what a running cluster's status says may go


@dataclass(frozen=True, slots=True)
class Drain:
    """Of a node (empty: of any) with so many of the workload's pods; `duration` None: it never ends."""

    node: str
    pods: int
    duration: Range | None


@dataclass(frozen=True, slots=True)
class WorkloadFigures:
    workload: Workload
    replicas: Range | None
    ready: Range
    stop: Range
    containers: tuple[ContainerFigures, ...]
    rollout: Rollout | None
    budgets: tuple[BudgetFigures, ...]
    drains: tuple[Drain, ...]


def explain(graph: Graph, workload: Workload) -> WorkloadFigures:
    replicas = replica_range(graph, workload)
    return WorkloadFigures(
        workload,
        replicas,
        pod_ready(workload.spec),
        pod_stop(workload.spec),
        tuple(_container(found.container, workload) for found in workload.containers()),
        rollout_figures(workload),
        tuple(_budgets(graph, workload, replicas)),
        tuple(_drains(graph, workload, replicas)),
    )


def replica_range(graph: Graph, workload: Workload) -> Range | None:
    """How many replicas there are to be: those of its autoscaler, its own, one for a bare pod; None if nobody says."""
    if workload.kind == "Pod":
        return Range(1, 1)
    if workload.replicas is None:
        return None
    autoscaler = graph.autoscaler_of(workload)
    if autoscaler is not None and autoscaler.spec is not None:
        least = max(0, 1 if autoscaler.spec.minReplicas is None else autoscaler.spec.minReplicas)
        return Range(least, max(least, autoscaler.spec.maxReplicas))
    replicas = max(0, workload.replicas)
    return Range(replicas, replicas)


def _container(container: Container, workload: Workload) -> ContainerFigures:
    readiness, liveness = container.readinessProbe, container.livenessProbe
    restarted = detection(liveness) if liveness is not None else None
    killed_by = liveness_stop(container, workload.spec)
    killed = None
    if restarted is not None and killed_by is not None:
        # What hangs does not end by itself, nor does its hook: it goes at the deadline.
        most = killed_by.sigkill.most or 0
        killed = restarted + Range(most, most)
    return ContainerFigures(
        container.name,
        earliest_ready(container),
        longest_start(container),
        detection(readiness) if readiness is not None else None,
        restarted,
        killed,
        deletion_stop(container, workload.spec),
    )


def rollout_figures(workload: Workload) -> Rollout | None:
    """None for what has no rollout (a pod, a Job, a ReplicaSet), one on as many nodes as there are, or one that cannot
    be worked out."""
    spec = workload.item.obj.spec
    ready, stop = pod_ready(workload.spec), pod_stop(workload.spec)
    if workload.kind == "Deployment":
        bounds = bounds_in(workload)
        if bounds is None:
            return None
        return rollout_of(
            bounds.replicas,
            max_surge=bounds.max_surge,
            max_unavailable=bounds.max_unavailable,
            ready=ready,
            stop=stop,
            min_ready=spec.minReadySeconds or 0,
            waits_for_end=not is_rolling(workload.item.obj),
            progress_deadline=spec.progressDeadlineSeconds,
        )
    if workload.kind == "StatefulSet" and (spec.updateStrategy is None or spec.updateStrategy.type != "OnDelete"):
        rolling = spec.updateStrategy.rollingUpdate if spec.updateStrategy is not None else None
        given = rolling.maxUnavailable if rolling is not None else None
        replicas = max(0, workload.replicas or 0)
        try:
            unavailable = max(1, resolve(1 if given is None else given, replicas, round_up=False))
        except ValueError:
            return None
        return rollout_of(
            replicas,
            max_surge=0,
            max_unavailable=unavailable,
            ready=ready,
            stop=stop,
            min_ready=spec.minReadySeconds or 0,
            waits_for_end=True,
        )
    return None


def bounds_in(workload: Workload) -> Bounds | None:
    """The margins of a Deployment's rollout; None where it gives values that are none."""
    try:
        bounds = bounds_of(workload.item.obj)
    except ValueError:
        return None
    return bounds if bounds.replicas >= 0 and bounds.max_surge >= 0 and bounds.max_unavailable >= 0 else None


def _budgets(graph: Graph, workload: Workload, replicas: Range | None) -> list[BudgetFigures]:
    found = []
    for item in graph.budgets_of(workload):
        spec = item.obj.spec
        if not is_countable(spec):
            continue
        field = "maxUnavailable" if spec.maxUnavailable is not None else "minAvailable"
        text = f"{field} {getattr(spec, field)}"
        status = item.obj.status
        observed = status.disruptionsAllowed if status is not None and status.observedGeneration else None
        if replicas is None or replicas.most is None:
            found.append(BudgetFigures(item.name, text, (), None, observed))
            continue
        first = 1 if replicas.least == replicas.most else replicas.least
        last = min(replicas.most, first + _MOST_COUNTS - 1)
        counts = tuple(_budget(graph, item, workload, count) for count in range(first, last + 1))
        found.append(BudgetFigures(item.name, text, counts, _budget(graph, item, workload, replicas.least), observed))
    return found


def _budget(graph: Graph, item: Item, workload: Workload, replicas: int) -> Budget:
    """What a budget allows when the workload has so many pods, among those of others that it may select as well."""
    spec = item.obj.spec
    is_by_scale = not isinstance(spec.minAvailable, int)
    if is_by_scale and not workload.has_scale:
        return Budget(replicas, replicas, 0)  # nobody tells how many there should be
    others = 0
    for other in graph.selected_by(item):
        if other is not workload and (other.has_scale or not is_by_scale):
            found = replica_range(graph, other)
            others += found.least if found is not None else 0
    counted = budget_at(spec, replicas + others)
    return Budget(replicas, max(0, counted.desired_healthy - others), min(replicas, counted.allowed))


def _drains(graph: Graph, workload: Workload, replicas: Range | None) -> list[Drain]:
    if replicas is None or replicas.most is None or replicas.least < 1:
        return []
    budgets = [item for item in graph.budgets_of(workload) if is_countable(item.obj.spec)]
    allowed = min((_budget(graph, item, workload, replicas.least).allowed for item in budgets), default=None)
    if len(budgets) > 1:
        allowed = 0  # an eviction that two budgets decide fails
    # Of manifests alone nobody knows where pods will run: a node may have one of them, or all.
    supposed = [("", pods) for pods in sorted({1, replicas.least})]
    return [
        Drain(
            node,
            pods,
            drain_seconds(
                pods,
                allowed,
                ready=pod_ready(workload.spec),
                stop=pod_stop(workload.spec),
                waits_for_end=workload.kind == "StatefulSet",
            ),
        )
        for node, pods in _nodes(graph, workload) or supposed
    ]


def _nodes(graph: Graph, workload: Workload) -> list[tuple[str, int]]:
    """How many of its running pods each node has."""
    counts: dict[str, int] = {}
    for pod in graph.live_pods:
        labels = pod.metadata.labels or {} if pod.metadata is not None else {}
        node = pod.spec.nodeName if pod.spec is not None else None
        if node and _is_of(workload, labels, name_of(pod)):
            counts[node] = counts.get(node, 0) + 1
    return sorted(counts.items())


def _is_of(workload: Workload, labels: dict[str, str], name: str) -> bool:
    if not name.startswith(workload.name):
        return False
    return all(labels.get(key) == value for key, value in workload.labels.items())
