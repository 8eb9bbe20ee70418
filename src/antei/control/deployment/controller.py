"""Performs what `plan` decides for each Deployment."""

from __future__ import annotations

from lightkube.resources.apps_v1 import Deployment, ReplicaSet
from lightkube.resources.core_v1 import Pod

from antei.api.errors import ApiError
from antei.api.objects import Object, controller_of, name_of, namespace_of, replace, uid_of
from antei.api.pods import is_terminal
from antei.api.selectors import selector_of
from antei.client import Client
from antei.client.events import EventRecorder
from antei.client.informer import Informers
from antei.control.adoption import candidates_of, claim, enqueue_matching, index_orphans
from antei.control.controller import Key, Requeue, WorkQueue, enqueue_key, enqueue_owner, index_by_controller
from antei.control.deployment import history, rolling
from antei.control.deployment import status as statuses
from antei.control.deployment.plan import Action, CreateReplicaSet, Plan, Snapshot, UpdateReplicaSet, plan
from antei.control.pod_control import is_namespace_terminating
from antei.control.removal import remove
from antei.control.status_writer import write_status
from antei.world import World

__all__ = ["DeploymentController"]


class DeploymentController:
    name = "deployment-controller"

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder, world: World) -> None:
        self._client = client
        self._recorder = recorder
        self._world = world
        self._deployments = informers.of(Deployment)
        self._replica_sets = informers.of(ReplicaSet)
        self._pods = informers.of(Pod)

    def setup(self, informers: Informers, queue: WorkQueue) -> None:
        index_by_controller(self._replica_sets)
        index_orphans(self._replica_sets)
        index_by_controller(self._pods)
        self._deployments.add_handler(enqueue_key(queue))
        self._replica_sets.add_handler(enqueue_owner(queue, "Deployment"))
        self._replica_sets.add_handler(
            enqueue_matching(queue, self._deployments, lambda deployment: selector_of(deployment.spec.selector))
        )

        def pod_ended(old: Pod | None, new: Pod | None) -> None:
            """Recreate waits for the last old pod to end."""
            if old is None or (new is not None and not is_terminal(new)):
                return
            deployment = self._deployment_of(old)
            if deployment is not None and not rolling.is_rolling(deployment):
                queue.add((namespace_of(deployment), name_of(deployment)))

        self._pods.add_handler(pod_ended)

    async def reconcile(self, key: Key) -> Requeue | None:
        deployment = self._deployments.get(*key)
        if deployment is None:
            return None
        if selector_of(deployment.spec.selector).is_empty:
            message = "This deployment is selecting all pods. A non-empty selector is required."
            self._recorder.event(deployment, "Warning", "SelectingAll", message)
            return None
        replica_sets = await claim(
            self._client,
            ReplicaSet,
            deployment,
            selector_of(deployment.spec.selector),
            candidates_of(self._replica_sets, deployment),
        )
        pods = {uid_of(rs): tuple(self._pods.by_index("controller", uid_of(rs))) for rs in replica_sets}
        decided = plan(Snapshot(deployment, tuple(replica_sets), pods), self._world.clock.now())
        await self._perform(deployment, decided)
        return Requeue(decided.requeue_seconds) if decided.requeue_seconds is not None else None

    async def _perform(self, deployment: Deployment, decided: Plan) -> None:
        for action in decided.actions:
            await self._act(deployment, action)
        current = deployment
        if decided.revision is not None:
            annotations = {history.REVISION: str(decided.revision)}
            current = await self._client.patch(
                Deployment,
                name_of(deployment),
                namespace_of(deployment),
                {"metadata": {"uid": uid_of(deployment), "annotations": annotations}},
            )
        await write_status(self._client, current, decided.status)

    async def _act(self, deployment: Deployment, action: Action) -> None:
        replica_set = action.replica_set
        size = rolling.size_of(replica_set)
        if isinstance(action, CreateReplicaSet):
            if await self._create(deployment, replica_set) and size > 0:
                self._tell_scaled(deployment, replica_set, 0, size)
        elif isinstance(action, UpdateReplicaSet):
            await self._client.update(replica_set)
            if size != action.old_size:
                self._tell_scaled(deployment, replica_set, action.old_size, size)
        else:
            await remove(self._client, replica_set, propagation_policy="Background")

    def _tell_scaled(self, deployment: Deployment, replica_set: ReplicaSet, old: int, new: int) -> None:
        direction = "up" if new > old else "down"
        message = f"Scaled {direction} replica set {name_of(replica_set)} from {old} to {new}"
        self._recorder.event(deployment, "Normal", "ScalingReplicaSet", message)

    async def _create(self, deployment: Deployment, replica_set: ReplicaSet) -> bool:
        """False when it is there already, made by an earlier reconcile that the informer has not shown yet.

        A ReplicaSet of the same name but another template is a collision of hashes: the next try hashes with a
        higher collisionCount.
        """
        try:
            await self._client.create(replica_set)
        except ApiError as error:
            if error.reason == "AlreadyExists":
                standing = await self._client.get(ReplicaSet, name_of(replica_set), namespace_of(replica_set))
                owner = controller_of(standing)
                is_ours = owner is not None and owner.uid == uid_of(deployment)
                if is_ours and history.same_template(standing.spec.template, deployment.spec.template):
                    return False
                await self._count_collision(deployment)
            elif not is_namespace_terminating(error):
                await self._tell_not_created(deployment, replica_set, error)
            raise
        return True

    async def _count_collision(self, deployment: Deployment) -> None:
        status = statuses.status_of(deployment)
        await write_status(self._client, deployment, replace(status, collisionCount=(status.collisionCount or 0) + 1))

    async def _tell_not_created(self, deployment: Deployment, replica_set: ReplicaSet, error: ApiError) -> None:
        message = f'Failed to create new replica set "{name_of(replica_set)}": {error}'
        self._recorder.event(deployment, "Warning", "ReplicaSetCreateError", message)
        if statuses.has_deadline(deployment):
            condition = statuses.new_condition(
                "Progressing", "False", "ReplicaSetCreateError", message, self._world.clock.now()
            )
            old = statuses.status_of(deployment)
            await write_status(self._client, deployment, statuses.with_condition(old, condition))

    def _deployment_of(self, pod: Object) -> Deployment | None:
        owner = controller_of(pod)
        if owner is None or owner.kind != "ReplicaSet":
            return None
        replica_set = self._replica_sets.get(namespace_of(pod), owner.name)
        owner = controller_of(replica_set) if replica_set is not None else None
        if owner is None or owner.kind != "Deployment":
            return None
        return self._deployments.get(namespace_of(pod), owner.name)
