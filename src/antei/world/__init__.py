"""What code cannot compute: wall time and chance.

Durations do not belong here: they are `asyncio.sleep` and `asyncio.timeout` on the running loop. A cluster
that is handed a virtual world and runs on a virtual loop is a pure function of its seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

__all__ = ["Chance", "Clock", "World"]


class Clock(Protocol):
    def now(self) -> datetime:
        """The wall time: aware, in UTC, with microseconds."""
        ...


class Chance(Protocol):
    def uid(self) -> str:
        """A random UUID (version 4), as Kubernetes writes it in `metadata.uid`."""
        ...

    def suffix(self, length: int = 5) -> str:
        """Random characters that Kubernetes appends to a `generateName` (no vowels, no 0, 1 or 3)."""
        ...

    def uniform(self, low: float, high: float) -> float:
        """A random number between the two, for jitter."""
        ...

    def token(self, size_bytes: int) -> str:
        """A secret, hexadecimal, of so many random bytes."""
        ...


@dataclass(frozen=True, slots=True)
class World:
    clock: Clock
    chance: Chance
