"""What a controller has just written, until its informer has seen it too.

An informer lags behind the controller's own writes by a watch event. A controller that would repeat a write in that
gap (a second EndpointSlice, a second node for a pod) reads through this. (Kubernetes: pkg/scheduler/util/assumecache.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from antei.api.objects import Object, key_of, meta
from antei.client.informer import Informer

__all__ = ["AssumeCache"]

T = TypeVar("T", bound=Object)
Key = tuple[str, str]
#: A written object that the informer has not shown for so long was deleted unseen (during a relist).
_FORGOTTEN_AFTER_SECONDS = 60.0


class AssumeCache(Generic[T]):
    def __init__(self, informer: Informer[T]) -> None:
        self._informer = informer
        self._ahead: dict[Key, tuple[T, float]] = {}
        informer.add_handler(self._caught_up)

    def assume(self, obj: T) -> None:
        """Takes what a write returned as the current state, unless the informer is as far already."""
        key = key_of(obj)
        seen = self._informer.get(*key)
        if seen is None or _revision(seen) < _revision(obj):
            self._ahead[key] = (obj, asyncio.get_running_loop().time() + _FORGOTTEN_AFTER_SECONDS)

    def get(self, namespace: str, name: str) -> T | None:
        ahead = self._valid((namespace, name))
        return ahead if ahead is not None else self._informer.get(namespace, name)

    def overlay(self, known: Iterable[T], belongs: Callable[[T], bool]) -> list[T]:
        """`known`, some of the informer's objects, with what was written since; `belongs` picks what is new to it."""
        result: dict[Key, T] = {}
        for obj in known:
            key = key_of(obj)
            ahead = self._valid(key)
            result[key] = ahead if ahead is not None else obj
        for key in list(self._ahead):
            ahead = self._valid(key)
            if key not in result and ahead is not None and belongs(ahead):
                result[key] = ahead
        return list(result.values())

    def _valid(self, key: Key) -> T | None:
        entry = self._ahead.get(key)
        if entry is None:
            return None
        if entry[1] < asyncio.get_running_loop().time():
            del self._ahead[key]
            return None
        return entry[0]

    def _caught_up(self, old: T | None, new: T | None) -> None:
        obj = new if new is not None else old
        if obj is None or not self._ahead:
            return
        key = key_of(obj)
        entry = self._ahead.get(key)
        if entry is not None and (new is None or _revision(new) >= _revision(entry[0])):
            del self._ahead[key]


def _revision(obj: Object) -> int:
    """Revisions of one kind are comparable numbers (Kubernetes 1.35: KEP-5504)."""
    return int(meta(obj).resourceVersion or 0)
