"""Changes of specs, at any moment: what people and their pipelines do to workloads while faults go on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import DaemonSet, Deployment, StatefulSet
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api.errors import ApiError
from antei.api.objects import meta, name_of, namespace_of, replace
from antei.simulate.cluster import SimulatedCluster
from antei.simulate.fault_schedule import Fault, FaultKind, picked

__all__ = ["SpecChanges"]

_STRATEGIES: tuple[dict[str, Any], ...] = (
    {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
    {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "50%"}},
    {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 2}},
    {"type": "Recreate", "rollingUpdate": None},
)


class SpecChanges:
    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self._version = 1
        self._removed: dict[tuple[type[Any], str, str], Any] = {}
        self.acts: Mapping[FaultKind, Callable[[Fault], Awaitable[None]]] = {
            FaultKind.ROLLOUT: self._rollout,
            FaultKind.ROLL_BACK: self._roll_back,
            FaultKind.SCALE: self._scale,
            FaultKind.CHANGE_BUDGET: self._change_budget,
            FaultKind.CHANGE_STRATEGY: self._change_strategy,
            FaultKind.PAUSE_ROLLOUT: self._pause_rollout,
            FaultKind.REMOVE: self._remove,
        }

    def _workload(self, fault: Fault) -> Any:
        informers = self._cluster.informers
        owners: list[Any] = [
            owner for kind in (Deployment, StatefulSet, DaemonSet) for owner in informers.of(kind).items()
        ]
        if not owners:
            raise LookupError("no workload")
        return picked(sorted(owners, key=lambda owner: (type(owner).__name__, name_of(owner))), fault.pick)

    async def _patch(self, owner: Any, spec: dict[str, Any]) -> None:
        await self._cluster.client.patch(type(owner), name_of(owner), namespace_of(owner), {"spec": spec})

    async def _rollout(self, fault: Fault) -> None:
        """A new revision; every third with another grace period, too."""
        self._version += 1
        template: dict[str, Any] = {"metadata": {"annotations": {"version": str(self._version)}}}
        if fault.amount < 1 / 3:
            template["spec"] = {"terminationGracePeriodSeconds": picked((9, 15, 30), fault.amount * 3)}
        await self._patch(self._workload(fault), {"template": template})

    async def _roll_back(self, fault: Fault) -> None:
        """To one of the revisions before, which may have ReplicaSets still, with pods or without."""
        version = str(max(1, self._version - 1 - int(fault.amount * 3)))
        await self._patch(self._workload(fault), {"template": {"metadata": {"annotations": {"version": version}}}})

    async def _scale(self, fault: Fault) -> None:
        owner = self._workload(fault)
        if isinstance(owner, DaemonSet):
            raise LookupError("a DaemonSet has no scale")
        await self._patch(owner, {"replicas": int(fault.amount * 6)})

    async def _change_budget(self, fault: Fault) -> None:
        budgets = sorted(self._cluster.informers.of(PodDisruptionBudget).items(), key=name_of)
        if not budgets:
            raise LookupError("no budget")
        budget = picked(budgets, fault.pick)
        allowed = picked((1, "50%", 2), fault.amount)
        patch = {"spec": {"minAvailable": None, "maxUnavailable": allowed}}
        await self._cluster.client.patch(PodDisruptionBudget, name_of(budget), namespace_of(budget), patch)

    async def _change_strategy(self, fault: Fault) -> None:
        """Of a Deployment, and for how long its pods must be ready; of a StatefulSet, which pods stay as they are."""
        owner = self._workload(fault)
        if isinstance(owner, Deployment):
            await self._patch(
                owner,
                {"strategy": picked(_STRATEGIES, fault.amount), "minReadySeconds": int(fault.seconds) % 3 * 4},
            )
        elif isinstance(owner, StatefulSet):
            await self._patch(owner, {"updateStrategy": {"rollingUpdate": {"partition": int(fault.amount * 3)}}})
        else:
            raise LookupError("a DaemonSet keeps its strategy")

    async def _pause_rollout(self, fault: Fault) -> None:
        owner = self._workload(fault)
        if not isinstance(owner, Deployment):
            raise LookupError("only a Deployment can be paused")
        await self._patch(owner, {"paused": True})
        await asyncio.sleep(fault.seconds)
        await self._patch(owner, {"paused": None})

    async def _remove(self, fault: Fault) -> None:
        """Its pods go in the background, before it, or stay and are taken over; then it is applied again."""
        owner = self._workload(fault)
        client, kind, name, namespace = self._cluster.client, type(owner), name_of(owner), namespace_of(owner)
        if (kind, namespace, name) in self._removed:
            raise LookupError("it is about to be removed already")
        policy = picked(("Background", "Foreground", "Orphan"), fault.amount)
        await client.delete(kind, name, namespace, propagation_policy=policy)
        found = meta(owner)
        again = ObjectMeta(name=name, namespace=namespace, labels=found.labels, annotations=found.annotations)
        # Who paused it cannot go on with it: what is applied again is not paused.
        spec = replace(owner.spec, paused=None) if isinstance(owner, Deployment) else owner.spec
        self._removed[(kind, namespace, name)] = replace(owner, metadata=again, spec=spec, status=None)
        await asyncio.sleep(fault.seconds)
        await self._apply_again((kind, namespace, name))

    async def restore(self) -> None:
        """What was removed is there again, or will be as soon as its pods are gone."""
        for key in list(self._removed):
            await self._apply_again(key)

    async def _apply_again(self, key: tuple[type[Any], str, str]) -> None:
        while key in self._removed:
            try:
                await self._cluster.client.create(self._removed[key])
                self._removed.pop(key)
            except ApiError as error:
                if error.code != 409:
                    raise
                await asyncio.sleep(1.0)  # it is there still, until the last of its pods is gone
