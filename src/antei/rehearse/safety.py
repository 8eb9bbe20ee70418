"""What must be undone, written down before it is done.

    note (on disk) ──► the change in the cluster ──► … ──► undone ──► struck off (file gone when it was the last)
                                  │
                                  └── Ctrl-C: undone on the way out     kill -9, no connection: the file stays, and the
                                                                        next `antei rehearse` undoes what it says

One file a rehearsal, named by its process: a file whose process is gone is what an interrupted rehearsal left.
All undoing can be done twice: an undo of what was undone, or of an object that is gone, changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
import psutil
from lightkube.resources.apps_v1 import DaemonSet, Deployment, ReplicaSet, StatefulSet
from lightkube.resources.core_v1 import Node

from antei.api.errors import ApiError
from antei.client import Client, PatchType

__all__ = [
    "EndCluster",
    "Interrupted",
    "Journal",
    "Notes",
    "RestoreTemplate",
    "Scale",
    "Uncordon",
    "Undo",
    "finish",
    "perform",
]

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in (Deployment, StatefulSet, DaemonSet, ReplicaSet)}
_RETRY_SECONDS = 1.0


class Uncordon(msgspec.Struct, frozen=True, tag="uncordon"):
    node: str

    def __str__(self) -> str:
        return f"uncordon node {self.node}"


class Scale(msgspec.Struct, frozen=True, tag="scale"):
    """Back to so many replicas."""

    kind: str
    namespace: str
    name: str
    replicas: int

    def __str__(self) -> str:
        return f"restore {self.kind.lower()}/{self.name} to {self.replicas} replicas"


class RestoreTemplate(msgspec.Struct, frozen=True, tag="template"):
    """Back to this pod template."""

    kind: str
    namespace: str
    name: str
    template: dict[str, Any]

    def __str__(self) -> str:
        return f"restore the pod template of {self.kind.lower()}/{self.name}"


class EndCluster(msgspec.Struct, frozen=True, tag="cluster"):
    """End what runs of an embedded cluster that was made for this rehearsal, and remove its directory."""

    directory: str

    def __str__(self) -> str:
        return f"end the cluster in {self.directory}"


Undo = Uncordon | Scale | RestoreTemplate | EndCluster


class _File(msgspec.Struct):
    """`created` is the process' start time, so that a reused pid is not taken for ours."""

    pid: int
    created: float
    kubeconfig: str = ""
    context: str = ""
    undo: list[Undo] = []


class Notes(Protocol):
    """Where what must be undone is noted before it is done, and struck off once it is undone."""

    async def note(self, undo: Undo) -> None: ...

    async def strike(self, undo: Undo) -> None: ...


class Journal:
    """What this process has to undo, in `directory`. Safe to use from one task at a time."""

    def __init__(self, directory: Path, *, kubeconfig: str = "", context: str = "") -> None:
        self._path = directory / f"rehearsal-{os.getpid()}.json"
        self._state = _File(os.getpid(), 0.0, kubeconfig, context)

    @property
    def entries(self) -> Sequence[Undo]:
        """The latest first: the order in which they are undone."""
        return tuple(reversed(self._state.undo))

    async def note(self, undo: Undo) -> None:
        """Returns once it is on disk: what it undoes may now be done. Raises OSError."""
        if undo not in self._state.undo:
            self._state.undo.append(undo)
            await asyncio.to_thread(self._write)

    async def strike(self, undo: Undo) -> None:
        with suppress(ValueError):
            self._state.undo.remove(undo)
        await asyncio.to_thread(self._write)

    def _write(self) -> None:
        if not self._state.undo:
            self._path.unlink(missing_ok=True)
            return
        self._state.created = psutil.Process().create_time()
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(msgspec.json.encode(self._state))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)


class Interrupted:
    """What one earlier rehearsal left: `undo` in the order in which it is to be undone."""

    def __init__(self, path: Path, state: _File) -> None:
        self.path = path
        self.kubeconfig = state.kubeconfig
        self.context = state.context
        self.undo: tuple[Undo, ...] = tuple(reversed(state.undo))

    @staticmethod
    def find(directory: Path) -> list[Interrupted]:
        """All whose process is gone. A file that cannot be read is reported and left where it is."""
        found = []
        for path in sorted(directory.glob("rehearsal-*.json")):
            try:
                state = msgspec.json.decode(path.read_bytes(), type=_File)
            except (OSError, msgspec.DecodeError) as error:
                _LOG.warning("%s is not understood and left alone: %s", path, error)
                continue
            if not _is_alive(state):
                found.append(Interrupted(path, state))
        return found

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)


async def finish(work: Coroutine[Any, Any, T]) -> T:
    """Runs it to its end, also when this is cancelled meanwhile: then that is raised afterwards."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
        except Exception:  # noqa: BLE001 - raised by `result` below
            break
    result = task.result()
    if cancelled is not None:
        raise cancelled
    return result


async def perform(undo: Undo, client: Client | None, *, within_seconds: float) -> None:
    """Undoes one thing, trying for so long while the API cannot be reached. Raises ApiError or TimeoutError."""
    if isinstance(undo, EndCluster):
        raise TypeError("a cluster is ended by who started it")
    if client is None:
        raise TypeError(f"{undo} needs a connection")
    act = _act(undo, client)
    async with asyncio.timeout(within_seconds):
        while True:
            try:
                await act()
            except ApiError as error:
                if error.code == 404:
                    return  # gone, with what was to be undone
                if error.code < 500 and error.code != 429:
                    raise
                _LOG.info("%s: %s; trying again", undo, error)
            except OSError as error:
                _LOG.info("%s: %s; trying again", undo, error)
            else:
                return
            await asyncio.sleep(_RETRY_SECONDS)


def _act(undo: Uncordon | Scale | RestoreTemplate, client: Client) -> Callable[[], Awaitable[object]]:
    match undo:
        case Uncordon(node):
            return lambda: client.patch(Node, node, "", {"spec": {"unschedulable": None}})
        case Scale(kind, namespace, name, replicas):
            return lambda: client.patch(_KINDS[kind], name, namespace, {"spec": {"replicas": replicas}})
        case RestoreTemplate(kind, namespace, name, template):
            # Replaced as a whole: a merge would leave what had been added.
            patch = [{"op": "replace", "path": "/spec/template", "value": template}]
            return lambda: client.patch(_KINDS[kind], name, namespace, patch, patch_type=PatchType.JSON)


def _is_alive(state: _File) -> bool:
    try:
        process = psutil.Process(state.pid)
        return abs(process.create_time() - state.created) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
