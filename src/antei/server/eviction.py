"""`POST pods/NAME/eviction`: a deletion that disruption budgets may refuse.

    pod pending, ended or terminating ──────────────► deleted, no budget asked
    no budget selects it ───────────────────────────► evicted
    unready, and its budget lets unready pods go ───► evicted, if it has not changed meanwhile
    else: disruptionsAllowed > 0, decremented and the pod noted in disruptedPods by compare-and-swap ──► evicted

An evicted pod first gets the condition DisruptionTarget and then its graceful deletion.
Two evictions at once read the same budget, but only one of them writes it; the other reads again and finds it spent.

Kubernetes: pkg/registry/core/pod/storage/eviction.go.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

import msgspec
from lightkube.models.core_v1 import PodCondition, PodStatus
from lightkube.models.meta_v1 import Condition, DeleteOptions, Status, StatusCause
from lightkube.models.policy_v1 import Eviction, PodDisruptionBudgetStatus
from lightkube.resources.core_v1 import Pod
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api.budgets import budgets_of
from antei.api.conditions import with_condition
from antei.api.errors import ApiError, bad_request, forbidden, timeout, too_many_requests
from antei.api.objects import meta, replace, to_time
from antei.api.pods import is_ready
from antei.api.resources import Resource, resource_of
from antei.server import deletion
from antei.store import Store, Stored
from antei.world import World

__all__ = ["Evictions", "PodWriter", "spend", "unready_pod_may_go"]

#: Kubernetes: EvictionsRetry.
_TRIES = 20
_RETRY_SECONDS = 0.5
_RETRY_JITTER = 0.1
_MOST_DISRUPTED_PODS = 2000
_REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."


class PodWriter(Protocol):
    """What an eviction asks of the registry."""

    async def get(self, resource: Resource, namespace: str, name: str, subresource: str = "") -> Stored: ...

    async def modify(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: Callable[[Stored], Any],
        *,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Stored: ...

    async def delete_with(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        options: deletion.DeleteOptions,
        *,
        is_admitted: bool = False,
        dry_run: bool = False,
    ) -> deletion.Deletion: ...


def may_ignore_budgets(pod: Pod) -> bool:
    phase = pod.status.phase if pod.status else None
    return phase in ("Pending", "Succeeded", "Failed") or meta(pod).deletionTimestamp is not None


def is_settled(pod: Pod) -> bool:
    """Whether the pod cannot turn ready any more, so that no guard is needed while its budget is passed by."""
    phase = pod.status.phase if pod.status else None
    return phase in ("Succeeded", "Failed") or meta(pod).deletionTimestamp is not None


def unready_pod_may_go(budget: PodDisruptionBudget) -> bool:
    """Whether an unready pod is evicted without spending the budget (spec.unhealthyPodEvictionPolicy)."""
    if budget.spec is not None and budget.spec.unhealthyPodEvictionPolicy == "AlwaysAllow":
        return True
    status = budget.status or PodDisruptionBudgetStatus()
    desired = status.desiredHealthy or 0
    return desired > 0 and (status.currentHealthy or 0) >= desired


def spend(budget: PodDisruptionBudget, pod_name: str, now: datetime) -> PodDisruptionBudget:
    """The budget with one disruption less and the pod noted.

    Raises 429 when nothing is left or the status is older than the spec, 403 for a status that makes no sense.
    """
    name = meta(budget).name or ""
    status = budget.status or PodDisruptionBudgetStatus()
    if (status.observedGeneration or 0) < (meta(budget).generation or 0):
        raise _still_processed(name)
    allowed = status.disruptionsAllowed or 0
    if allowed < 0:
        raise forbidden("poddisruptionbudget", name, "pdb disruptions allowed is negative", "policy")
    if len(status.disruptedPods or {}) > _MOST_DISRUPTED_PODS:
        detail = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise forbidden("poddisruptionbudget", name, detail, "policy")
    if allowed == 0:
        raise too_many_requests(
            _REFUSED,
            causes=[
                StatusCause(
                    reason="DisruptionBudget",
                    message=f"The disruption budget {name} needs {status.desiredHealthy or 0} healthy pods "
                    f"and has {status.currentHealthy or 0} currently",
                )
            ],
        )
    conditions = status.conditions
    if allowed == 1:
        insufficient = Condition(
            type="DisruptionAllowed",
            status="False",
            reason="InsufficientPods",
            message="",
            lastTransitionTime=to_time(now),
            observedGeneration=status.observedGeneration,
        )
        conditions = with_condition(conditions, insufficient, now)
    return replace(
        budget,
        status=replace(
            status,
            disruptionsAllowed=allowed - 1,
            # An untyped mapping: its times are text, as they are in an object that was read back.
            disruptedPods={**(status.disruptedPods or {}), pod_name: msgspec.to_builtins(to_time(now))},
            conditions=conditions,
        ),
    )


def _still_processed(name: str) -> ApiError:
    return too_many_requests(
        _REFUSED,
        retry_after_seconds=10,
        causes=[
            StatusCause(
                reason="DisruptionBudget",
                message=f"The disruption budget {name} is still being processed by the server.",
            )
        ],
    )


def disrupted(pod: Pod, now: datetime) -> Pod:
    """The pod with the condition that tells why it goes."""
    status = pod.status or PodStatus()
    target = PodCondition(
        type="DisruptionTarget",
        status="True",
        reason="EvictionByEvictionAPI",
        message="Eviction API: evicting",
        lastTransitionTime=to_time(now),
        observedGeneration=meta(pod).generation,
    )
    return replace(pod, status=replace(status, conditions=with_condition(status.conditions, target, now)))


def delete_options(given: DeleteOptions | None) -> deletion.DeleteOptions:
    given = given or DeleteOptions()
    preconditions = given.preconditions
    return deletion.DeleteOptions(
        grace_period_seconds=given.gracePeriodSeconds,
        propagation_policy=given.propagationPolicy,
        orphan_dependents=given.orphanDependents,
        uid=preconditions.uid if preconditions else None,
        resource_version=preconditions.resourceVersion if preconditions else None,
    )


class Evictions:
    def __init__(self, store: Store, world: World, registry: PodWriter) -> None:
        self._store = store
        self._world = world
        self._registry = registry
        self._pods = resource_of(Pod)
        self._budgets = resource_of(PodDisruptionBudget)

    async def evict(self, namespace: str, name: str, eviction: Eviction, *, dry_run: bool = False) -> None:
        """Returns when the deletion has begun. Raises 400, 404, 409, 429, 500 for two budgets over one pod, 504."""
        if eviction.metadata is None or eviction.metadata.name != name:
            raise bad_request("name in URL does not match name in Eviction object")
        dry_run = dry_run or bool(eviction.deleteOptions and eviction.deleteOptions.dryRun)
        options = delete_options(eviction.deleteOptions)
        pod = await self._pod_under_budgets(namespace, name, options, dry_run)
        if pod is None:
            return
        budget = self._budget_of(pod)
        guarded = options
        if budget is not None:
            if not is_ready(pod.object) and unready_pod_may_go(budget):
                # It must not have turned ready since.
                guarded = dataclasses.replace(options, resource_version=str(pod.revision))
            else:
                await self._spend(budget, name, dry_run)
        try:
            await self._disrupt_and_delete(namespace, name, guarded, dry_run)
        except ApiError as error:
            if error.reason == "Conflict" and guarded is not options and options.resource_version is None:
                raise _still_processed(meta(budget).name or "" if budget is not None else "") from error
            raise

    async def _pod_under_budgets(
        self, namespace: str, name: str, options: deletion.DeleteOptions, dry_run: bool
    ) -> Stored | None:
        """The pod whose budgets must be asked; None when it needs no asking and is deleted already."""
        for attempt in range(_TRIES):
            pod = await self._registry.get(self._pods, namespace, name)
            if not may_ignore_budgets(pod.object):
                return pod
            guarded = options
            if options.resource_version is None and not is_settled(pod.object):
                guarded = dataclasses.replace(options, resource_version=str(pod.revision))
            try:
                await self._disrupt_and_delete(namespace, name, guarded, dry_run)
            except ApiError as error:
                last = attempt == _TRIES - 1 or options.resource_version is not None
                if error.reason != "Conflict" or last:
                    raise
                await self._back_off()
            else:
                return None
        raise AssertionError("the last try returns or raises")

    def _budget_of(self, pod: Stored) -> PodDisruptionBudget | None:
        snapshot = self._store.list(self._budgets.bucket, pod.key.namespace)
        found = budgets_of(pod.object, [stored.object for stored in snapshot.items])
        if len(found) > 1:
            raise ApiError(
                Status(
                    status="Failure",
                    code=500,
                    message="This pod has more than one PodDisruptionBudget, "
                    "which the eviction subresource does not support.",
                )
            )
        return found[0] if found else None

    async def _spend(self, budget: PodDisruptionBudget, pod_name: str, dry_run: bool) -> None:
        namespace, name = meta(budget).namespace or "", meta(budget).name or ""
        for _ in range(_TRIES):
            spent = spend(budget, pod_name, self._world.clock.now())
            if dry_run:
                return
            try:
                await self._registry.modify(self._budgets, namespace, name, _always(spent), subresource="status")
            except ApiError as error:
                if error.reason != "Conflict":
                    raise
            else:
                return
            await self._back_off()
            budget = (await self._registry.get(self._budgets, namespace, name)).object
        raise timeout(f'couldn\'t update PodDisruptionBudget "{name}" due to conflicts')

    async def _disrupt_and_delete(
        self, namespace: str, name: str, options: deletion.DeleteOptions, dry_run: bool
    ) -> None:
        if not dry_run:

            def with_reason(current: Stored) -> Pod:
                deletion.check_preconditions(self._pods, current, options)
                return disrupted(current.object, self._world.clock.now())

            changed = await self._registry.modify(self._pods, namespace, name, with_reason, subresource="status")
            if options.resource_version is not None:
                options = dataclasses.replace(options, resource_version=str(changed.revision))
        # Admission has been asked about the eviction; the deletion it leads to is not another request.
        await self._registry.delete_with(self._pods, namespace, name, options, is_admitted=True, dry_run=dry_run)

    async def _back_off(self) -> None:
        await asyncio.sleep(_RETRY_SECONDS * (1 + self._world.chance.uniform(0, _RETRY_JITTER)))


def _always(obj: Any) -> Callable[[Stored], Any]:
    return lambda _: obj
