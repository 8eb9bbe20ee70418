"""What the simulated driver tells of: what has happened, and what a connection would meet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

__all__ = ["Happening", "Reach"]


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of `SimulatedRuntime.log`.

    what: pulled, created, started, listening, signalled, stopping, hung, resumed, exec, exited, removed,
    sandbox-removed, cut, rejoined.
    detail: the signal's name, the exit code, the command's words; seconds: the loop's clock.
    """

    seconds: float
    at: datetime
    what: str
    pod: str = ""  # namespace/name
    container: str = ""
    attempt: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Reach:
    """What a new connection to an address and port meets now."""

    how: str  # "serving", "hung", "refused", "cut" (no answer ever comes) or "gone" (no route to host)
    container_id: str = ""  # whose it is, where it is serving or hung
