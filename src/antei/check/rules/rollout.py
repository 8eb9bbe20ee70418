"""Rules over replicas: how many there are, where they run, and how many a rollout takes away."""

from __future__ import annotations

from collections.abc import Iterable

from lightkube.models.core_v1 import PodSpec

from antei.api.selectors import selector_of
from antei.check.arithmetic import pod_ready, pod_stop
from antei.check.explain import bounds_in, replica_range
from antei.check.model import Edit, Options, Problem, Rule, Severity, rule, set_field
from antei.check.path import at
from antei.check.workload import Graph, Workload
from antei.control.deployment.rolling import is_rolling

__all__ = ["RULES"]

_HOSTNAME = "kubernetes.io/hostname"
#: The scheduler's own preference: up to so many more pods of one workload on one node than on another.
_DEFAULT_HOSTNAME_SKEW = 3


def _claims(workload: Workload) -> list[str]:
    """The PersistentVolumeClaims that all its pods mount."""
    return [
        v.persistentVolumeClaim.claimName for v in workload.spec.volumes or () if v.persistentVolumeClaim is not None
    ]


def _shares_single_writer(graph: Graph, workload: Workload) -> bool:
    """Whether its pods mount a claim that not more than one node can write to, or of which nothing is known."""
    for name in _claims(workload):
        claim = graph.named("PersistentVolumeClaim", workload.namespace, name)
        modes = (claim.obj.spec.accessModes if claim is not None and claim.obj.spec is not None else None) or []
        if not {"ReadWriteMany", "ReadOnlyMany"} & set(modes):
            return True
    return False


@rule(
    "rollout-empties-ready-set",
    Severity.ERROR,
    title="A rolling update may take all ready pods away at once",
    reason=(
        "maxUnavailable says how many pods a rollout may do without. Where that is all of them, the Service has no "
        "endpoint from the old pods' end until the new ones are ready."
    ),
    source="pkg/controller/deployment/util/deployment_util.go (ResolveFenceposts)",
)
def rollout_empties_ready_set(graph: Graph, options: Options) -> Iterable[Problem]:
    for workload in graph.workloads:
        if workload.kind != "Deployment" or not is_rolling(workload.item.obj) or not graph.services_of(workload):
            continue
        bounds = bounds_in(workload)
        if bounds is None or bounds.replicas == 0 or bounds.max_unavailable < bounds.replicas:
            continue
        strategy = workload.item.obj.spec.strategy
        given = strategy.rollingUpdate.maxUnavailable if strategy is not None and strategy.rollingUpdate else None
        edits: list[Edit] = [set_field(0, "spec", "strategy", "rollingUpdate", "maxUnavailable")]
        if bounds.max_surge == 0:
            edits.append(set_field(1, "spec", "strategy", "rollingUpdate", "maxSurge"))
        ready = pod_ready(workload.spec)
        yield Problem(
            workload.item,
            ("spec", "strategy", "rollingUpdate", "maxUnavailable"),
            f"maxUnavailable {given} of {bounds.replicas} {'replica' if bounds.replicas == 1 else 'replicas'} is "
            f"{bounds.max_unavailable}: a rollout may leave 0 ready pods, for {ready}",
            tuple(edits),
        )


@rule(
    "recreate-behind-service",
    Severity.WARNING,
    title="Recreate behind a Service",
    reason="Recreate ends all pods before it starts any: each release is an outage as long as a stop and a start.",
    source="pkg/controller/deployment/recreate.go",
)
def recreate_behind_service(graph: Graph, options: Options) -> Iterable[Problem]:
    for workload in graph.workloads:
        if workload.kind != "Deployment" or is_rolling(workload.item.obj):
            continue
        services = graph.services_of(workload)
        if not services or workload.replicas == 0:
            continue
        edits: tuple[Edit, ...] = ()
        if not _shares_single_writer(graph, workload):
            edits = (set_field("RollingUpdate", "spec", "strategy", "type"),)
        ready, stop = pod_ready(workload.spec), pod_stop(workload.spec)
        yield Problem(
            workload.item,
            ("spec", "strategy", "type"),
            f"Service {', '.join(s.name for s in services)} has 0 endpoints in every rollout: {stop} while the old pods"
            f" end, and {ready} until the first new one is ready",
            edits,
        )


@rule(
    "single-replica",
    Severity.WARNING,
    title="One replica serves alone",
    reason=(
        "With one replica every drain, crash and node failure is an outage until a replacement is ready; and a budget "
        "can only choose between that outage and a drain that never ends."
    ),
    source="pkg/controller/disruption/disruption.go; pkg/controller/replicaset/replica_set.go",
)
def single_replica(graph: Graph, options: Options) -> Iterable[Problem]:
    for workload in graph.workloads:
        replicas = replica_range(graph, workload)
        if workload.kind not in ("Deployment", "ReplicaSet") or replicas is None or replicas.least != 1:
            continue
        if not graph.services_of(workload) or not workload.runs_on:
            continue
        edits: tuple[Edit, ...] = ()
        has_autoscaler = graph.autoscaler_of(workload) is not None
        if not has_autoscaler and not _shares_single_writer(graph, workload):
            edits = (set_field(2, "spec", "replicas"),)
        ready, stop = pod_ready(workload.spec), pod_stop(workload.spec)
        who = "its autoscaler's minimum is 1" if has_autoscaler else "1 replica"
        yield Problem(
            workload.item,
            ("spec", "replicas"),
            f"{who}: while its node is drained nobody answers, for {ready} (the start of another; the old pod ends"
            f" within {stop.most} s)",
            edits,
        )


@rule(
    "replicas-on-one-node",
    Severity.WARNING,
    title="All replicas may run on one node",
    reason=(
        "Replicas guard against the loss of a node only where they run on several. The scheduler's own preference is"
        f" weak (up to {_DEFAULT_HOSTNAME_SKEW} more pods on one node than on another): two or three replicas may all"
        " land on one."
    ),
    source="pkg/scheduler/framework/plugins/podtopologyspread/plugin.go (systemDefaultConstraints)",
)
def replicas_on_one_node(graph: Graph, options: Options) -> Iterable[Problem]:
    for workload in graph.workloads:
        replicas = replica_range(graph, workload)
        if not workload.has_scale or replicas is None or replicas.least < 2:
            continue
        if not graph.services_of(workload) and not graph.budgets_of(workload):
            continue
        forced = _forced_to_one_node(workload)
        if forced:
            yield Problem(
                workload.item,
                at(workload.pod_spec_path, forced[0]),
                f"{replicas.least} of {replicas.least} replicas run on one node ({forced[1]}): it takes all of them"
                " with it",
            )
        elif not _spreads(workload) and replicas.least <= _DEFAULT_HOSTNAME_SKEW:
            path = at(workload.pod_spec_path, "topologySpreadConstraints")
            constraint = {
                "maxSkew": 1,
                "topologyKey": _HOSTNAME,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": _selected_labels(workload)},
            }
            yield Problem(
                workload.item,
                path,
                f"nothing spreads {replicas.least} replicas: all {replicas.least} may run on one node, and a node's"
                " loss is then the loss of all",
                (set_field([constraint], path),),
            )


def _selected_labels(workload: Workload) -> dict[str, str]:
    selector = getattr(workload.item.obj.spec, "selector", None)
    labels = getattr(selector, "matchLabels", None)
    return dict(labels or workload.labels)


def _forced_to_one_node(workload: Workload) -> tuple[str, str] | None:
    """(field, what it says) that binds all pods to one node."""
    spec = workload.spec
    if spec.nodeName:
        return "nodeName", spec.nodeName
    if spec.nodeSelector and _HOSTNAME in spec.nodeSelector:
        return "nodeSelector", f"{_HOSTNAME}={spec.nodeSelector[_HOSTNAME]}"
    affinity = spec.affinity.podAffinity if spec.affinity is not None else None
    for term in (affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity is not None else None) or ():
        if term.topologyKey == _HOSTNAME and selector_of(term.labelSelector).matches(workload.labels):
            return "affinity", "required affinity to its own pods"
    return None


def _spreads(workload: Workload) -> bool:
    spec: PodSpec = workload.spec
    if spec.topologySpreadConstraints:
        return True
    return spec.affinity is not None and spec.affinity.podAntiAffinity is not None


@rule(
    "statefulset-service-missing",
    Severity.ERROR,
    title="A StatefulSet's headless Service is missing",
    reason=(
        "The pods' stable names, <pod>.<service>, come from the headless Service that serviceName names. Without it"
        " they resolve to nothing, and members do not find each other."
    ),
    source="pkg/apis/apps/types.go (StatefulSetSpec.ServiceName); pkg/controller/statefulset/stateful_set_utils.go",
)
def statefulset_service_missing(graph: Graph, options: Options) -> Iterable[Problem]:
    for workload in graph.workloads:
        if workload.kind != "StatefulSet":
            continue
        name = workload.item.obj.spec.serviceName
        if not name:
            continue
        path = ("spec", "serviceName")
        service = graph.named("Service", workload.namespace, name)
        if service is None:
            candidates = [s for s in graph.services_of(workload) if s.obj.spec.clusterIP == "None"]
            hint = f"; did you mean {candidates[0].name}?" if candidates else ""
            yield Problem(
                workload.item,
                path,
                f"0 of the names {workload.name}-0.{name} … resolve: there is no Service {name} in what was"
                f" given{hint}",
                (set_field(candidates[0].name, path),) if len(candidates) == 1 else (),
            )
        elif service.obj.spec.clusterIP != "None":
            yield Problem(
                workload.item,
                path,
                f"Service {name} is not headless (clusterIP: None): 0 of the names {workload.name}-0.{name} … resolve",
            )
        elif workload not in graph.selected_by(service):
            yield Problem(
                workload.item,
                path,
                f"Service {name} does not select these pods: 0 of the names {workload.name}-0.{name} … resolve",
            )


RULES: tuple[Rule, ...] = (
    rollout_empties_ready_set,
    recreate_behind_service,
    single_replica,
    replicas_on_one_node,
    statefulset_service_missing,
)
