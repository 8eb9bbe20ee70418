"""Performs what `plan` decides for each StatefulSet, and keeps its ControllerRevisions."""

from __future__ import annotations

from lightkube.models.apps_v1 import StatefulSetStatus
from lightkube.resources.apps_v1 import ControllerRevision, StatefulSet
from lightkube.resources.core_v1 import PersistentVolumeClaim, Pod

from antei.api.errors import ApiError
from antei.api.objects import is_terminating, key_of, name_of, namespace_of, uid_of
from antei.api.selectors import selector_of
from antei.client import Client
from antei.client.events import EventRecorder
from antei.client.informer import Informers
from antei.control import revisions as history
from antei.control.adoption import candidates_of, claim, enqueue_matching, index_orphans
from antei.control.controller import Key, Requeue, WorkQueue, enqueue_key, enqueue_owner, index_by_controller
from antei.control.expectations import Expectations
from antei.control.pod_state import next_available_in
from antei.control.removal import remove
from antei.control.statefulset import identity
from antei.control.statefulset.plan import (
    Action,
    CreateClaims,
    CreatePod,
    DeletePod,
    Revisions,
    Snapshot,
    UpdateClaim,
    UpdateLabels,
    plan,
)
from antei.control.statefulset.status import stateful_set_status
from antei.control.status_writer import write_status
from antei.world import World

__all__ = ["StatefulSetController"]


class StatefulSetController:
    name = "statefulset-controller"

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder, world: World) -> None:
        self._client = client
        self._recorder = recorder
        self._world = world
        self._sets = informers.of(StatefulSet)
        self._pods = informers.of(Pod)
        self._claims = informers.of(PersistentVolumeClaim)
        self._revisions = informers.of(ControllerRevision)
        self._expectations = Expectations()

    def setup(self, informers: Informers, queue: WorkQueue) -> None:
        self._expectations.follow(self._pods)
        index_by_controller(self._pods)
        index_orphans(self._pods)
        index_by_controller(self._revisions)
        index_orphans(self._revisions)
        self._sets.add_handler(enqueue_key(queue))
        self._pods.add_handler(enqueue_owner(queue, "StatefulSet"))
        self._pods.add_handler(enqueue_matching(queue, self._sets, lambda s: selector_of(s.spec.selector)))

        def claim_gone(old: PersistentVolumeClaim | None, new: PersistentVolumeClaim | None) -> None:
            """A pod may have been waiting for its predecessor's claim to go."""
            if old is None or new is not None:
                return
            for stateful_set in self._sets.items(namespace_of(old)):
                if stateful_set.spec.volumeClaimTemplates:
                    queue.add(key_of(stateful_set))

        self._claims.add_handler(claim_gone)

    async def reconcile(self, key: Key) -> Requeue | None:
        stateful_set = self._sets.get(*key)
        if stateful_set is None:
            self._expectations.forget(key)
            return None
        unseen_seconds = self._expectations.unmet_for_seconds(key)
        selector = selector_of(stateful_set.spec.selector)
        members = [p for p in candidates_of(self._pods, stateful_set) if identity.is_member(stateful_set, p)]
        pods = await claim(self._client, Pod, stateful_set, selector, members)
        known = await claim(
            self._client,
            ControllerRevision,
            stateful_set,
            selector,
            candidates_of(self._revisions, stateful_set),
        )
        if is_terminating(stateful_set):
            return None
        current, update, collisions = await self._sync_revisions(stateful_set, known)
        now = self._world.clock.now()
        if unseen_seconds <= 0:
            claims = {name_of(c): c for c in self._claims.items(namespace_of(stateful_set))}
            revisions = Revisions(
                name_of(current), history.template_of(current), name_of(update), history.template_of(update)
            )
            for action in plan(Snapshot(stateful_set, revisions, tuple(pods), claims), now):
                await self._act(stateful_set, action)
        status = stateful_set_status(stateful_set, pods, name_of(current), name_of(update), collisions, now)
        await write_status(self._client, stateful_set, status)
        await self._truncate_history(stateful_set, known, status, pods)
        if unseen_seconds > 0:
            return Requeue(unseen_seconds)
        wait_seconds = next_available_in(pods, stateful_set.spec.minReadySeconds or 0, now)
        return Requeue(wait_seconds) if wait_seconds is not None else None

    async def _sync_revisions(
        self, stateful_set: StatefulSet, known: list[ControllerRevision]
    ) -> tuple[ControllerRevision, ControllerRevision, int | None]:
        """(current, update, collision count)"""
        status = stateful_set.status if stateful_set.status is not None else StatefulSetStatus(replicas=0)
        update, collisions = await history.settle(
            self._client, stateful_set, stateful_set.spec.template, known, status.collisionCount
        )
        current = next((r for r in known if name_of(r) == status.currentRevision), update)
        return current, update, collisions

    async def _truncate_history(
        self,
        stateful_set: StatefulSet,
        known: list[ControllerRevision],
        status: StatefulSetStatus,
        pods: list[Pod],
    ) -> None:
        live = {status.currentRevision or "", status.updateRevision or ""}
        live |= {identity.revision_name_of(pod) for pod in pods}
        await history.truncate(self._client, known, live, stateful_set.spec.revisionHistoryLimit)

    async def _act(self, stateful_set: StatefulSet, action: Action) -> None:
        if isinstance(action, CreatePod):
            for claim_object in action.claims:
                await self._create_claim(stateful_set, name_of(action.pod), claim_object)
            await self._create_pod(stateful_set, action.pod)
        elif isinstance(action, DeletePod):
            await self._delete_pod(stateful_set, action.pod)
        elif isinstance(action, CreateClaims):
            for claim_object in action.claims:
                await self._create_claim(stateful_set, name_of(action.pod), claim_object)
        elif isinstance(action, UpdateClaim):
            try:
                await self._client.update(action.claim)
            except ApiError as error:
                if error.code != 404:
                    raise
        elif isinstance(action, UpdateLabels):
            patch = {"metadata": {"uid": uid_of(action.pod), "labels": dict(action.labels)}}
            await self._client.patch(Pod, name_of(action.pod), namespace_of(action.pod), patch)

    async def _create_pod(self, stateful_set: StatefulSet, pod: Pod) -> None:
        self._expectations.expect_creation(key_of(stateful_set), key_of(pod))
        what = f"create Pod {name_of(pod)} in StatefulSet {name_of(stateful_set)}"
        try:
            await self._client.create(pod)
        except BaseException as error:
            self._expectations.forget_creation(key_of(pod))
            if isinstance(error, ApiError | OSError) and getattr(error, "reason", "") != "AlreadyExists":
                self._recorder.event(stateful_set, "Warning", "FailedCreate", f"{what} failed error: {error}")
            raise
        self._recorder.event(stateful_set, "Normal", "SuccessfulCreate", f"{what} successful")

    async def _delete_pod(self, stateful_set: StatefulSet, pod: Pod) -> None:
        self._expectations.expect_deletion(key_of(stateful_set), uid_of(pod))
        what = f"delete Pod {name_of(pod)} in StatefulSet {name_of(stateful_set)}"
        try:
            if not await remove(self._client, pod):
                self._expectations.forget_deletion(uid_of(pod))
                return
        except BaseException as error:
            self._expectations.forget_deletion(uid_of(pod))
            if isinstance(error, ApiError | OSError):
                self._recorder.event(stateful_set, "Warning", "FailedDelete", f"{what} failed error: {error}")
            raise
        self._recorder.event(stateful_set, "Normal", "SuccessfulDelete", f"{what} successful")

    async def _create_claim(
        self, stateful_set: StatefulSet, pod_name: str, claim_object: PersistentVolumeClaim
    ) -> None:
        what = f"create Claim {name_of(claim_object)} Pod {pod_name} in StatefulSet {name_of(stateful_set)}"
        try:
            await self._client.create(claim_object)
        except ApiError as error:
            if error.reason == "AlreadyExists":
                return
            self._recorder.event(stateful_set, "Warning", "FailedCreate", f"{what} failed error: {error}")
            raise
        self._recorder.event(stateful_set, "Normal", "SuccessfulCreate", f"{what} success")
