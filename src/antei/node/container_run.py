"""One run of a container, from the moment the runtime has started it to its end.

    started ──► postStart ──► visible: probes begin, status says Running ──► … ──► ended
                   │ fails                  │ liveness or startup FAILURE
                   ▼                        ▼
                 stop  ◄──────────────────stop◄────────────────────────── stop asked by the pod
                   └── preStop, turn, stop signal, SIGKILL (termination.py) ──► ended

Whatever asks for the stop, it happens once: a later request can only bring the deadline nearer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from lightkube.models.core_v1 import Container, PodSpec, Probe
from lightkube.resources.core_v1 import Pod

from antei.api.objects import uid_of
from antei.node.context import NodeContext
from antei.node.hooks import HookFailed, run_hook
from antei.node.probes.actions import Attempt, Outcome, ProbeTarget, act
from antei.node.probes.results import Results
from antei.node.probes.thresholds import ProbeKind, Verdict, begin
from antei.node.probes.worker import ProbeWorker
from antei.node.restarts import field_path
from antei.node.termination import Deadline, grace_for_probe, pod_grace, stop_container, stop_signal
from antei.runtime import ContainerRecord, Exit

__all__ = ["ContainerRun", "PriorVerdicts", "Turn"]

Turn = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class PriorVerdicts:
    """What the API says of a run that this node adopts: it holds until a probe says otherwise."""

    has_started: bool
    is_ready: bool


class ContainerRun:
    """`changed` is called on the loop whenever what the properties say has changed."""

    def __init__(
        self,
        context: NodeContext,
        pod: Callable[[], Pod],
        container: Container,
        record: ContainerRecord,
        pod_ip: str,
        will_restart: bool,
        changed: Callable[[], None],
        prior: PriorVerdicts | None = None,
    ) -> None:
        self.record = record
        self.is_visible = False  # the postStart hook has ended
        self._context = context
        self._pod = pod
        self._container = container
        self._will_restart = will_restart
        self._changed = changed
        self._prior = prior
        self._target = ProbeTarget(container, record.id, pod_ip, context.runtime, context.transport)
        self._has_started = asyncio.Event()
        self._results = Results(self._on_verdict)
        self._probes: dict[ProbeKind, asyncio.Task[None]] = {}
        self._deadline: Deadline | None = None
        self._group: asyncio.TaskGroup | None = None
        self._tending: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._started_at = asyncio.get_running_loop().time()
        if prior is not None:
            self._adopt(prior)

    @property
    def has_started(self) -> bool:
        return self.is_visible and self._has_started.is_set()

    @property
    def is_ready(self) -> bool:
        """Running, started, and its readiness probe (if it has one) says so."""
        if not self.has_started:
            return False
        return self._container.readinessProbe is None or self._results.verdict(ProbeKind.READINESS) is Verdict.SUCCESS

    async def attend(self) -> Exit:
        """Looks after the run until it has ended. Cancelled, it leaves the container as it is."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._tending = group.create_task(self._tend())
            try:
                end = await self._context.runtime.wait(self.record.id)
                self._context.observer.ended(self._pod(), self._container.name, end)
                return end
            finally:
                self._group = None
                for task in (self._tending, *self._probes.values(), *self._tasks):
                    task.cancel()

    def stop(self, deadline: float, message: str, turn: Turn | None = None, *, for_good: bool = False) -> None:
        """Begins to stop the run, or brings the deadline (on the loop's clock) of a stop under way nearer.

        `for_good`: the pod is ending, so that liveness and startup no longer matter; readiness goes on.
        """
        if for_good:
            for kind in (ProbeKind.LIVENESS, ProbeKind.STARTUP):
                if kind in self._probes:
                    self._probes[kind].cancel()
        if self._deadline is not None:
            self._deadline.shorten(deadline)
            return
        if self._group is None:
            return
        self._deadline = Deadline(deadline)
        if not self.is_visible and self._tending is not None and self._tending is not asyncio.current_task():
            self._tending.cancel()
        self._event("Normal", "Killing", message)
        signal = stop_signal(self._container, self.record.stop_signal)
        self._tasks.append(self._group.create_task(stop_container(self, self._deadline, signal, turn)))

    # --- StopMeans ---

    async def pre_stop(self) -> None:
        lifecycle = self._container.lifecycle
        if lifecycle is None or lifecycle.preStop is None:
            return
        self._context.observer.pre_stop(self._pod(), self._container.name)
        try:
            await run_hook(lifecycle.preStop, self._target)
        except HookFailed:
            self._event("Warning", "FailedPreStopHook", "PreStopHook failed")

    async def signal(self, signal: str) -> None:
        self._context.observer.signalled(self._pod(), self._container.name, signal)
        await self._context.runtime.signal(self.record.id, signal)

    async def ended(self) -> None:
        await self._context.runtime.wait(self.record.id)

    # --- between start and end ---

    def _adopt(self, prior: PriorVerdicts) -> None:
        """The run began in an earlier life of this process: what was published of it holds from the first moment."""
        # The loop's clock of that life is gone; the wall's is not.
        self._started_at -= (self._context.world.clock.now() - self.record.started_at).total_seconds()
        self.is_visible = True
        if self._container.startupProbe is None or prior.has_started:
            self._has_started.set()
        if prior.is_ready:
            self._results.begin(ProbeKind.READINESS, Verdict.SUCCESS)

    async def _tend(self) -> None:
        if self._prior is None:
            if not await self._post_start():
                return
            self.is_visible = True
            if self._container.startupProbe is None:
                self._has_started.set()
        self._begin_probes()
        self._changed()

    async def _post_start(self) -> bool:
        lifecycle = self._container.lifecycle
        if lifecycle is None or lifecycle.postStart is None:
            return True
        try:
            await run_hook(lifecycle.postStart, self._target)
        except HookFailed:
            self._event("Warning", "FailedPostStartHook", "PostStartHook failed")
            self.stop(asyncio.get_running_loop().time() + pod_grace(self._spec), "FailedPostStartHook")
            return False
        return True

    def _begin_probes(self) -> None:
        if self._group is None or self._deadline is not None:
            return
        for kind, probe in self._wanted_probes():
            if self._results.verdict(kind) is None:
                self._results.begin(kind, begin(kind).verdict)
            # Many containers are adopted at once: their first attempts are spread over a period.
            period_seconds = float(probe.periodSeconds or 10)
            is_adopted = self._prior is not None
            # Tried as the container starts, before most servers listen.
            is_fresh = not is_adopted and self._container.startupProbe is None
            worker = ProbeWorker(
                kind=kind,
                probe=probe,
                attempt=partial(self._attempt, kind, probe),
                results=self._results,
                report=self._report,
                has_started=self._has_started,
                started_at=self._started_at,
                calm=partial(self._context.calm.lasts, self.record.id),
                jitter_seconds=self._context.world.chance.uniform(0, period_seconds) if is_adopted else 0.0,
                is_tried_twice=kind is ProbeKind.READINESS and is_fresh and not probe.initialDelaySeconds,
            )
            self._probes[kind] = self._group.create_task(worker.run())

    def _wanted_probes(self) -> list[tuple[ProbeKind, Probe]]:
        container = self._container
        wanted = [
            (ProbeKind.STARTUP, None if self._has_started.is_set() else container.startupProbe),
            (ProbeKind.READINESS, container.readinessProbe),
            (ProbeKind.LIVENESS, container.livenessProbe),
        ]
        return [(kind, probe) for kind, probe in wanted if probe is not None]

    async def _attempt(self, kind: ProbeKind, probe: Probe) -> Attempt:
        """One attempt, unless a rehearsal stands in between; whoever looks on is told what came of it."""
        pod, name = self._pod(), self._container.name
        refusal = self._context.probe_block.refusal(uid_of(pod), name, kind)
        began = asyncio.get_running_loop().time()
        attempt = await act(probe, self._target) if refusal is None else Attempt(Outcome.FAILURE, refusal)
        seconds = asyncio.get_running_loop().time() - began
        self._context.measures.probed(pod, name, kind, attempt.outcome, seconds)
        succeeded = attempt.outcome in (Outcome.SUCCESS, Outcome.WARNING)
        self._context.observer.probed(pod, name, kind, None if succeeded else attempt.message)
        return attempt

    def _report(self, kind: ProbeKind, attempt: Attempt) -> None:
        if attempt.outcome is Outcome.WARNING:
            self._event("Warning", "ProbeWarning", f"{kind} probe warning: {attempt.message}")
        elif attempt.outcome is Outcome.ERROR:
            message = f"{kind} probe errored and resulted in unknown state: {attempt.message}"
            self._event("Warning", "Unhealthy", message)
        else:
            self._event("Warning", "Unhealthy", f"{kind} probe failed: {attempt.message}")

    def _on_verdict(self, kind: ProbeKind, verdict: Verdict) -> None:
        """Readiness and startup are published; a failed liveness or startup probe stops the run."""
        if kind is ProbeKind.STARTUP and verdict is Verdict.SUCCESS:
            self._has_started.set()
        if kind is not ProbeKind.READINESS and verdict is Verdict.FAILURE:
            probe = self._container.livenessProbe if kind is ProbeKind.LIVENESS else self._container.startupProbe
            message = f"Container {self._container.name} failed {kind.lower()} probe"
            if self._will_restart:
                message += ", will be restarted"
            self.stop(asyncio.get_running_loop().time() + grace_for_probe(self._spec, probe), message)
        self._changed()

    @property
    def _spec(self) -> PodSpec:
        spec = self._pod().spec
        assert spec is not None
        return spec

    def _event(self, event_type: str, reason: str, message: str) -> None:
        path = field_path(self._spec, self._container.name)
        self._context.event(self._pod(), event_type, reason, message, path)
