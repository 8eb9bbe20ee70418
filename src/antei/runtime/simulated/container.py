"""One simulated container: a clock of its own, a state, and what can be done to it."""

from __future__ import annotations

import asyncio
import signal as signals
from collections.abc import Awaitable, Callable
from dataclasses import replace

from antei.runtime import ContainerRecord, ContainerSpec, Exit
from antei.runtime.simulated.profile import NOBODYS_PORT, ContainerProfile, ScheduledExit, scheduled_exit
from antei.world import Clock

__all__ = ["SimulatedContainer"]

#: The loop counts nanoseconds but reports floats: "5 s after" must not be missed by a rounding error.
_ROUNDING_SECONDS = 1e-7


class SimulatedContainer:
    """Alive from construction on, on the running loop. `report(what, detail)` is called for all that happens to it."""

    def __init__(
        self,
        spec: ContainerSpec,
        record: ContainerRecord,
        profile: ContainerProfile,
        clock: Clock,
        report: Callable[[SimulatedContainer, str, str], None],
    ) -> None:
        self.spec = spec
        self.record = record
        self.profile = profile
        self._clock = clock
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._timers: list[asyncio.TimerHandle] = []
        self._stopping = False
        self._hung = False
        self._hung_at = self._hung_seconds = 0.0  # since when, and how long before that
        self._disturbance: asyncio.Future[None] | None = None
        self._held_back: list[Callable[[], None]] = []  # what a hung process does once it runs on
        self._awake = asyncio.Event()
        self._awake.set()
        self._ended = asyncio.Event()
        ends = scheduled_exit(profile, spec.attempt)
        if ends is not None:
            self._later(ends.after_seconds, lambda: self._own_end(ends))
        if profile.hangs_after_seconds is not None:
            self._later(profile.hangs_after_seconds, self.hang)
        self._coming_up: asyncio.TimerHandle | None = None
        self._come_up_later()

    @property
    def running(self) -> bool:
        return self.record.exit is None

    @property
    def is_hung(self) -> bool:
        return self._hung

    @property
    def since_start_seconds(self) -> float:
        return self._loop.time() - self._started

    @property
    def _awake_seconds(self) -> float:
        """What stands still gets no nearer to listening."""
        hung = self._hung_seconds + (self._loop.time() - self._hung_at if self._hung else 0.0)
        return self.since_start_seconds - hung

    def _come_up_later(self) -> None:
        left = self.profile.listens_after_seconds - self._awake_seconds
        if left > 0:
            self._coming_up = self._loop.call_later(left, self._report, self, "listening", "")

    def calm(self) -> Awaitable[None] | None:
        """Returns once its answers may be others than now; None while they may be at any time."""
        settles = self.profile.settles_after_seconds
        if settles is None or not self.running or self._hung or self._stopping:
            return None
        if self._awake_seconds + _ROUNDING_SECONDS < settles:
            return None
        return self._until_disturbed()

    async def _until_disturbed(self) -> None:
        if self._disturbance is None:
            self._disturbance = self._loop.create_future()
        await asyncio.shield(self._disturbance)

    def disturb(self) -> None:
        disturbance, self._disturbance = self._disturbance, None
        if disturbance is not None and not disturbance.done():
            disturbance.set_result(None)

    def listens_on(self, port: int) -> bool:
        profile = self.profile
        is_served = port != NOBODYS_PORT if profile.ports is None else port in profile.ports
        return self.has_come_up and is_served

    @property
    def has_come_up(self) -> bool:
        """Whether it accepts connections: it listens, and has not been told to stop where that ends it."""
        return (
            self.running
            and (self.profile.serves_while_stopping or not self._stopping)
            and self._awake_seconds + _ROUNDING_SECONDS >= self.profile.listens_after_seconds
        )

    def signal(self, name: str) -> None:
        if not self.running:
            return
        self._report(self, "signalled", name)
        if name == "SIGKILL":
            self.end(128 + signals.SIGKILL, signals.SIGKILL)
        elif name == "SIGSTOP":
            self.hang()
        elif name == "SIGCONT":
            self.resume()
        elif name in ("SIGTERM", self.record.stop_signal):
            self._when_awake(self._stop)

    def hang(self) -> None:
        if self.running and not self._hung:
            self._hung, self._hung_at = True, self._loop.time()
            if self._coming_up is not None:
                self._coming_up.cancel()
            self._awake.clear()
            self.disturb()
            self._report(self, "hung", "")

    def resume(self) -> None:
        if not self._hung or not self.running:
            return
        self._hung = False
        self._hung_seconds += self._loop.time() - self._hung_at
        self._come_up_later()
        self._awake.set()
        self._report(self, "resumed", "")
        held_back, self._held_back = self._held_back, []
        for action in held_back:
            action()

    def end(self, exit_code: int, signal: int | None = None, *, oom_killed: bool = False) -> None:
        """The container is over, whatever it was doing."""
        if not self.running:
            return
        for timer in (*self._timers, *((self._coming_up,) if self._coming_up is not None else ())):
            timer.cancel()
        ended = Exit(exit_code, self._clock.now(), int(signal) if signal is not None else None, oom_killed)
        self.record = replace(self.record, exit=ended)
        self._ended.set()
        self.disturb()
        self._awake.set()
        self._report(self, "exited", str(exit_code))

    async def ended(self) -> Exit:
        while self.record.exit is None:
            await self._ended.wait()
        return self.record.exit

    async def lives_through(self, seconds: float) -> bool:
        """Waits so long, and on while the container hangs; False, at once, when the container ends meanwhile."""
        if seconds > 0 and self.running:
            try:
                async with asyncio.timeout(seconds):
                    await self._ended.wait()
            except TimeoutError:
                pass
        while self.running and self._hung:
            await self._awake.wait()
        return self.running

    def _stop(self) -> None:
        if self._stopping or self.profile.stops_after_seconds is None:
            return
        self._stopping = True
        self.disturb()
        self._report(self, "stopping", "")
        if self.profile.stops_after_seconds <= 0:
            self.end(self.profile.stop_exit_code)
        else:
            self._later(self.profile.stops_after_seconds, lambda: self._own_exit(self.profile.stop_exit_code))

    def _own_end(self, ends: ScheduledExit) -> None:
        if ends.oom_killed:
            self.end(ends.exit_code, signals.SIGKILL, oom_killed=True)  # the kernel asks nobody, hung or not
        else:
            self._own_exit(ends.exit_code)

    def _own_exit(self, exit_code: int) -> None:
        self._when_awake(lambda: self.end(exit_code))

    def _when_awake(self, action: Callable[[], None]) -> None:
        if self._hung:
            self._held_back.append(action)
        else:
            action()

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        self._timers.append(self._loop.call_later(seconds, action))
