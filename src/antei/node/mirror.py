"""Keeps the mirror of a static pod in the API: created, and created again when somebody has deleted it.

    none ─► created ─► there ─► being deleted, or another pod's ─► deleted (grace 0) ─► none …

A static pod runs whether its mirror is there or not.
Kubernetes: pkg/kubelet/pod/mirror_client.go, pkg/kubelet/kubelet.go (SyncPod).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from lightkube.resources.core_v1 import Node, Pod

from antei.api.errors import ApiError
from antei.api.mirror_pods import MIRROR, mirror_of
from antei.api.objects import is_terminating, meta, name_of, namespace_of, uid_of
from antei.client import Client

__all__ = ["MirrorPod"]

_LOG = logging.getLogger(__name__)
_RETRY_SECONDS = 5.0


class MirrorPod:
    """`seen` is what the API has of it now, if anything; `renewed` is called when that is another object."""

    def __init__(self, client: Client, pod: Pod, seen: Pod | None = None) -> None:
        self.renewed: Callable[[], None] = lambda: None
        self._client = client
        self._pod = pod
        self._seen = seen
        self._is_over = False
        self._woken = asyncio.Event()

    @property
    def uid(self) -> str | None:
        """Of the object that shows the pod as it is; None while there is none."""
        return uid_of(self._seen) if self._seen is not None and self._is_right(self._seen) else None

    def observe(self, pod: Pod | None) -> None:
        before = self.uid
        self._seen = pod
        self._woken.set()
        if self.uid is not None and self.uid != before:
            self.renewed()

    async def keep(self) -> None:
        while True:
            self._woken.clear()
            seconds = None
            try:
                await self._reconcile()
            except (ApiError, OSError) as error:
                _LOG.warning("mirror of static pod %s: %s", name_of(self._pod), error)
                seconds = _RETRY_SECONDS
            try:
                async with asyncio.timeout(seconds):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def _reconcile(self) -> None:
        if self._is_over:
            return
        if self._seen is None:
            node = await self._client.get(Node, self._pod.spec.nodeName or "" if self._pod.spec is not None else "")
            self.observe(await self._client.create(mirror_of(self._pod, node)))
        elif not self._is_right(self._seen):
            await self._delete(self._seen)

    def _is_right(self, seen: Pod) -> bool:
        return not is_terminating(seen) and (meta(seen).annotations or {}).get(MIRROR) == uid_of(self._pod)

    async def remove(self) -> None:
        """The static pod is no more, and so is its mirror. Raises ApiError, OSError."""
        self._is_over = True
        if self._seen is not None:
            await self._delete(self._seen)

    async def _delete(self, seen: Pod) -> None:
        try:
            await self._client.delete(Pod, name_of(seen), namespace_of(seen), grace_period_seconds=0, uid=uid_of(seen))
        except ApiError as error:
            if error.code not in (404, 409):
                raise
