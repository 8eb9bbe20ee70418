"""Performs what `plan` decides for each DaemonSet, and keeps its ControllerRevisions."""

from __future__ import annotations

import asyncio

from lightkube.resources.apps_v1 import ControllerRevision, DaemonSet
from lightkube.resources.core_v1 import Node, Pod

from antei.api.objects import key_of, labels_of, meta, name_of, namespace_of
from antei.api.selectors import selector_of
from antei.client import Client
from antei.client.events import EventRecorder
from antei.client.informer import Informers
from antei.control import revisions as history
from antei.control.adoption import candidates_of, claim, enqueue_matching, index_orphans
from antei.control.controller import Key, Requeue, WorkQueue, enqueue_key, enqueue_owner, index_by_controller
from antei.control.daemonset.placement import REVISION_LABEL, new_pod
from antei.control.daemonset.plan import Plan, Snapshot, daemon_set_status, plan
from antei.control.expectations import Expectations
from antei.control.pod_control import PodControl
from antei.control.pod_state import next_available_in, node_of, phase_of
from antei.control.status_writer import write_status
from antei.world import World

__all__ = ["DaemonSetController"]

# flowcontrol.NewBackOff(1*time.Second, 15*time.Minute): failed pods are killed ever more slowly.
_FIRST_BACKOFF_SECONDS = 1.0
_BACKOFF_CAP_SECONDS = 900.0


class DaemonSetController:
    name = "daemonset-controller"

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder, world: World) -> None:
        self._client = client
        self._recorder = recorder
        self._world = world
        self._sets = informers.of(DaemonSet)
        self._nodes = informers.of(Node)
        self._pods = informers.of(Pod)
        self._revisions = informers.of(ControllerRevision)
        self._expectations = Expectations()
        self._pod_control = PodControl(client, recorder, world, self._expectations)
        # set, then node -> (when the next failed pod may go, by the loop's clock; the backoff after that)
        self._failures: dict[Key, dict[str, tuple[float, float]]] = {}

    def setup(self, informers: Informers, queue: WorkQueue) -> None:
        self._expectations.follow(self._pods)
        index_by_controller(self._pods)
        index_orphans(self._pods)
        index_by_controller(self._revisions)
        index_orphans(self._revisions)
        self._sets.add_handler(enqueue_key(queue))
        self._pods.add_handler(enqueue_owner(queue, "DaemonSet"))
        self._pods.add_handler(enqueue_matching(queue, self._sets, lambda s: selector_of(s.spec.selector)))

        def node_changed(old: Node | None, new: Node | None) -> None:
            """Heartbeats change the status only, which decides nothing here."""
            if old is not None and new is not None and _offer(old) == _offer(new):
                return
            for daemon_set in self._sets.items():
                queue.add(key_of(daemon_set))

        self._nodes.add_handler(node_changed)

    async def reconcile(self, key: Key) -> Requeue | None:
        daemon_set = self._sets.get(*key)
        if daemon_set is None:
            self._expectations.forget(key)
            self._failures.pop(key, None)
            return None
        unseen_seconds = self._expectations.unmet_for_seconds(key)
        selector = selector_of(daemon_set.spec.selector)
        pods = await claim(self._client, Pod, daemon_set, selector, candidates_of(self._pods, daemon_set))
        known = await claim(
            self._client, ControllerRevision, daemon_set, selector, candidates_of(self._revisions, daemon_set)
        )
        revision, collisions = await self._sync_revision(daemon_set, known)
        now = self._world.clock.now()
        snapshot = Snapshot(
            daemon_set=daemon_set,
            nodes=tuple(self._nodes.items()),
            pods=tuple(pods),
            revision_hash=history.hash_label(revision),
            failed_wait_seconds=self._failed_waits(key),
            has_unseen_writes=unseen_seconds > 0,
        )
        decided = plan(snapshot, now)
        await self._perform(daemon_set, decided, snapshot.revision_hash)
        await write_status(self._client, daemon_set, daemon_set_status(snapshot, collisions, now))
        await self._truncate_history(daemon_set, known, revision, pods)
        waits = [decided.requeue_seconds, next_available_in(pods, daemon_set.spec.minReadySeconds or 0, now)]
        waits.append(unseen_seconds if unseen_seconds > 0 else None)
        known_waits = [seconds for seconds in waits if seconds is not None]
        return Requeue(min(known_waits)) if known_waits else None

    async def _sync_revision(
        self, daemon_set: DaemonSet, known: list[ControllerRevision]
    ) -> tuple[ControllerRevision, int | None]:
        collisions = daemon_set.status.collisionCount if daemon_set.status is not None else None
        return await history.settle(self._client, daemon_set, daemon_set.spec.template, known, collisions)

    async def _perform(self, daemon_set: DaemonSet, decided: Plan, revision_hash: str) -> None:
        for pod in decided.ended:
            self._tell_ended(daemon_set, pod)
            if phase_of(pod) == "Failed":
                self._count_failure(key_of(daemon_set), node_of(pod))
        base = f"{name_of(daemon_set)}-"
        pods = [
            new_pod(daemon_set, node_name, self._pod_control.new_name(base), revision_hash)
            for node_name in decided.create
        ]
        created = await self._pod_control.create_all(daemon_set, pods)
        deleted = await self._pod_control.delete_all(daemon_set, decided.delete)
        created.raise_first()
        deleted.raise_first()

    def _tell_ended(self, daemon_set: DaemonSet, pod: Pod) -> None:
        where = f"{namespace_of(pod)}/{name_of(pod)} on node {node_of(pod)}"
        if phase_of(pod) == "Failed":
            message = f"Found failed daemon pod {where}, will try to kill it"
            self._recorder.event(daemon_set, "Warning", "FailedDaemonPod", message)
        else:
            message = f"Found succeeded daemon pod {where}, will try to delete it"
            self._recorder.event(daemon_set, "Normal", "SucceededDaemonPod", message)

    def _failed_waits(self, key: Key) -> dict[str, float]:
        now = asyncio.get_running_loop().time()
        return {node: until - now for node, (until, _) in self._failures.get(key, {}).items() if until > now}

    def _count_failure(self, key: Key, node_name: str) -> None:
        now = asyncio.get_running_loop().time()
        until, backoff_seconds = self._failures.setdefault(key, {}).get(node_name, (now, _FIRST_BACKOFF_SECONDS))
        if now - until > 2 * _BACKOFF_CAP_SECONDS:
            backoff_seconds = _FIRST_BACKOFF_SECONDS
        following = min(backoff_seconds * 2, _BACKOFF_CAP_SECONDS)
        self._failures[key][node_name] = (now + backoff_seconds, following)

    async def _truncate_history(
        self, daemon_set: DaemonSet, known: list[ControllerRevision], current: ControllerRevision, pods: list[Pod]
    ) -> None:
        hashes = {labels_of(pod).get(REVISION_LABEL) for pod in pods}
        live = {name_of(revision) for revision in known if history.hash_label(revision) in hashes}
        live.add(name_of(current))
        await history.truncate(self._client, known, live, daemon_set.spec.revisionHistoryLimit)


def _offer(node: Node) -> tuple[object, ...]:
    spec = node.spec
    return labels_of(node), spec.taints if spec is not None else None, meta(node).deletionTimestamp
