"""Containers that get other resources while they run: whether the node has room, and how that is carried out.

    spec changes ─► room? ─┬─ never: PodResizePending, Infeasible
                           ├─ not now: PodResizePending, Deferred ──► asked again when another pod goes or shrinks,
                           │                                          the most important pods first
                           └─ allocated ─► PodResizeInProgress ─► limits changed under the container, or, where its
                                                                  resizePolicy says so, a restart ─► done

Kubernetes: pkg/kubelet/allocation/allocation_manager.go, kuberuntime_manager.go (computePodResizeAction).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from lightkube.models.core_v1 import Container, PodSpec, ResourceRequirements
from lightkube.resources.core_v1 import Pod

from antei.api.objects import replace
from antei.api.quantity import to_decimal
from antei.node.allocation import resize_summary
from antei.node.restarts import Role, roles

__all__ = ["PodResizer", "Resizable", "ResizeFacts", "Room", "needs_restart"]

_RETRY_SECONDS = 10.0
#: (Infeasible or Deferred, message) for a pod as it wants to be; None: it fits beside the others.
Room = Callable[[Pod], tuple[str, str] | None]


@dataclass(frozen=True, slots=True)
class ResizeFacts:
    """`pending`: the reason and message of a size that the pod has not been given; `error`: of one it was given."""

    pending: tuple[str, str] | None = None
    is_in_progress: bool = False
    error: str = ""


class Resizable(Protocol):
    """A container as the resizer sees it."""

    @property
    def resources(self) -> ResourceRequirements | None:
        """What it has been given."""
        ...

    @property
    def is_being_resized(self) -> bool:
        """It runs, with other resources than it has been given."""
        ...

    def allocate(self, resources: ResourceRequirements | None) -> None: ...

    async def apply_size(self) -> str:
        """Gives the run what the container has been given; why that failed, or nothing."""
        ...


def needs_restart(container: Container, actual: ResourceRequirements | None) -> bool:
    """Whether a resource that has changed since the run began is one that only a restart changes."""
    for policy in container.resizePolicy or ():
        if policy.restartPolicy != "RestartContainer":
            continue
        before, after = (_amounts(each, policy.resourceName) for each in (actual, container.resources))
        if before != after:
            return True
    return False


def _amounts(resources: ResourceRequirements | None, name: str) -> tuple[object, ...]:
    given = resources or ResourceRequirements()
    return tuple(to_decimal(of[name]) if name in (of or {}) else None for of in (given.requests, given.limits) if of)


class PodResizer:
    """`pod` gives the newest object, `changed` is called when there are other facts, `event(type, reason, message)`
    records one."""

    def __init__(
        self,
        containers: Mapping[str, Resizable],
        pod: Callable[[], Pod],
        room: Room,
        changed: Callable[[], None],
        event: Callable[[str, str, str], None],
    ) -> None:
        self._containers = containers
        self._pod = pod
        self._room = room
        self._changed = changed
        self._event = event
        self._given_pod: Pod | None = None  # as it was when it was given what is being carried out
        self._pending: tuple[str, str] | None = None
        self._error = ""
        self._wake = asyncio.Event()

    @property
    def facts(self) -> ResizeFacts:
        is_in_progress = any(container.is_being_resized for container in self._containers.values())
        return ResizeFacts(self._pending, is_in_progress, self._error if is_in_progress else "")

    @property
    def is_waiting(self) -> bool:
        """There may be room for it later."""
        return (self._pending is None or self._pending[0] == "Deferred") and bool(self._wanted())

    def allocated(self) -> Pod:
        """The pod with the resources that it has been given: what it takes of the node."""
        pod = self._pod()
        if not self._wanted():
            return pod
        assert pod.spec is not None
        spec = pod.spec
        return replace(
            pod,
            spec=replace(
                spec, containers=self._given(spec.containers), initContainers=self._given(spec.initContainers or [])
            ),
        )

    def _given(self, containers: list[Container]) -> list[Container]:
        return [replace(each, resources=self._containers[each.name].resources) for each in containers]

    def _wanted(self) -> dict[str, ResourceRequirements | None]:
        """What containers are to have and have not been given."""
        spec = self._pod().spec or PodSpec(containers=[])
        resizable = [container for container, role in roles(spec) if role is not Role.INIT]
        return {c.name: c.resources for c in resizable if self._containers[c.name].resources != c.resources}

    def review(self) -> None:
        """The pod has changed, or there may be room now."""
        wanted, pod, before = self._wanted(), self._pod(), self._pending
        self._pending = self._room(pod) if wanted else None
        if self._pending is not None:
            reason, message = self._pending
            if self._pending != before:
                summary = resize_summary(pod, message)
                self._event("Warning", f"Resize{reason}", f"Pod resize {reason}: {summary}")
        elif wanted:
            for name, resources in wanted.items():
                self._containers[name].allocate(resources)
            self._given_pod = pod
            self._event("Normal", "ResizeStarted", f"Pod resize started: {resize_summary(pod)}")
            self._wake.set()

    def settle(self) -> None:
        """A container has changed: perhaps all have now what they were given."""
        pod = self._given_pod
        if pod is not None and not any(container.is_being_resized for container in self._containers.values()):
            self._given_pod, self._error = None, ""
            self._event("Normal", "ResizeCompleted", f"Pod resize completed: {resize_summary(pod)}")

    async def run(self) -> None:
        """Carries out what has been given; first of all what an earlier life of the node did not get to."""
        while True:
            self._wake.clear()
            errors = [error for each in self._containers.values() if (error := await each.apply_size())]
            before, self._error = self._error, "; ".join(errors)
            if self._error and self._error != before:
                self._event("Warning", "ResizeError", f"Pod resize error: {resize_summary(self._pod(), self._error)}")
            self._changed()
            try:
                async with asyncio.timeout(_RETRY_SECONDS if errors else None):
                    await self._wake.wait()
            except TimeoutError:
                continue
