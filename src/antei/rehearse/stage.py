"""The workload as it is now, from informers: who serves, who was hit, and whether all is as it was before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lightkube.resources.core_v1 import Pod

from antei.api.objects import is_terminating, key_of, name_of, namespace_of, uid_of
from antei.api.pods import is_active, is_ready
from antei.api.rollout_status import RolloutState, rollout_status
from antei.rehearse.observe import Recorder
from antei.rehearse.scenario import Condition
from antei.rehearse.target import Target
from antei.rehearse.workload import OWNER_KINDS, Owner, Workload, replicas_of, selects

__all__ = ["Hit", "Stage", "StepFailed", "restarts_of"]

_LOOK_SECONDS = 0.05


class StepFailed(Exception):
    """A scenario that cannot go on; the message says what did not come true."""


@dataclass(frozen=True, slots=True)
class Hit:
    """What a fault was aimed at, as it was before: `restarts` and `known` by uid."""

    pods: tuple[Pod, ...] = ()
    restarts: Mapping[str, int] = field(default_factory=dict)
    known: frozenset[str] = frozenset()


class Stage:
    """`workload.owner` is as it was when found; `owner` is as it is."""

    def __init__(self, target: Target, workload: Workload, recorder: Recorder) -> None:
        self.target = target
        self.workload = workload
        self.recorder = recorder
        self.hit = Hit()
        self.ready_before = 0
        for kind in OWNER_KINDS:
            target.informers.of(kind)
        self._pods = target.informers.of(Pod)

    @property
    def owner(self) -> Owner:
        """Raises StepFailed when it is gone."""
        return self.current(self.workload.owner)

    def current(self, owner: Owner) -> Owner:
        found = self.target.informers.of(type(owner)).get(*key_of(owner))
        if found is None:
            raise StepFailed(f"{type(owner).__name__.lower()}/{name_of(owner)} is gone")
        return found

    def pods(self, owner: Owner | None = None) -> list[Pod]:
        """Those of the workload (or of another controller) that have not ended, by name."""
        found = self._pods.items(self.workload.namespace)
        mine = [pod for pod in found if (selects(owner, pod) if owner is not None else self.workload.owns(pod))]
        return sorted((pod for pod in mine if is_active(pod)), key=name_of)

    def serving(self) -> list[Pod]:
        return [pod for pod in self.pods() if is_ready(pod) and name_of(pod) in self.recorder.ready_names]

    def aim(self, pods: Sequence[Pod]) -> None:
        """Says whom the next fault hits."""
        everyone = [pod for pod in self._pods.items(self.workload.namespace) if self.workload.owns(pod)]
        self.hit = Hit(
            tuple(pods),
            {uid_of(pod): restarts_of(pod) for pod in everyone},
            frozenset(uid_of(pod) for pod in everyone),
        )

    async def wait(self, condition: Condition, within_seconds: float) -> None:
        """Raises StepFailed when it does not come true in time, or never will."""
        await self.until(self._conditions()[condition], condition.value, within_seconds)

    async def until(self, holds: Callable[[], bool], what: str, within_seconds: float) -> None:
        try:
            async with asyncio.timeout(within_seconds):
                while not holds():  # noqa: ASYNC110 - any condition, over several informers
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError as error:
            raise StepFailed(f"after {within_seconds:g} s still not {what}: {self.describe()}") from error

    def describe(self) -> str:
        """For a message: what there is."""
        pods = [pod for pod in self._pods.items(self.workload.namespace) if self.workload.owns(pod)]
        words = [f"{name_of(pod)} {_state_of(pod)}" for pod in sorted(pods, key=name_of)]
        return f"{len(self.recorder.ready_names)} ready in the Service; {', '.join(words) or 'no pods'}"

    async def wait_healthy(self, within_seconds: float) -> None:
        """All replicas of the workload and of what it depends on serve, and nothing is on its way out or in."""
        await self.until(self.is_healthy, "healthy", within_seconds)
        self.ready_before = len(self.recorder.ready_names)

    def is_healthy(self) -> bool:
        owners = [self.owner, *(self.current(other) for other in self.workload.dependencies)]
        if any(rollout_status(owner).state is not RolloutState.DONE for owner in owners):
            return False
        return self._is_settled(replicas_of(self.owner)) and self._nothing_ends()

    # --- conditions ---

    def _conditions(self) -> Mapping[Condition, Callable[[], bool]]:
        return {
            Condition.OUT: lambda: not any(self.recorder.is_in_effect(pod) for pod in self._hit_now()),
            Condition.ALL_OUT: lambda: not self.recorder.ready_names,
            Condition.RESTARTED: lambda: all(
                restarts_of(pod) > self.hit.restarts.get(uid_of(pod), 0) for pod in self._hit_now()
            ),
            Condition.GONE: lambda: not self._hit_now() and self._nothing_ends(),
            Condition.RECOVERED: lambda: self._is_settled(self.ready_before) and self._nothing_ends(),
            Condition.ROLLED_OUT: self._is_rolled_out,
            Condition.NEW_POD: lambda: any(uid_of(pod) not in self.hit.known for pod in self.pods()),
            Condition.CRASH_LOOPING: lambda: any(_is_looping(pod) for pod in self._hit_now()),
        }

    def _hit_now(self) -> list[Pod]:
        """Those that were hit and are still there, as they are."""
        found = [self._pods.get(*key_of(pod)) for pod in self.hit.pods]
        return [
            now
            for now, before in zip(found, self.hit.pods, strict=True)
            if now is not None and uid_of(now) == uid_of(before)
        ]

    def _is_settled(self, ready: int) -> bool:
        """So many serve, new connections go to each of them, and no other pod is on its way."""
        pods, serving = self.pods(), self.serving()
        return (
            len(serving) >= ready
            and len(pods) == len(serving)
            and all(self.recorder.is_in_effect(pod) for pod in serving)
        )

    def _nothing_ends(self) -> bool:
        return not any(
            is_terminating(pod) for pod in self._pods.items(self.workload.namespace) if self.workload.owns(pod)
        )

    def _is_rolled_out(self) -> bool:
        status = rollout_status(self.owner)
        if status.state is RolloutState.FAILED:
            raise StepFailed(status.message)
        return status.state is RolloutState.DONE

    async def fetch_owner(self) -> Owner:
        """Fresh from the API, for what is written back. Raises ApiError."""
        owner = self.workload.owner
        return await self.target.client.get(type(owner), name_of(owner), namespace_of(owner))

    async def observed(self, owner: Owner, within_seconds: float = 30.0) -> None:
        """Until the informer and the controller have seen this generation: what came before is no answer."""

        def is_seen() -> bool:
            found = self.current(owner)
            generation = owner.metadata.generation if owner.metadata is not None else 0
            seen = found.status.observedGeneration if found.status is not None else 0
            return (seen or 0) >= (generation or 0)

        await self.until(is_seen, "observed by its controller", within_seconds)


def restarts_of(pod: Pod) -> int:
    return sum(status.restartCount for status in (pod.status.containerStatuses if pod.status else None) or ())


def _is_looping(pod: Pod) -> bool:
    return any(
        status.state is not None and status.state.waiting is not None and status.state.waiting.reason == _LOOPING
        for status in (pod.status.containerStatuses if pod.status is not None else None) or ()
    )


_LOOPING = "CrashLoopBackOff"


def _state_of(pod: Pod) -> str:
    if is_terminating(pod):
        return "terminating"
    if is_ready(pod):
        return "ready"
    return "in CrashLoopBackOff" if _is_looping(pod) else "not ready"
