"""How a container is stopped: one deadline over hook and SIGTERM.

    stop asked                                        deadline (asked + grace period)
        │                                                      │
        ├── preStop hook ──┐  (given up at the deadline)       │
        │                  ├── turn: containers that must ─────┤  (waited for until the deadline)
        │                  │   end before this one             │
        │                  └── stop signal to PID 1 ───────────┴── SIGKILL to all of it
        │                          └──── never less than 2 s ─────────┘

    a second delete with a shorter grace period moves the deadline nearer, never farther; what waits for it notices

All containers of a pod go through this at once, each in its own time; sidecars wait their turn until the
containers that came after them have ended. Kubernetes: kuberuntime_container.go (killContainer),
kuberuntime_termination_order.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from lightkube.models.core_v1 import Container, PodSpec, Probe

from antei.node.restarts import Role, roles

__all__ = ["Deadline", "StopMeans", "grace_for_deletion", "grace_for_probe", "predecessors", "stop_container"]

#: Kubernetes: minimumGracePeriodInSeconds.
MINIMUM_WINDOW_SECONDS = 2.0
DEFAULT_GRACE_SECONDS = 30.0
#: What a pod whose object vanished (a forced delete) still gets; the kubelet's least.
FORCED_GRACE_SECONDS = 1.0


def grace_for_deletion(spec: PodSpec, requested_seconds: int | None) -> float:
    """The grace period of a pod that is deleted: the request's, else the pod's; a second at least."""
    if requested_seconds is None:
        return pod_grace(spec)
    return max(float(requested_seconds), FORCED_GRACE_SECONDS)


def grace_for_probe(spec: PodSpec, probe: Probe | None) -> float:
    """The grace period of a container that failed a liveness or startup probe: the probe's own, else the pod's."""
    if probe is not None and probe.terminationGracePeriodSeconds is not None:
        return float(probe.terminationGracePeriodSeconds)
    return pod_grace(spec)


def pod_grace(spec: PodSpec) -> float:
    seconds = spec.terminationGracePeriodSeconds
    return DEFAULT_GRACE_SECONDS if seconds is None else float(seconds)


def predecessors(spec: PodSpec) -> Mapping[str, tuple[str, ...]]:
    """For each container those that must have ended before it gets its stop signal.

    A sidecar waits for all containers and for the sidecars that started after it; nothing else waits.
    """
    order = [(container.name, role) for container, role in roles(spec)]
    return {
        name: tuple(
            later for later, later_role in order[position + 1 :] if role is Role.SIDECAR and later_role is not Role.INIT
        )
        for position, (name, role) in enumerate(order)
    }


class Deadline:
    """A moment on the loop's clock that can be moved nearer while others wait for it."""

    def __init__(self, moment: float) -> None:
        self._moment = moment
        self._moved = asyncio.Event()

    @property
    def moment(self) -> float:
        return self._moment

    def shorten(self, moment: float) -> None:
        if moment < self._moment:
            self._moment = moment
            self._moved.set()

    async def bounds(self, work: Awaitable[object], least: float = 0.0) -> bool:
        """Waits for `work`, but not beyond the deadline (nor, if later, the moment `least`): then it is cancelled.

        Returns whether it ended in time. What it raises is raised here.
        """
        task = asyncio.ensure_future(work)
        try:
            while not task.done():
                moved = asyncio.ensure_future(self._moved.wait())
                remaining = max(self._moment, least) - asyncio.get_running_loop().time()
                if remaining <= 0:
                    moved.cancel()
                    return False
                try:
                    await asyncio.wait({task, moved}, timeout=remaining, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    moved.cancel()
                self._moved.clear()
            await task
            return True
        finally:
            task.cancel()


class StopMeans(Protocol):
    """What stopping takes, of one run of one container."""

    async def pre_stop(self) -> None:
        """Runs the hook, if there is one, and reports its failure itself."""
        ...

    async def signal(self, signal: str) -> None: ...

    async def ended(self) -> None:
        """Returns when the run has ended."""
        ...


async def stop_container(
    means: StopMeans, deadline: Deadline, signal: str, turn: Callable[[], Awaitable[None]] | None = None
) -> None:
    """Stops one run of a container; returns when it has ended. `turn` returns when its predecessors have."""
    ended = asyncio.ensure_future(means.ended())
    try:
        if await _hook_and_turn(means, deadline, ended, turn):
            return
        signalled_at = asyncio.get_running_loop().time()
        await means.signal(signal)
        # Where the deadline comes first, the window still has its two seconds.
        if not await deadline.bounds(asyncio.shield(ended), least=signalled_at + MINIMUM_WINDOW_SECONDS):
            await means.signal("SIGKILL")
            await ended
    finally:
        ended.cancel()


async def _hook_and_turn(
    means: StopMeans,
    deadline: Deadline,
    ended: asyncio.Future[None],
    turn: Callable[[], Awaitable[None]] | None,
) -> bool:
    """Whether the container ended by itself before its stop signal was due."""

    async def first() -> None:
        await means.pre_stop()
        if turn is not None:
            await turn()

    before = asyncio.ensure_future(first())
    try:
        await deadline.bounds(asyncio.wait({before, ended}, return_when=asyncio.FIRST_COMPLETED))
    finally:
        before.cancel()
    if before.done() and not before.cancelled():
        before.result()
    return ended.done()


def stop_signal(container: Container, of_image: str) -> str:
    """lifecycle.stopSignal, or what the image (through the runtime) says."""
    if container.lifecycle is not None and container.lifecycle.stopSignal:
        return container.lifecycle.stopSignal
    return of_image or "SIGTERM"
