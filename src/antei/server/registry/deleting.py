"""How objects go: one, or all that selectors match."""

from __future__ import annotations

from collections.abc import Sequence

from antei.api.conversion import stored_resource
from antei.api.errors import ApiError, conflict, not_found
from antei.api.objects import replace
from antei.api.resources import Resource
from antei.server.admitted import deletion_of
from antei.server.deletion import DeleteOptions, Deletion, Step, plan_deletion, validate_options
from antei.server.metadata import MODIFIED, answered
from antei.server.registry.changing import WRITE_TRIES, Changing
from antei.server.registry.reading import fail
from antei.server.strategies import strategy_of
from antei.store import Conflict, Missing, Stored, StoreError

__all__ = ["Deleting"]


class Deleting(Changing):
    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        grace_period_seconds: int | None = None,
        propagation_policy: str | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
        orphan_dependents: bool | None = None,
        dry_run: bool = False,
    ) -> Stored:
        """The object as the deletion leaves it, or its last state."""
        options = DeleteOptions(grace_period_seconds, propagation_policy, orphan_dependents, uid, resource_version)
        return (await self.delete_with(resource, namespace, name, options, dry_run=dry_run)).stored

    async def delete_with(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        options: DeleteOptions,
        *,
        is_admitted: bool = False,
        is_of_collection: bool = False,
        dry_run: bool = False,
    ) -> Deletion:
        """`is_admitted` for what admission is not to be asked about (again)."""
        resource = self._as_served(resource)
        validate_options(options)
        strategy = strategy_of(stored_resource(resource))
        for _ in range(WRITE_TRIES):
            current = await self._current(resource, namespace, name)
            prepared = strategy.prepare_delete(current.object, self._context)
            plan = plan_deletion(strategy, replace(current, object=prepared), options, self.world.clock.now())
            try:
                if plan.step is Step.PENDING:
                    return Deletion(answered(resource, current), False, strategy.returns_deleted_object)
                if not is_admitted:
                    request = deletion_of(resource, current, options, dry_run, is_of_collection=is_of_collection)
                    await self._admission.mutate(request)
                    await self._admission.validate(request)
                if plan.step is Step.REMOVE:
                    removed = current if dry_run else await self._removed(resource, current)
                    return Deletion(answered(resource, removed), True, strategy.returns_deleted_object)
                marked = await self._commit(resource, current, plan.object, dry_run)
                return Deletion(answered(resource, marked), False, True)
            except Conflict:
                continue
            except Missing as error:
                raise not_found(resource.plural, name, resource.group) from error
            except StoreError as error:
                fail(error)
        raise conflict(resource.plural, name, MODIFIED, resource.group)

    async def delete_collection(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        options: DeleteOptions | None = None,
        dry_run: bool = False,
    ) -> tuple[Sequence[Stored], int]:
        """Deletes what the selectors match; what is gone by then is passed over. Returns the objects as they were."""
        items, revision = await self.list(
            resource, namespace, label_selector=label_selector, field_selector=field_selector
        )
        for stored in items:
            try:
                await self.delete_with(
                    resource,
                    stored.key.namespace,
                    stored.key.name,
                    options or DeleteOptions(),
                    is_of_collection=True,
                    dry_run=dry_run,
                )
            except ApiError as error:
                if error.code != 404:
                    raise
        return items, revision
