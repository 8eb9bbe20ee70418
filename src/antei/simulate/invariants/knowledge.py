"""What the controllers have been told: for each kind, since when what they read may be out of date.

    write ──► untold ──watch, late or not; or a list──► the controllers' informer ──► told
                └── the oldest of them: whoever decides now knows what was true just before it, or later

A decision is acted on a while after it was made: what was told meanwhile was untold then.

It is the informers of the controllers themselves that are looked at, so that a late watch, one that broke off, and a
list that fails again and again all count for just as long as they last.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from lightkube.resources.apps_v1 import DaemonSet, Deployment, ReplicaSet, StatefulSet
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Node, Pod, Service
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api.objects import key_of, meta
from antei.api.resources import resource_of
from antei.client.informer import Informer, Informers
from antei.store import Change, ChangeType

__all__ = ["Knowledge"]

_FOLLOWED: tuple[type[Any], ...] = (
    Pod,
    ReplicaSet,
    Deployment,
    StatefulSet,
    DaemonSet,
    Job,
    Node,
    Service,
    PodDisruptionBudget,
)
_Key = tuple[str, str]
_LATE_TELLINGS = 500
#: Revision, loop time, and whether the object was gone then.
_Write = tuple[int, float, bool]


class Knowledge:
    def __init__(self) -> None:
        self._untold: dict[type[Any], dict[_Key, deque[_Write]]] = {kind: {} for kind in _FOLLOWED}
        self._by_bucket = {resource_of(kind).bucket: untold for kind, untold in self._untold.items()}
        #: When something was told late, and when it had been written.
        self._told: dict[type[Any], deque[tuple[float, float]]] = {
            kind: deque(maxlen=_LATE_TELLINGS) for kind in _FOLLOWED
        }
        self._before: dict[type[Any], tuple[Informer[Any], int]] = {}  # with the last revision before it was made
        self._revision = 0
        self.started_at = 0.0  # when the controllers were last started

    def follow(self, informers: Informers) -> None:
        """The controllers begin anew, with these: what was written before they list first."""
        self.started_at = asyncio.get_running_loop().time()
        for kind in _FOLLOWED:
            informer = informers.of(kind)
            self._before[kind] = (informer, self._revision)

            def told(old: Any, new: Any, kind: type[Any] = kind) -> None:
                if new is not None:
                    self._tell(kind, key_of(new), int(meta(new).resourceVersion or 0))
                elif old is not None:
                    self._tell_deletion(kind, key_of(old))

            informer.add_handler(told)

    @property
    def is_synced(self) -> bool:
        """Whether they have listed everything since they were last started."""
        self._forget_listed(_FOLLOWED)
        return not self._before

    def wrote(self, change: Change, now: float) -> None:
        self._revision, stored = change.revision, change.stored
        untold = self._by_bucket.get(stored.key.bucket)
        if untold is not None:
            key = (stored.key.namespace, stored.key.name)
            untold.setdefault(key, deque()).append((change.revision, now, change.type is ChangeType.DELETED))

    def since(self, kinds: tuple[type[Any], ...], now: float, reach_seconds: float = 0.0) -> float:
        """The loop time of the first write of these kinds that the controllers had not been told of when they decided
        what they do now, so many seconds ago at most; that moment itself, if there is none."""
        self._forget_listed(kinds)
        decided = now - reach_seconds
        untold = (writes[0][1] for kind in kinds for writes in self._untold[kind].values())
        return min(decided, min(untold, default=decided), *(self._told_after(kind, decided) for kind in kinds))

    def _told_after(self, kind: type[Any], decided: float) -> float:
        first = decided
        for told, written in reversed(self._told[kind]):
            if told <= decided:
                break
            first = min(first, written)
        return first

    def _forget_listed(self, kinds: tuple[type[Any], ...]) -> None:
        """Of what was gone before the first list nobody is ever told."""
        for kind in [kind for kind in kinds if kind in self._before and self._before[kind][0].is_synced]:
            _, revision = self._before.pop(kind)
            for key in list(self._untold[kind]):
                self._tell(kind, key, revision)

    def _tell(self, kind: type[Any], key: _Key, revision: int) -> None:
        self._tell_while(kind, key, lambda write: write[0] <= revision)

    def _tell_deletion(self, kind: type[Any], key: _Key) -> None:
        """An object that is gone: told of is the first deletion, and what came before it."""
        writes = self._untold[kind].get(key, ())
        deleted = next((revision for revision, _, is_deletion in writes if is_deletion), None)
        self._tell_while(kind, key, lambda write: deleted is None or write[0] <= deleted)

    def _tell_while(self, kind: type[Any], key: _Key, is_told: Callable[[_Write], bool]) -> None:
        writes = self._untold[kind].get(key)
        if writes is None:
            return
        first = writes[0][1]
        while writes and is_told(writes[0]):
            writes.popleft()
        if not writes:
            del self._untold[kind][key]
        now = asyncio.get_running_loop().time()
        if first < now and (not writes or writes[0][1] > first):
            self._told[kind].append((now, first))
