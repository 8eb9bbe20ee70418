"""What all rules stand on: the time, how old anybody's knowledge may be, who lives, and where a break is told."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from antei.network.services import ServiceTable
from antei.runtime.simulated import Happening
from antei.simulate.cluster import SimulatedCluster
from antei.simulate.faults import Faults
from antei.simulate.invariants.knowledge import Knowledge
from antei.simulate.weather import Weather
from antei.store import Change

__all__ = ["RETRY_SECONDS", "Broken", "Ground", "Rule", "Trail"]

#: What a handler and a reconcile take together in fair weather, kept generously.
_FAIR_SECONDS = 1.5
#: The requests of one reconcile, one after the other, that each may be late on their way there and back.
_REQUESTS = 20
#: Until something is written that could not be written at first: the backoff of the controllers' queues.
RETRY_SECONDS = 10.0
_REMEMBERED_SECONDS = 400.0
_LINES = 4000


class Broken(msgspec.Struct, frozen=True):
    """A rule that did not hold. `objects` are the names of what was involved; `events` the last lines about them."""

    rule: str
    at: float
    text: str
    objects: tuple[str, ...] = ()
    events: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = "".join(f"\n    {line}" for line in self.events)
        return f"{self.rule}, at {self.at:.3f} s: {self.text}{lines}"


class Trail:
    """A number that changes: what it was when, for as long as somebody can still act on it.

    `before` is what it was before the first that is told; without it that is nothing anybody can have gone by.
    """

    __slots__ = ("_steps",)

    def __init__(self, before: int | None = None) -> None:
        self._steps: deque[tuple[float, int]] = deque()
        if before is not None:
            self._steps.append((-math.inf, before))

    def add(self, now: float, value: int) -> None:
        steps = self._steps
        if steps and steps[-1][1] == value:
            return
        steps.append((now, value))
        while len(steps) > 1 and steps[1][0] < now - _REMEMBERED_SECONDS:
            steps.popleft()

    @property
    def now(self) -> int:
        return self._steps[-1][1] if self._steps else 0

    def steps(self, since: float) -> list[tuple[float, int]]:
        """When it became what since then, the latest first; what it was at that moment included."""
        found: list[tuple[float, int]] = []
        for step in reversed(self._steps):
            found.append(step)
            if step[0] < since:
                break
        return found or [(0.0, 0)]

    def values(self, since: float) -> list[int]:
        return [value for _, value in self.steps(since)]

    def most(self, since: float) -> int:
        return max(self.values(since))

    def least(self, since: float) -> int:
        return min(self.values(since))


class Ground:
    """Shared by all rules of one run."""

    def __init__(self, cluster: SimulatedCluster, faults: Faults, weather: Weather, lag_seconds: float) -> None:
        self.cluster = cluster
        self.faults = faults
        self.weather = weather
        self.lag_seconds = lag_seconds  # the longest endpoint lag
        self.broken: Broken | None = None
        self.on_broken: Callable[[], None] = lambda: None
        self.knowledge = Knowledge()
        cluster.controllers.on_informers = self.knowledge.follow
        self.lines: deque[str] = deque(maxlen=_LINES)

    @property
    def now(self) -> float:
        return self.cluster.seconds

    @property
    def is_settled(self) -> bool:
        """Whether everybody's knowledge is as new as it gets."""
        return self.now > self.faults.unsettled_until

    def known_since(self, *kinds: type[Any]) -> float:
        """A controller that decides by these kinds, and acts now, knows the state of this moment or of a later one."""
        return self.knowledge.since(kinds, self.now, self.reach_seconds)

    @property
    def reach_seconds(self) -> float:
        """What may lie between the state that a controller looked at and what it does about it."""
        return _FAIR_SECONDS + _REQUESTS * self.faults.late_seconds

    def fail(self, rule: str, text: str, *objects: str) -> None:
        """The first break is the one that counts: what follows it follows from it."""
        if self.broken is not None:
            return
        involved = [line for line in self.lines if any(name in line for name in objects)] if objects else self.lines
        self.broken = Broken(rule, round(self.now, 3), text, objects, tuple(list(involved)[-30:]))
        self.on_broken()

    def later(self, seconds: float, check: Callable[[], None]) -> None:
        """Looks again after so long, unless a rule is broken by then."""
        asyncio.get_running_loop().call_later(seconds, lambda: check() if self.broken is None else None)


class Rule(Protocol):
    """One invariant; it is told of everything and says `ground.fail` when it does not hold."""

    name: str

    def wrote(self, change: Change) -> None: ...

    def happened(self, happening: Happening, pod_uid: str) -> None: ...

    def table_changed(self, table: ServiceTable) -> None: ...

    def updated(self, sent: Any, written: Any) -> None: ...

    def sampled(self) -> None:
        """Every ten virtual seconds."""
        ...
