"""Publishes a pod's status: the latest state wins, and one write at a time is on its way.

    publish(status) ─► kept as wanted ─► run: write ─► wanted meanwhile? ─► write …
                                              └── ApiError, OSError: again after a backoff; 404: the pod is gone

What is written is the status that the pod was last seen with, the node's own fields and conditions put in: what others
say in it (DisruptionTarget, readiness gates) stays theirs. Where the pod has changed since, it is looked at anew.
Kubernetes: mergePodStatus in pkg/kubelet/status/status_manager.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar

from lightkube.models.core_v1 import PodCondition, PodStatus
from lightkube.resources.core_v1 import Pod

from antei.api.errors import ApiError, not_found
from antei.api.objects import key_of, meta, replace, uid_of
from antei.client import Client
from antei.node.status import OWN_CONDITIONS

__all__ = ["StatusWriter", "merged_status"]

T = TypeVar("T", PodStatus, PodCondition)

_LOG = logging.getLogger(__name__)
_BACKOFF_FIRST_SECONDS = 0.2
_BACKOFF_CAP_SECONDS = 10.0
#: How often others may be faster in a row.
_TRIES = 5
#: Of the status and of each condition: where they have no value, an earlier one goes away.
_CLEARED = ("reason", "message")


class StatusWriter:
    """`uid`: of the API's object of that name, where that may change; None: there is none to write to now."""

    def __init__(self, client: Client, pod: Pod, uid: Callable[[], str | None] | None = None) -> None:
        self._client = client
        self._namespace, self._name = key_of(pod)
        self._uid = uid or (lambda: uid_of(pod))
        self._may_be_renewed = uid is not None
        self._wanted: PodStatus | None = None
        self._written: PodStatus | None = pod.status
        self._known = pod  # what the API has, as far as was seen
        self._version = _version_of(pod)  # of the object as this writer wrote it last
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()

    @property
    def latest(self) -> PodStatus | None:
        """The status that is published, or will be."""
        return self._wanted or self._written

    def publish(self, status: PodStatus) -> None:
        if status == self.latest:
            return
        self._wanted = status
        self._settled.clear()
        self._wake.set()

    def renew(self) -> None:
        """The object is another one, which has been told nothing yet."""
        status, self._written, self._version = self.latest, None, 0
        if status is not None:
            self.publish(status)

    def observe(self, pod: Pod) -> None:
        """What the API has now: where somebody else has set what is the node's (a node that was taken for lost), the
        node says again what it knows."""
        if _version_of(pod) > _version_of(self._known):
            self._known = pod
        status, written = pod.status, self._written
        if self._wanted is not None or written is None or status is None or _version_of(pod) < self._version:
            return
        theirs, ours = (
            (of.phase, [(c.type, c.status) for c in of.conditions or () if c.type in OWN_CONDITIONS])
            for of in (status, written)
        )
        if theirs[0] != ours[0] or sorted(theirs[1]) != sorted(ours[1]):
            self._written = status
            self.publish(written)

    def has_written(self, pod: Pod) -> bool:
        """Whether this is the object as this writer left it."""
        return 0 < self._version == _version_of(pod)

    async def flush(self) -> None:
        """Returns when what was published last is written, or the pod is gone."""
        await self._settled.wait()

    async def run(self) -> None:
        backoff_seconds = _BACKOFF_FIRST_SECONDS
        while True:
            await self._wake.wait()
            self._wake.clear()
            status = self._wanted
            uid = self._uid()
            if status is None or uid is None:
                self._settled.set()
                continue
            try:
                await self._write(status, uid)
                backoff_seconds = _BACKOFF_FIRST_SECONDS
            except (ApiError, OSError) as error:
                if isinstance(error, ApiError) and error.code == 404:
                    self._settled.set()
                    if self._may_be_renewed:
                        continue
                    return
                _LOG.warning("status of pod %s/%s not written: %s", self._namespace, self._name, error)
                await asyncio.sleep(backoff_seconds)
                backoff_seconds = min(2 * backoff_seconds, _BACKOFF_CAP_SECONDS)
                self._wake.set()
                continue
            self._written = status
            if self._wanted is status:
                self._wanted = None
                self.observe(self._known)  # others may have written while the answer was on its way
                if self._wanted is None:
                    self._settled.set()

    async def _write(self, status: PodStatus, uid: str) -> None:
        for remaining in reversed(range(_TRIES)):
            if uid_of(self._known) != uid:
                self._known = await self._client.get(Pod, self._name, self._namespace)
                if uid_of(self._known) != uid:
                    raise not_found("pods", self._name)
            seen = self._known
            try:
                written = await self._client.update(replace(seen, status=merged_status(seen.status, status)), "status")
            except ApiError as error:
                if error.code != 409 or not remaining:
                    raise
                self._known = await self._client.get(Pod, self._name, self._namespace)
            else:
                self._version = _version_of(written)
                if self._version >= _version_of(self._known):
                    self._known = written
                return


def _version_of(pod: Pod) -> int:
    """Resource versions of one kind are ordered numbers (KEP-5504)."""
    version = meta(pod).resourceVersion or ""
    return int(version) if version.isdigit() else 0


def merged_status(seen: PodStatus | None, own: PodStatus) -> PodStatus:
    """What the API has, with all that the node knows: a condition of the node's own that it names no more is gone."""
    if seen is None:
        return own
    wanted = {condition.type: condition for condition in own.conditions or ()}
    kept = [
        _merged(condition, wanted.pop(condition.type, condition))
        for condition in seen.conditions or ()
        if condition.type in wanted or condition.type not in OWN_CONDITIONS
    ]
    return replace(_merged(seen, own), conditions=[*kept, *wanted.values()] or None)


def _merged(seen: T, own: T) -> T:
    fields = ((name, getattr(own, name)) for name in own.__struct_fields__)
    return replace(seen, **{name: value for name, value in fields if value is not None or name in _CLEARED})
