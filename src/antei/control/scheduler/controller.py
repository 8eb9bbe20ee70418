"""The shell around the decisions: keeps the state current, binds, and says what did not fit.

One key stands for all pods, since the order among them is this controller's own. A pod that has been given a node
counts on it at once (`assume`), its bind goes on beside the next decision.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any

from lightkube.models.core_v1 import ObjectReference, PodCondition
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import ReplicaSet, StatefulSet
from lightkube.resources.core_v1 import (
    Binding,
    Namespace,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    ReplicationController,
    Service,
)
from lightkube.resources.policy_v1 import PodDisruptionBudget
from lightkube.resources.storage_v1 import StorageClass

from antei.api import conditions, pods
from antei.api.errors import ApiError
from antei.api.objects import (
    controller_of,
    is_terminating,
    labels_of,
    meta,
    name_of,
    namespace_of,
    to_time,
    uid_of,
)
from antei.api.selectors import Requirement, Selector, selector_of, selector_of_map
from antei.client import Client, PatchType
from antei.client.events import EventRecorder
from antei.client.informer import Informer, Informers
from antei.control.controller import Key, Requeue, WorkQueue
from antei.control.removal import remove
from antei.control.scheduler.decision import Chosen, Unschedulable, decide
from antei.control.scheduler.pending import PendingPods
from antei.control.scheduler.pod_facts import PodFacts, PodSet, facts_of
from antei.control.scheduler.preemption import PREEMPTED, Preemption, Sacrifice
from antei.control.scheduler.state import ClusterState
from antei.control.scheduler.volumes import SELECTED_NODE, VolumeLookup, claim_names, volumes_of
from antei.control.status_writer import patch_pod_condition
from antei.world import World
from antei.world.mistakes import report_mistake

__all__ = ["SchedulerController"]

_LOG = logging.getLogger(__name__)
DEFAULT_SCHEDULER = "default-scheduler"
_KEY: Key = ("", "pods")


class SchedulerController:
    name = DEFAULT_SCHEDULER

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder, world: World) -> None:
        self._client = client
        self._recorder = recorder
        self._world = world
        self._state = ClusterState()
        self._pending = PendingPods()
        self._start = 0
        self._queue: WorkQueue | None = None
        self._services: Informer[Service] = informers.of(Service)
        self._pods: Informer[Pod] = informers.of(Pod)
        self._budgets: Informer[PodDisruptionBudget] = informers.of(PodDisruptionBudget)
        self._owners: Mapping[str, Informer[Any]] = {
            "ReplicaSet": informers.of(ReplicaSet),
            "StatefulSet": informers.of(StatefulSet),
            "ReplicationController": informers.of(ReplicationController),
        }
        self._claims: Informer[PersistentVolumeClaim] = informers.of(PersistentVolumeClaim)
        self._volumes: Informer[PersistentVolume] = informers.of(PersistentVolume)
        self._classes: Informer[StorageClass] = informers.of(StorageClass)

    def setup(self, informers: Informers, queue: WorkQueue) -> None:
        self._queue = queue
        informers.of(Namespace).add_handler(self._namespace_changed)
        informers.of(Node).add_handler(self._node_changed)
        self._pods.add_handler(self._pod_changed)
        self._claims.add_handler(self._storage_changed)
        self._volumes.add_handler(self._storage_changed)
        self._classes.add_handler(self._storage_changed)

    # What changes.

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is None or pods.is_terminal(new):
            gone = new if new is not None else old
            if gone is None:
                return
            had_room = self._state.node_of(uid_of(gone)) or self._state.nominated_node(uid_of(gone))
            self._state.remove_pod(uid_of(gone))
            self._state.withdraw(uid_of(gone))
            self._pending.remove(uid_of(gone))
            if had_room:
                self._wake()
            return
        if old is not None and uid_of(old) != uid_of(new):
            self._pod_changed(old, None)
        if new.spec is not None and new.spec.nodeName:
            self._assigned(old, new)
        elif self._state.node_of(uid_of(new)) is None:  # else it has been assigned, and this state of it is older
            self._unassigned(old, new)

    def _assigned(self, old: Pod | None, pod: Pod) -> None:
        self._pending.remove(uid_of(pod))
        self._state.withdraw(uid_of(pod))
        node_name = (pod.spec.nodeName if pod.spec else None) or ""
        was_assumed = self._state.node_of(uid_of(pod)) == node_name
        self._state.set_pod(pod, node_name)
        if not was_assumed or (old is not None and labels_of(old) != labels_of(pod)):
            self._wake()

    def _unassigned(self, old: Pod | None, pod: Pod) -> None:
        if not _is_ours(pod):
            self._pending.remove(uid_of(pod))
            self._state.withdraw(uid_of(pod))
            return
        nominated = pod.status.nominatedNodeName if pod.status else None
        if nominated and uid_of(pod) not in self._pending:
            self._state.nominate(pod, nominated)  # by an earlier life of this scheduler, or by somebody else
        if uid_of(pod) in self._pending and not _looks_different(old, pod):
            self._pending.refresh(pod)
            return
        self._pending.add(pod, _now())
        self._enqueue()

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            if old is not None:
                self._state.remove_node(name_of(old))
            return
        if old is not None and _node_offer(old) == _node_offer(new):
            return
        self._state.set_node(new)
        self._wake()

    def _namespace_changed(self, old: Namespace | None, new: Namespace | None) -> None:
        if new is not None:
            self._state.set_namespace(new)
        elif old is not None:
            self._state.remove_namespace(name_of(old))

    def _storage_changed(self, _old: object, _new: object) -> None:
        self._wake(storage=True)

    def _wake(self, *, storage: bool = False) -> None:
        if len(self._pending):
            self._pending.wake(_now(), storage=storage)
            self._enqueue()

    def _enqueue(self) -> None:
        if self._queue is not None:
            self._queue.add(_KEY)

    # What is done about it.

    async def reconcile(self, key: Key) -> Requeue | None:
        async with asyncio.TaskGroup() as group:
            while (pod := self._pending.pop(_now())) is not None:
                try:
                    self._schedule(pod, group)
                except Exception as error:  # noqa: BLE001 - one pod that goes wrong must not hold up the others
                    self._pending.retry(uid_of(pod), _now())
                    report_mistake(f"scheduler: pod {namespace_of(pod)}/{name_of(pod)}; again later", error)
                await asyncio.sleep(0)  # many pods at once must not hold up everybody else
        due = self._pending.next_due()
        return Requeue(max(due - _now(), 0.001)) if due is not None else None

    def _schedule(self, pod: Pod, group: asyncio.TaskGroup) -> None:
        volumes = volumes_of(pod, self._lookup())
        if volumes.exclusive:
            others = self._state.others_in(namespace_of(pod), uid_of(pod))
            is_taken = any(not set(volumes.exclusive).isdisjoint(claim_names(other)) for other in others)
            volumes = replace(volumes, is_taken=is_taken)
        facts = facts_of(pod)
        sacrifice = Sacrifice(tuple(self._budgets.items()), self._newest)
        decision = decide(facts, self._state, volumes, self._siblings(pod), self._start, sacrifice)
        if not isinstance(decision, Chosen):
            self._pending.park(uid_of(pod), _now(), waits_for_storage=bool(volumes.problem))
            self._refuse(facts, decision, group)
            return
        self._start = (self._start + decision.examined) % len(self._state.nodes)
        if volumes.waiting:
            self._pending.park(uid_of(pod), _now(), waits_for_storage=True)
            for claim in volumes.waiting:
                group.create_task(self._or_retry(pod, self._select_node(claim, decision.node_name)))
            return
        self._state.set_pod(pod, decision.node_name)
        group.create_task(self._bind(pod, decision.node_name))

    def _refuse(self, facts: PodFacts, decision: Unschedulable, group: asyncio.TaskGroup) -> None:
        """Says why no node takes the pod, and has others go for it where that helps."""
        pod = facts.pod
        self._recorder.event(pod, "Warning", "FailedScheduling", decision.message)
        preemption = decision.preemption
        if preemption is not None:
            losers = self._state.nominated_below(facts, preemption.node_name)
            self._state.nominate(pod, preemption.node_name)
            for loser in losers:
                self._state.withdraw(uid_of(loser))
                group.create_task(self._or_retry(loser, self._forget_nomination(loser)))
            for victim in preemption.victims:
                group.create_task(self._or_retry(pod, self._evict(victim, pod, preemption)))
        elif decision.is_hopeless:
            self._state.withdraw(uid_of(pod))
        group.create_task(self._or_retry(pod, self._set_condition(pod, "Unschedulable", decision.message)))

    async def _evict(self, victim: Pod, preemptor: Pod, preemption: Preemption) -> None:
        """Has a pod go within its grace period; one that goes already is let go."""
        if is_terminating(victim):
            return
        scheduler = (preemptor.spec.schedulerName if preemptor.spec else None) or DEFAULT_SCHEDULER
        condition = PodCondition(
            type="DisruptionTarget",
            status="True",
            reason=PREEMPTED,
            message=f"{scheduler}: preempting to accommodate a higher priority pod",
            lastTransitionTime=to_time(self._world.clock.now()),
            observedGeneration=meta(victim).generation,
        )
        try:
            await patch_pod_condition(self._client, victim, condition)
            await remove(self._client, victim)
        except ApiError as error:
            if error.code != 404:
                raise
            return
        text = f"Preempted by pod {uid_of(preemptor)} on node {preemption.node_name}"
        self._recorder.event(victim, "Normal", "Preempted", text)

    async def _forget_nomination(self, pod: Pod) -> None:
        """Its node has been promised to a more important pod."""
        patch = {"metadata": {"uid": uid_of(pod)}, "status": {"nominatedNodeName": None}}
        try:
            await self._client.patch(
                Pod, name_of(pod), namespace_of(pod), patch, patch_type=PatchType.STRATEGIC, subresource="status"
            )
        except ApiError as error:
            if error.code not in (404, 409):
                raise

    def _newest(self, pod: Pod) -> Pod:
        found = self._pods.get(namespace_of(pod), name_of(pod))
        return found if found is not None and uid_of(found) == uid_of(pod) else pod

    async def _or_retry(self, pod: Pod, request: Coroutine[Any, Any, None]) -> None:
        """A request that fails is made again with the pod's next attempt; those of other pods go on."""
        try:
            await request
        except (ApiError, OSError) as error:
            _LOG.warning("scheduler: pod %s/%s: %s; again later", namespace_of(pod), name_of(pod), error)
            self._pending.retry(uid_of(pod), _now())

    async def _bind(self, pod: Pod, node_name: str) -> None:
        metadata = meta(pod)
        binding = Binding(
            apiVersion="v1",
            kind="Binding",
            metadata=ObjectMeta(name=metadata.name, namespace=metadata.namespace, uid=metadata.uid),
            target=ObjectReference(apiVersion="v1", kind="Node", name=node_name),
        )
        try:
            await self._client.post_subresource(Pod, name_of(pod), namespace_of(pod), "binding", binding)
        except (ApiError, OSError) as error:
            self._take_back(pod)
            if isinstance(error, ApiError) and error.code in (404, 409):
                return  # gone, or somebody else gave it a node: the informer tells which
            self._recorder.event(pod, "Warning", "FailedScheduling", f"binding rejected: {error}")
            await self._or_retry(pod, self._set_condition(pod, "SchedulerError", f"binding rejected: {error}"))
            return
        except BaseException:
            self._take_back(pod)
            raise
        self._pending.remove(uid_of(pod))
        where = f"{namespace_of(pod)}/{name_of(pod)} to {node_name}"
        self._recorder.event(pod, "Normal", "Scheduled", f"Successfully assigned {where}")

    def _take_back(self, pod: Pod) -> None:
        """The pod was not bound, as far as we know; where the informer was faster and shows a node, that stands."""
        if uid_of(pod) in self._pending:
            self._state.remove_pod(uid_of(pod))
            self._pending.retry(uid_of(pod), _now())

    async def _set_condition(self, pod: Pod, reason: str, message: str) -> None:
        known = conditions.find(pod.status.conditions if pod.status else None, "PodScheduled")
        nominated = self._state.nominated_node(uid_of(pod))
        is_said = known is not None and (known.status, known.reason, known.message) == ("False", reason, message)
        if is_said and nominated == (pod.status.nominatedNodeName if pod.status else None):
            return
        condition: dict[str, Any] = {
            "type": "PodScheduled",
            "status": "False",
            "reason": reason,
            "message": message,
            "observedGeneration": meta(pod).generation,
            "lastProbeTime": None,
        }
        if known is None or known.status != "False":
            condition["lastTransitionTime"] = to_time(self._world.clock.now())
        try:
            await patch_pod_condition(self._client, pod, condition, nominatedNodeName=nominated)
        except ApiError as error:
            if error.code not in (404, 409):
                raise

    async def _select_node(self, claim: PersistentVolumeClaim, node_name: str) -> None:
        """Asks for the claim's volume where the pod is going to be; the pod is tried again when the claim changes."""
        if (meta(claim).annotations or {}).get(SELECTED_NODE) == node_name:
            return
        patch = {"metadata": {"uid": uid_of(claim), "annotations": {SELECTED_NODE: node_name}}}
        try:
            await self._client.patch(PersistentVolumeClaim, name_of(claim), namespace_of(claim), patch)
        except ApiError as error:
            if error.code not in (404, 409):
                raise

    def _lookup(self) -> VolumeLookup:
        return VolumeLookup(
            claim=self._claims.get,
            volume=lambda name: self._volumes.get("", name),
            storage_class=lambda name: self._classes.get("", name),
        )

    def _siblings(self, pod: Pod) -> PodSet | None:
        """The pods to spread over nodes by default: those of the same Services and controller.

        (Kubernetes: pkg/scheduler/framework/plugins/helper/spread.go.)
        """
        requirements: list[Requirement] = []
        for service in self._services.items(namespace_of(pod)):
            selector = selector_of_map(service.spec.selector if service.spec else None)
            if selector.matches(labels_of(pod)):
                requirements.extend(selector.requirements)
        owner = controller_of(pod)
        informer = self._owners.get(owner.kind) if owner is not None else None
        if owner is not None and informer is not None:
            obj = informer.get(namespace_of(pod), owner.name)
            raw = obj.spec.selector if obj is not None and obj.spec is not None else None
            chosen = selector_of_map(raw) if isinstance(raw, dict) else selector_of(raw)
            requirements.extend(chosen.requirements)
        if not requirements:
            return None
        return PodSet((namespace_of(pod),), Selector(tuple(requirements)), with_terminating=False)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _is_ours(pod: Pod) -> bool:
    """Not another scheduler's, not going, and without scheduling gates, of which the API server tells."""
    spec = pod.spec
    if spec is None or spec.schedulingGates or is_terminating(pod):
        return False
    return (spec.schedulerName or DEFAULT_SCHEDULER) == DEFAULT_SCHEDULER


def _looks_different(old: Pod | None, new: Pod) -> bool:
    """Whether something changed that decides where a pod can go; its own status does not."""
    return (
        old is None
        or old.spec != new.spec
        or labels_of(old) != labels_of(new)
        or is_terminating(old) != is_terminating(new)
    )


def _node_offer(node: Node) -> tuple[object, ...]:
    """All of a node that the scheduler looks at; heartbeats are not of it."""
    spec, status = node.spec, node.status
    return (
        labels_of(node),
        spec and (spec.taints, spec.unschedulable),
        status and (status.allocatable, status.capacity),
    )
