"""Conditions of any kind: Structs with type, status, reason, message and lastTransitionTime."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

import msgspec

__all__ = ["Condition", "find", "is_true", "with_condition"]


class Condition(Protocol):
    @property
    def type(self) -> str: ...
    @property
    def status(self) -> str: ...


C = TypeVar("C", bound=Any)


def find(conditions: Iterable[C] | None, type: str) -> C | None:
    for condition in conditions or ():
        if condition.type == type:
            return condition
    return None


def is_true(conditions: Iterable[Condition] | None, type: str) -> bool:
    for condition in conditions or ():
        if condition.type == type:
            return condition.status == "True"
    return False


def with_condition(conditions: Sequence[C] | None, new: C, now: datetime | None = None) -> list[C]:
    """The conditions with `new` in the place of the one of its type, or at the end.

    lastTransitionTime moves only when the status changes; every other field is the new one's. `now` is used
    where `new` carries no lastTransitionTime. Returns equal conditions when nothing changed.
    """
    old = find(conditions, new.type)
    if old is not None and old.status == new.status:
        new = msgspec.structs.replace(new, lastTransitionTime=old.lastTransitionTime)
    elif new.lastTransitionTime is None and now is not None:
        new = msgspec.structs.replace(new, lastTransitionTime=now.replace(microsecond=0))
    if old is None:
        return [*(conditions or ()), new]
    return [new if condition is old else condition for condition in conditions or ()]
