"""Nodes that are heard of and nodes that are not: conditions, taints, and pods that are not ready any more.

    heard of (Lease or status) ──50 s of silence──► conditions Unknown ──► taint unreachable ──► pods not ready,
                                                                                    └──► tainteviction deletes them
    agent says Ready=False ──► taint not-ready             agent says Ready=True ──► taints removed

Deadlines are exact rather than polled every 5 s. (Kubernetes: pkg/controller/nodelifecycle.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from lightkube.models.core_v1 import NodeCondition, NodeSpec, NodeStatus, PodCondition, Taint
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Node, Pod

from antei.api import conditions, pods
from antei.api.errors import ApiError
from antei.api.objects import meta, name_of, namespace_of, replace, to_time
from antei.client import Client
from antei.client.events import EventRecorder
from antei.client.informer import Informer, Informers
from antei.control.controller import Key, Requeue, WorkQueue, enqueue_key
from antei.control.status_writer import patch_pod_condition
from antei.world import World

__all__ = ["NodeLifecycleController", "Plan", "Snapshot", "index_pods_by_node", "plan"]

LEASE_NAMESPACE = "kube-node-lease"
#: --node-monitor-grace-period, 50 s since Kubernetes 1.32, and --node-startup-grace-period.
GRACE = timedelta(seconds=50)
STARTUP_GRACE = timedelta(seconds=60)

_NOT_READY = "node.kubernetes.io/not-ready"
_UNREACHABLE = "node.kubernetes.io/unreachable"
_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
#: Conditions that a silent node's agent no longer vouches for.
_VOUCHED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
#: (condition, status) → the key of the NoSchedule taint that goes with it.
_CONDITION_TAINTS = {
    ("Ready", "False"): _NOT_READY,
    ("Ready", "Unknown"): _UNREACHABLE,
    ("MemoryPressure", "True"): "node.kubernetes.io/memory-pressure",
    ("DiskPressure", "True"): "node.kubernetes.io/disk-pressure",
    ("PIDPressure", "True"): "node.kubernetes.io/pid-pressure",
    ("NetworkUnavailable", "True"): "node.kubernetes.io/network-unavailable",
}
_EXECUTING = {_NOT_READY, _UNREACHABLE}
_MANAGED = {*_CONDITION_TAINTS.values(), _UNSCHEDULABLE}


@dataclass(frozen=True, slots=True)
class Snapshot:
    node: Node
    heard_at: datetime  # when its Lease or its status last changed, or when it was first seen
    lease_seconds: int = 40  # for how long it says that it is there: who says it seldom is given longer


@dataclass(frozen=True, slots=True)
class Plan:
    conditions: tuple[NodeCondition, ...] | None  # to write; None for no change
    taints: tuple[Taint, ...] | None
    is_ready: bool
    check_after_seconds: float | None  # when silence would become news


def plan(snapshot: Snapshot, now: datetime) -> Plan:
    node = snapshot.node
    known = (node.status.conditions if node.status else None) or []
    ready = conditions.find(known, "Ready")
    grace = max(GRACE, timedelta(seconds=snapshot.lease_seconds * 1.25))
    deadline = snapshot.heard_at + (grace if ready is not None else max(grace, STARTUP_GRACE))
    current = _silent(known, now) if now >= deadline else list(known)
    ready = conditions.find(current, "Ready")
    is_decided = ready is not None and ready.status == "Unknown"
    taints = _taints(node.spec or NodeSpec(), current, now)
    return Plan(
        conditions=tuple(current) if current != list(known) else None,
        taints=taints,
        is_ready=ready is not None and ready.status == "True",
        check_after_seconds=None if is_decided else max(0.0, (deadline - now).total_seconds()),
    )


def _silent(known: Sequence[NodeCondition], now: datetime) -> list[NodeCondition]:
    result = list(known)
    for kind in _VOUCHED:
        condition = conditions.find(known, kind)
        if condition is None:
            new = NodeCondition(
                type=kind,
                status="Unknown",
                reason="NodeStatusNeverUpdated",
                message="Kubelet never posted node status.",
                lastTransitionTime=to_time(now),
            )
        elif condition.status != "Unknown":
            new = replace(
                condition,
                status="Unknown",
                reason="NodeStatusUnknown",
                message="Kubelet stopped posting node status.",
                lastTransitionTime=to_time(now),
            )
        else:
            continue
        result = conditions.with_condition(result, new)
    return result


def _taints(spec: NodeSpec, current: Sequence[NodeCondition], now: datetime) -> tuple[Taint, ...] | None:
    """The node's taints as its conditions want them, others' left alone; None for no change."""
    wanted: list[tuple[str, str]] = []
    for condition in current:
        key = _CONDITION_TAINTS.get((condition.type, condition.status))
        if key is not None:
            wanted.append((key, "NoSchedule"))
            if key in _EXECUTING:
                wanted.append((key, "NoExecute"))
    if spec.unschedulable:
        wanted.append((_UNSCHEDULABLE, "NoSchedule"))
    held = spec.taints or []
    kept = [taint for taint in held if taint.key not in _MANAGED or (taint.key, taint.effect) in wanted]
    have = {(taint.key, taint.effect) for taint in kept}
    added = [Taint(key=k, effect=e, timeAdded=to_time(now)) for k, e in wanted if (k, e) not in have]
    return (*kept, *added) if added or len(kept) != len(held) else None


def index_pods_by_node(informer: Informer[Pod]) -> None:
    """Makes `by_index("node", name)` give the pods that are assigned to it."""
    informer.add_index("node", _node_names)


def _node_names(pod: Pod) -> tuple[str, ...]:
    node_name = pod.spec.nodeName if pod.spec else None
    return (node_name,) if node_name else ()


class NodeLifecycleController:
    """Keys are nodes."""

    name = "node-lifecycle-controller"

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder, world: World) -> None:
        self._client = client
        self._recorder = recorder
        self._world = world
        self._nodes: Informer[Node] = informers.of(Node)
        self._leases: Informer[Lease] = informers.of(Lease)
        self._pods: Informer[Pod] = informers.of(Pod)
        # By the loop's clock: when the wall's is set, no node has been silent for it (Kubernetes: monotonic time).
        self._heard: dict[str, float] = {}

    def setup(self, informers: Informers, queue: WorkQueue) -> None:
        index_pods_by_node(self._pods)
        self._nodes.add_handler(self._node_seen)
        self._leases.add_handler(self._lease_seen)
        self._nodes.add_handler(enqueue_key(queue))

    def _node_seen(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            if old is not None:
                self._heard.pop(name_of(old), None)
        elif old is None or _is_heartbeat(old, new):
            self._heard[name_of(new)] = asyncio.get_running_loop().time()

    def _lease_seen(self, old: Lease | None, new: Lease | None) -> None:
        """Only noted: the timer that is set for the node finds out that it has been heard of since."""
        if new is None or namespace_of(new) != LEASE_NAMESPACE or name_of(new) not in self._heard:
            return
        before = old.spec.renewTime if old is not None and old.spec else None
        if new.spec is not None and new.spec.renewTime != before:
            self._heard[name_of(new)] = asyncio.get_running_loop().time()

    async def reconcile(self, key: Key) -> Requeue | None:
        node = self._nodes.get(*key)
        if node is None:
            return None
        now = self._world.clock.now()
        loop_time = asyncio.get_running_loop().time()
        silence = timedelta(seconds=loop_time - self._heard.get(key[1], loop_time))
        wanted = plan(Snapshot(node, now - silence, self._lease_seconds(key[1])), now)
        try:
            if wanted.conditions is not None:
                node = await self._report(node, wanted.conditions)
            if wanted.taints is not None:
                spec = replace(node.spec or NodeSpec(), taints=list(wanted.taints) or None)
                node = await self._client.update(replace(node, spec=spec))
            if not wanted.is_ready and _has_reported(node):
                await self._mark_pods_not_ready(node)
        except ApiError as error:
            if error.code != 404:
                raise
        return Requeue(wanted.check_after_seconds) if wanted.check_after_seconds is not None else None

    def _lease_seconds(self, name: str) -> int:
        lease = self._leases.get(LEASE_NAMESPACE, name)
        return (lease.spec.leaseDurationSeconds if lease is not None and lease.spec is not None else None) or 40

    async def _report(self, node: Node, current: tuple[NodeCondition, ...]) -> Node:
        status = replace(node.status or NodeStatus(), conditions=list(current))
        written = await self._client.update(replace(node, status=status), "status")
        text = f"Node {name_of(node)} status is now: NodeNotReady"
        self._recorder.event(node, "Normal", "NodeNotReady", text)
        return written

    async def _mark_pods_not_ready(self, node: Node) -> None:
        """Nobody vouches for them, so they leave their Services (Kubernetes: controller_utils.go, MarkPodsNotReady)."""
        for pod in self._pods.by_index("node", name_of(node)):
            if not pods.is_ready(pod) or pods.is_terminal(pod):
                continue
            ready = conditions.find(pod.status.conditions if pod.status else None, "Ready")
            condition = PodCondition(
                type="Ready",
                status="False",
                reason=ready.reason if ready is not None else None,
                lastTransitionTime=to_time(self._world.clock.now()),
                observedGeneration=meta(pod).generation,
            )
            try:
                await patch_pod_condition(self._client, pod, condition)
            except ApiError as error:
                if error.code not in (404, 409):
                    raise
            else:
                self._recorder.event(pod, "Warning", "NodeNotReady", "Node is not ready")


def _has_reported(node: Node) -> bool:
    return node.status is not None and conditions.find(node.status.conditions, "Ready") is not None


def _is_heartbeat(old: Node, new: Node) -> bool:
    """Whether the node's agent wrote the change: something is known that was not, or is known anew."""
    before = {(c.type, c.status, c.lastHeartbeatTime) for c in (old.status.conditions if old.status else None) or ()}
    after = (new.status.conditions if new.status else None) or ()
    return any(c.status != "Unknown" and (c.type, c.status, c.lastHeartbeatTime) not in before for c in after)
