"""ResourceQuota: what is created or grows is charged to every quota of its namespace before it is stored.

    request ──► fits all quotas? ──► status.used raised by compare-and-swap ──► stored ──► settled
                     └─► 403 exceeded quota            again, if another was faster  └─► not stored: given back

What is charged and not yet stored is remembered, so that a recount by the controller, which cannot see it yet, never
gives room away twice: a status that says less than what there is, and what is on its way, is corrected as it is
written. Kubernetes: apiserver/pkg/admission/plugin/resourcequota/controller.go.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from lightkube.models.core_v1 import ResourceQuotaStatus
from lightkube.resources.core_v1 import ResourceQuota

from antei.api.conversion import stored_resource
from antei.api.objects import meta, replace
from antei.api.quota import (
    Amounts,
    amounts_of,
    is_in_scope,
    less,
    mask,
    minus,
    missing_requirements,
    plus,
    shown,
    texts_of,
    tracked,
    usage_of,
)
from antei.api.resources import Resource
from antei.server.admission.request import Operation, Plugin, Request
from antei.store import Conflict, Key, Missing, Store, Stored
from antei.world import Clock

__all__ = ["Charge", "QuotaStatus", "ResourceQuotaAdmission"]

_QUOTAS = "/resourcequotas"
#: Kinds whose updates may grow; of all others only the creation counts.
_GROWING = frozenset({"/persistentvolumeclaims", "/services"})


@dataclass(slots=True, eq=False)
class Charge:
    """What one request was charged: by quota the amounts, and the object that is to be stored for it."""

    object_key: Key
    amounts: dict[Key, Amounts] = field(default_factory=dict)


class ResourceQuotaAdmission:
    def __init__(self, store: Store, clock: Clock, resources: Callable[[], Sequence[Resource]]) -> None:
        self._store = store
        self._clock = clock
        self._resources = resources
        # One after the other in a namespace: they would only get in each other's way.
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._in_flight: dict[Charge, None] = {}

    def concerns(self, request: Request) -> bool:
        is_resize = request.subresource == "resize"
        if not request.namespace or (request.subresource and not is_resize):
            return False
        if request.operation is Operation.UPDATE:
            return (is_resize or request.resource.bucket in _GROWING) and bool(self._quotas(request.namespace))
        return request.operation is Operation.CREATE and bool(self._quotas(request.namespace))

    def _quotas(self, namespace: str) -> tuple[Stored, ...]:
        return self._store.list(_QUOTAS, namespace).items

    async def charge(self, request: Request) -> Charge | None:
        """To be settled when the object has been stored, or not. Raises 403 where a quota would be exceeded."""
        lock = self._locks.setdefault(request.namespace, asyncio.Lock())
        charge = Charge(Key(request.resource.bucket, request.namespace, request.name))
        async with lock:
            try:
                await self._charge(request, charge)
            except BaseException:  # refused by the second quota, or the caller has gone
                await self.settle(charge, is_stored=False)
                raise
        return charge if charge.amounts else None

    async def _charge(self, request: Request, charge: Charge) -> None:
        while True:
            wanted = self._wanted(request, charge.amounts)
            if not wanted or request.dry_run:
                return
            self._in_flight[charge] = None
            for stored, amounts in wanted:
                if not await self._add(stored, amounts):
                    break  # somebody else has changed it: what is left is looked at once more
                charge.amounts[stored.key] = amounts

    def _wanted(self, request: Request, charged: Container[Key]) -> list[tuple[Stored, Amounts]]:
        """The quotas that are yet to be charged, and with what. Raises 403 for what does not fit."""
        resource = stored_resource(request.resource)
        concerned: list[tuple[Stored, list[str]]] = []
        for stored in self._quotas(request.namespace):
            status = stored.object.status
            names = tracked(resource, (status.hard if status is not None else None) or ())
            if stored.key in charged or not names or not is_in_scope(stored.object, resource, request.object):
                continue
            missing = missing_requirements(request.object, names) if resource.bucket == "/pods" else ""
            if missing:
                raise request.forbidden(f"failed quota: {stored.key.name}: must specify {missing}")
            unknown = [name for name in names if name not in (status.used or {})]
            if unknown:
                raise request.forbidden(
                    f"status unknown for quota: {stored.key.name}, resources: {','.join(sorted(names))}"
                )
            concerned.append((stored, names))
        if not concerned:
            return []
        delta = self._delta(request, resource)
        wanted = []
        for stored, names in concerned:
            amounts = mask(delta, names)
            if amounts:
                _require_room(request, stored, amounts)
                wanted.append((stored, amounts))
        return wanted

    def _delta(self, request: Request, resource: Resource) -> Amounts:
        now = self._clock.now()
        usage = usage_of(resource, request.object, now)
        negative = sorted(name for name, quantity in usage.items() if quantity.amount < 0)
        if negative:
            raise request.forbidden(f"quota usage is negative for resource(s): {','.join(negative)}")
        if request.old_object is not None:
            usage = minus(usage, usage_of(resource, request.old_object, now))
        return {name: quantity for name, quantity in usage.items() if quantity.amount}

    async def _add(self, stored: Stored, amounts: Amounts) -> bool:
        """False where the quota has been changed meanwhile, or is gone."""
        status = stored.object.status or ResourceQuotaStatus()
        used = plus(amounts_of(status.used), amounts)
        changed = replace(stored.object, status=replace(status, used=texts_of(used)))
        try:
            await self._store.update(stored.key, changed, stored.revision)
        except (Conflict, Missing):
            return False
        return True

    async def settle(self, charge: Charge, *, is_stored: bool) -> None:
        """The object is there, or will never be: then its room is given back."""
        self._in_flight.pop(charge, None)
        if is_stored:
            return
        for key, amounts in charge.amounts.items():
            back = minus({}, amounts)
            while (stored := self._store.get(key)) is not None and not await self._add(stored, back):
                pass

    # Recounting

    def corrected(self, request: Request) -> ResourceQuota:
        """A quota whose status is being written, with no less used than there is, and than is on its way.

        Raises nothing: a status that cannot be read is its writer's.
        """
        quota: ResourceQuota = request.object
        status = quota.status
        if status is None or not status.hard:
            return quota
        truth = self._recount(quota, request)
        try:
            used = amounts_of(status.used)
        except ValueError:
            return quota
        short = less(used, mask(truth, used))
        if not short:
            return quota
        return replace(quota, status=replace(status, used=texts_of({**used, **mask(truth, short)})))

    def _recount(self, quota: ResourceQuota, request: Request) -> Amounts:
        now = self._clock.now()
        assert quota.status is not None
        names = list(quota.status.hard or ())
        total: Amounts = {}
        for resource in self._counted(names):
            for stored in self._store.list(resource.bucket, request.namespace).items:
                if is_in_scope(quota, resource, stored.object):
                    total = plus(total, usage_of(resource, stored.object, now))
        key = Key(_QUOTAS, request.namespace, meta(quota).name or "")
        for charge in self._in_flight:
            if self._store.get(charge.object_key) is None:
                total = plus(total, charge.amounts.get(key, {}))
        return mask(total, names)

    def _counted(self, names: Iterable[str]) -> list[Resource]:
        listed = list(names)
        return [
            resource
            for resource in self._resources()
            if resource.namespaced and resource.is_storage_version and tracked(resource, listed)
        ]


class QuotaStatus(Plugin):
    """What is written to a quota's status is never less than what there is."""

    handles: ClassVar = {Operation.UPDATE: frozenset({"/resourcequotas/status"})}

    def __init__(self, quota: ResourceQuotaAdmission) -> None:
        self._quota = quota

    def admit(self, request: Request) -> Any:
        return self._quota.corrected(request)


def _require_room(request: Request, stored: Stored, amounts: Amounts) -> None:
    status = stored.object.status
    hard, used = amounts_of(status.hard), amounts_of(status.used)
    growing = [name for name, quantity in amounts.items() if quantity.amount > 0]
    after = mask(plus(used, amounts), growing)
    exceeded = less(mask(hard, growing), after)
    if exceeded:
        raise request.forbidden(
            f"exceeded quota: {stored.key.name}, requested: {shown(mask(amounts, exceeded))}, "
            f"used: {shown(mask(used, exceeded))}, limited: {shown(mask(hard, exceeded))}"
        )
