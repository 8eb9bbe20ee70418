"""Keeps the number of pods of each ReplicaSet and ReplicationController.

    pod or set changes ─► reconcile ─► claim pods ─► plan ─► create or delete ─► status
                                          │
                                          └─ own writes not seen yet: only the status

Both kinds are one machine, as in Kubernetes; the two classes at the end say in what they differ.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from lightkube.models.core_v1 import PodTemplateSpec
from lightkube.resources.apps_v1 import ReplicaSet
from lightkube.resources.core_v1 import Pod, ReplicationController

from antei.api.objects import Object, controller_of, is_terminating, meta, name_of, namespace_of, uid_of
from antei.api.selectors import Selector, selector_of, selector_of_map
from antei.client import Client
from antei.client.events import EventRecorder
from antei.client.informer import Informers
from antei.control.adoption import claim, enqueue_matching, index_orphans
from antei.control.controller import Key, Requeue, WorkQueue, enqueue_key, index_by_controller
from antei.control.expectations import Expectations
from antei.control.pod_control import PodControl, pod_from_template
from antei.control.pod_state import next_available_in
from antei.control.replicaset.census import Census, Group, PodState
from antei.control.replicaset.plan import (
    Failure,
    Groups,
    Snapshot,
    count_pods,
    plan,
    replica_set_status,
    replication_controller_status,
)
from antei.control.status_writer import write_status
from antei.world import World

__all__ = ["ReplicaSetController", "ReplicationControllerController"]


class _SetController:
    name: str
    kind: ClassVar[type[Any]]

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder, world: World) -> None:
        self._client = client
        self._world = world
        self._sets = informers.of(self.kind)
        self._pods = informers.of(Pod)
        self._expectations = Expectations()
        self._census = Census(self.kind.__name__)
        self._pod_control = PodControl(client, recorder, world, self._expectations)

    def setup(self, informers: Informers, queue: WorkQueue) -> None:
        self._expectations.follow(self._pods)
        index_by_controller(self._pods)
        index_by_controller(self._sets)
        index_orphans(self._pods)
        self._sets.add_handler(enqueue_key(queue))
        self._census.follow(self._pods, queue.add)
        self._pods.add_handler(enqueue_matching(queue, self._sets, self._selector))

    async def reconcile(self, key: Key) -> Requeue | None:
        owner = self._sets.get(*key)
        if owner is None:
            self._expectations.forget(key)
            return None
        unseen_seconds = self._expectations.unmet_for_seconds(key)
        selector = self._selector(owner)
        groups, terminating = await self._claimed(owner, selector)
        now = self._world.clock.now()
        spec = owner.spec
        replicas = 1 if spec.replicas is None else spec.replicas
        active = sum(len(pods) for pods in groups.values())
        snapshot = Snapshot(
            replicas=replicas,
            active=active,
            surplus_from=tuple(pod for pods in groups.values() for pod in pods) if active > replicas else (),
            related=tuple(self._related_pods(owner)) if active > replicas else (),
            is_deleting=is_terminating(owner),
            has_unseen_writes=unseen_seconds > 0,
        )
        counts = count_pods(groups, spec.template, spec.minReadySeconds or 0, now)
        result, failure = await self._perform(owner, plan(snapshot, now))
        await write_status(self._client, owner, self._status(owner, counts, terminating, failure, now))
        if result is not None:
            result.raise_first()
        if unseen_seconds > 0:
            return Requeue(unseen_seconds)
        ready = (pod for group, pods in groups.items() if group.state is PodState.READY for pod in pods)
        wait_seconds = next_available_in(ready, spec.minReadySeconds or 0, now)
        return Requeue(wait_seconds) if wait_seconds is not None else None

    async def _claimed(self, owner: Any, selector: Selector) -> tuple[Groups, int]:
        """Its active pods after adoptions and releases, in groups, and how many of its pods are terminating."""
        groups: dict[Group, tuple[Pod, ...]] = {}
        terminating = 0
        doubtful: list[Pod] = [
            pod for pod in self._pods.by_index("orphans", namespace_of(owner)) if Group.of(pod).is_active
        ]
        for group, pods in self._census.of(owner).items():
            if group.state is PodState.TERMINATING:
                terminating += len(pods)
            elif group.is_active and selector.matches(dict(group.labels)):
                groups[group] = tuple(pods.values())
            elif group.is_active:
                doubtful.extend(pods.values())
        if doubtful:
            for pod in await claim(self._client, Pod, owner, selector, doubtful):
                groups[Group.of(pod)] = (*groups.get(Group.of(pod), ()), pod)
        return groups, terminating

    async def _perform(self, owner: Any, decided: Any) -> tuple[Any, Failure | None]:
        reason = "FailedCreate" if decided.create else "FailedDelete"
        if decided.create:
            template = owner.spec.template or PodTemplateSpec()
            base = f"{name_of(owner)}-"
            pods = [
                pod_from_template(template, owner, self._pod_control.new_name(base), generate_name=base)
                for _ in range(decided.create)
            ]
            result = await self._pod_control.create_all(owner, pods)
        elif decided.delete:
            result = await self._pod_control.delete_all(owner, decided.delete)
        else:
            return None, None
        return result, Failure(reason, str(result.errors[0])) if result.errors else None

    def _related_pods(self, owner: Object) -> list[Pod]:
        """The pods of all sets that its own controller (a Deployment) controls; its own where it has none."""
        controller = controller_of(owner)
        siblings = self._sets.by_index("controller", controller.uid) if controller is not None else [owner]
        return [pod for sibling in siblings for pod in self._pods.by_index("controller", uid_of(sibling))]

    def _selector(self, owner: Any) -> Selector:
        raise NotImplementedError

    def _status(self, owner: Any, counts: Any, terminating: int, failure: Failure | None, now: datetime) -> Any:
        raise NotImplementedError


class ReplicaSetController(_SetController):
    name = "replicaset-controller"
    kind = ReplicaSet

    def _selector(self, owner: ReplicaSet) -> Selector:
        return selector_of(owner.spec.selector)

    def _status(self, owner: ReplicaSet, counts: Any, terminating: int, failure: Failure | None, now: datetime) -> Any:
        return replica_set_status(owner.status, counts, terminating, meta(owner).generation, failure, now)


class ReplicationControllerController(_SetController):
    name = "replication-controller"
    kind = ReplicationController

    def _selector(self, owner: ReplicationController) -> Selector:
        return selector_of_map(owner.spec.selector if owner.spec is not None else None)

    def _status(
        self, owner: ReplicationController, counts: Any, terminating: int, failure: Failure | None, now: datetime
    ) -> Any:
        return replication_controller_status(owner.status, counts, meta(owner).generation, failure, now)
