"""Watches: one line of JSON a change, for as long as the client stays.

    resourceVersion=N       changes after N; ERROR with 410 where N is no longer kept
    "" or "0"               what there is now as ADDED, then changes
    sendInitialEvents=true  the same, and a bookmark where the beginning ends, for which client-go waits

Kubernetes: apiserver/pkg/endpoints/handlers/watch.go, apiserver/pkg/storage/cacher/cacher.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec

from antei.api.errors import ApiError, FieldError, FieldErrorType, bad_request, invalid
from antei.api.retired import ServedVersion
from antei.server.http.exchange import Exchange, encode_status
from antei.server.http.negotiation import Form, Media
from antei.server.http.objects import metadata_of, object_bytes
from antei.server.http.routes import Route
from antei.server.http.streams import Streams
from antei.server.http.tables import Tabulator
from antei.server.registry import Registry
from antei.store import Stored

__all__ = ["Watches", "check_list_options"]

_BOOKMARK_SECONDS = 60.0
#: A client that takes nothing for so long is cut: its changes must not pile up.
_STUCK_SECONDS = 30.0
_INITIAL_EVENTS_END = "k8s.io/initial-events-end"
#: Without timeoutSeconds a watch lasts half an hour to an hour (apiserver: MinRequestTimeout); here, an hour.
_LONGEST_SECONDS = 3600.0


def check_list_options(exchange: Exchange, *, is_watch: bool) -> None:
    """Raises 422 for parameters that do not go together (apimachinery/pkg/apis/meta/internalversion/validation)."""
    match = exchange.query.get("resourceVersionMatch", "")
    revision = exchange.query.get("resourceVersion", "")
    initial = exchange.flag("sendInitialEvents")
    errors = []
    if initial is not None and not is_watch:
        errors.append(
            FieldError(FieldErrorType.FORBIDDEN, "sendInitialEvents", detail="sendInitialEvents is forbidden for list")
        )
    elif initial is not None and match != "NotOlderThan":
        detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        errors.append(FieldError(FieldErrorType.FORBIDDEN, "resourceVersionMatch", detail=detail))
    elif match and is_watch and initial is None:
        detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        errors.append(FieldError(FieldErrorType.FORBIDDEN, "resourceVersionMatch", detail=detail))
    elif match and not is_watch and not revision:
        detail = "resourceVersionMatch is forbidden unless resourceVersion is provided"
        errors.append(FieldError(FieldErrorType.FORBIDDEN, "resourceVersionMatch", detail=detail))
    elif match and match not in ("Exact", "NotOlderThan"):
        detail = 'supported values: "Exact", "NotOlderThan"'
        errors.append(FieldError(FieldErrorType.NOT_SUPPORTED, "resourceVersionMatch", match, detail))
    elif match == "Exact" and revision == "0":
        detail = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        errors.append(FieldError(FieldErrorType.FORBIDDEN, "resourceVersionMatch", detail=detail))
    if errors:
        raise invalid("ListOptions", "", errors, "meta.k8s.io")
    if revision and not revision.isdigit():
        raise bad_request(f'Invalid value: "{revision}": resourceVersion: strconv.ParseUint: parsing "{revision}"')


class Watches:
    def __init__(self, registry: Registry, tabulator: Tabulator, streams: Streams) -> None:
        self._registry = registry
        self._tabulator = tabulator
        self._streams = streams

    async def serve(self, exchange: Exchange, route: Route, media: Media) -> None:
        check_list_options(exchange, is_watch=True)
        revision = exchange.query.get("resourceVersion", "")
        initial = exchange.flag("sendInitialEvents")
        resource = route.served.stored if media.form is Form.TABLE else route.served.resource
        selectors = {
            "label_selector": exchange.query.get("labelSelector", ""),
            "field_selector": exchange.query.get("fieldSelector", ""),
        }
        wants_beginning = initial if initial is not None else revision in ("", "0")
        items: list[Stored] = []
        if wants_beginning:
            listed = await self._registry.list(resource, route.namespace, **selectors)
            items, start = list(listed[0]), listed[1]
        else:
            start = int(revision) if revision not in ("", "0") else self._registry.store.revision
        # Opened before the answer begins, so that bad selectors are a 400.
        changes = self._registry.watch(resource, route.namespace, after_revision=start, **selectors)
        writer = _EventWriter(exchange, route.served, media, self._tabulator, start)
        seconds = exchange.integer("timeoutSeconds") or _LONGEST_SECONDS
        work = self._run(exchange, writer, items, changes, ends_beginning=bool(initial))
        await self._streams.run(exchange, work, seconds)
        if exchange.has_started:
            await exchange.end_stream()

    async def _run(
        self,
        exchange: Exchange,
        writer: _EventWriter,
        items: list[Stored],
        changes: AsyncIterator[tuple[str, Stored]],
        *,
        ends_beginning: bool,
    ) -> None:
        await exchange.start_stream(b"application/json")
        bookmarks = None
        try:
            for stored in items:
                await writer.change("ADDED", stored)
            if ends_beginning:
                await writer.bookmark(writer.revision, ends_beginning=True)
            if exchange.flag("allowWatchBookmarks"):
                bookmarks = asyncio.create_task(self._bookmarks(writer))
            async for change_type, stored in changes:
                await writer.change(change_type, stored)
        except ApiError as error:
            await exchange.write(b'{"type":"ERROR","object":%s}\n' % encode_status(error.status))
        finally:
            if bookmarks is not None:
                bookmarks.cancel()
            close = getattr(changes, "aclose", None)
            if close is not None:
                await close()

    async def _bookmarks(self, writer: _EventWriter) -> None:
        """A bookmark carries the revision of the minute before: what had been written by then has been sent since."""
        passed = writer.revision
        while True:
            await asyncio.sleep(_BOOKMARK_SECONDS)
            await writer.bookmark(max(passed, writer.revision))
            passed = self._registry.store.revision


class _EventWriter:
    def __init__(
        self, exchange: Exchange, served: ServedVersion, media: Media, tabulator: Tabulator, revision: int
    ) -> None:
        self._exchange = exchange
        self._served = served
        self._media = media
        self._tabulator = tabulator
        self._has_columns = False
        self.revision = revision  # of the last change that was sent

    async def change(self, change_type: str, stored: Stored) -> None:
        if self._media.form is Form.OBJECT:
            body = object_bytes(self._served, stored)
        elif self._media.form is Form.METADATA:
            body = metadata_of(stored, self._media.version)
        else:
            body = self._tabulator.table(
                self._exchange,
                self._served,
                [stored],
                str(stored.revision),
                self._media,
                with_columns=not self._has_columns,
            )
            self._has_columns = True
        await self._write(b'{"type":"%s","object":%s}\n' % (change_type.encode(), body))
        self.revision = max(self.revision, stored.revision)

    async def bookmark(self, revision: int, *, ends_beginning: bool = False) -> None:
        metadata: dict[str, object] = {"resourceVersion": str(revision), "creationTimestamp": None}
        if ends_beginning:
            metadata["annotations"] = {_INITIAL_EVENTS_END: "true"}
        identity = {"kind": self._served.kind, "apiVersion": self._served.api_version}
        if self._media.form is not Form.OBJECT:
            kind = "Table" if self._media.form is Form.TABLE else "PartialObjectMetadata"
            identity = {"kind": kind, "apiVersion": f"meta.k8s.io/{self._media.version}"}
        body: dict[str, object] = {**identity, "metadata": metadata}
        if self._media.form is Form.TABLE:
            body |= {"columnDefinitions": [], "rows": []}
        await self._write(msgspec.json.encode({"type": "BOOKMARK", "object": body}) + b"\n")

    async def _write(self, line: bytes) -> None:
        async with asyncio.timeout(_STUCK_SECONDS):
            await self._exchange.write(line)
