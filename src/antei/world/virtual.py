"""A clock that follows the running loop and chance that follows a seed.

On the virtual loop (`antei.simulate.loop`) both make a run a pure function of its seed; on a real loop the
clock advances in real time from its epoch.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from datetime import UTC, datetime, timedelta

from antei.world import World
from antei.world.system import SUFFIX_ALPHABET

__all__ = ["SeededChance", "VirtualClock", "virtual_world"]

#: Where virtual wall time starts unless it is told otherwise: a full hour, so that schedules read easily.
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class VirtualClock:
    """Wall time that is `epoch` plus what the running loop's clock has advanced since its zero."""

    def __init__(self, epoch: datetime = EPOCH) -> None:
        self._epoch = epoch
        self._now = (0.0, epoch)  # the last that was asked for: in virtual time many ask at one instant

    def step(self, seconds: float) -> None:
        """The wall clock is set forward, or back where it is negative; durations are not touched."""
        self._epoch += timedelta(seconds=seconds)
        self._now = (0.0, self._epoch)

    def now(self) -> datetime:
        elapsed_seconds = asyncio.get_running_loop().time()
        if elapsed_seconds != self._now[0]:
            self._now = (elapsed_seconds, self._epoch + timedelta(seconds=elapsed_seconds))
        return self._now[1]


class SeededChance:
    def __init__(self, seed: int | str) -> None:
        self._seed = seed
        self._random = random.Random(seed)

    def stream(self, name: str) -> SeededChance:
        """Chance of its own for one purpose: what others draw does not shift what is drawn from it."""
        return SeededChance(f"{self._seed}/{name}")

    def uid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def suffix(self, length: int = 5) -> str:
        return "".join(self._random.choices(SUFFIX_ALPHABET, k=length))

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)

    def token(self, size_bytes: int) -> str:
        return self._random.randbytes(size_bytes).hex()


def virtual_world(seed: int | str, epoch: datetime = EPOCH) -> World:
    return World(clock=VirtualClock(epoch), chance=SeededChance(seed))
