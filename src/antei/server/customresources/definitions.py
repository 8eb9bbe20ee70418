"""What follows from a definition's write: others may get their names, and watches of a kind that is gone end.

The status of a definition is worked out with the write itself (`strategies.definitions`), so a kind is served as
soon as its definition is created.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol
from weakref import ref

from lightkube.resources.apiextensions_v1 import CustomResourceDefinition

from antei.api.customresources.definition import CRD_BUCKET, bucket_of, condition_of
from antei.api.customresources.names import definition_status
from antei.api.objects import name_of, replace
from antei.api.resources import Resource, resource_of
from antei.store import Store, Stored
from antei.world import Clock

__all__ = ["Definitions"]


#: Watches that are begun until those that have ended are forgotten.
_SWEPT_EVERY = 256


class StatusWriter(Protocol):
    """What this asks of the registry."""

    async def modify(
        self, resource: Resource, namespace: str, name: str, change: Callable[[Stored], Any], *, subresource: str = ""
    ) -> Stored: ...


class Definitions:
    def __init__(self, store: Store, writer: StatusWriter, clock: Clock) -> None:
        self._store = store
        self._writer = writer
        self._clock = clock
        # By bucket, in the order in which they began; whoever is done with one lets it go.
        self._watches: dict[str, list[ref[AsyncIterator[Any]]]] = {}

    def follow(self, bucket: str, changes: AsyncIterator[Any]) -> None:
        """Ends these changes when the kind goes, or is described otherwise."""
        watches = self._watches.setdefault(bucket, [])
        watches.append(ref(changes))
        if len(watches) % _SWEPT_EVERY == 0:
            watches[:] = [known for known in watches if known() is not None]

    async def changed(self, old: CustomResourceDefinition, new: CustomResourceDefinition) -> None:
        """Who follows a kind that is described otherwise now has to ask again, as of Kubernetes."""
        if old.spec != new.spec:
            self._finish(old)
        await self.settle()

    async def gone(self, crd: CustomResourceDefinition) -> None:
        self._finish(crd)
        await self.settle()

    def _finish(self, crd: CustomResourceDefinition) -> None:
        for known in self._watches.pop(bucket_of(crd), ()):
            finish = getattr(known(), "finish", None)
            if finish is not None:
                finish()

    async def settle(self) -> None:
        """Gives names that have become free to those that asked for them."""
        for stored in self._store.list(CRD_BUCKET).items:
            if condition_of(stored.object, "NamesAccepted") == "False" and self._status(stored) != stored.object.status:
                await self._writer.modify(
                    resource_of(CustomResourceDefinition), "", stored.key.name, self._settled, subresource="status"
                )

    def _settled(self, current: Stored) -> Any:
        return replace(current.object, status=self._status(current))

    def _status(self, stored: Stored) -> Any:
        items = self._store.list(CRD_BUCKET).items
        others = [other.object for other in items if other.key.name != name_of(stored.object)]
        return definition_status(stored.object, others, self._clock.now())
