"""From facts to PodStatus: pure. The one place that knows phases, conditions, reasons and messages.

Kubernetes: pkg/kubelet/kubelet_pods.go (getPhase, generateAPIPodStatus), pkg/kubelet/status/generate.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from lightkube.models.core_v1 import (
    Container,
    ContainerState,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    ContainerUser,
    HostIP,
    LinuxContainerUser,
    PodCondition,
    PodIP,
    PodSpec,
    PodStatus,
    ResourceRequirements,
    VolumeMount,
    VolumeMountStatus,
)
from lightkube.resources.core_v1 import Pod

from antei.api.conditions import find
from antei.api.objects import meta, to_time
from antei.api.pods import qos_class
from antei.node.resizing import ResizeFacts
from antei.node.restarts import Role, ephemeral_containers, roles, should_restart
from antei.runtime import ContainerRecord

__all__ = [
    "OWN_CONDITIONS",
    "ContainerFacts",
    "LatestRun",
    "PodFacts",
    "pod_status",
    "waiting",
    "waiting_to_be_created",
]

#: The conditions that are the node's; all others on a pod belong to somebody else and are left alone.
OWN_CONDITIONS = (
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    "PodResizePending",
    "PodResizeInProgress",
    "AllContainersRestarting",
)
#: Of all termination messages of a pod together (kubelet: MaxPodTerminationMessageLogLength).
_MESSAGES_BYTES = 12 * 1024
#: Why conditions of a pod that is over are False.
_OVER = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}


class LatestRun(msgspec.Struct, frozen=True):
    """What the latest run of a container was made of, whether or not it has ended; empty before the first."""

    container_id: str = ""  # `process://ab12…`
    image_id: str = ""
    stop_signal: str = ""
    user: ContainerUser | None = None

    @classmethod
    def of_record(cls, record: ContainerRecord, container_id: str) -> LatestRun:
        user = record.user
        linux = LinuxContainerUser(uid=user.uid, gid=user.gid, supplementalGroups=list(user.groups)) if user else None
        return cls(
            container_id=container_id,
            image_id=record.image_id,
            stop_signal=record.stop_signal,
            user=ContainerUser(linux=linux) if linux else None,
        )

    @classmethod
    def of_status(cls, status: ContainerStatus) -> LatestRun:
        return cls(status.containerID or "", status.imageID, status.stopSignal or "", status.user)


class ContainerFacts(msgspec.Struct, frozen=True):
    """One container as the node knows it.

    state: waiting before the first run and between runs, running once the postStart hook has ended, terminated.
    last_end: how the run before this state's ended. restart_count: the attempt of the latest run.
    has_started: startup probe (or, without one, running) said so. is_ready: the readiness verdict, or running.
    is_replaced: the run has another image than the container by now, so another one follows whatever the policy.
    resources: what the run has; allocated: what the container has been given, and will have.
    """

    name: str
    state: ContainerState
    image: str
    latest: LatestRun = LatestRun()
    restart_count: int = 0
    last_end: ContainerStateTerminated | None = None
    has_started: bool = False
    is_ready: bool = False
    is_replaced: bool = False
    resources: ResourceRequirements | None = None
    allocated: ResourceRequirements | None = None


class PodFacts(msgspec.Struct, frozen=True):
    """A pod as the node knows it. `is_over`: no container of it will ever run again.

    is_restarting: a container's rule has them all ended, to begin anew.
    failure: (reason, message) of a pod that the node itself has failed (DeadlineExceeded, OutOfcpu).
    """

    containers: Mapping[str, ContainerFacts]
    start_time: datetime | None = None
    pod_ip: str = ""
    host_ip: str = ""
    has_sandbox: bool = False
    is_over: bool = False
    is_restarting: bool = False
    failure: tuple[str, str] | None = None
    disruption: str = ""  # why the node itself ends the pod for the sake of others
    resize: ResizeFacts = msgspec.field(default_factory=ResizeFacts)
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)


def waiting(reason: str, message: str = "") -> ContainerState:
    return ContainerState(waiting=ContainerStateWaiting(reason=reason, message=message or None))


def waiting_to_be_created(role: Role, has_init_containers: bool) -> ContainerState:
    """What a container that never ran waits for."""
    is_behind_others = role is not Role.INIT and has_init_containers
    return waiting("PodInitializing" if is_behind_others else "ContainerCreating")


def pod_status(pod: Pod, facts: PodFacts, previous: PodStatus | None, now: datetime) -> PodStatus:
    """The status to publish. `previous` is the last one, whose transition times and terminal phase are kept."""
    spec = _spec(pod)
    statuses = _container_statuses(spec, facts)
    phase = _phase(spec, facts)
    if previous is not None and previous.phase in ("Succeeded", "Failed"):
        phase = previous.phase
    reason, message = facts.failure or (None, None)
    if reason is None and previous is not None and previous.phase == phase:
        reason, message = previous.reason, previous.message
    init_names = [c.name for c in spec.initContainers or ()]
    added_names = [c.name for c in spec.ephemeralContainers or ()]
    return PodStatus(
        phase=phase,
        reason=reason,
        message=message,
        conditions=_conditions(pod, facts, statuses, phase, previous, now),
        startTime=to_time(facts.start_time) if facts.start_time else None,
        podIP=facts.pod_ip or None,
        podIPs=[PodIP(ip=facts.pod_ip)] if facts.pod_ip else None,
        hostIP=facts.host_ip or None,
        hostIPs=[HostIP(ip=facts.host_ip)] if facts.host_ip else None,
        qosClass=qos_class(pod),
        observedGeneration=meta(pod).generation,
        containerStatuses=[statuses[c.name] for c in spec.containers if c.name in statuses] or None,
        initContainerStatuses=[statuses[name] for name in init_names if name in statuses] or None,
        ephemeralContainerStatuses=[statuses[name] for name in added_names if name in statuses] or None,
    )


def _spec(pod: Pod) -> PodSpec:
    if pod.spec is None:
        raise ValueError(f"pod {meta(pod).name} without a spec")
    return pod.spec


def _container_statuses(spec: PodSpec, facts: PodFacts) -> dict[str, ContainerStatus]:
    """By name. All of a pod's termination messages together come to 12 KiB at most: each has its share."""
    containers = [*(container for container, _ in roles(spec)), *ephemeral_containers(spec)]
    mounts = {container.name: container.volumeMounts or () for container in containers}
    limit_bytes = _MESSAGES_BYTES // max(1, len(containers))
    return {
        name: _container_status(container, mounts.get(name, ()), limit_bytes)
        for name, container in facts.containers.items()
    }


def _container_status(facts: ContainerFacts, mounts: Sequence[VolumeMount], limit_bytes: int) -> ContainerStatus:
    latest = facts.latest
    ended, last_end = (_shortened(end, limit_bytes) for end in (facts.state.terminated, facts.last_end))
    return ContainerStatus(
        name=facts.name,
        image=facts.image,
        imageID=latest.image_id,
        containerID=latest.container_id or None,
        restartCount=facts.restart_count,
        state=ContainerState(terminated=ended) if ended else facts.state,
        lastState=ContainerState(terminated=last_end) if last_end else ContainerState(),
        started=facts.has_started,
        ready=facts.is_ready,
        allocatedResources=(facts.allocated.requests if facts.allocated else None) or None,
        resources=facts.resources,
        stopSignal=latest.stop_signal or None,
        user=latest.user,
        volumeMounts=[_mount_status(mount) for mount in mounts] or None,
    )


def _mount_status(mount: VolumeMount) -> VolumeMountStatus:
    recursive = None
    if mount.readOnly:
        recursive = "Disabled" if (mount.recursiveReadOnly or "Disabled") == "Disabled" else "Enabled"
    return VolumeMountStatus(
        name=mount.name, mountPath=mount.mountPath, readOnly=mount.readOnly or None, recursiveReadOnly=recursive
    )


def _shortened(end: ContainerStateTerminated | None, limit_bytes: int) -> ContainerStateTerminated | None:
    message = (end.message or "").encode() if end is not None else b""
    if end is None or len(message) <= limit_bytes:
        return end
    return msgspec.structs.replace(end, message=message[:limit_bytes].decode(errors="ignore"))


def _phase(spec: PodSpec, facts: PodFacts) -> str:
    if facts.failure is not None:
        return "Failed"
    known = [(c, role, facts.containers.get(c.name)) for c, role in roles(spec)]
    init = [(c, fact) for c, role, fact in known if role is Role.INIT]
    main = [(c, fact) for c, role, fact in known if role is Role.MAIN]
    never_ran = any(_latest_end(fact) is None and not _is_running(fact) for _, fact in main)
    succeeded = not never_ran and all(
        end is not None and end.exitCode == 0 for end in (_latest_end(f) for _, f in main)
    )
    is_running = any(_is_running(fact) for _, _, fact in known)
    if facts.is_over:
        # A pod that ended before all of its containers ran has failed: they never will.
        return "Succeeded" if succeeded else "Failed"
    if not is_running and any(_has_failed_for_good(spec, c, fact) for c, fact in init):
        return "Failed"
    sidecars_pending = any(fact is None or not fact.has_started for _, role, fact in known if role is Role.SIDECAR)
    has_run = any(_latest_end(fact) is not None or _is_running(fact) for _, fact in main)
    if never_ran or any(_latest_end(fact) is None for _, fact in init) or (sidecars_pending and not has_run):
        return "Pending"
    if is_running or any(_will_restart(spec, c, fact) for c, fact in main):
        return "Running"
    return "Succeeded" if succeeded else "Failed"


def _has_failed_for_good(spec: PodSpec, container: Container, facts: ContainerFacts | None) -> bool:
    end = _latest_end(facts)
    if facts is None or facts.is_replaced:
        return False
    return end is not None and end.exitCode != 0 and not should_restart(spec, container, Role.INIT, end.exitCode)


def _will_restart(spec: PodSpec, container: Container, facts: ContainerFacts | None) -> bool:
    end = _latest_end(facts)
    if facts is None or end is None:
        return False
    return facts.is_replaced or should_restart(spec, container, Role.MAIN, end.exitCode)


def _is_running(facts: ContainerFacts | None) -> bool:
    return facts is not None and facts.state.running is not None


def _latest_end(facts: ContainerFacts | None) -> ContainerStateTerminated | None:
    """How the container ended, where it is not running: between runs that is the run before."""
    if facts is None or facts.state.running is not None:
        return None
    return facts.state.terminated or facts.last_end


def _conditions(
    pod: Pod,
    facts: PodFacts,
    statuses: Mapping[str, ContainerStatus],
    phase: str,
    previous: PodStatus | None,
    now: datetime,
) -> list[PodCondition]:
    """The node's own conditions; lastTransitionTime moves only where the status did."""
    spec = _spec(pod)
    others = [c for c in (pod.status.conditions if pod.status else None) or () if c.type not in OWN_CONDITIONS]
    containers_ready = _containers_ready(spec, statuses, phase)
    fresh = [
        PodCondition(type="PodReadyToStartContainers", status="True" if facts.has_sandbox else "False"),
        _initialized(spec, statuses, phase),
        _ready(spec, containers_ready, others),
        containers_ready,
        PodCondition(type="PodScheduled", status="True"),
        *_resizing(facts.resize),
        *_restarting(spec, facts, phase),
        *_disrupted(facts),
    ]
    known = [
        *((pod.status.conditions if pod.status else None) or ()),
        *((previous.conditions if previous else None) or ()),
    ]
    dated = []
    for condition in fresh:
        before = next((c for c in reversed(known) if c.type == condition.type), None)
        unchanged = before is not None and before.status == condition.status and before.lastTransitionTime is not None
        dated.append(
            msgspec.structs.replace(
                condition,
                lastTransitionTime=before.lastTransitionTime if before is not None and unchanged else to_time(now),
                observedGeneration=meta(pod).generation,
            )
        )
    return dated


def _resizing(resize: ResizeFacts) -> list[PodCondition]:
    found = []
    if resize.pending is not None:
        reason, message = resize.pending
        found.append(PodCondition(type="PodResizePending", status="True", reason=reason, message=message))
    if resize.is_in_progress:
        reason, message = ("Error", resize.error) if resize.error else ("", "")
        found.append(
            PodCondition(type="PodResizeInProgress", status="True", reason=reason or None, message=message or None)
        )
    return found


def _disrupted(facts: PodFacts) -> list[PodCondition]:
    if not facts.disruption:
        return []
    reason = "TerminationByKubelet"
    return [PodCondition(type="DisruptionTarget", status="True", reason=reason, message=facts.disruption)]


def _restarting(spec: PodSpec, facts: PodFacts, phase: str) -> list[PodCondition]:
    """Of pods with a container whose rule may have them all begin anew."""
    kind = "AllContainersRestarting"
    rules = [rule for container, _ in roles(spec) for rule in container.restartPolicyRules or ()]
    if not any(rule.action == "RestartAllContainers" for rule in rules):
        return []
    if phase in _OVER:
        return [PodCondition(type=kind, status="False", reason=_OVER[phase])]
    if not facts.is_restarting:
        return [PodCondition(type=kind, status="False")]
    message = "container exited with restart policy rule"
    return [PodCondition(type=kind, status="True", reason="RestartAllContainersStarted", message=message)]


def _initialized(spec: PodSpec, statuses: Mapping[str, ContainerStatus], phase: str) -> PodCondition:
    if phase == "Succeeded":
        return PodCondition(type="Initialized", status="True", reason="PodCompleted")
    main = [statuses.get(c.name) for c in spec.containers]
    if any(s is not None and (s.started or s.restartCount or (s.state and s.state.terminated)) for s in main):
        return PodCondition(type="Initialized", status="True")
    incomplete = []
    for container, role in roles(spec):
        status = statuses.get(container.name)
        if role is Role.SIDECAR and not (status and status.started):
            incomplete.append(container.name)
        if role is Role.INIT and not (status and status.ready):
            incomplete.append(container.name)
    if not incomplete:
        return PodCondition(type="Initialized", status="True")
    message = f"containers with incomplete status: [{' '.join(incomplete)}]"
    return PodCondition(type="Initialized", status="False", reason="ContainersNotInitialized", message=message)


def _containers_ready(spec: PodSpec, statuses: Mapping[str, ContainerStatus], phase: str) -> PodCondition:
    if phase in _OVER:
        return PodCondition(type="ContainersReady", status="False", reason=_OVER[phase])
    names = [c.name for c, role in roles(spec) if role is not Role.INIT]
    if not statuses:
        return PodCondition(type="ContainersReady", status="False", reason="UnknownContainerStatuses")
    unknown = [name for name in names if name not in statuses]
    unready = [name for name in names if name in statuses and not statuses[name].ready]
    messages = [
        f"containers with {what} status: [{' '.join(which)}]"
        for what, which in (("unknown", unknown), ("unready", unready))
        if which
    ]
    if not messages:
        return PodCondition(type="ContainersReady", status="True")
    return PodCondition(
        type="ContainersReady", status="False", reason="ContainersNotReady", message=", ".join(messages)
    )


def _ready(spec: PodSpec, containers_ready: PodCondition, others: Sequence[PodCondition]) -> PodCondition:
    if containers_ready.status != "True":
        return msgspec.structs.replace(containers_ready, type="Ready")
    messages = []
    for gate in spec.readinessGates or ():
        condition = find(others, gate.conditionType)
        if condition is None:
            messages.append(f'corresponding condition of pod readiness gate "{gate.conditionType}" does not exist.')
        elif condition.status != "True":
            what = f'the status of pod readiness gate "{gate.conditionType}" is not "True"'
            messages.append(f"{what}, but {condition.status}")
    if not messages:
        return PodCondition(type="Ready", status="True")
    return PodCondition(type="Ready", status="False", reason="ReadinessGatesNotReady", message=", ".join(messages))
