"""What one look at a Deployment decides: ReplicaSets to create, resize and delete, its revision and its status. Pure.

    being deleted          → only the status
    paused, or resized     → shares for all ReplicaSets (`scaling`)
    Recreate               → all old ones to zero; when their pods are gone, the new one to full size
    RollingUpdate          → the new one up as far as maxSurge lets it; else the old ones down as far as
                             maxUnavailable lets them; else superfluous history goes (`rolling`)

Each reconcile makes one step; the ReplicaSets' own changes bring about the next.

Kubernetes: syncDeployment in pkg/controller/deployment/deployment_controller.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from lightkube.models.apps_v1 import DeploymentStatus
from lightkube.resources.apps_v1 import Deployment, ReplicaSet
from lightkube.resources.core_v1 import Pod

from antei.api.objects import is_terminating, name_of, replace, uid_of
from antei.api.pods import is_terminal
from antei.control.deployment import history, rolling, scaling
from antei.control.deployment import status as statuses

__all__ = ["Action", "CreateReplicaSet", "DeleteReplicaSet", "Plan", "Snapshot", "UpdateReplicaSet", "plan"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    deployment: Deployment
    replica_sets: tuple[ReplicaSet, ...]
    pods: Mapping[str, tuple[Pod, ...]]  # by the uid of their ReplicaSet; only Recreate looks at them


@dataclass(frozen=True, slots=True)
class CreateReplicaSet:
    replica_set: ReplicaSet


@dataclass(frozen=True, slots=True)
class UpdateReplicaSet:
    """Replaces it; `old_size` is what it had before."""

    replica_set: ReplicaSet
    old_size: int


@dataclass(frozen=True, slots=True)
class DeleteReplicaSet:
    replica_set: ReplicaSet


Action = CreateReplicaSet | UpdateReplicaSet | DeleteReplicaSet


@dataclass(frozen=True, slots=True)
class Plan:
    actions: tuple[Action, ...]
    revision: int | None  # to be written to the Deployment's annotation, where it differs
    status: DeploymentStatus
    requeue_seconds: float | None = None


def plan(snapshot: Snapshot, now: datetime) -> Plan:
    return _Step(snapshot, now).decide()


class _Step:
    """The ReplicaSets as they will be, while one step is being decided."""

    def __init__(self, snapshot: Snapshot, now: datetime) -> None:
        self._deployment = snapshot.deployment
        self._pods = snapshot.pods
        self._now = now
        self._bounds = rolling.bounds_of(snapshot.deployment)
        self._original = {name_of(replica_set): replica_set for replica_set in snapshot.replica_sets}
        self._sets = dict(self._original)
        self._deleted: list[ReplicaSet] = []
        found = history.find_new(snapshot.deployment, snapshot.replica_sets)
        self._new_name = name_of(found) if found is not None else None
        self._status = statuses.status_of(snapshot.deployment)

    @property
    def _new(self) -> ReplicaSet | None:
        return self._sets[self._new_name] if self._new_name is not None else None

    @property
    def _old(self) -> list[ReplicaSet]:
        return [replica_set for name, replica_set in self._sets.items() if name != self._new_name]

    def decide(self) -> Plan:
        if is_terminating(self._deployment):
            self._sync_new()
            return self._counted()
        self._status = statuses.paused_status(self._deployment, self._status, self._now)
        active = [replica_set for replica_set in self._sets.values() if rolling.size_of(replica_set) > 0]
        if self._deployment.spec.paused or scaling.is_scaling(self._deployment, active):
            self._sync_new()
            self._resize(scaling.proportional_sizes(self._deployment, self._new, self._old))
            if self._deployment.spec.paused:
                self._clean_up()
            return self._counted()
        if rolling.is_rolling(self._deployment):
            return self._roll()
        return self._recreate()

    def _roll(self) -> Plan:
        self._sync_new()
        new = self._ensure_new(lambda total: rolling.new_size(self._bounds, 0, total))
        total = sum(rolling.size_of(replica_set) for replica_set in self._sets.values())
        size = rolling.new_size(self._bounds, rolling.size_of(new), total)
        if size != rolling.size_of(new):
            self._resize([rolling.Resize(new, size)])
            return self._rolled_out()
        smaller = rolling.scale_down_old(self._bounds, new, self._old)
        if smaller:
            self._resize(smaller)
        else:
            self._clean_up()
        return self._rolled_out()

    def _recreate(self) -> Plan:
        self._sync_new()
        to_stop = [rolling.Resize(old, 0) for old in self._old if rolling.size_of(old) > 0]
        if to_stop:
            self._resize(to_stop)
            return self._rolled_out()
        if self._old_pods_are_running():
            return self._rolled_out()
        new = self._ensure_new(lambda _: self._bounds.replicas)
        if rolling.size_of(new) != self._bounds.replicas:
            self._resize([rolling.Resize(new, self._bounds.replicas)])
        if statuses.is_complete(self._deployment, self._status):
            self._clean_up()
        return self._rolled_out()

    def _old_pods_are_running(self) -> bool:
        if any(old.status is not None and old.status.replicas > 0 for old in self._old):
            return True
        new_uid = uid_of(self._new) if self._new is not None else None
        return any(
            not is_terminal(pod) for owner_uid, pods in self._pods.items() if owner_uid != new_uid for pod in pods
        )

    def _sync_new(self) -> None:
        """Revision, annotations and minReadySeconds of the new ReplicaSet, where there is one already."""
        new = self._new
        if new is None or is_terminating(self._deployment):
            return
        synced = history.with_synced_annotations(self._deployment, new, history.max_revision(self._old) + 1)
        if (synced.spec.minReadySeconds or 0) != (self._deployment.spec.minReadySeconds or 0):
            synced = replace(synced, spec=replace(synced.spec, minReadySeconds=self._deployment.spec.minReadySeconds))
        self._sets[name_of(new)] = synced
        self._status = statuses.found_condition(self._deployment, self._status, synced, False, self._now)

    def _ensure_new(self, size_for: Callable[[int], int]) -> ReplicaSet:
        new = self._new
        if new is not None:
            return new
        total = sum(rolling.size_of(replica_set) for replica_set in self._sets.values())
        size = size_for(total)
        revision = history.max_revision(self._old) + 1
        created = history.new_replica_set(self._deployment, revision, size, self._bounds.max_total)
        self._new_name = name_of(created)
        self._sets[self._new_name] = created
        self._status = statuses.found_condition(self._deployment, self._status, created, True, self._now)
        return created

    def _resize(self, resizes: Sequence[rolling.Resize]) -> None:
        for resize in resizes:
            current = self._sets[name_of(resize.replica_set)]
            resized = replace(current, spec=replace(current.spec, replicas=resize.size))
            self._sets[name_of(current)] = history.with_replica_annotations(
                resized, self._bounds.replicas, self._bounds.max_total
            )

    def _clean_up(self) -> None:
        for replica_set in history.superfluous(self._deployment, self._old):
            self._deleted.append(replica_set)

    def _counted(self) -> Plan:
        """Progress is not judged, so there is no moment at which it would have to be again."""
        return self._plan(
            statuses.counted_status(self._deployment, self._status, self._new, list(self._sets.values()), self._now)
        )

    def _rolled_out(self) -> Plan:
        status = statuses.rollout_status(
            self._deployment, self._status, self._new, list(self._sets.values()), self._now
        )
        return self._plan(status, statuses.deadline_in(self._deployment, status, self._now))

    def _plan(self, status: DeploymentStatus, requeue_seconds: float | None = None) -> Plan:
        actions: list[Action] = []
        for name, replica_set in self._sets.items():
            original = self._original.get(name)
            if original is None:
                actions.insert(0, CreateReplicaSet(replica_set))
            elif replica_set != original:
                actions.append(UpdateReplicaSet(replica_set, rolling.size_of(original)))
        actions.extend(DeleteReplicaSet(replica_set) for replica_set in self._deleted)
        revision = history.revision_of(self._new) if self._new is not None else None
        if revision == history.revision_of(self._deployment):
            revision = None
        return Plan(tuple(actions), revision, status, requeue_seconds)
