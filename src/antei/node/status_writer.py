"""Publishes a pod's status: the latest state wins, and one patch at a time is on its way.

    publish(status) ─► kept as wanted ─► run: patch ─► wanted meanwhile? ─► patch …
                                              └── ApiError, OSError: again after a backoff; 404: the pod is gone

Only the node's own fields and conditions are sent, as a strategic merge patch with the pod's uid as precondition,
so that conditions of others (DisruptionTarget, readiness gates) stay theirs (Kubernetes: status_manager.go).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec
from lightkube.models.core_v1 import PodStatus
from lightkube.resources.core_v1 import Pod

from antei.api.errors import ApiError
from antei.api.objects import key_of, meta, uid_of
from antei.client import Client, PatchType
from antei.node.status import OWN_CONDITIONS

__all__ = ["StatusWriter"]

_LOG = logging.getLogger(__name__)
_BACKOFF_FIRST_SECONDS = 0.2
_BACKOFF_CAP_SECONDS = 10.0
#: Of the status and of each condition: sent as null where they have no value, so that an earlier one goes away.
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
                if isinstance(error, ApiError) and (error.code == 404 or _is_another_pod(error)):
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
                self._settled.set()

    async def _write(self, status: PodStatus, uid: str) -> None:
        patch = {"metadata": {"uid": uid}, "status": _as_patch(status, self._written)}
        written = await self._client.patch(
            Pod, self._name, self._namespace, patch, patch_type=PatchType.STRATEGIC, subresource="status"
        )
        self._version = _version_of(written)


def _version_of(pod: Pod) -> int:
    """Resource versions of one kind are ordered numbers (KEP-5504)."""
    version = meta(pod).resourceVersion or ""
    return int(version) if version.isdigit() else 0


def _is_another_pod(error: ApiError) -> bool:
    """A pod of the same name and another uid has taken this one's place."""
    return error.code in (409, 422) and "uid" in error.message.lower()


def _as_patch(status: PodStatus, written: PodStatus | None) -> dict[str, Any]:
    fields: dict[str, Any] = _without_none(msgspec.to_builtins(status))
    # Conditions are merged by their type: without a null a ready pod would still say why it once was not.
    for part in (fields, *fields.get("conditions", ())):
        for name in _CLEARED:
            part.setdefault(name, None)
    kept = {condition.type for condition in status.conditions or ()}
    for condition in (written.conditions if written is not None else None) or ():
        if condition.type in OWN_CONDITIONS and condition.type not in kept:
            fields.setdefault("conditions", []).append({"type": condition.type, "$patch": "delete"})
    return fields


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_none(v) if isinstance(v, dict | list) else v for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_none(v) for v in value]
    return value
