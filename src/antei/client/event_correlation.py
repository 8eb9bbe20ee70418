"""Which events are written, and as what: repeats are counted, similar ones combined, floods cut.

    event ─► similar ones?  the 10th text about one thing within ten minutes, and all after it, become one event:
    │                       "(combined from similar events): …"
    ├─► seen before?        the event that is there gets a higher count and a later lastTimestamp
    └─► too many?           25 at once from one source about one object, then one in five minutes; others are dropped

Kubernetes: client-go/tools/record/events_cache.go, with its default options.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from lightkube.resources.core_v1 import Event

from antei.api.objects import meta, replace, replace_meta, to_time

__all__ = ["Correlated", "EventCorrelator"]

#: What is remembered of each sort.
_REMEMBERED = 4096
_SIMILAR_BEFORE_COMBINED = 10
_SIMILAR_SECONDS = 600.0
_BURST = 25.0
_PER_SECOND = 1 / 300
_COMBINED = "(combined from similar events): "

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Recent(Generic[K, V]):
    """The values of the keys that were used last."""

    def __init__(self) -> None:
        self._values: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def set(self, key: K, value: V) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > _REMEMBERED:
            self._values.popitem(last=False)


@dataclass(slots=True)
class _Similar:
    texts: dict[str, None] = field(default_factory=dict)  # in the order in which they came
    last: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Seen:
    name: str
    first: datetime | None
    count: int


@dataclass(slots=True)
class _Budget:
    tokens: float
    at: datetime


@dataclass(frozen=True, slots=True)
class Correlated:
    """What to write: a new event, or where `is_repeat` the new count, time and message of one that is there."""

    event: Event
    is_repeat: bool


class EventCorrelator:
    """Its time is that of the events' world; each event is told once, in order."""

    def __init__(self) -> None:
        self._similar: _Recent[tuple[str, ...], _Similar] = _Recent()
        self._seen: _Recent[tuple[str, ...], _Seen] = _Recent()
        self._budgets: _Recent[tuple[str, ...], _Budget] = _Recent()

    def correlate(self, event: Event, now: datetime, new_name: str) -> Correlated | None:
        """None: it is one too many, and dropped. `new_name` is for the event that others are combined in."""
        event, key = self._combined(event, now, new_name)
        observed = self._counted(event, key)
        return observed if self._is_affordable(observed.event, now) else None

    def written(self, event: Event) -> None:
        """What the server has made of it counts from now on, also where another than this wrote to it."""
        self._remember(_identity(event), event)

    def _combined(self, event: Event, now: datetime, new_name: str) -> tuple[Event, tuple[str, ...]]:
        """The event to write and the key by which repeats of it are known."""
        group = (*_source(event), *_about(event), event.type or "", event.reason or "", *_reporter(event))
        similar = self._similar.get(group)
        if similar is None or (similar.last and (now - similar.last).total_seconds() > _SIMILAR_SECONDS):
            similar = _Similar()
        similar.texts[event.message or ""] = None
        similar.last = now
        self._similar.set(group, similar)
        if len(similar.texts) < _SIMILAR_BEFORE_COMBINED:
            return event, _identity(event)
        del similar.texts[next(iter(similar.texts))]
        moment = to_time(now)
        combined = replace_meta(
            replace(event, message=f"{_COMBINED}{event.message}", count=1, firstTimestamp=moment, lastTimestamp=moment),
            name=new_name,
        )
        return combined, group

    def _counted(self, event: Event, key: tuple[str, ...]) -> Correlated:
        seen = self._seen.get(key)
        if seen is not None:
            event = replace_meta(replace(event, firstTimestamp=seen.first, count=seen.count + 1), name=seen.name)
        self._remember(key, event)
        return Correlated(event, seen is not None)

    def _remember(self, key: tuple[str, ...], event: Event) -> None:
        self._seen.set(key, _Seen(meta(event).name or "", event.firstTimestamp, event.count or 1))

    def _is_affordable(self, event: Event, now: datetime) -> bool:
        key = (*_source(event), *_about(event))
        budget = self._budgets.get(key) or _Budget(_BURST, now)
        elapsed = max((now - budget.at).total_seconds(), 0.0)
        budget.tokens = min(_BURST, budget.tokens + elapsed * _PER_SECOND)
        budget.at = now
        self._budgets.set(key, budget)
        if budget.tokens < 1:
            return False
        budget.tokens -= 1
        return True


def _source(event: Event) -> tuple[str, str]:
    source = event.source
    return ((source.component or "") if source else "", (source.host or "") if source else "")


def _about(event: Event) -> tuple[str, ...]:
    about = event.involvedObject
    return (about.kind or "", about.namespace or "", about.name or "", about.uid or "", about.apiVersion or "")


def _reporter(event: Event) -> tuple[str, str]:
    return event.reportingComponent or "", event.reportingInstance or ""


def _identity(event: Event) -> tuple[str, ...]:
    path = event.involvedObject.fieldPath or ""
    return (*_source(event), *_about(event), path, event.type or "", event.reason or "", event.message or "")
