"""Disruption budgets: how many pods may be evicted now. The eviction API only reads what is written here.

    pods, their controllers' scales ──► count ──► status.disruptionsAllowed ──► eviction takes one, by compare-and-swap,
             ▲                                            ▲                     and notes the pod in disruptedPods
             └── pod gone or not ready any more ──────────┴── 2 minutes later, if it was not deleted after all

(Kubernetes: pkg/controller/disruption/disruption.go.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from lightkube.models.core_v1 import PodCondition
from lightkube.models.meta_v1 import OwnerReference
from lightkube.resources.apps_v1 import Deployment, ReplicaSet, StatefulSet
from lightkube.resources.core_v1 import Pod, ReplicationController
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api import conditions, pods
from antei.api.budgets import budgets_of
from antei.api.customresources import CustomObject
from antei.api.customresources.scaling import custom_scale
from antei.api.errors import ApiError
from antei.api.objects import (
    controller_of,
    is_terminating,
    key_of,
    labels_of,
    meta,
    name_of,
    namespace_of,
    replace,
    to_time,
    uid_of,
)
from antei.api.selectors import selector_of
from antei.client import Client
from antei.client.events import EventRecorder
from antei.client.informer import Informer, Informers
from antei.control.controller import Key, Requeue, WorkQueue, enqueue_key
from antei.control.custom_kinds import CustomKinds
from antei.control.disruption_arithmetic import DELETION_TIMEOUT, BudgetError, count, failed_status, status_of
from antei.world import World

__all__ = ["DisruptionController", "stale_for"]

#: A DisruptionTarget condition on a pod that was not deleted within this time was nothing.
STALE_TIMEOUT = DELETION_TIMEOUT
_POD_KEY = "pod "  # before a pod's namespace in a key: keys are budgets otherwise


class DisruptionController:
    """Keys are budgets; and pods with a DisruptionTarget condition, whose key begins with `pod `."""

    name = "disruption-controller"

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder, world: World) -> None:
        self._client = client
        self._recorder = recorder
        self._world = world
        self._custom = CustomKinds(informers)
        self._budgets: Informer[PodDisruptionBudget] = informers.of(PodDisruptionBudget)
        self._pods: Informer[Pod] = informers.of(Pod)
        self._deployments: Informer[Deployment] = informers.of(Deployment)
        self._scalable: Mapping[tuple[str, str], Informer[Any]] = {
            ("apps", "ReplicaSet"): informers.of(ReplicaSet),
            ("apps", "StatefulSet"): informers.of(StatefulSet),
            ("", "ReplicationController"): informers.of(ReplicationController),
        }
        self._told: set[tuple[str, str, str]] = set()

    def setup(self, informers: Informers, queue: WorkQueue) -> None:
        self._custom.setup()
        self._budgets.add_handler(enqueue_key(queue))
        self._budgets.add_handler(self._forget)

        def pod_changed(old: Pod | None, new: Pod | None) -> None:
            for pod in (old, new):
                found = budgets_of(pod, self._budgets.items(namespace_of(pod))) if pod is not None else []
                for budget in found:
                    queue.add(key_of(budget))
            if new is not None and len(found) > 1 and (old is None or labels_of(old) != labels_of(new)):
                which = f'Pod "{namespace_of(new)}"/"{name_of(new)}" matches multiple PodDisruptionBudgets.'
                text = f'{which}  Chose "{name_of(found[0])}" arbitrarily.'
                self._recorder.event(new, "Warning", "MultiplePodDisruptionBudgets", text)
            if new is not None and stale_for(new, self._world.clock.now()) is not None:
                queue.add((_POD_KEY + namespace_of(new), name_of(new)))

        def scale_changed(old: Any, new: Any) -> None:
            # Kubernetes waits for the next change of a pod; a budget of zero pods would wait for ever.
            if old is None or new is None or old.spec.replicas != new.spec.replicas:
                for budget in self._budgets.items(namespace_of(new if new is not None else old)):
                    queue.add(key_of(budget))

        self._pods.add_handler(pod_changed)
        for informer in (self._deployments, *self._scalable.values()):
            informer.add_handler(scale_changed)

    async def reconcile(self, key: Key) -> Requeue | None:
        if key[0].startswith(_POD_KEY):
            return await self._clear_stale((key[0].removeprefix(_POD_KEY), key[1]))
        budget = self._budgets.get(*key)
        if budget is None:
            return None
        now = self._world.clock.now()
        try:
            selected = self._selected(budget)
            scales, unmanaged = await self._scales(budget, selected)
            counted = count(budget, selected, scales, now)
        except BudgetError as error:
            text = f"Failed to calculate the number of expected pods: {error}"
            self._recorder.event(budget, "Warning", "CalculateExpectedPodCountFailed", text)
            await self._write(budget, failed_status(budget, str(error), now))
            return None
        self._tell(budget, selected, unmanaged, counted.not_deleted)
        await self._write(budget, status_of(budget, counted, now))
        if counted.recheck_at is not None:
            return Requeue((counted.recheck_at - now).total_seconds())
        return None

    async def _write(self, budget: PodDisruptionBudget, status: Any) -> None:
        """Compare-and-swap, and no other try: an eviction in between must not be overwritten."""
        if status != budget.status:
            await self._client.update(replace(budget, status=status), "status")

    def _forget(self, old: PodDisruptionBudget | None, new: PodDisruptionBudget | None) -> None:
        if new is None and old is not None:
            self._told = {told for told in self._told if told[0] != uid_of(old)}

    def _selected(self, budget: PodDisruptionBudget) -> tuple[Pod, ...]:
        try:
            selector = selector_of(budget.spec.selector if budget.spec else None)
        except ValueError as error:
            self._recorder.event(budget, "Warning", "NoPods", f"Failed to get pods: {error}")
            raise BudgetError(str(error)) from error
        candidates = self._pods.items(namespace_of(budget))
        return tuple(sorted((pod for pod in candidates if selector.matches(labels_of(pod))), key=name_of))

    async def _scales(self, budget: PodDisruptionBudget, selected: Iterable[Pod]) -> tuple[dict[str, int], list[str]]:
        """Wanted replicas by uid of each controller behind the pods, and the pods that have none.

        Raises BudgetError for a controller without a scale. Nothing is looked up for an integer minAvailable.
        """
        spec = budget.spec
        if spec is None or (spec.maxUnavailable is None and isinstance(spec.minAvailable, int)):
            return {}, []
        scales: dict[str, int] = {}
        seen: set[str] = set()
        unmanaged: list[str] = []
        for pod in selected:
            owner = controller_of(pod)
            if owner is None:
                unmanaged.append(name_of(pod))
                continue
            if owner.uid in seen:
                continue
            seen.add(owner.uid)
            found = self._scale_known(owner, namespace_of(pod)) or await self._scale_asked(owner, namespace_of(pod))
            if found is None:
                raise BudgetError(f'found no controllers for pod "{name_of(pod)}"')
            scales[found[0]] = found[1]
        return scales, unmanaged

    def _scale_known(self, owner: OwnerReference, namespace: str) -> tuple[str, int] | None:
        """(uid, replicas) of one of the kinds that Kubernetes knows; a Deployment stands for its ReplicaSet."""
        informer = self._scalable.get((owner.apiVersion.rpartition("/")[0], owner.kind))
        obj = informer.get(namespace, owner.name) if informer is not None else None
        if obj is None or uid_of(obj) != owner.uid:
            return None
        parent = controller_of(obj) if owner.kind == "ReplicaSet" else None
        if parent is not None and parent.kind == "Deployment":
            deployment = self._deployments.get(namespace, parent.name)
            if deployment is not None and uid_of(deployment) == parent.uid:
                return uid_of(deployment), _replicas(deployment)
        return owner.uid, _replicas(obj)

    async def _scale_asked(self, owner: OwnerReference, namespace: str) -> tuple[str, int] | None:
        """(uid, replicas) of any other kind that can be scaled. Raises BudgetError for one that cannot."""
        resource = self._custom.for_kind(owner.apiVersion, owner.kind)
        if resource is None:
            group = owner.apiVersion.rpartition("/")[0]
            raise BudgetError(f'no matches for kind "{owner.kind}" in group "{group}"')
        if "scale" not in resource.subresources:
            raise BudgetError(f"{resource.group_resource} does not implement the scale subresource")
        try:
            obj: Any = await self._client.get(resource.type, owner.name, namespace)
        except ApiError as error:
            if error.code == 404:
                return None
            raise
        return (uid_of(obj), _replicas(obj)) if uid_of(obj) == owner.uid else None

    def _tell(
        self, budget: PodDisruptionBudget, selected: tuple[Pod, ...], unmanaged: list[str], not_deleted: Iterable[Pod]
    ) -> None:
        if not selected:
            self._tell_once(budget, "Normal", "NoPods", "No matching pods found")
        if unmanaged:
            selector = str(selector_of(budget.spec.selector if budget.spec else None))
            text = (
                f"Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. "
                "As a result, the status of the PDB cannot be calculated correctly, which may result in undefined "
                'behavior. To account for these pods please set ".spec.minAvailable" '
                "field of the PDB to an integer value."
            )
            self._tell_once(budget, "Warning", "UnmanagedPods", text)
        for pod in not_deleted:
            text = f"Pod was expected by PDB {namespace_of(budget)}/{name_of(budget)} to be deleted but it wasn't"
            self._recorder.event(pod, "Warning", "NotDeleted", text)

    def _tell_once(self, budget: PodDisruptionBudget, event_type: str, reason: str, message: str) -> None:
        """Once for each state of the spec: the same again with every pod that changes helps nobody."""
        identity = (uid_of(budget), str(meta(budget).generation), reason)
        if identity not in self._told:
            self._told.add(identity)
            self._recorder.event(budget, event_type, reason, message)

    async def _clear_stale(self, key: Key) -> Requeue | None:
        pod = self._pods.get(*key)
        now = self._world.clock.now()
        left = stale_for(pod, now) if pod is not None else None
        if pod is None or left is None:
            return None
        if left > 0:
            return Requeue(left)
        status = pod.status
        cleared = PodCondition(type="DisruptionTarget", status="False", observedGeneration=meta(pod).generation)
        changed = conditions.with_condition(status.conditions if status else None, cleared, to_time(now))
        await self._client.update(replace(pod, status=replace(status, conditions=changed)), "status")
        return None


def stale_for(pod: Pod, now: datetime) -> float | None:
    """Seconds until the pod's DisruptionTarget condition is stale; None where it has none that could be."""
    if is_terminating(pod) or pods.is_terminal(pod):
        return None
    condition = conditions.find(pod.status.conditions if pod.status else None, "DisruptionTarget")
    if condition is None or condition.status != "True" or condition.reason == "TerminationByKubelet":
        return None
    since = condition.lastTransitionTime or now
    return max(0.0, (since + STALE_TIMEOUT - now).total_seconds())


def _replicas(obj: Any) -> int:
    if isinstance(obj, CustomObject):
        scale = custom_scale(obj)
        return (scale.spec.replicas if scale.spec else None) or 0
    replicas = obj.spec.replicas if obj.spec is not None else None
    return 1 if replicas is None else int(replicas)
