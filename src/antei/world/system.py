"""The machine's own clock and randomness: with `world/virtual.py` the only modules that may ask for them."""

from __future__ import annotations

import random
import secrets
import time
import uuid
from datetime import UTC, datetime

from antei.world import World

__all__ = ["SystemChance", "SystemClock", "monotonic", "system_world"]

#: k8s.io/apimachinery/pkg/util/rand: no vowels (no words), no characters that look like others.
SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def monotonic() -> float:
    """Seconds on the clock that real loops go by, as exact as the machine has it: for measuring, not for waiting.

    uvloop's `time()` is that clock in whole milliseconds, as it was when the loop last looked.
    """
    return time.monotonic()


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class SystemChance:
    def __init__(self) -> None:
        self._random = random.SystemRandom()

    def uid(self) -> str:
        return str(uuid.uuid4())

    def suffix(self, length: int = 5) -> str:
        return "".join(self._random.choices(SUFFIX_ALPHABET, k=length))

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)

    def token(self, size_bytes: int) -> str:
        return secrets.token_hex(size_bytes)


def system_world() -> World:
    return World(clock=SystemClock(), chance=SystemChance())
