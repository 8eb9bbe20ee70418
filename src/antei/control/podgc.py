"""Pods that nobody will ever end: those of nodes that are gone, and the oldest of very many that have ended.

(Kubernetes: pkg/controller/podgc/gc_controller.go. It looks every 20 s; here each pod has its own moment.)
"""

from __future__ import annotations

from datetime import datetime, timedelta

from lightkube.models.core_v1 import PodCondition, PodStatus
from lightkube.resources.core_v1 import Node, Pod

from antei.api import conditions, pods
from antei.api.errors import ApiError
from antei.api.objects import is_terminating, key_of, meta, name_of, namespace_of, replace, to_time
from antei.client import Client
from antei.client.events import EventRecorder
from antei.client.informer import Informer, Informers
from antei.control.controller import Key, Requeue, WorkQueue
from antei.control.nodelifecycle import index_pods_by_node
from antei.control.removal import remove
from antei.world import World

__all__ = ["PodGarbageCollector", "superfluous"]

#: How long a node has to be gone before its pods are: it may be on its way back.
QUARANTINE = timedelta(seconds=40)
#: --terminated-pod-gc-threshold.
TERMINATED_THRESHOLD = 12_500
_OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
_TERMINATED: Key = ("", "terminated")


def superfluous(terminated: list[Pod], threshold: int) -> list[Pod]:
    """The oldest of the pods that have ended, as many as there are beyond the threshold; evicted ones first."""
    ordered = sorted(terminated, key=_age)
    return ordered[: max(0, len(terminated) - threshold)]


def _age(pod: Pod) -> tuple[bool, str, str, str]:
    is_evicted = pod.status is not None and pod.status.reason == "Evicted"
    return (not is_evicted, str(meta(pod).creationTimestamp), namespace_of(pod), name_of(pod))


class PodGarbageCollector:
    """Keys are pods, and ("", "terminated") for all that have ended."""

    name = "pod-garbage-collector"

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder, world: World) -> None:
        self._client = client
        self._world = world
        self._nodes: Informer[Node] = informers.of(Node)
        self._pods: Informer[Pod] = informers.of(Pod)
        self._missing_since: dict[str, datetime] = {}

    def setup(self, informers: Informers, queue: WorkQueue) -> None:
        index_pods_by_node(self._pods)
        self._pods.add_index("terminated", _terminated_entries)

        def pod_changed(old: Pod | None, new: Pod | None) -> None:
            if new is None:
                return
            if old is None or old.spec != new.spec or is_terminating(old) != is_terminating(new):
                queue.add(key_of(new))
            if pods.is_terminal(new) and (old is None or not pods.is_terminal(old)):
                queue.add(_TERMINATED)

        def node_changed(old: Node | None, new: Node | None) -> None:
            name = name_of(new) if new is not None else name_of(old) if old is not None else ""
            if new is not None:
                self._missing_since.pop(name, None)
            if new is None or (_is_out_of_service(new) and (old is None or not _is_out_of_service(old))):
                for pod in self._pods.by_index("node", name):
                    queue.add(key_of(pod))

        self._nodes.add_handler(node_changed)
        self._pods.add_handler(pod_changed)

    async def reconcile(self, key: Key) -> Requeue | None:
        if key == _TERMINATED:
            for old in superfluous(self._pods.by_index("terminated", ""), TERMINATED_THRESHOLD):
                await remove(self._client, old, grace_period_seconds=0)
            return None
        pod = self._pods.get(*key)
        if pod is None:
            return None
        node_name = (pod.spec.nodeName if pod.spec else None) or ""
        if not node_name:
            if is_terminating(pod):
                await remove(self._client, pod, grace_period_seconds=0)
            return None
        node = self._nodes.get("", node_name)
        if node is None:
            return await self._orphan(pod, node_name)
        if is_terminating(pod) and _is_out_of_service(node):
            await self._fail(pod, "DeletionByPodGC", "PodGC: node is out of service")
            await remove(self._client, pod, grace_period_seconds=0)
        return None

    async def _orphan(self, pod: Pod, node_name: str) -> Requeue | None:
        now = self._world.clock.now()
        since = self._missing_since.setdefault(node_name, now)
        if now < since + QUARANTINE:
            return Requeue((since + QUARANTINE - now).total_seconds())
        try:
            await self._client.get(Node, node_name)
        except ApiError as error:
            if error.code != 404:
                raise
        else:
            return None  # it is there; the informer will say so
        await self._fail(pod, "DeletionByPodGC", "PodGC: node no longer exists")
        await remove(self._client, pod, grace_period_seconds=0)
        if len(self._pods.by_index("node", node_name)) <= 1:
            self._missing_since.pop(node_name, None)
        return None

    async def _fail(self, pod: Pod, reason: str, message: str) -> None:
        """Before it goes: its controller sees that it failed, and why (Kubernetes: markFailedAndDeletePod)."""
        if pods.is_terminal(pod):
            return
        status = pod.status or PodStatus()
        condition = PodCondition(
            type="DisruptionTarget",
            status="True",
            reason=reason,
            message=message,
            observedGeneration=meta(pod).generation,
        )
        now = to_time(self._world.clock.now())
        changed = conditions.with_condition(status.conditions, condition, now)
        try:
            await self._client.update(
                replace(pod, status=replace(status, phase="Failed", conditions=changed)), "status"
            )
        except ApiError as error:
            if error.code != 404:
                raise


def _terminated_entries(pod: Pod) -> tuple[str, ...]:
    return ("",) if pods.is_terminal(pod) else ()


def _is_out_of_service(node: Node) -> bool:
    """Whether a person has said that the node is down for good, and that it also is not ready."""
    taints = (node.spec.taints if node.spec else None) or ()
    is_ready = conditions.is_true(node.status.conditions if node.status else None, "Ready")
    return not is_ready and any(taint.key == _OUT_OF_SERVICE for taint in taints)
