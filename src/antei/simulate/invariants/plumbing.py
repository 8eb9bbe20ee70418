"""Rules of what everything rests on: Services, the store, watches, queues."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from lightkube.resources.apps_v1 import Deployment, ReplicaSet
from lightkube.resources.core_v1 import Node, Pod, Service
from lightkube.resources.discovery_v1 import EndpointSlice

from antei.api.objects import meta, name_of
from antei.api.resources import resource_of
from antei.control.controller import WorkQueue
from antei.network.services import ServiceTable
from antei.simulate.invariants.base import Quiet
from antei.simulate.invariants.ground import RETRY_SECONDS, Ground
from antei.simulate.invariants.population import Life, Population
from antei.store import Change, ChangeType

__all__ = ["NoLostUpdate", "OnlyReadyServed", "QueuesBounded", "WatchesComplete"]

_WATCHED: tuple[type[Any], ...] = (Pod, ReplicaSet, Deployment, EndpointSlice, Node)


class OnlyReadyServed(Quiet):
    """No connection goes to a pod that has not been ready for longer than the lag; nor to one that is being deleted,
    unless all that the Service has are."""

    name: ClassVar[str] = "only-ready-served"
    #: The proxy, on top of the lag.
    SLACK_SECONDS = 0.5

    def __init__(self, ground: Ground, population: Population) -> None:
        super().__init__(ground, population)
        self._last = ServiceTable()
        self._known_at: dict[str, float] = {}  # uid of a pod that is not ready, or goes -> when the controllers knew

    def table_changed(self, table: ServiceTable) -> None:
        self._last = table

    def sampled(self) -> None:
        """Between two samples nothing is missed: what is wrong for longer than the lag stays so until it is mended."""
        ground, lives = self._ground, self._population.pods.values()
        limit = ground.lag_seconds + self.SLACK_SECONDS + self._writing_seconds()
        unready: dict[str, Life] = {}
        going: dict[str, Life] = {}
        ready: set[str] = set()
        for life in lives:
            address = life.pod.status.podIP if life.pod.status is not None else None
            if address and life.is_ready and life.deleted_at is None:
                ready.add(address)
            elif address:
                (going if life.is_ready else unready)[address] = life
        self._note_known((*unready.values(), *going.values()))
        for entry in self._last.ports:
            has_ready = any(endpoint.ip in ready for endpoint in entry.endpoints)
            for endpoint in entry.endpoints:
                found = unready.get(endpoint.ip) or (going.get(endpoint.ip) if has_ready else None)
                if found is None or endpoint.ip in ready or found.uid not in self._known_at:
                    continue
                since = ground.now - self._known_at[found.uid]
                if since > limit:
                    what = "to be going" if found.is_ready else "not to be ready"
                    self._fail(
                        f"Service {entry.name} sends to {found.name}, known {what} for {since:.1f} s", found.name
                    )

    def _note_known(self, unwanted: Iterable[Life]) -> None:
        """Since when the controllers, these ones, know that a pod is not ready, or is going."""
        ground, known_at = self._ground, {}
        if not ground.cluster.controllers.is_running:
            self._known_at = {}
            return
        told = ground.knowledge.since((Pod, Service), ground.now)
        for life in unwanted:
            since = life.unready_since if life.deleted_at is None or not life.is_ready else life.deleted_at
            before = self._known_at.get(life.uid)
            if before is not None and before >= max(since, ground.knowledge.started_at):
                known_at[life.uid] = before
            elif since < told and ground.knowledge.is_synced:
                known_at[life.uid] = ground.now
        self._known_at = known_at

    def _writing_seconds(self) -> float:
        """What it takes until a slice is written, while requests are late or fail."""
        ground = self._ground
        retries = RETRY_SECONDS if ground.now < ground.faults.errors_until + RETRY_SECONDS else 0.0
        return ground.reach_seconds + retries


class NoLostUpdate(Quiet):
    """Revisions only grow, and an update replaces just the state that it was made from."""

    name: ClassVar[str] = "no-lost-update"

    def __init__(self, ground: Ground, population: Population) -> None:
        super().__init__(ground, population)
        self._revision = 0
        self._before: dict[str, str] = {}  # the revision that each of the last writes replaced
        self._order: deque[str] = deque()

    def wrote(self, change: Change) -> None:
        if change.revision <= self._revision:
            self._fail(f"revision {change.revision} comes after {self._revision}", change.stored.key.name)
        self._revision = change.revision
        if change.previous is not None:
            revision = str(change.revision)
            self._before[revision] = str(change.previous.revision)
            self._order.append(revision)
            while len(self._order) > 2000:
                del self._before[self._order.popleft()]

    def updated(self, sent: Any, written: Any) -> None:
        based_on, became = meta(sent).resourceVersion, meta(written).resourceVersion
        replaced = self._before.get(became or "")
        if based_on and replaced is not None and became != based_on and replaced != based_on:
            self._fail(
                f"{type(sent).__name__} {name_of(sent)}: an update of revision {based_on} replaced {replaced}",
                name_of(sent),
            )


@dataclass(slots=True)
class _Watch:
    """One that is read to its end; what it has yet to tell: type and revision."""

    kind: type[Any]
    node: str = ""  # of pods: those of this node alone, as its agent watches them
    waiting: deque[tuple[str, str]] = field(default_factory=deque)

    def __str__(self) -> str:
        return self.kind.__name__ + (f" on {self.node}" if self.node else "")

    @property
    def field_selector(self) -> str:
        return f"spec.nodeName={self.node}" if self.node else ""

    def wrote(self, change: Change) -> None:
        """An object that comes to be of those that are watched is added, one that is so no more is deleted."""
        was = change.previous is not None and self._is_of(change.previous.object)
        is_there = change.type is not ChangeType.DELETED and self._is_of(change.stored.object)
        if was or is_there:
            told = ChangeType.DELETED if not is_there else ChangeType.MODIFIED if was else ChangeType.ADDED
            self.waiting.append((told.value, str(change.revision)))

    def _is_of(self, obj: Any) -> bool:
        return not self.node or obj.spec.nodeName == self.node


class WatchesComplete(Quiet):
    """A watch tells every change once, and in order."""

    name: ClassVar[str] = "watches-complete"

    def __init__(self, ground: Ground, population: Population) -> None:
        super().__init__(ground, population)
        self._watches = [*map(_Watch, _WATCHED), *(_Watch(Pod, node) for node in ground.cluster.node_names[:1])]
        self._by_bucket = {
            resource_of(kind).bucket: [watch for watch in self._watches if watch.kind is kind] for kind in _WATCHED
        }

    def wrote(self, change: Change) -> None:
        for watch in self._by_bucket.get(change.stored.key.bucket, ()):
            watch.wrote(change)

    async def _follow(self, watch: _Watch) -> None:
        """Reads one watch until cancelled; before anything is written that it should tell."""
        watch.waiting.clear()
        since = str(self._ground.cluster.store.revision)
        async for event in self._ground.cluster.client.watch(
            watch.kind, resource_version=since, field_selector=watch.field_selector
        ):
            told = (event.type.value, meta(event.object).resourceVersion or "")
            wanted = watch.waiting.popleft() if watch.waiting else ("nothing", "")
            if told != wanted:
                self._fail(f"a watch of {watch} told {' '.join(told)} where {' '.join(wanted)} was next")
                return

    def sampled(self) -> None:
        """Nothing may be waiting: the last write was at least an instant ago."""
        for watch in self._watches:
            if watch.waiting:
                first = watch.waiting[0]
                self._ground.later(0.001, lambda watch=watch, first=first: self._still(watch, first))  # type: ignore[misc]

    def _still(self, watch: _Watch, first: tuple[str, str]) -> None:
        if watch.waiting and watch.waiting[0] == first:
            self._fail(f"a watch of {watch} did not tell {' '.join(first)}")

    def start(self, group: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        return [group.create_task(self._follow(watch), name=f"watch of {watch}, checked") for watch in self._watches]


class QueuesBounded(Quiet):
    """A work queue holds each key once, no more keys than there are objects, and comes to rest."""

    name: ClassVar[str] = "queues-bounded"
    #: By one controller in a few seconds: ten times what a small cluster's worst of them take.
    MOST_TAKEN = 700
    SECONDS = 5

    def __init__(self, ground: Ground, population: Population) -> None:
        super().__init__(ground, population)
        self._taken: dict[WorkQueue, deque[int]] = {}  # how many keys so far, by second

    def sampled(self) -> None:
        cluster = self._ground.cluster
        for manager in (cluster.controllers, cluster.scheduler):
            for controller, queue in manager.queues.items():
                waiting = queue.waiting
                taken = self._taken.setdefault(queue, deque(maxlen=self.SECONDS + 1))
                taken.append(queue.taken)
                if taken[-1] - taken[0] > self.MOST_TAKEN:
                    self._fail(f"the {controller} took {taken[-1] - taken[0]} keys in {self.SECONDS} s")
                if len(set(waiting)) != len(waiting):
                    self._fail(f"the queue of {controller} holds a key twice")
                if len(waiting) > 1000:
                    self._fail(f"the queue of {controller} holds {len(waiting)} keys")
