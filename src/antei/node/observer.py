"""Who looks on while a node works, and who may stand between a probe and its container: both for rehearsals.

Neither is anybody by default. An observer is told after the fact, on the loop, and must not block or raise.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from lightkube.resources.core_v1 import Pod

from antei.runtime import ContainerRecord, Exit

__all__ = ["NOBODY", "NO_CALM", "UNBLOCKED", "Calm", "Observer", "ProbeBlock"]


class Observer(Protocol):
    """What a node does to a pod's containers and learns of them, at the moment it does."""

    def started(self, pod: Pod, record: ContainerRecord) -> None:
        """A run of a container has just begun."""
        ...

    def probed(self, pod: Pod, container: str, kind: str, failure: str | None) -> None:
        """One attempt of a probe; `kind` is Liveness, Readiness or Startup, `failure` None when it succeeded."""
        ...

    def pre_stop(self, pod: Pod, container: str) -> None:
        """The preStop hook begins."""
        ...

    def signalled(self, pod: Pod, container: str, signal: str) -> None:
        """The node sends a stop signal, or SIGKILL at the deadline."""
        ...

    def ended(self, pod: Pod, container: str, end: Exit) -> None: ...


class ProbeBlock(Protocol):
    """Makes probes fail without touching what they ask: a fault that only rehearsals cause."""

    def refusal(self, pod_uid: str, container: str, kind: str) -> str | None:
        """Why the attempt fails before it is made; None lets it through."""
        ...


class Calm(Protocol):
    """Knows of containers that nothing happens to: their probes need not be made to know what comes of them."""

    def lasts(self, container_id: str) -> Awaitable[None] | None:
        """Returns once a probe that succeeded just now may not succeed again; None: nobody can tell."""
        ...


class _Nobody:
    def started(self, pod: Pod, record: ContainerRecord) -> None:
        pass

    def probed(self, pod: Pod, container: str, kind: str, failure: str | None) -> None:
        pass

    def pre_stop(self, pod: Pod, container: str) -> None:
        pass

    def signalled(self, pod: Pod, container: str, signal: str) -> None:
        pass

    def ended(self, pod: Pod, container: str, end: Exit) -> None:
        pass


class _Unblocked:
    def refusal(self, pod_uid: str, container: str, kind: str) -> str | None:
        return None


class _NoCalm:
    def lasts(self, container_id: str) -> Awaitable[None] | None:
        return None


NOBODY: Observer = _Nobody()
NO_CALM: Calm = _NoCalm()
UNBLOCKED: ProbeBlock = _Unblocked()
