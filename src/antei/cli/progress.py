"""What everybody waits for, live: workloads with their state, and each pod that is not ready with its last event."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lightkube.resources.apps_v1 import DaemonSet, Deployment, ReplicaSet, StatefulSet
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Event, PersistentVolumeClaim, Pod
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from antei.api.objects import key_of, uid_of
from antei.api.printing import columns, row
from antei.api.resources import resource_of
from antei.api.rollout_status import RolloutState, RolloutStatus, rollout_status
from antei.cli.lines import say
from antei.client import Client
from antei.client.informer import Informers
from antei.world import Clock

__all__ = ["Awaited", "Progress", "refusal_of", "wait_ready"]

_KINDS: Mapping[str, type[Any]] = {
    kind.__name__: kind for kind in (Deployment, StatefulSet, DaemonSet, ReplicaSet, Job, Pod, PersistentVolumeClaim)
}
_STYLES = {RolloutState.DONE: "green", RolloutState.WAITING: "yellow", RolloutState.FAILED: "red"}
_REFRESH_SECONDS = 0.2
_REFUSALS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"}
    | {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
)


@dataclass(frozen=True, slots=True)
class Awaited:
    """One applied object that has something to wait for."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name}"


@dataclass(frozen=True, slots=True)
class Progress:
    """`workloads`: each with its state; `pods`: (name, status, refusal or last event) of those that are not ready."""

    workloads: tuple[tuple[Awaited, RolloutStatus], ...]
    pods: tuple[tuple[str, str, str], ...]

    @property
    def unsettled(self) -> list[str]:
        return [f"{what}: {status.message}" for what, status in self.workloads if status.state is not RolloutState.DONE]


def awaited_of(objects: Iterable[Mapping[str, Any]]) -> list[Awaited]:
    """Those of these applied objects (plain data) that can be waited for."""
    found = []
    for obj in objects:
        metadata = obj.get("metadata") or {}
        if obj.get("kind") in _KINDS:
            found.append(Awaited(str(obj["kind"]), metadata.get("namespace", ""), metadata.get("name", "")))
    return found


async def wait_ready(
    client: Client, clock: Clock, objects: Sequence[Mapping[str, Any]], timeout_seconds: float, console: Console
) -> Progress:
    """Shows progress until all is settled or the time is up, and returns how far it came."""
    awaited = awaited_of(objects)
    watcher = _Watcher(client, clock, awaited)
    running = asyncio.create_task(watcher.informers.run())
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await watcher.informers.wait_synced()
                await (_show_live if console.is_terminal else _show_lines)(watcher, console)
        return watcher.progress()
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def _show_live(watcher: _Watcher, console: Console) -> None:
    with Live(console=console, refresh_per_second=8, transient=True) as live:
        while True:
            progress = watcher.progress()
            live.update(_render(progress))
            if not progress.unsettled:
                return
            await watcher.changed(_REFRESH_SECONDS)


async def _show_lines(watcher: _Watcher, console: Console) -> None:
    told: dict[Awaited, str] = {}
    while True:
        progress = watcher.progress()
        for what, status in progress.workloads:
            if told.get(what) != status.message:
                told[what] = status.message
                say(console, f"{what}: {status.message}", style=_STYLES[status.state])
        if not progress.unsettled:
            return
        await watcher.changed(_REFRESH_SECONDS)


def _render(progress: Progress) -> RenderableType:
    workloads = Table(box=None, show_header=False, pad_edge=False)
    for what, status in progress.workloads:
        workloads.add_row(str(what), Text(status.message, style=_STYLES[status.state]))
    pods = Table(box=None, show_header=False, pad_edge=False)
    for name, text, event in progress.pods:
        pods.add_row(
            f"  {name}", Text(text, style="yellow"), Text(event, style="dim", overflow="ellipsis", no_wrap=True)
        )
    return Group(workloads, pods)


class _Watcher:
    def __init__(self, client: Client, clock: Clock, awaited: Sequence[Awaited]) -> None:
        self.informers = Informers(client)
        self._clock = clock
        self._awaited = awaited
        self._changed = asyncio.Event()
        self._last_event: dict[str, str] = {}  # uid of a pod → what happened last
        kinds: dict[str, type[Any]] = {what.kind: _KINDS[what.kind] for what in awaited} | {"Pod": Pod}
        for kind in kinds.values():
            self.informers.of(kind).add_handler(lambda old, new: self._changed.set())
        self.informers.of(Event).add_handler(self._note_event)

    def _note_event(self, old: Event | None, new: Event | None) -> None:
        if new is not None and new.involvedObject.uid:
            self._last_event[new.involvedObject.uid] = f"{new.reason}: {new.message}"
            self._changed.set()

    async def changed(self, at_most_seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(at_most_seconds):
                await self._changed.wait()
                await asyncio.sleep(0.05)  # changes come in bunches
        self._changed.clear()

    def progress(self) -> Progress:
        now = self._clock.now()
        workloads = []
        for what in self._awaited:
            obj = self.informers.of(_KINDS[what.kind]).get(what.namespace, what.name)
            status = rollout_status(obj) if obj is not None else RolloutStatus(RolloutState.WAITING, "not there yet")
            workloads.append((what, status))
        namespaces = {what.namespace for what in self._awaited}
        pods = tuple(
            (key_of(pod)[1], _status_text(pod, now), refusal_of(pod) or self._last_event.get(uid_of(pod), ""))
            for pod in self.informers.of(Pod).items()
            if key_of(pod)[0] in namespaces and rollout_status(pod).state is not RolloutState.DONE
        )
        return Progress(tuple(workloads), pods)


def refusal_of(pod: Pod) -> str | None:
    """Why a container of the pod cannot be made: what the last event of such a pod says only in short."""
    status = pod.status
    for found in (*(status.initContainerStatuses or ()), *(status.containerStatuses or ())) if status else ():
        waiting = found.state.waiting if found.state else None
        if waiting is not None and waiting.message and waiting.reason in _REFUSALS:
            return waiting.message
    return None


def _status_text(pod: Pod, now: datetime) -> str:
    """STATUS as kubectl prints it."""
    resource = resource_of(Pod)
    index = [column.name for column in columns(resource)].index("Status")
    return str(row(resource, pod, now).cells[index])
