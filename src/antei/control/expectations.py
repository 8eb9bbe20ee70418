"""Writes that an informer has not shown yet, so that nobody creates a second pod for want of seeing the first.

A controller announces each creation (by name) and each deletion (by uid) before it makes it; the informer's own
handler strikes the announcement out. Until all of a key's are struck out, the controller only reports status. An
announcement that is never confirmed (its event fell into a gap between two lists) lapses after five minutes, as
client-go's do (ExpectationsTimeout).
"""

from __future__ import annotations

import asyncio
from typing import Any

from antei.api.objects import Object, is_terminating, key_of, uid_of
from antei.client.informer import Informer

__all__ = ["Expectations"]

Key = tuple[str, str]
_LAPSE_SECONDS = 300.0


class Expectations:
    """Of one controller over one kind of dependents; `owner` is the key of the object being reconciled."""

    def __init__(self, lapse_seconds: float = _LAPSE_SECONDS) -> None:
        self._lapse_seconds = lapse_seconds
        # owner -> dependent's key or uid -> the loop's time at which it lapses
        self._creations: dict[Key, dict[Key, float]] = {}
        self._deletions: dict[Key, dict[str, float]] = {}
        self._owner_of_name: dict[Key, Key] = {}
        self._owner_of_uid: dict[str, Key] = {}

    def follow(self, informer: Informer[Any]) -> None:
        """Lets the informer confirm; call it before the controller's own handlers are added."""
        informer.add_handler(self.observe)

    def observe(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self.forget_creation(key_of(new))
            if is_terminating(new):
                self.forget_deletion(uid_of(new))
            if old is not None and uid_of(old) != uid_of(new):
                self.forget_deletion(uid_of(old))
        elif old is not None:
            self.forget_creation(key_of(old))
            self.forget_deletion(uid_of(old))

    def expect_creation(self, owner: Key, dependent: Key) -> None:
        self._creations.setdefault(owner, {})[dependent] = self._lapse_time()
        self._owner_of_name[dependent] = owner

    def expect_deletion(self, owner: Key, uid: str) -> None:
        self._deletions.setdefault(owner, {})[uid] = self._lapse_time()
        self._owner_of_uid[uid] = owner

    def forget_creation(self, dependent: Key) -> None:
        """The creation was seen, or it failed."""
        owner = self._owner_of_name.pop(dependent, None)
        if owner is not None:
            _strike(self._creations, owner, dependent)

    def forget_deletion(self, uid: str) -> None:
        owner = self._owner_of_uid.pop(uid, None)
        if owner is not None:
            _strike(self._deletions, owner, uid)

    def forget(self, owner: Key) -> None:
        """The owner is gone."""
        for dependent in self._creations.pop(owner, {}):
            self._owner_of_name.pop(dependent, None)
        for uid in self._deletions.pop(owner, {}):
            self._owner_of_uid.pop(uid, None)

    def unmet_for_seconds(self, owner: Key) -> float:
        """Zero when all writes of this owner have been seen; else how long it takes at most until they lapse."""
        now = asyncio.get_running_loop().time()
        for name in [n for n, lapse in self._creations.get(owner, {}).items() if lapse <= now]:
            self.forget_creation(name)
        for uid in [u for u, lapse in self._deletions.get(owner, {}).items() if lapse <= now]:
            self.forget_deletion(uid)
        waiting = [*self._creations.get(owner, {}).values(), *self._deletions.get(owner, {}).values()]
        return max(waiting) - now if waiting else 0.0

    def _lapse_time(self) -> float:
        return asyncio.get_running_loop().time() + self._lapse_seconds


def _strike(entries: dict[Key, dict[Any, float]], owner: Key, what: Any) -> None:
    waiting = entries.get(owner)
    if waiting is not None:
        waiting.pop(what, None)
        if not waiting:
            del entries[owner]
