"""Pods, and the one word that says how a pod is (Kubernetes: printers.go, printPod)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from lightkube.models.core_v1 import Container, ContainerState, ContainerStatus, PodStatus
from lightkube.resources.core_v1 import Pod, PodTemplate

from antei.api.conditions import is_true
from antei.api.objects import meta, name_of
from antei.api.printing.cells import (
    AGE,
    NAME,
    NONE,
    Column,
    Printer,
    Row,
    age,
    age_of,
    containers_and_images,
    labels_text,
)

__all__ = ["POD_PRINTERS", "pod_reason"]

_POD_COLUMNS = (
    NAME,
    Column("Ready", description="The aggregate readiness state of this pod for accepting traffic."),
    Column("Status", description="The aggregate status of the containers in this pod."),
    Column(
        "Restarts",
        description="The number of times the containers in this pod have been restarted and when the last container "
        "in this pod has restarted.",
    ),
    AGE,
    Column("IP", description="The pod's address within the cluster.", priority=1),
    Column("Node", description="The node that the pod runs on.", priority=1),
    Column("Nominated Node", description="The node on which a place is being made for the pod.", priority=1),
    Column("Readiness Gates", description="The readiness gates whose condition is true.", priority=1),
)
_PHASE_CONDITIONS: Mapping[str, Mapping[str, str]] = {
    "Succeeded": {
        "type": "Completed",
        "status": "True",
        "reason": "Succeeded",
        "message": "The pod has completed successfully.",
    },
    "Failed": {"type": "Completed", "status": "True", "reason": "Failed", "message": "The pod failed."},
}


@dataclass(slots=True)
class _Summary:
    """What is gathered while the containers' statuses are gone through."""

    reason: str
    total: int
    ready: int = 0
    restarts: int = 0
    last_restart: datetime | None = None

    def add_restarts(self, status: ContainerStatus) -> None:
        self.restarts += status.restartCount
        last = status.lastState.terminated if status.lastState else None
        finished = last.finishedAt if last else None
        if finished is not None and (self.last_restart is None or self.last_restart < finished):
            self.last_restart = finished


def pod_reason(pod: Pod) -> str:
    """The STATUS that kubectl shows."""
    return _summarise(pod).reason


def _pod_row(pod: Pod, now: datetime) -> Row:
    summary = _summarise(pod)
    restarts = str(summary.restarts)
    if summary.restarts and summary.last_restart is not None:
        restarts = f"{restarts} ({age(summary.last_restart, now)} ago)"
    spec, status = pod.spec, pod.status
    addresses = [entry.ip for entry in (status.podIPs if status else None) or () if entry.ip]
    cells = [
        name_of(pod),
        f"{summary.ready}/{summary.total}",
        summary.reason,
        restarts,
        age_of(pod, now),
        addresses[0] if addresses else (status.podIP if status else None) or NONE,
        (spec.nodeName if spec else None) or NONE,
        (status.nominatedNodeName if status else None) or NONE,
        _readiness_gates(pod),
    ]
    condition = _PHASE_CONDITIONS.get((status.phase if status else None) or "")
    return Row(cells, [condition] if condition else [])


def _summarise(pod: Pod) -> _Summary:
    status = pod.status or PodStatus()
    spec = pod.spec
    init_containers = (spec.initContainers if spec else None) or ()
    sidecars = {container.name for container in init_containers if container.restartPolicy == "Always"}
    summary = _Summary(
        reason=status.reason or status.phase or "",
        total=len(spec.containers if spec else ()) + len(sidecars),
    )
    if any(c.type == "PodScheduled" and c.reason == "SchedulingGated" for c in status.conditions or ()):
        summary.reason = "SchedulingGated"
    sidecar_summary = _Summary("", 0)
    is_initializing = _go_through_init_containers(status, init_containers, sidecars, summary, sidecar_summary)
    if not is_initializing or is_true(status.conditions, "Initialized"):
        summary.restarts, summary.last_restart = sidecar_summary.restarts, sidecar_summary.last_restart
        _go_through_containers(status, summary)
    if meta(pod).deletionTimestamp is not None:
        if status.reason == "NodeLost":
            summary.reason = "Unknown"
        elif status.phase not in ("Succeeded", "Failed"):
            summary.reason = "Terminating"
    return summary


def _go_through_init_containers(
    status: PodStatus,
    init_containers: Sequence[Container],
    sidecars: set[str],
    summary: _Summary,
    sidecar_summary: _Summary,
) -> bool:
    """Stops at the first init container that is not done; whether there is one."""
    for index, container in enumerate(status.initContainerStatuses or ()):
        state = container.state or ContainerState()
        summary.add_restarts(container)
        if container.name in sidecars:
            sidecar_summary.add_restarts(container)
        if state.terminated is not None and state.terminated.exitCode == 0:
            continue
        if container.name in sidecars and container.started:
            summary.ready += 1 if container.ready else 0
            continue
        if state.terminated is not None:
            summary.reason = f"Init:{_terminated_reason(state)}"
        elif state.waiting is not None and state.waiting.reason not in (None, "", "PodInitializing"):
            summary.reason = f"Init:{state.waiting.reason}"
        else:
            summary.reason = f"Init:{index}/{len(init_containers)}"
        return True
    return False


def _go_through_containers(status: PodStatus, summary: _Summary) -> None:
    has_running = False
    for container in reversed(status.containerStatuses or ()):
        state = container.state or ContainerState()
        summary.add_restarts(container)
        if state.waiting is not None and state.waiting.reason:
            summary.reason = state.waiting.reason
        elif state.terminated is not None:
            summary.reason = _terminated_reason(state)
        elif container.ready and state.running is not None:
            has_running = True
            summary.ready += 1
    if summary.reason == "Completed" and has_running:
        summary.reason = "Running" if is_true(status.conditions, "Ready") else "NotReady"


def _terminated_reason(state: ContainerState) -> str:
    terminated = state.terminated
    assert terminated is not None
    if terminated.reason:
        return terminated.reason
    return f"Signal:{terminated.signal}" if terminated.signal else f"ExitCode:{terminated.exitCode}"


def _readiness_gates(pod: Pod) -> str:
    gates = (pod.spec.readinessGates if pod.spec else None) or ()
    if not gates:
        return NONE
    status = pod.status or PodStatus()
    return f"{sum(is_true(status.conditions, gate.conditionType) for gate in gates)}/{len(gates)}"


def _pod_template_row(obj: PodTemplate, now: datetime) -> Row:
    template = obj.template
    names, images = containers_and_images(template)
    labels = template.metadata.labels if template is not None and template.metadata is not None else None
    return Row([name_of(obj), names, images, labels_text(labels)])


POD_PRINTERS: Mapping[str, Printer] = {
    "/pods": Printer(_POD_COLUMNS, _pod_row),
    "/podtemplates": Printer(
        (
            NAME,
            Column("Containers", description="Names of each container in the template."),
            Column("Images", description="Images referenced by each container in the template."),
            Column("Pod Labels", description="The labels for the pod template."),
        ),
        _pod_template_row,
    ),
}
