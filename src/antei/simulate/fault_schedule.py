"""Faults as data: what is done to a cluster, and when. A schedule is a pure function of its seed.

A fault names its victim by a number between 0 and 1, which picks one of whatever there is when its time comes: so any
of them can be left out, and the rest still means something. That is how a schedule that breaks a rule is shrunk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TypeVar

import msgspec

from antei.world.virtual import SeededChance

__all__ = ["Fault", "FaultKind", "picked", "schedule"]

T = TypeVar("T")


class FaultKind(StrEnum):
    CRASH = "crash"
    OOM = "oom"
    HANG = "hang"
    SLOW_START = "slow-start"
    DELETE = "delete"
    DELETE_QUICKLY = "delete-quickly"  # with a grace period shorter than the pod's
    FORCE_DELETE = "force-delete"
    EVICT = "evict"
    DRAIN = "drain"
    DRAINS = "drains"  # several nodes at once
    NODE_PAUSE = "node-pause"  # the whole machine stands still
    NODE_LOSS = "node-loss"
    NODE_REBOOT = "node-reboot"
    AGENT_RESTART = "agent-restart"
    NODE_SILENT = "node-silent"  # its agent is away for just too long
    LOST_HEARTBEATS = "lost-heartbeats"  # and all else of it is well
    LATE_HEARTBEATS = "late-heartbeats"
    API_ERRORS = "api-errors"
    SLOW_API = "slow-api"
    WATCH_BREAKS = "watch-breaks"
    LATE_WATCHES = "late-watches"
    CLOCK_STEP = "clock-step"
    CONTROLLERS_RESTART = "controllers-restart"
    SCHEDULER_LATE = "scheduler-late"
    ROLLOUT = "rollout"
    SCALE = "scale"
    CHANGE_BUDGET = "change-budget"
    PAUSE_ROLLOUT = "pause-rollout"
    ROLL_BACK = "roll-back"
    CHANGE_STRATEGY = "change-strategy"
    REMOVE = "remove"  # with its pods, or without; and apply it again


class Fault(msgspec.Struct, frozen=True):
    """`at`: seconds from the first moment of the faults. `seconds` is how long it lasts, `amount` what it is about."""

    at: float
    kind: FaultKind
    pick: float = 0.0
    seconds: float = 0.0
    amount: float = 0.0

    def __str__(self) -> str:
        return f"{self.at:8.2f}  {self.kind.value} (pick {self.pick:.3f}, {self.seconds:.1f} s, {self.amount:.2f})"


#: How often each is drawn, relative to the others.
_WEIGHTS: Mapping[FaultKind, int] = {
    FaultKind.CRASH: 6,
    FaultKind.OOM: 2,
    FaultKind.HANG: 3,
    FaultKind.SLOW_START: 2,
    FaultKind.DELETE: 4,
    FaultKind.DELETE_QUICKLY: 2,
    FaultKind.FORCE_DELETE: 1,
    FaultKind.EVICT: 6,
    FaultKind.DRAIN: 3,
    FaultKind.DRAINS: 2,
    FaultKind.NODE_PAUSE: 1,
    FaultKind.NODE_LOSS: 2,
    FaultKind.NODE_REBOOT: 1,
    FaultKind.AGENT_RESTART: 2,
    FaultKind.NODE_SILENT: 1,
    FaultKind.LOST_HEARTBEATS: 1,
    FaultKind.LATE_HEARTBEATS: 1,
    FaultKind.API_ERRORS: 2,
    FaultKind.SLOW_API: 2,
    FaultKind.WATCH_BREAKS: 2,
    FaultKind.LATE_WATCHES: 2,
    FaultKind.CLOCK_STEP: 1,
    FaultKind.CONTROLLERS_RESTART: 2,
    FaultKind.SCHEDULER_LATE: 1,
    FaultKind.ROLLOUT: 5,
    FaultKind.SCALE: 4,
    FaultKind.CHANGE_BUDGET: 2,
    FaultKind.PAUSE_ROLLOUT: 1,
    FaultKind.ROLL_BACK: 2,
    FaultKind.CHANGE_STRATEGY: 2,
    FaultKind.REMOVE: 1,
}
_OF_API = frozenset({FaultKind.API_ERRORS, FaultKind.SLOW_API, FaultKind.WATCH_BREAKS, FaultKind.LATE_WATCHES})


def schedule(seed: int, seconds: float = 240.0) -> tuple[Fault, ...]:
    """Some thirty faults. Every third seed has fair weather throughout: there the rules are checked most strictly."""
    chance = SeededChance(f"faults {seed}")
    kinds = [
        kind for kind, weight in _WEIGHTS.items() for _ in range(weight) if not (seed % 3 == 0 and kind in _OF_API)
    ]
    # A few kinds a seed, many times each, find more than a little of everything.
    chosen = [picked(kinds, chance.uniform(0, 1)) for _ in range(6)]
    found: list[Fault] = []
    at = 0.0
    while True:
        at += chance.uniform(0, 1) ** 3 * 30
        if at > seconds:
            return tuple(found)
        kind = picked(chosen if chance.uniform(0, 1) < 0.7 else kinds, chance.uniform(0, 1))
        length = chance.uniform(0, 1) ** 2 * 90
        fault = Fault(
            round(at, 3), kind, round(chance.uniform(0, 1), 4), round(length, 2), round(chance.uniform(0, 1), 3)
        )
        found.append(fault)


def picked(choices: Sequence[T], number: float) -> T:
    return choices[min(int(number * len(choices)), len(choices) - 1)]
