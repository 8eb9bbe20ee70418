"""All rules on their ground: who tells them, and what must be true when all is quiet again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from lightkube.resources.apps_v1 import DaemonSet, Deployment, ReplicaSet, StatefulSet
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Node, Pod, Service
from lightkube.resources.discovery_v1 import EndpointSlice
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api.conditions import is_true
from antei.api.objects import controller_of, is_terminating, labels_of, meta, name_of, namespace_of, uid_of
from antei.api.pods import is_ready, is_terminal
from antei.api.resources import resource_of
from antei.api.rollout_status import RolloutState, rollout_status
from antei.api.selectors import selector_of_map
from antei.network.services import ServiceTable
from antei.runtime.simulated import Happening
from antei.simulate.invariants.base import Quiet
from antei.simulate.invariants.budgets import BudgetKept
from antei.simulate.invariants.containers import GraceKept, NothingLeft, OnceAtATime, RestartsBackOff
from antei.simulate.invariants.ground import Ground
from antei.simulate.invariants.identity import StableIdentity
from antei.simulate.invariants.plumbing import NoLostUpdate, OnlyReadyServed, QueuesBounded, WatchesComplete
from antei.simulate.invariants.population import Population
from antei.simulate.invariants.rollouts import NoMoreThanSurge, NoMoreUnavailable
from antei.store import Change

__all__ = ["LIVENESS", "RULES", "Watchman"]

RULES: tuple[type[Quiet], ...] = (
    BudgetKept,
    NoMoreUnavailable,
    NoMoreThanSurge,
    StableIdentity,
    OnlyReadyServed,
    OnceAtATime,
    NothingLeft,
    GraceKept,
    RestartsBackOff,
    NoLostUpdate,
    WatchesComplete,
    QueuesBounded,
)
#: What is broken when the cluster does not get to what is declared once it is left alone.
LIVENESS = "declared-state"
_SAMPLE_SECONDS = 1.0
_OWNERS: tuple[type[Any], ...] = (Deployment, StatefulSet, DaemonSet, ReplicaSet, Job)
#: Whose owners are gone must go, and who may own them.
_OWNED: tuple[type[Any], ...] = (ReplicaSet, Pod, EndpointSlice)
_MAKERS: tuple[type[Any], ...] = (*_OWNERS, Service)


class Watchman:
    """Looks on from when it is made."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.population = Population(ground)
        self.rules = [rule(ground, self.population) for rule in RULES]
        # Each write is told to those who look at writes, and so on: most of the cost of looking on is the calls.
        self._on_write = self._who_overrides("wrote")
        self._on_happening = self._who_overrides("happened")
        self._on_table = self._who_overrides("table_changed")
        self._on_update = self._who_overrides("updated")
        self._on_sample = self._who_overrides("sampled")
        ground.cluster.store.listen(self._wrote)
        ground.cluster.runtime.listen(self._happened)

    def _who_overrides(self, name: str) -> tuple[Callable[..., None], ...]:
        return tuple(
            getattr(rule, name) for rule in self.rules if getattr(type(rule), name) is not getattr(Quiet, name)
        )

    def start(self, group: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """When the cluster runs."""
        self.ground.cluster.on_table(self._table_changed)
        tasks = [group.create_task(self._sample(), name="invariants")]
        for rule in self.rules:
            if isinstance(rule, WatchesComplete):
                tasks += rule.start(group)
        return tasks

    def updated(self, sent: Any, written: Any) -> None:
        for told in self._on_update:
            told(sent, written)

    def _wrote(self, change: Change) -> None:
        self.ground.knowledge.wrote(change, self.ground.now)
        self.population.wrote(change)
        for told in self._on_write:
            told(change)

    def _happened(self, happening: Happening, pod_uid: str) -> None:
        for told in self._on_happening:
            told(happening, pod_uid)

    def _table_changed(self, table: ServiceTable) -> None:
        for told in self._on_table:
            told(table)

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(_SAMPLE_SECONDS)
            for told in self._on_sample:
                told()

    # --- liveness ---

    def unsettled(self) -> list[str]:
        """What is not as declared, a clause each; empty when all is."""
        return [
            *self._objects(),
            *self._numbers(),
            *self._orphans(),
            *self._pods(),
            *self._nodes(),
            *self._leftovers(),
            *self._endpoints(),
        ]

    def _all(self, kind: type[Any]) -> Sequence[Any]:
        return [stored.object for stored in self.ground.cluster.store.list(resource_of(kind).bucket).items]

    def _objects(self) -> list[str]:
        found = []
        for kind in _OWNERS:
            for owner in self._all(kind):
                status = rollout_status(owner)
                if status.state is not RolloutState.DONE:
                    found.append(f"{kind.__name__} {name_of(owner)}: {status.message}")
        for budget in self._all(PodDisruptionBudget):
            generation = meta(budget).generation
            if budget.status is None or budget.status.observedGeneration != generation:
                found.append(f"budget {name_of(budget)}: its status is of generation before {generation}")
            elif budget.status.currentHealthy != self.population.healthy[uid_of(budget)].now:
                found.append(f"budget {name_of(budget)}: currentHealthy is {budget.status.currentHealthy}")
        return found

    def _numbers(self) -> list[str]:
        """As many pods as were declared, whatever a status says; those of a Deployment all of its newest ReplicaSet."""
        found = []
        for kind in (Deployment, StatefulSet, DaemonSet):
            for owner in self._all(kind):
                wanted = len(self.ground.cluster.node_names) if kind is DaemonSet else owner.spec.replicas
                uids = self._newest_of(owner) if kind is Deployment else [uid_of(owner)]
                there = sum(life.is_active for uid in uids for life in self.population.of_owner(uid))
                if there != wanted:
                    found.append(f"{kind.__name__} {name_of(owner)} has {there} pods, {wanted} wanted")
        return found

    def _newest_of(self, deployment: Any) -> list[str]:
        """The uid of the ReplicaSet that has the Deployment's template."""
        return [
            uid_of(replica_set)
            for replica_set in self._all(ReplicaSet)
            if (owner := controller_of(replica_set)) is not None
            and owner.uid == uid_of(deployment)
            and _identity(replica_set.spec.template) == _identity(deployment.spec.template)
        ]

    def _orphans(self) -> list[str]:
        """What was made for an owner that is gone."""
        owners = {uid_of(owner) for kind in _MAKERS for owner in self._all(kind)}
        return [
            f"{kind.__name__} {name_of(obj)} is there still, and its owner {owner.kind} {owner.name} is gone"
            for kind in _OWNED
            for obj in self._all(kind)
            if (owner := controller_of(obj)) is not None and owner.uid not in owners
        ]

    def _pods(self) -> list[str]:
        found = []
        for pod in self._all(Pod):
            if is_terminating(pod):
                found.append(f"pod {name_of(pod)} is terminating")
            elif not is_terminal(pod) and not is_ready(pod):
                found.append(f"pod {name_of(pod)} is not ready")
        return found

    def _nodes(self) -> list[str]:
        found = []
        for node in self._all(Node):
            if not is_true(node.status.conditions if node.status else None, "Ready"):
                found.append(f"node {name_of(node)} is not ready")
            if node.spec is not None and node.spec.taints:
                found.append(f"node {name_of(node)} has taints: {', '.join(taint.key for taint in node.spec.taints)}")
        return found

    def _leftovers(self) -> list[str]:
        known = {uid_of(pod) for pod in self._all(Pod)}
        runtime = self.ground.cluster.runtime
        return [
            f"container {record.name} of pod {record.pod_uid}, which is gone, runs"
            for name in self.ground.cluster.node_names
            for uid in self.ground.cluster.machines[name].pod_uids
            if uid not in known
            for record in runtime.running_of(uid)
        ]

    def _endpoints(self) -> list[str]:
        """Each Service's table is its ready pods."""
        pods = [pod for pod in self._all(Pod) if not is_terminal(pod)]
        services = {(namespace_of(service), name_of(service)): service.spec for service in self._all(Service)}
        found = []
        for entry in self.ground.cluster.table.ports:
            spec = services.get((entry.namespace, entry.name))
            if spec is None or not spec.selector or spec.publishNotReadyAddresses:
                continue
            selector = selector_of_map(spec.selector)
            wanted = sorted(
                pod.status.podIP
                for pod in pods
                if namespace_of(pod) == entry.namespace and is_ready(pod) and selector.matches(labels_of(pod))
            )
            if sorted(endpoint.ip for endpoint in entry.endpoints) != wanted:
                found.append(
                    f"Service {entry.name} sends to {len(entry.endpoints)} addresses, {len(wanted)} pods are ready"
                )
        return found


def _identity(template: Any) -> tuple[Any, Any]:
    """What tells a revision from another: labels are given a hash, in a ReplicaSet."""
    return template.spec, template.metadata.annotations if template.metadata is not None else None
