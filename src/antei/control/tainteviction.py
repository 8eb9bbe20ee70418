"""NoExecute taints: pods that do not tolerate one go at once, those that do for some seconds go after them.

The time counts from the taint's own `timeAdded`, so that a restart does not begin it anew.
(Kubernetes: pkg/controller/tainteviction/taint_eviction.go.)
"""

from __future__ import annotations

from datetime import datetime, timedelta

from lightkube.models.core_v1 import PodCondition, Taint
from lightkube.resources.core_v1 import Node, Pod

from antei.api import pods
from antei.api.errors import ApiError
from antei.api.objects import is_terminating, key_of, meta, name_of, namespace_of, to_time
from antei.client import Client
from antei.client.events import EventRecorder
from antei.client.informer import Informer, Informers
from antei.control.controller import Key, Requeue, WorkQueue
from antei.control.node_match import tolerates
from antei.control.nodelifecycle import index_pods_by_node
from antei.control.removal import remove
from antei.control.status_writer import patch_pod_condition
from antei.world import World

__all__ = ["TaintEvictionController", "evict_at"]


def evict_at(pod: Pod, taints: list[Taint], now: datetime) -> datetime | None:
    """When the pod has to go because of these NoExecute taints; None for never."""
    tolerations = (pod.spec.tolerations if pod.spec else None) or []
    earliest: datetime | None = None
    for taint in taints:
        matching = next((toleration for toleration in tolerations if tolerates(toleration, taint)), None)
        if matching is None:
            return now
        if matching.tolerationSeconds is None:
            continue
        at = (taint.timeAdded or now) + timedelta(seconds=max(0, matching.tolerationSeconds))
        earliest = at if earliest is None or at < earliest else earliest
    return earliest


class TaintEvictionController:
    """Keys are pods."""

    name = "taint-eviction-controller"

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder, world: World) -> None:
        self._client = client
        self._recorder = recorder
        self._world = world
        self._nodes: Informer[Node] = informers.of(Node)
        self._pods: Informer[Pod] = informers.of(Pod)
        self._marked: set[Key] = set()  # pods with a deletion ahead

    def setup(self, informers: Informers, queue: WorkQueue) -> None:
        index_pods_by_node(self._pods)

        def pod_changed(old: Pod | None, new: Pod | None) -> None:
            if new is None:
                if old is not None:
                    self._marked.discard(key_of(old))
            elif new.spec is not None and new.spec.nodeName and (old is None or old.spec != new.spec):
                queue.add(key_of(new))

        def node_changed(old: Node | None, new: Node | None) -> None:
            if new is not None and _executing(old) != _executing(new):
                for pod in self._pods.by_index("node", name_of(new)):
                    queue.add(key_of(pod))

        self._nodes.add_handler(node_changed)
        self._pods.add_handler(pod_changed)

    async def reconcile(self, key: Key) -> Requeue | None:
        pod = self._pods.get(*key)
        if pod is None or is_terminating(pod) or pods.is_terminal(pod):
            self._marked.discard(key)
            return None
        node = self._nodes.get("", (pod.spec.nodeName if pod.spec else None) or "")
        now = self._world.clock.now()
        at = evict_at(pod, _executing(node), now)
        where = f"{namespace_of(pod)}/{name_of(pod)}"
        if at is None:
            if key in self._marked:
                self._marked.discard(key)
                self._recorder.event(pod, "Normal", "TaintManagerEviction", f"Cancelling deletion of Pod {where}")
            return None
        if at > now:
            self._marked.add(key)
            return Requeue((at - now).total_seconds())
        self._marked.discard(key)
        self._recorder.event(pod, "Normal", "TaintManagerEviction", f"Marking for deletion Pod {where}")
        await self._evict(pod, now)
        return None

    async def _evict(self, pod: Pod, now: datetime) -> None:
        condition = PodCondition(
            type="DisruptionTarget",
            status="True",
            reason="DeletionByTaintManager",
            message="Taint manager: deleting due to NoExecute taint",
            lastTransitionTime=to_time(now),
            observedGeneration=meta(pod).generation,
        )
        try:
            await patch_pod_condition(self._client, pod, condition)
            await remove(self._client, pod)
        except ApiError as error:
            if error.code != 404:
                raise


def _executing(node: Node | None) -> list[Taint]:
    taints = (node.spec.taints if node is not None and node.spec else None) or ()
    return [taint for taint in taints if taint.effect == "NoExecute"]
