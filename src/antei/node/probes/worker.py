"""When a probe is tried: one task for each probe of each run of a container.

    container starts        initialDelaySeconds          every periodSeconds
          │                        │                            │
          ├── postStart ends ──────┤──── attempt ──── attempt ──┴─ attempt ── …
          │                        │        │
          │    startup gating:     │        ├─ liveness or startup FAILURE: on hold, the task ends; the
          │    liveness and        │        │  container is stopped, its next run has a task of its own
          │    readiness wait      │        └─ startup SUCCESS: the task ends; the others, if their own
          └──► for `has_started` ──┘           initial delay is over, are tried at once

Attempts keep to a grid: a slow one delays the next, which is then tried at once, but does not shift those after
it (Go's ticker). Beside the grid is one attempt only: when the first of a readiness probe fails, as it does while a
server is not listening yet, the kubelet that takes note of it tries once more, and does not wait for a whole period.
Kubernetes: pkg/kubelet/prober/worker.go; prober_manager.go (UpdatePodStatus: "Trigger an immediate run").
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from lightkube.models.core_v1 import Probe

from antei.node.probes.actions import Attempt, Outcome
from antei.node.probes.results import Results
from antei.node.probes.thresholds import ProbeKind, Verdict, advance, begin

__all__ = ["ProbeWorker"]

#: What a kubelet takes to sync a pod after the first verdict about it.
_SYNC_SECONDS = 0.1
#: An initial delay is over when it is over but for what floats lose.
_ROUNDING_SECONDS = 1e-6


@dataclass(frozen=True)
class ProbeWorker:
    """Probes one run of a container until cancelled, or until there is nothing left to find out.

    `started_at` is on the loop's clock. `jitter_seconds` spreads the first attempts after a restart of the node,
    which adopts many containers at once. `calm` says how long what succeeded will succeed again.
    `is_tried_twice`: a first attempt that fails is repeated a little later.
    """

    kind: ProbeKind
    probe: Probe
    attempt: Callable[[], Awaitable[Attempt]]
    results: Results
    report: Callable[[ProbeKind, Attempt], None]
    has_started: asyncio.Event
    started_at: float
    calm: Callable[[], Awaitable[None] | None] = lambda: None
    jitter_seconds: float = 0.0
    is_tried_twice: bool = False

    async def run(self) -> None:
        progress = begin(self.kind)
        if self.kind is not ProbeKind.STARTUP:
            await self.has_started.wait()
        loop = asyncio.get_running_loop()
        due = max(loop.time(), self.started_at + (self.probe.initialDelaySeconds or 0)) + self.jitter_seconds
        tries_again = self.is_tried_twice
        while True:
            await _sleep_until(due)
            attempt = await self.attempt()
            if attempt.outcome is not Outcome.SUCCESS:
                self.report(self.kind, attempt)
            if attempt.outcome is not Outcome.ERROR:
                progress = advance(progress, attempt.outcome is not Outcome.FAILURE, self.probe)
                if progress.is_settled:
                    self.results.record(self.kind, progress.verdict)
                if self._is_over(progress.verdict):
                    return
            if tries_again and attempt.outcome is Outcome.FAILURE:
                tries_again = False
                await asyncio.sleep(_SYNC_SECONDS)
                continue
            tries_again = False
            calm = self.calm() if attempt.outcome is Outcome.SUCCESS and progress.verdict is Verdict.SUCCESS else None
            if calm is not None:
                await calm
                due = first_due(due, float(self.probe.periodSeconds or 10), loop.time())
                continue
            due = next_due(due, float(self.probe.periodSeconds or 10), loop.time())

    def _is_over(self, verdict: Verdict) -> bool:
        if self.kind is ProbeKind.READINESS:
            return False
        return verdict is Verdict.FAILURE or (self.kind is ProbeKind.STARTUP and verdict is Verdict.SUCCESS)


def next_due(due: float, period_seconds: float, now: float) -> float:
    """The next point of the grid; where points were missed, the last of them, so that the attempt is made at once."""
    missed = math.floor((now - due + _ROUNDING_SECONDS) / period_seconds)
    return due + max(1, missed) * period_seconds


def first_due(due: float, period_seconds: float, now: float) -> float:
    """The first point of the grid that is still to come: those that went by would have found what was known."""
    gone = math.ceil((now - due - _ROUNDING_SECONDS) / period_seconds)
    return due + max(1, gone) * period_seconds


async def _sleep_until(moment: float) -> None:
    delay = moment - asyncio.get_running_loop().time()
    if delay > 0:
        await asyncio.sleep(delay)
