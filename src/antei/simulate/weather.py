"""The way to the API when it is bad: requests that are slow, refused or lost, watches that are late and break off.

    request ─► late ─┬─► 409, 429, 500, timed out, connection lost: nothing was done
                     ├─► done, and the answer is lost: nobody knows that it was done
                     └─► done, late, answered

A watch that is late keeps the order of its events; one that breaks off says 410, or that the connection is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from lightkube.resources.coordination_v1 import Lease

from antei.api.errors import conflict, expired, internal_error, timeout, too_many_requests
from antei.api.objects import Object, controller_of, meta
from antei.client import Client, Listing, PatchType, WatchEvent
from antei.world.virtual import SeededChance

__all__ = ["Weather", "WeatheredClient"]

T = TypeVar("T", bound=Object)
R = TypeVar("R")
#: Of a request for a lease: the kubelet gives each a quarter of the lease's duration.
_TIMEOUT_SECONDS = 10.0


@dataclass(slots=True)
class Weather:
    """How bad it is now; shared by all parts of a cluster."""

    request_errors: float = 0.0  # the share of requests that fail
    request_delay_seconds: float = 0.0  # at most
    watch_breaks: float = 0.0  # the share of events at which the watch breaks off
    watch_delay_seconds: float = 0.0  # at most
    #: Nodes whose lease is renewed so late, or never (infinity), while all else of them works.
    late_heartbeats: dict[str, float] = field(default_factory=dict)
    #: Creations that nobody knows were done: loop time and the uid of the controlling owner.
    lost_answers: list[tuple[float, str]] = field(default_factory=list)

    @property
    def is_fair(self) -> bool:
        return not (self.request_errors or self.request_delay_seconds or self.watch_breaks or self.watch_delay_seconds)

    def lost_creations(self, owner: str, since: float) -> int:
        """How many objects of that owner (a uid) were made since then with nobody told."""
        return sum(at >= since and uid == owner for at, uid in self.lost_answers)

    def clear(self) -> None:
        self.request_errors = self.request_delay_seconds = self.watch_breaks = self.watch_delay_seconds = 0.0
        self.late_heartbeats.clear()


class WeatheredClient:
    """Implements `antei.client.Client`, for one part of a cluster.

    `wrote(sent, written)` is told of each update that succeeded.
    """

    def __init__(
        self,
        part: str,
        client: Client,
        weather: Weather,
        chance: SeededChance,
        wrote: Callable[[Object, Object], None] = lambda sent, written: None,
    ) -> None:
        self._part = part
        self._client = client
        self._weather = weather
        self._chance = chance
        self._wrote = wrote

    async def get(self, kind: type[T], name: str, namespace: str = "") -> T:
        return await self._request(lambda: self._client.get(kind, name, namespace))

    async def list(
        self, kind: type[T], namespace: str | None = None, *, label_selector: str = "", field_selector: str = ""
    ) -> Listing[T]:
        return await self._request(
            lambda: self._client.list(kind, namespace, label_selector=label_selector, field_selector=field_selector)
        )

    async def watch(
        self,
        kind: type[T],
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[WatchEvent[T]]:
        weather, loop = self._weather, asyncio.get_running_loop()
        due = 0.0
        async for event in self._client.watch(
            kind,
            namespace,
            resource_version=resource_version,
            label_selector=label_selector,
            field_selector=field_selector,
        ):
            if weather.watch_breaks and self._chance.uniform(0, 1) < weather.watch_breaks:
                raise self._pick(
                    [expired("too old resource version"), ConnectionResetError("connection reset by peer")]
                )
            if weather.watch_delay_seconds:
                # Late, and in order; what piles up meanwhile comes at once.
                due = max(due, loop.time() + self._chance.uniform(0, weather.watch_delay_seconds))
                if due > loop.time():
                    await asyncio.sleep(due - loop.time())
            yield event

    async def create(self, obj: T) -> T:
        return await self._request(lambda: self._client.create(obj), creates=obj)

    async def update(self, obj: T, subresource: str = "") -> T:
        return await self._request(lambda: self._update(obj, subresource), conflicts=obj)

    async def _update(self, obj: T, subresource: str) -> T:
        if isinstance(obj, Lease) and self._part in self._weather.late_heartbeats:
            await self._lateness()
        written = await self._client.update(obj, subresource)
        self._wrote(obj, written)
        return written

    async def _lateness(self) -> None:
        late_seconds = self._weather.late_heartbeats[self._part]
        await asyncio.sleep(min(late_seconds, _TIMEOUT_SECONDS))
        if late_seconds > _TIMEOUT_SECONDS:
            raise timeout("request timed out")

    async def patch(
        self,
        kind: type[T],
        name: str,
        namespace: str,
        patch: Mapping[str, Any] | Sequence[Any],
        *,
        patch_type: PatchType = PatchType.MERGE,
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
    ) -> T:
        return await self._request(
            lambda: self._client.patch(
                kind,
                name,
                namespace,
                patch,
                patch_type=patch_type,
                subresource=subresource,
                field_manager=field_manager,
                force=force,
            )
        )

    async def delete(
        self,
        kind: type[T],
        name: str,
        namespace: str = "",
        *,
        grace_period_seconds: int | None = None,
        propagation_policy: str | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> None:
        await self._request(
            lambda: self._client.delete(
                kind,
                name,
                namespace,
                grace_period_seconds=grace_period_seconds,
                propagation_policy=propagation_policy,
                uid=uid,
                resource_version=resource_version,
            )
        )

    async def post_subresource(self, kind: type[T], name: str, namespace: str, subresource: str, body: Any) -> None:
        await self._request(lambda: self._client.post_subresource(kind, name, namespace, subresource, body))

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _request(
        self, act: Callable[[], Awaitable[R]], *, creates: Object | None = None, conflicts: Object | None = None
    ) -> R:
        weather = self._weather
        if weather.is_fair:
            return await act()
        if weather.request_delay_seconds:
            await asyncio.sleep(self._chance.uniform(0, weather.request_delay_seconds))
        draw = self._chance.uniform(0, 1)
        if draw < weather.request_errors / 2:
            raise self._error(conflicts)
        answer = await act()
        if weather.request_delay_seconds:
            await asyncio.sleep(self._chance.uniform(0, weather.request_delay_seconds))
        if draw < weather.request_errors:
            owner = controller_of(creates) if creates is not None else None
            if owner is not None:
                weather.lost_answers.append((asyncio.get_running_loop().time(), owner.uid))
            raise self._pick([timeout("request timed out"), ConnectionResetError("connection reset by peer")])
        return answer

    def _error(self, conflicts: Object | None) -> Exception:
        errors: list[Exception] = [
            too_many_requests("the server has received too many requests", retry_after_seconds=1),
            internal_error("etcdserver: leader changed"),
            timeout("request timed out"),
            ConnectionResetError("connection reset by peer"),
        ]
        if conflicts is not None:
            text = "the object has been modified; please apply your changes to the latest version and try again"
            errors.append(conflict(str(type(conflicts).__name__).lower(), meta(conflicts).name or "", text))
        return self._pick(errors)

    def _pick(self, errors: Sequence[Exception]) -> Exception:
        return errors[min(int(self._chance.uniform(0, len(errors))), len(errors) - 1)]
