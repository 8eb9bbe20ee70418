"""Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs, CronJobs, budgets, autoscalers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from lightkube.models.autoscaling_v2 import MetricSpec, MetricStatus
from lightkube.models.batch_v1 import JobStatus
from lightkube.resources.apps_v1 import ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet
from lightkube.resources.autoscaling_v2 import HorizontalPodAutoscaler
from lightkube.resources.batch_v1 import CronJob, Job
from lightkube.resources.core_v1 import ReplicationController
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api.objects import controller_of, is_terminating, name_of
from antei.api.printing.cells import (
    AGE,
    NAME,
    NONE,
    UNKNOWN,
    UNSET,
    WIDE,
    Column,
    Printer,
    Row,
    age,
    age_of,
    containers_and_images,
    count,
    duration_text,
    labels_text,
    limited,
    selector_text,
)

__all__ = ["WORKLOAD_PRINTERS"]

_REPLICA_COLUMNS = (
    NAME,
    Column("Desired", "integer", description="The number of desired replicas."),
    Column("Current", "integer", description="The most recently observed number of replicas."),
    Column("Ready", "integer", description="The number of pods that are ready."),
    AGE,
    *WIDE,
)


def _deployment(obj: Deployment, now: datetime) -> Row:
    spec, status = obj.spec, obj.status
    desired = spec.replicas if spec else None
    names, images = containers_and_images(spec.template if spec else None)
    return Row(
        [
            name_of(obj),
            f"{count(status.readyReplicas if status else 0)}/{count(desired)}",
            count(status.updatedReplicas if status else 0),
            count(status.availableReplicas if status else 0),
            age_of(obj, now),
            names,
            images,
            selector_text(spec.selector if spec else None),
        ]
    )


def _replica_set(obj: ReplicaSet, now: datetime) -> Row:
    return _replicas(obj, now, selector_text(obj.spec.selector if obj.spec else None))


def _replication_controller(obj: ReplicationController, now: datetime) -> Row:
    return _replicas(obj, now, labels_text(obj.spec.selector if obj.spec else None))


def _replicas(obj: Any, now: datetime, selector: str) -> Row:
    spec, status = obj.spec, obj.status
    names, images = containers_and_images(spec.template if spec else None)
    return Row(
        [
            name_of(obj),
            count(spec.replicas if spec else 0),
            count(status.replicas if status else 0),
            count(status.readyReplicas if status else 0),
            age_of(obj, now),
            names,
            images,
            selector,
        ]
    )


def _stateful_set(obj: StatefulSet, now: datetime) -> Row:
    spec, status = obj.spec, obj.status
    names, images = containers_and_images(spec.template if spec else None)
    ready = f"{count(status.readyReplicas if status else 0)}/{count(spec.replicas if spec else 0)}"
    return Row([name_of(obj), ready, age_of(obj, now), names, images])


def _daemon_set(obj: DaemonSet, now: datetime) -> Row:
    spec, status = obj.spec, obj.status
    template = spec.template if spec else None
    names, images = containers_and_images(template)
    return Row(
        [
            name_of(obj),
            count(status.desiredNumberScheduled if status else 0),
            count(status.currentNumberScheduled if status else 0),
            count(status.numberReady if status else 0),
            count(status.updatedNumberScheduled if status else 0),
            count(status.numberAvailable if status else 0),
            labels_text(template.spec.nodeSelector if template and template.spec else None),
            age_of(obj, now),
            names,
            images,
            selector_text(spec.selector if spec else None),
        ]
    )


def _job(obj: Job, now: datetime) -> Row:
    spec, status = obj.spec, obj.status or JobStatus()
    succeeded = count(status.succeeded)
    parallelism = count(spec.parallelism if spec else 0)
    if spec is not None and spec.completions is not None:
        completions = f"{succeeded}/{spec.completions}"
    else:
        completions = f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"
    duration = ""
    if status.startTime is not None:
        duration = duration_text((status.completionTime or now) - status.startTime)
    names, images = containers_and_images(spec.template if spec else None)
    return Row(
        [
            name_of(obj),
            _job_status(obj, status),
            completions,
            duration,
            age_of(obj, now),
            names,
            images,
            selector_text(spec.selector if spec else None),
        ]
    )


def _job_status(obj: Job, status: JobStatus) -> str:
    conditions = {c.type for c in status.conditions or () if c.status == "True"}
    for finished in ("Complete", "Failed"):
        if finished in conditions:
            return finished
    if is_terminating(obj):
        return "Terminating"
    for shown in ("Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if shown in conditions:
            return shown
    return "Running"


def _cron_job(obj: CronJob, now: datetime) -> Row:
    spec, status = obj.spec, obj.status
    job = spec.jobTemplate.spec if spec else None
    names, images = containers_and_images(job.template if job else None)
    last = status.lastScheduleTime if status else None
    return Row(
        [
            name_of(obj),
            spec.schedule if spec else "",
            (spec.timeZone if spec else None) or NONE,
            UNSET if spec is None or spec.suspend is None else str(spec.suspend),
            len((status.active if status else None) or ()),
            NONE if last is None else age(last, now),
            age_of(obj, now),
            names,
            images,
            selector_text(job.selector if job else None),
        ]
    )


def _budget(obj: PodDisruptionBudget, now: datetime) -> Row:
    spec, status = obj.spec, obj.status

    def limit(value: int | str | None) -> str:
        return "N/A" if value is None else str(value)

    return Row(
        [
            name_of(obj),
            limit(spec.minAvailable if spec else None),
            limit(spec.maxUnavailable if spec else None),
            count(status.disruptionsAllowed if status else 0),
            age_of(obj, now),
        ]
    )


def _autoscaler(obj: HorizontalPodAutoscaler, now: datetime) -> Row:
    spec, status = obj.spec, obj.status
    reference = f"{spec.scaleTargetRef.kind}/{spec.scaleTargetRef.name}" if spec else ""
    current = list((status.currentMetrics if status else None) or ())
    targets = [
        _metric(metric, current[index] if index < len(current) else None)
        for index, metric in enumerate((spec.metrics if spec else None) or ())
    ]
    return Row(
        [
            name_of(obj),
            reference,
            limited_metrics(targets),
            UNSET if spec is None or spec.minReplicas is None else str(spec.minReplicas),
            spec.maxReplicas if spec else 0,
            count(status.currentReplicas if status else 0),
            age_of(obj, now),
        ]
    )


def limited_metrics(targets: list[str]) -> str:
    if not targets:
        return NONE
    return limited([target if index == 0 else f" {target}" for index, target in enumerate(targets)], 2)


def _metric(metric: MetricSpec, current: MetricStatus | None) -> str:
    """One metric as current/target (Kubernetes: printers.go, formatHPAMetrics)."""
    section = {
        "Resource": "resource",
        "ContainerResource": "containerResource",
        "Pods": "pods",
        "Object": "object",
        "External": "external",
    }.get(metric.type)
    source = getattr(metric, section, None) if section else None
    if source is None:
        return "<unknown type>"
    observed = getattr(current, section or "", None) if current is not None else None
    value = observed.current if observed is not None else None
    target = source.target
    if section in ("resource", "containerResource"):
        if target.averageValue is not None:
            shown = f"{(value.averageValue if value else None) or UNKNOWN}/{target.averageValue}"
        else:
            percent = value.averageUtilization if value else None
            wanted = "<auto>" if target.averageUtilization is None else f"{target.averageUtilization}%"
            shown = f"{UNKNOWN if percent is None else f'{percent}%'}/{wanted}"
        return f"{source.name}: {shown}"
    if target.averageValue is not None:
        shown = f"{(value.averageValue if value else None) or UNKNOWN}/{target.averageValue}"
        return shown if section == "pods" else f"{shown} (avg)"
    return f"{(value.value if value else None) or UNKNOWN}/{target.value}"


def _controller_revision(obj: ControllerRevision, now: datetime) -> Row:
    owner = controller_of(obj)
    controller = NONE
    if owner is not None:
        group = owner.apiVersion.rpartition("/")[0]
        kind = owner.kind.lower()
        controller = f"{kind}.{group}/{owner.name}" if group else f"{kind}/{owner.name}"
    return Row([name_of(obj), controller, obj.revision, age_of(obj, now)])


WORKLOAD_PRINTERS: Mapping[str, Printer] = {
    "apps/deployments": Printer(
        (
            NAME,
            Column("Ready", description="Number of the pod with ready state"),
            Column("Up-to-date", description="The number of pods that have the desired template spec."),
            Column("Available", description="The number of pods that are available."),
            AGE,
            *WIDE,
        ),
        _deployment,
    ),
    "apps/replicasets": Printer(_REPLICA_COLUMNS, _replica_set),
    "/replicationcontrollers": Printer(_REPLICA_COLUMNS, _replication_controller),
    "apps/statefulsets": Printer(
        (NAME, Column("Ready", description="Number of the pod with ready state"), AGE, *WIDE[:2]), _stateful_set
    ),
    "apps/daemonsets": Printer(
        (
            NAME,
            Column("Desired", "integer", description="The number of nodes that should run the pod."),
            Column("Current", "integer", description="The number of nodes that run the pod and should."),
            Column("Ready", "integer", description="The number of nodes on which the pod is ready."),
            Column("Up-to-date", "integer", description="The number of nodes that run the updated pod."),
            Column("Available", "integer", description="The number of nodes on which the pod is available."),
            Column("Node Selector", description="The labels that a node must have."),
            AGE,
            *WIDE,
        ),
        _daemon_set,
    ),
    "apps/controllerrevisions": Printer(
        (
            NAME,
            Column("Controller", description="Controller of the object"),
            Column("Revision", "integer", description="The revision of the state."),
            AGE,
        ),
        _controller_revision,
    ),
    "batch/jobs": Printer(
        (
            NAME,
            Column("Status", description="Status of the job."),
            Column("Completions", description="The number of pods that have succeeded, of those that should."),
            Column("Duration", description="Time required to complete the job."),
            AGE,
            *WIDE,
        ),
        _job,
    ),
    "batch/cronjobs": Printer(
        (
            NAME,
            Column("Schedule", description="The schedule in Cron format."),
            Column("Timezone", description="The time zone of the schedule."),
            Column("Suspend", "boolean", description="Whether subsequent executions are suspended."),
            Column("Active", "integer", description="The number of jobs that run now."),
            Column("Last Schedule", description="When a job was last scheduled."),
            AGE,
            *WIDE,
        ),
        _cron_job,
    ),
    "policy/poddisruptionbudgets": Printer(
        (
            NAME,
            Column("Min Available", description="The minimum number of pods that must be available."),
            Column("Max Unavailable", description="The maximum number of pods that may be unavailable."),
            Column(
                "Allowed Disruptions",
                "integer",
                description="Calculated number of pods that may be disrupted at this time.",
            ),
            AGE,
        ),
        _budget,
    ),
    "autoscaling/horizontalpodautoscalers": Printer(
        (
            NAME,
            Column("Reference", description="The resource that is scaled."),
            Column("Targets", description="The metrics that decide, as current/target."),
            Column("MinPods", description="The lower limit for the number of pods."),
            Column("MaxPods", description="The upper limit for the number of pods."),
            Column("Replicas", description="The current number of replicas."),
            AGE,
        ),
        _autoscaler,
    ),
}
