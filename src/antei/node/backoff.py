"""How long to wait before trying again what failed: restarts of containers and pulls of images.

CrashLoopBackOff as Kubernetes counts it (client-go: util/flowcontrol/backoff.go, kuberuntime doBackOff): the first
restart comes at once, and each restart sets the delay that the next one, counted from the end of the run, must
wait: 10 s, 20 s, 40 s, … 300 s. A run that ends more than ten minutes after the last restart starts afresh.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Backoff", "after_restart", "restart_delay"]

FIRST_SECONDS = 10.0
CAP_SECONDS = 300.0
#: client-go forgets after twice the cap.
FORGET_AFTER_SECONDS = 2 * CAP_SECONDS


@dataclass(frozen=True, slots=True)
class Backoff:
    """`delay_seconds` is what the next attempt must wait (0: none failed yet); `since` when it was set (loop time)."""

    delay_seconds: float = 0.0
    since: float = 0.0

    def is_forgotten(self, ended_at: float) -> bool:
        return self.delay_seconds == 0 or ended_at - self.since > FORGET_AFTER_SECONDS


def restart_delay(backoff: Backoff, ended_at: float) -> float:
    """Seconds that must pass between the end of a run (or a failed attempt) at `ended_at` and the next one."""
    return 0.0 if backoff.is_forgotten(ended_at) else backoff.delay_seconds


def after_restart(backoff: Backoff, ended_at: float, now: float) -> Backoff:
    """The backoff once the next attempt begins at `now`."""
    if backoff.is_forgotten(ended_at):
        return Backoff(FIRST_SECONDS, now)
    return Backoff(min(backoff.delay_seconds * 2, CAP_SECONDS), now)
