"""Rules of what everything rests on: Services, the store, watches, queues."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, ClassVar

from lightkube.resources.apps_v1 import Deployment, ReplicaSet
from lightkube.resources.core_v1 import Node, Pod
from lightkube.resources.discovery_v1 import EndpointSlice

from antei.api.objects import meta, name_of
from antei.api.resources import resource_of
from antei.network.services import ServiceTable
from antei.simulate.invariants.base import Quiet
from antei.simulate.invariants.ground import Ground
from antei.simulate.invariants.population import Population
from antei.store import Change

__all__ = ["NoLostUpdate", "OnlyReadyServed", "QueuesBounded", "WatchesComplete"]

_WATCHED: tuple[type[Any], ...] = (Pod, ReplicaSet, Deployment, EndpointSlice, Node)


class OnlyReadyServed(Quiet):
    """No connection goes to a pod that has not been ready for longer than the lag."""

    name: ClassVar[str] = "only-ready-served"
    #: Controller and proxy, on top of the lag.
    SLACK_SECONDS = 1.5

    def __init__(self, ground: Ground, population: Population) -> None:
        super().__init__(ground, population)
        self._last = ServiceTable()

    def table_changed(self, table: ServiceTable) -> None:
        self._last = table

    def sampled(self) -> None:
        """Between two samples nothing is missed: what is wrong for longer than the lag stays so until it is mended."""
        ground = self._ground
        limit = ground.lag_seconds + self.SLACK_SECONDS
        if not ground.is_settled or ground.now - ground.faults.unsettled_until < limit:
            return
        unready = {
            life.pod.status.podIP: life
            for life in self._population.pods.values()
            if not life.is_ready and life.pod.status is not None and life.pod.status.podIP
        }
        living = {
            life.pod.status.podIP
            for life in self._population.pods.values()
            if life.pod.status is not None and life.pod.status.podIP and life.is_ready
        }
        for entry in self._last.ports:
            for endpoint in entry.endpoints:
                life = unready.get(endpoint.ip)
                if life is None or endpoint.ip in living:
                    continue
                since = ground.now - life.unready_since
                if since > limit:
                    self._fail(f"Service {entry.name} sends to {life.name}, not ready for {since:.1f} s", life.name)


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


class WatchesComplete(Quiet):
    """A watch tells every change once, and in order."""

    name: ClassVar[str] = "watches-complete"

    def __init__(self, ground: Ground, population: Population) -> None:
        super().__init__(ground, population)
        self._expected: dict[str, deque[tuple[str, str]]] = {resource_of(kind).bucket: deque() for kind in _WATCHED}

    def wrote(self, change: Change) -> None:
        expected = self._expected.get(change.stored.key.bucket)
        if expected is not None:
            expected.append((change.type.value, str(change.revision)))

    async def follow(self, kind: type[Any]) -> None:
        """Reads one watch until cancelled; before anything is written that it should tell."""
        bucket = resource_of(kind).bucket
        self._expected[bucket].clear()
        client = self._ground.cluster.client
        async for event in client.watch(kind, resource_version=str(self._ground.cluster.store.revision)):
            told = (event.type.value, meta(event.object).resourceVersion or "")
            expected = self._expected[bucket]
            wanted = expected.popleft() if expected else ("nothing", "")
            if told != wanted:
                self._fail(f"a watch of {kind.__name__} told {' '.join(told)} where {' '.join(wanted)} was next")
                return

    def sampled(self) -> None:
        """Nothing may be waiting: the last write was at least an instant ago."""
        for kind in _WATCHED:
            expected = self._expected[resource_of(kind).bucket]
            if expected:
                first = expected[0]
                self._ground.later(0.001, lambda kind=kind, first=first: self._still(kind, first))  # type: ignore[misc]

    def _still(self, kind: type[Any], first: tuple[str, str]) -> None:
        expected = self._expected[resource_of(kind).bucket]
        if expected and expected[0] == first:
            self._fail(f"a watch of {kind.__name__} did not tell {' '.join(first)}")

    def start(self, group: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        return [group.create_task(self.follow(kind), name=f"watch of {kind.__name__}, checked") for kind in _WATCHED]


class QueuesBounded(Quiet):
    """A work queue holds each key once, and no more keys than there are objects."""

    name: ClassVar[str] = "queues-bounded"

    def sampled(self) -> None:
        cluster = self._ground.cluster
        for manager in (cluster.controllers, cluster.scheduler):
            for controller, queue in manager.queues.items():
                waiting = queue.waiting
                if len(set(waiting)) != len(waiting):
                    self._fail(f"the queue of {controller} holds a key twice")
                if len(waiting) > 1000:
                    self._fail(f"the queue of {controller} holds {len(waiting)} keys")
