"""The pods of a node's manifest folders: begun, followed, ended, whatever the API has.

    folder, every second ─► files ─► manifests.py ─► pods by name ─► one task a name:
                              │                         admitted ─► file gone or another ─► ended ─► next one …
                              └─ bad: logged, and an event of the node, once a content

Kubernetes: pkg/kubelet/config/file.go, pkg/kubelet/pod_workers.go (static pods of one name follow each other).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from lightkube.resources.core_v1 import Node, Pod

from antei.api.errors import ApiError
from antei.api.objects import key_of, uid_of
from antei.node.context import NodeContext
from antei.node.manifests import BadManifest, is_manifest, static_pod

__all__ = ["Host", "StaticPods"]

_LOG = logging.getLogger(__name__)
_CHECK_SECONDS = 1.0
_LARGEST_BYTES = 3 * 1024 * 1024

Key = tuple[str, str]


class Host(Protocol):
    """Who runs pods."""

    def begin_static(self, pod: Pod) -> asyncio.Task[None]:
        """Admits the pod; the task ends when nothing of it is left, its mirror included."""
        ...

    def end_static(self, uid: str) -> None:
        """Within the pod's grace period."""
        ...


class StaticPods:
    def __init__(self, context: NodeContext, folders: Sequence[Path], host: Host) -> None:
        self._context = context
        self._folders = tuple(folders)
        self._host = host
        self._wanted: Mapping[Key, Pod] = {}
        self._changed: dict[Key, asyncio.Event] = {}  # of each name that has a task
        self._known: dict[Path, tuple[bytes, Pod | None]] = {}
        self._last: dict[Path, bytes] | None = None  # what the files had the last time
        self._said: list[str] = []

    @property
    def uids(self) -> set[str]:
        return {uid_of(pod) for pod in self._wanted.values()}

    def has(self, key: Key) -> bool:
        """Whether there is, or is to be, a pod of that namespace and name."""
        return key in self._wanted

    async def read(self) -> None:
        """What the folders have now; to be awaited before what is left of an earlier life is looked at.

        What has changed since the last time counts when it is still the same the next time: it may be half written.
        """
        contents = await self._contents()
        found: dict[Path, tuple[bytes, Pod | None]] = {}
        for path, content in contents.items():
            known = self._known.get(path)
            if known is not None and known[0] == content:
                found[path] = known
            elif self._last is None or self._last.get(path) == content:
                found[path] = self._parsed(path, content)
            elif known is not None:
                found[path] = known
        self._known, self._last = found, contents
        self._wanted = {key_of(pod): pod for _, pod in found.values() if pod is not None}

    async def _contents(self) -> dict[Path, bytes]:
        """Of all files; what cannot be read now has not gone."""
        files, found = self._context.files, {}
        for folder in self._folders:
            for name in filter(is_manifest, await files.names(folder)):
                path = folder / name
                try:
                    found[path] = await files.read(path, 0, _LARGEST_BYTES + 1)
                except IsADirectoryError:
                    continue
                except OSError as error:
                    _LOG.warning("node %s: manifest %s: %s", self._context.node_name, path, error)
                    if path in self._known:
                        found[path] = self._known[path][0]
        return found

    def _parsed(self, path: Path, content: bytes) -> tuple[bytes, Pod | None]:
        context = self._context
        try:
            if len(content) > _LARGEST_BYTES:
                raise BadManifest(f"larger than {_LARGEST_BYTES} bytes")
            return content, static_pod(content, path, context.node_name, context.world.clock.now())
        except BadManifest as error:
            _LOG.error("node %s: could not process manifest file %s: %s", context.node_name, path, error)
            self._said.append(f'Could not process manifest file "{path}": {error}')
            return content, None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                for key in self._wanted:
                    if key not in self._changed:
                        self._changed[key] = asyncio.Event()
                        group.create_task(self._follow(key), name=f"static pod {key[1]}")
                for changed in self._changed.values():
                    changed.set()
                await self._tell()
                await asyncio.sleep(_CHECK_SECONDS)
                await self.read()

    async def _follow(self, key: Key) -> None:
        """All pods of one name, one after the other."""
        changed = self._changed[key]
        while (pod := self._wanted.get(key)) is not None:
            running = self._host.begin_static(pod)
            while (wanted := self._wanted.get(key)) is not None and uid_of(wanted) == uid_of(pod):
                changed.clear()
                await changed.wait()
            self._host.end_static(uid_of(pod))
            await asyncio.wait({running})
        del self._changed[key]

    async def _tell(self) -> None:
        """Bad manifests, as events of the node: there is no pod to have them."""
        if not self._said:
            return
        try:
            node = await self._context.client.get(Node, self._context.node_name)
        except (ApiError, OSError) as error:
            _LOG.warning("node %s: not told of a bad manifest: %s", self._context.node_name, error)
            return
        for message in self._said:
            self._context.recorder.event(node, "Warning", "FailedValidation", message)
        self._said.clear()
